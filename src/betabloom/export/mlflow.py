"""A model as MLflow keeps and serves models: our model directory, and the name of this module, which opens it.

Nothing is pickled. MLflow imports `betabloom.export.mlflow` and calls `_load_pyfunc` with the directory. What is served
takes rows of `seed` and `n`, and returns rows of `seed`, `number` and `png` (the picture in base64). The parameters
`temperature` and `sampler` are those of `Model.generate`.
"""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betabloom.errors import UsageError
from betabloom.export.extras import needed
from betabloom.export.saving import save_small
from betabloom.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd

    from betabloom.model.generator import Generator
    from betabloom.model.model import Model

__all__ = ["MOST", "log_model", "write_mlflow"]

MOST = 256  # pictures of one request


def write_mlflow(model: Model, folder: Path) -> dict[str, Any]:
    """Fill an empty folder with a model of MLflow, for `mlflow models serve --env-manager local -m FOLDER`.

    Raises:
        UsageError: MLflow is not installed.
    """
    needed("mlflow", extra="mlflow")
    import mlflow.pyfunc

    with tempfile.TemporaryDirectory() as place:
        save_small(model, Path(place) / "model")
        mlflow.pyfunc.save_model(folder, data_path=str(Path(place) / "model"), **_description(model))
    return {"mlflow": mlflow.__version__}


def log_model(model: Model, name: str = "model") -> Any:
    """Log a model to the active run of MLflow; what `mlflow.pyfunc.log_model` returns.

    Raises:
        UsageError: MLflow is not installed.
    """
    needed("mlflow", extra="mlflow")
    import mlflow.pyfunc

    with tempfile.TemporaryDirectory() as place:
        save_small(model, Path(place) / "model")
        return mlflow.pyfunc.log_model(name=name, data_path=str(Path(place) / "model"), **_description(model))


def _description(model: Model) -> dict[str, Any]:
    """What MLflow is told about any model of ours."""
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema

    signature = ModelSignature(
        Schema([ColSpec("long", "seed"), ColSpec("long", "n", required=False)]),
        Schema([ColSpec("long", "seed"), ColSpec("long", "number"), ColSpec("string", "png")]),
        ParamSchema([ParamSpec("temperature", "double", 1.0), ParamSpec("sampler", "string", "auto")]),
    )
    return {
        "loader_module": "betabloom.export.mlflow",
        "signature": signature,
        "input_example": pd.DataFrame({"seed": [7], "n": [1]}),
        "pip_requirements": [f"betabloom=={__version__}"],
        "metadata": {"fingerprint": model.fingerprint, "source": str(model.training.get("source", ""))},
    }


def _load_pyfunc(path: str) -> _Served:
    """What MLflow calls to open a model directory; torch is loaded only if the model needs it."""
    from betabloom.model.model import load
    from betabloom.model.without_torch import open_without_torch

    return _Served(open_without_torch(path) or load(path))


class _Served:
    """What MLflow calls with rows of a request."""

    def __init__(self, model: Generator) -> None:
        self.model = model

    def predict(self, rows: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Pictures, n for each row, as PNG in base64."""
        import pandas as pd

        asked = [(int(row["seed"]), int(row.get("n", 1))) for row in rows.to_dict("records")]
        if sum(n for _, n in asked) > MOST:
            raise UsageError(f"One request draws at most {MOST} pictures.")
        made = [
            {"seed": seed, "number": number, "png": _png(picture)}
            for seed, n in asked
            for number, picture in enumerate(self.model.generate(n, seed, **(params or {})))
        ]
        return pd.DataFrame(made)


def _png(picture: np.ndarray) -> str:
    from betabloom.imaging.sheets import grid

    file = io.BytesIO()
    grid(picture[None], gap=0).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()
