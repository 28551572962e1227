"""A model leaves Python: as ONNX, as a program of torch, as a model of MLflow, as a Space, to the Hugging Face Hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from betabloom.faces import face

if TYPE_CHECKING:
    from betabloom.export.folder import to_mlflow, to_onnx, to_space, to_torch
    from betabloom.export.hub import pull, push

__all__ = ["pull", "push", "to_mlflow", "to_onnx", "to_space", "to_torch"]

__getattr__, __dir__ = face(__name__, {"folder": "to_mlflow to_onnx to_space to_torch", "hub": "pull push"})
