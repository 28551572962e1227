"""Any source as shards that stream: WebDataset .tar files, or Parquet files as Hugging Face writes them.

    out/part-00007-of-00100-3f2a….tar   pictures of equal, consecutive ranges of the source; its name has its hash
    out/part-00007-of-00100.json        written after it: how many pictures, which were left out; it says "done"
    out/manifest.json                   written last, when all parts are there

Every part is a function of the source and its number, and appears whole or not at all: parts may be written by any
number of processes and machines that see the same folder, in any order, and again after a crash. What is done is left
alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from betabloom.data.pictures.pipeline import Pipeline
from betabloom.data.sources.columnar import arrow
from betabloom.data.sources.encoded import Encoded
from betabloom.data.sources.locate import open_source
from betabloom.data.store.partial import Skip
from betabloom.data.store.pieces import prepare_one
from betabloom.errors import PictureError, SourceError, UsageError
from betabloom.system.atomic import replacing_file, write_json
from betabloom.system.parts import results

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from betabloom.data.sources.source import Source
    from betabloom.system.console import Progress

__all__ = ["PER_SHARD", "ShardPlan", "plan_shards", "shard_source", "write_part"]

PER_SHARD = 1024  # pictures
EVEN = 8  # many shards are a multiple of it, so that processes can share them alike
FORMATS = ("tar", "parquet")

Example = tuple[str, str, bytes, "int | None"]  # key, ending, encoded picture, class index


@dataclass(frozen=True)
class ShardPlan:
    """What is written; two plans that are equal make equal files.

    Attributes:
        source: What a person calls the source, as text that opens it.
        reading: How its pictures are read; see `Reading`.
        fingerprint: Of the source.
        pictures: How many it has.
        parts: How many shards are written.
        format: "tar" or "parquet".
        pipeline: What prepares each picture before it is written, as data; None copies files as they are.
    """

    source: str
    reading: dict[str, Any]
    fingerprint: str
    pictures: int
    parts: int
    format: str = "tar"
    pipeline: dict[str, Any] | None = None

    def stem(self, part: int) -> str:
        """The beginning of the names of a part's files."""
        return f"part-{part:05d}-of-{self.parts:05d}"

    def indices(self, part: int) -> range:
        """The pictures of a part."""
        return range(self.pictures * part // self.parts, self.pictures * (part + 1) // self.parts)


def plan_shards(
    spec: str, source: Source, *, per_shard: int = PER_SHARD, form: str = "tar", pipeline: Pipeline | None = None
) -> ShardPlan:
    """Say how a source is cut into shards.

    Arguments:
        spec: Text that opens the source.
        source: The source, opened.
        per_shard: Pictures in a shard, at most.
        form: "tar" or "parquet".
        pipeline: Prepares each picture, which is then written as PNG; None copies files as they are.

    Raises:
        UsageError: There is no such format.
        SourceError: There are no pictures.
    """
    if form not in FORMATS:
        raise UsageError(f"Shards are written as {' or '.join(FORMATS)}, not as {form!r}.")
    if not len(source):
        raise SourceError(f"'{source.name}' is empty")
    parts = -(-len(source) // per_shard)
    parts = -(-parts // EVEN) * EVEN if parts > EVEN else parts
    reading = getattr(source, "reading", None)
    steps = None if pipeline is None else pipeline.to_dict()
    options = {} if reading is None else dict(reading.options())
    return ShardPlan(spec, options, source.fingerprint(), len(source), parts, form, steps)


def shard_source(
    plan: ShardPlan,
    out: Path,
    *,
    share: tuple[int, int] = (1, 1),
    processes: int = 1,
    ray: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any] | None:
    """Write the shards of a plan, or a share of them, that are not yet there.

    Arguments:
        plan: What to write.
        out: The folder; made if it is not there.
        share: (i, n): those of the i-th of n tasks, from 1.
        processes: How many work side by side.
        ray: Address of a Ray cluster that works, or "local"; None for none.
        progress: Called as progress(done, total, text), in shards.

    Returns:
        The manifest, if all parts of the plan are there now; None if others still have to write some.

    Raises:
        UsageError: There are shards of something else in `out`.
    """
    task, tasks = share
    if not 1 <= task <= tasks:
        raise UsageError(f"--part is I/N with I from 1 to N, as 3/10, not {task}/{tasks}.")
    out.mkdir(parents=True, exist_ok=True)
    _check_folder(plan, out)
    mine = [part for part in range(plan.parts) if part % tasks == task - 1 and not _done(plan, out, part)]
    calls = ({"plan": asdict(plan), "out": str(out.resolve()), "part": part} for part in mine)
    made = results("betabloom.data.store.sharding:write_part", calls, processes=processes, ray=ray)
    for done, _ in enumerate(made, 1):
        if progress:
            progress(done, len(mine), "")
    return _manifest(plan, out)


def write_part(plan: dict[str, Any], out: str, part: int) -> dict[str, Any]:
    """Write one shard, unless it is there; returns what its .json file holds."""
    p, folder = ShardPlan(**plan), Path(out)
    if found := _done(p, folder, part):
        return found
    source, skipped = _opened(p), list[dict[str, str]]()
    with replacing_file(folder / f"{p.stem(part)}.{p.format}") as temporary:
        examples = _examples(p, source, part, skipped)
        count = _write_tar(temporary, examples) if p.format == "tar" else _write_parquet(temporary, examples)
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    named = f"{p.stem(part)}-{digest[:12]}.{p.format}"
    (folder / f"{p.stem(part)}.{p.format}").replace(folder / named)
    facts = {"file": named, "pictures": count, "sha256": digest, "skipped": skipped, "plan": _key(p)}
    write_json(folder / f"{p.stem(part)}.json", facts)
    return facts


_open: dict[str, Any] = {}


def _opened(plan: ShardPlan) -> Source:
    """The source, opened once in every process."""
    if _open.get("key") != _key(plan):
        source = open_source(plan.source, download=False, **plan.reading)
        if len(source) != plan.pictures or source.fingerprint() != plan.fingerprint:
            raise SourceError(f"'{plan.source}' has changed since its shards were begun: write them to another folder")
        _open.update(key=_key(plan), source=source)
    found: Source = _open["source"]
    return found


def _examples(plan: ShardPlan, source: Source, part: int, skipped: list[dict[str, str]]) -> Iterator[Example]:
    """The pictures of a part, encoded; those that cannot be read are noted."""
    pipeline = None if plan.pipeline is None else Pipeline.from_dict(plan.pipeline)
    for index in plan.indices(part):
        try:
            ending, content = _encoded(source, pipeline, index)
        except PictureError as error:
            skipped.append({"name": source.names[index], "reason": str(error)})
            continue
        yield f"{index:09d}", ending, content, None if source.labels is None else int(source.labels[index])


def _encoded(source: Source, pipeline: Pipeline | None, index: int) -> tuple[str, bytes]:
    """Ending and bytes of the file that a picture becomes."""
    if pipeline is None and isinstance(source, Encoded):
        source.facts(index)  # raises if it is no picture
        file = source.open(index)
        content = file.read_bytes() if isinstance(file, Path) else file.read()
        return Path(source.names[index]).suffix.lower() or ".png", content
    made = source.read(index) if pipeline is None else prepare_one(source, pipeline, index)
    if isinstance(made, Skip):
        raise PictureError(made.reason)
    image = made if isinstance(made, Image.Image) else Image.fromarray(made[:, :, 0] if made.shape[2] == 1 else made)
    written = io.BytesIO()
    image.save(written, "PNG")
    return ".png", written.getvalue()


def _write_tar(path: Path, examples: Iterator[Example]) -> int:
    """Write the members, with nothing in their headers that depends on when or by whom."""
    count = 0
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, ending, content, label in examples:
            for name, data in ((f"{key}{ending}", content), (f"{key}.cls", b"" if label is None else b"%d" % label)):
                if data:
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
            count += 1
    return count


def _write_parquet(path: Path, examples: Iterator[Example]) -> int:
    pa, every = arrow(), list(examples)
    images = [{"bytes": content, "path": f"{key}{ending}"} for key, ending, content, _ in every]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {"image": pa.array(images, kind)}
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if any(label is not None for *_, label in every):
        columns["label"] = pa.array([label for *_, label in every], pa.int64())
        features["label"] = {"dtype": "int64", "_type": "Value"}
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    arrow("pyarrow.parquet").write_table(pa.table(columns, metadata=about), path, compression="none", row_group_size=64)
    return len(every)


def _key(plan: ShardPlan) -> str:
    return hashlib.sha256(json.dumps(asdict(plan), sort_keys=True).encode()).hexdigest()[:16]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _done(plan: ShardPlan, out: Path, part: int) -> dict[str, Any]:
    """What is known of a part that is there; {} if it is not."""
    facts = _read_json(out / f"{plan.stem(part)}.json")
    return facts if facts.get("plan") == _key(plan) and (out / str(facts.get("file"))).is_file() else {}


def _check_folder(plan: ShardPlan, out: Path) -> None:
    for path in out.glob("part-*.json"):
        if _read_json(path).get("plan") != _key(plan):
            raise UsageError(f"{out} has shards of another source, or made in another way. Choose another folder.")
        return


def _manifest(plan: ShardPlan, out: Path) -> dict[str, Any] | None:
    """Write the manifest if every part is there."""
    parts: Sequence[dict[str, Any]] = [_done(plan, out, part) for part in range(plan.parts)]
    if not all(parts):
        return None
    source = _opened(plan)
    manifest = {
        "format_version": 1, "plan": asdict(plan), "pictures": sum(part["pictures"] for part in parts),
        "skipped": [skip for part in parts for skip in part["skipped"]],
        "label_names": None if source.label_names is None else list(map(str, np.asarray(source.label_names))),
        "shards": [{name: part[name] for name in ("file", "pictures", "sha256")} for part in parts],
    }  # fmt: skip
    write_json(out / "manifest.json", manifest)
    return manifest
