"""What is exported, as a folder that appears whole or not at all, with a record of what it was made from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from betabloom.arguments import path_of
from betabloom.model.model import check_model
from betabloom.system.atomic import replacing, sha256, write_json
from betabloom.system.ownership import FolderKind
from betabloom.version import __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from betabloom.model.model import Model

__all__ = ["EXPORT", "RECORD", "to_mlflow", "to_onnx", "to_space", "to_torch"]

RECORD = "export.json"
FORMAT = "betabloom-export"
LARGEST_RECORD = 1 << 20  # bytes


def _is_export(folder: Path) -> bool:
    file = folder / RECORD
    try:
        return file.stat().st_size <= LARGEST_RECORD and json.loads(file.read_text("utf-8"))["format"] == FORMAT
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return False


EXPORT = FolderKind(
    "an export",
    r"(generator|decoder|decoder-int8|encoder)\.(onnx|pt2)|export\.json|README\.md|index\.html|samples\.png"
    r"|MLmodel|conda\.yaml|python_env\.yaml|requirements\.txt|data|input_example\.json|serving_input_example\.json",
    _is_export,
)


def to_onnx(model: Model, path: str | os.PathLike[str], sampler: str = "auto", int8: bool = False) -> dict[str, Any]:
    """Write a model as ONNX files, which run without betabloom and torch: see `betabloom.export.onnx`.

    Arguments:
        model: A trained model.
        path: The folder; an earlier export there is replaced.
        sampler: What `generator.onnx` draws from: see `Model.generate`.
        int8: Whether to write `decoder-int8.onnx` too.

    Returns:
        The record: `parity` in grey levels, `files` with their SHA-256, `opset`, `fingerprint` …

    Raises:
        UsageError: Something else is there, or the model cannot be written as ONNX.
        BetabloomError: The files do not compute what the model computes.
    """
    from betabloom.export.onnx import write_onnx

    return _written(model, path, "onnx", lambda part: write_onnx(model, part, sampler, int8))


def to_torch(model: Model, path: str | os.PathLike[str], sampler: str = "auto") -> dict[str, Any]:
    """Write a model as programs of `torch.export`: see `betabloom.export.torch_programs`.

    Arguments:
        model: A trained model.
        path: The folder; an earlier export there is replaced.
        sampler: What `generator.pt2` draws from: see `Model.generate`.

    Returns:
        The record, as that of `to_onnx`.

    Raises:
        UsageError: Something else is there.
        BetabloomError: The programs do not compute what the model computes.
    """
    from betabloom.export.torch_programs import write_torch

    return _written(model, path, "torch", lambda part: write_torch(model, part, sampler))


def to_mlflow(model: Model, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Write a model as MLflow keeps models, to be served by `mlflow models serve`: see `betabloom.export.mlflow`."""
    from betabloom.export.mlflow import write_mlflow

    return _written(model, path, "mlflow", lambda part: write_mlflow(model, part))


def to_space(model: Model, path: str | os.PathLike[str], page: Path) -> dict[str, Any]:
    """Write a folder that is a static Space of the Hugging Face Hub: the model as a page that draws in the browser.

    Arguments:
        model: A trained model.
        path: The folder; an earlier export there is replaced.
        page: What `betabloom.reports.share.share` wrote of it.

    Returns:
        The record that is in the folder: what it was made of, and the SHA-256 of each file.

    Raises:
        UsageError: Something that is no export of betabloom is at `path`.
    """
    from betabloom.export.card import write_space

    return _written(model, path, "space", lambda part: write_space(model, part, page))


def _written(
    model: Model, path: str | os.PathLike[str], to: str, write: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    """Let a writer fill the folder, and put the record into it."""
    check_model(model)
    place = path_of(path, "The folder of an export")
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place, EXPORT.check) as part:
        facts = write(part)
        files = sorted(file for file in part.rglob("*") if file.is_file())
        record = {
            "format": FORMAT,
            "verb": "export",
            "to": to,
            "betabloom": __version__,
            "fingerprint": model.fingerprint,
            "source": str(model.training.get("source", "")),
            **facts,
            "files": {file.relative_to(part).as_posix(): sha256(file) for file in files},
        }
        write_json(part / RECORD, record, synced=False)
    return record
