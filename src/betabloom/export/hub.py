"""Models to the Hugging Face Hub, and from it into a folder.

Who may write there is the business of the Hub's client: log in with `hf auth login`, or set HF_TOKEN. betabloom neither
reads, prints nor stores tokens.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from betabloom.arguments import path_of
from betabloom.errors import UsageError
from betabloom.export.card import SAMPLES, hub_card
from betabloom.export.folder import RECORD, to_onnx
from betabloom.export.saving import save_small
from betabloom.imaging.output import save_image
from betabloom.imaging.sheets import grid
from betabloom.model.directory import FORMAT, MODEL, read_description
from betabloom.model.hub import as_hub_error, download, split_name
from betabloom.model.model import check_model
from betabloom.system.atomic import replacing, sha256, write_json

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from betabloom.model.model import Model

__all__ = ["HUB_RECORD", "pull", "push"]

HUB_RECORD = "hub.json"  # in a folder that was pulled: from where
PAGE = "shared.html"
OURS = (
    MODEL.files + rf"|{re.escape(PAGE)}|onnx/(generator|decoder|encoder)\.onnx|onnx/{re.escape(RECORD)}|\.gitattributes"
)
SHOWN = 36  # pictures on the sheet of the card
REPORT_SIZE = 1 << 24  # bytes; a report has some thousand


def push(
    model: Model,
    repository: str,
    licence: str = "",
    report: Mapping[str, Any] | None = None,
    page: Path | None = None,
    onnx: bool = False,
    private: bool = False,
    replace: bool = False,
) -> dict[str, Any]:
    """Put a model on the Hub in one commit: its directory, a card with samples, and what was asked for.

    Arguments:
        model: A trained model.
        repository: "user/model"; made if it is not there.
        licence: An identifier that the Hub knows, as "apache-2.0".
        report: What `betabloom evaluate -o report.json` wrote, for the card.
        page: A shared page of the model (`betabloom.reports.share.share`), to be put beside it.
        onnx: Whether to put ONNX files beside it.
        private: Whether only you may see it, if it is made.
        replace: Whether to write into a repository that has files that are not ours; they stay.

    Returns:
        `repository`, `commit`, `url`, and `files` with their SHA-256.

    Raises:
        UsageError: The name is none, the Hub does not let you in, or the repository is something else.
        BetabloomError: The Hub cannot be reached.
    """
    check_model(model)
    name, revision = split_name(repository)
    if revision:
        raise UsageError("A push makes a new revision: leave out what follows the @.")
    from huggingface_hub import HfApi

    api = HfApi()
    with tempfile.TemporaryDirectory() as place, as_hub_error(name):
        folder = Path(place) / "model"
        files = _filled(folder, model, name, licence, report, page, onnx)
        api.create_repo(name, private=private, exist_ok=True)
        if not replace:
            _check_ours(api, name)
        made = api.upload_folder(repo_id=name, folder_path=folder, commit_message=f"betabloom {model.fingerprint}")
    return {"repository": name, "commit": made.oid, "url": made.commit_url, "files": files}


def _filled(
    folder: Path,
    model: Model,
    name: str,
    licence: str,
    report: Mapping[str, Any] | None,
    page: Path | None,
    onnx: bool,
) -> dict[str, str]:
    """Everything that is pushed, in one folder; the hashes of the files."""
    saved = save_small(model, folder)
    drawn = {"verb": "generate", "n": SHOWN, "seed": 0, "fingerprint": saved.fingerprint}
    save_image(grid(model.generate(SHOWN), columns=9), folder / SAMPLES, drawn)
    if onnx:
        to_onnx(saved, folder / "onnx")
    if page:
        shutil.copyfile(page, folder / PAGE)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    (folder / "README.md").write_text(hub_card(saved, name, licence, report, names), encoding="utf-8")
    return {each: sha256(folder / each) for each in names}


def _check_ours(api: Any, name: str) -> None:
    """Refuse to write among files that betabloom did not write.

    Raises:
        UsageError: There are some.
    """
    there = set(api.list_repo_files(name))
    others = sorted(each for each in there if not re.fullmatch(OURS, each))
    if not others and "config.json" in there:
        file = Path(api.hf_hub_download(name, "config.json"))
        found = json.loads(file.read_text(encoding="utf-8")) if file.stat().st_size < REPORT_SIZE else {}
        others = [] if isinstance(found, dict) and found.get("format") == FORMAT else ["config.json of another library"]
    if others:
        raise UsageError(
            f"{name} on the Hub has files that are not of a betabloom model: {', '.join(others[:5])}. Choose another "
            "name, or type --force to put the model beside them."
        )


def pull(name: str, folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Copy a model of the Hub into a folder, with a record of the commit that it was taken from.

    Arguments:
        name: "user/model", or "user/model@revision".
        folder: The folder; a model there is replaced.

    Returns:
        `repository`, `commit`, `fingerprint`, and `files` with their SHA-256.

    Raises:
        UsageError: There is no such model, or something else is at `folder`.
        BetabloomError: The Hub cannot be reached, or the model is damaged.
    """
    place = path_of(folder, "'folder'")
    found = download(name)
    about = read_description(found.folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place, MODEL.check) as part:
        for file in sorted(found.folder.iterdir()):
            if file.is_file() and re.fullmatch(MODEL.files, file.name) and file.name != HUB_RECORD:
                shutil.copyfile(file, part / file.name)
        files = {file.name: sha256(file) for file in sorted(part.iterdir())}
        _check_digests(about.digests, files)
        facts = {"repository": found.repository, "commit": found.commit, "fingerprint": about.fingerprint}
        write_json(part / HUB_RECORD, {**facts, "files": files}, synced=False)
    return {**facts, "files": files}


def _check_digests(digests: Mapping[str, str], files: Mapping[str, str]) -> None:
    """Compare the weights that came with the hashes that config.json has of them.

    Raises:
        UsageError: They differ.
    """
    for name, digest in digests.items():
        own = f"{name}.safetensors" if name in ("model", "enlargers") else f"sampler-{name}.safetensors"
        if own in files and files[own] != digest:
            raise UsageError(f"{own} is damaged: its SHA-256 is not the one in config.json. Nothing is kept.")
