"""`export`: a model as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from betabloom.cli.command import Option
from betabloom.cli.options import AnyModel, Force, Json, Out, free_export, print_result, safe_name
from betabloom.errors import UsageError

if TYPE_CHECKING:
    from betabloom.model.model import Model

__all__ = ["export"]

TARGETS = ("onnx", "torch", "mlflow", "space")


def export(
    model: AnyModel = None,
    to: Annotated[str, Option(help=f"{', '.join(TARGETS[:-1])} or {TARGETS[-1]}.")] = "onnx",
    out: Out = None,
    sampler: Annotated[str, Option(help="What the generator draws from: auto, prior, gaussian, mixture …")] = "auto",
    int8: Annotated[bool, Option(help="With onnx: a decoder in 8 bits too, a quarter as large.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a model for other programs: ONNX, torch.export, MLflow, or a static Space of the Hugging Face Hub.

    What is written is run and compared with the model before it is kept.

    Examples:
        betabloom export                                # flowers64-onnx/: encoder, decoder, generator
        betabloom export runs/mine --to onnx --int8
        betabloom export runs/mine --to mlflow -o served
    """
    from betabloom.model.directory import BUNDLED
    from betabloom.model.model import load

    if to not in TARGETS:
        raise UsageError(f"--to takes {', '.join(TARGETS)}, not {to!r}.")
    if int8 and to != "onnx":
        raise UsageError("--int8 goes with --to onnx.")
    path = free_export(out, Path(f"{safe_name(str(model or BUNDLED))}-{to}"), force)
    facts = _written(load(model), path, to, sampler, int8)
    print_result(as_json, f"{_told(facts)}: {path}", made=str(path), **facts)


def _written(model: Model, path: Path, to: str, sampler: str, int8: bool) -> dict[str, Any]:
    """Write it; the record."""
    from betabloom import export as exporting

    if to == "space":
        return _space(model, path)
    if to == "mlflow":
        return exporting.to_mlflow(model, path)
    return exporting.to_onnx(model, path, sampler, int8) if to == "onnx" else exporting.to_torch(model, path, sampler)


def _space(model: Model, path: Path) -> dict[str, Any]:
    import tempfile

    from betabloom import export as exporting
    from betabloom.reports.share import share
    from betabloom.system.console import progress

    with tempfile.TemporaryDirectory() as folder, progress("packing", "pictures") as report:
        page = Path(folder) / "index.html"
        share(model, page, progress=report)
        return exporting.to_space(model, path, page)


def _told(facts: dict[str, Any]) -> str:
    """What was made, and how exactly it computes what the model computes."""
    text = {
        "onnx": "Encoder, decoder and generator as ONNX",
        "torch": "Encoder, decoder and generator as programs of torch.export",
        "mlflow": "A model of MLflow; mlflow models serve --env-manager local -m",
        "space": "A static Space",
    }[facts["to"]]
    parity = facts.get("parity", {})
    if parity:
        text += f", within {max(parity['generator_levels'], parity['decoder_levels'])} grey level of the model"
    if "int8_levels" in parity:
        text += f" (8 bits: {parity['int8_mean_levels']:.2f} in the mean, {parity['int8_levels']} at most)"
    return text
