"""`push` and `pull`: models of the Hugging Face Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from betabloom.cli.command import Argument, Option
from betabloom.cli.options import Force, Json, ModelArgument, Out, counted, free_folder, print_result, safe_name
from betabloom.errors import UsageError

if TYPE_CHECKING:
    from betabloom.model.model import Model

__all__ = ["pull", "push"]


def push(
    model: ModelArgument,
    repository: Annotated[str, Argument("user/model; created if it does not exist.", "REPOSITORY")],
    licence: Annotated[str, Option(help="Of the model, as the Hub calls it: apache-2.0, cc-by-4.0 …")] = "",
    report: Annotated[Path | None, Option(metavar="JSON", help="What evaluate -o report.json wrote.")] = None,
    onnx: Annotated[bool, Option(help="Put ONNX files beside it.")] = False,
    share: Annotated[bool, Option(help="Put a page beside it that draws in the browser.")] = False,
    private: Annotated[bool, Option(help="If the repository is new, make it private.")] = False,
    force: Annotated[bool, Option(help="Also write into a repository that has other files; they stay.")] = False,
    as_json: Json = False,
) -> None:
    """Put a model on the Hugging Face Hub in one commit, with a card. Log in first with: hf auth login.

    Examples:
        betabloom push runs/mine you/flowers --licence cc-by-4.0 --onnx --share
    """
    import tempfile

    from betabloom.export.hub import push as put
    from betabloom.model.hub import split_name
    from betabloom.model.model import load

    split_name(repository)  # before the work
    measured = _report(report) if report else None
    loaded = load(model)
    with tempfile.TemporaryDirectory() as folder:
        page = _page(loaded, Path(folder)) if share else None
        facts = put(loaded, repository, licence, measured, page, onnx, private, force)
    files = counted(len(facts["files"]), "file")
    print_result(as_json, f"{files} at commit {facts['commit'][:12]}: {facts['url']}", **facts)


def _report(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The report {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a report of `betabloom evaluate -o report.json`.") from error


def _page(model: Model, folder: Path) -> Path:
    from betabloom.reports.share import share
    from betabloom.system.console import progress

    with progress("packing", "pictures") as report:
        share(model, folder / "shared.html", progress=report)
    return folder / "shared.html"


def pull(
    repository: Annotated[str, Argument("user/model, or user/model@revision.", "REPOSITORY")],
    out: Out = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Copy a model of the Hugging Face Hub into a folder. Only files of a model are taken; none can run code.

    Every command also takes user/model in place of a folder.

    Examples:
        betabloom pull you/flowers
        betabloom pull you/flowers@v1.0 -o flowers
    """
    from betabloom.export.hub import pull as take

    path = free_folder(out, Path(safe_name(repository.split("@")[0])), force)
    facts = take(repository, path)
    commit, fingerprint = facts["commit"][:12], facts["fingerprint"]
    print_result(as_json, f"Commit {commit}, fingerprint {fingerprint}: {path}", made=str(path), **facts)
