"""Work in parts: whoever does it, and whoever is killed at it, the result is that of one process."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from betabloom import data
from betabloom.data.store.sharding import plan_shards, shard_source
from betabloom.data.store.spread import Spread
from betabloom.errors import UsageError
from betabloom.generate.parts import write_in_parts
from betabloom.generate.request import Request, open_model
from betabloom.generate.writing import write_files
from betabloom.model.code_parts import encode_in_parts
from betabloom.model.code_tables import read_codes, write_codes
from betabloom.model.codes import Codes
from betabloom.system.parts import results
from betabloom.training import loop

SQUARE = data.Pipeline.named("square", (8, 8))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


WORK = """
import os, signal
from pathlib import Path
from betabloom.errors import UsageError

def die_once(mark, text):
    try:
        Path(mark).touch(exist_ok=False)
    except FileExistsError:
        return text
    os.kill(os.getpid(), signal.SIGKILL)

def fail():
    raise UsageError("this cannot be done")
"""


def test_results_come_in_order_and_a_killed_process_loses_nothing(monkeypatch, tmp_path):
    (tmp_path / "work_in_parts.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    calls = [{"mark": str(tmp_path / "mark"), "text": str(i)} for i in range(9)]
    assert list(results("work_in_parts:die_once", calls, processes=2)) == [str(i) for i in range(9)]
    assert (tmp_path / "mark").exists()
    with pytest.raises(UsageError, match="this cannot be done"):
        list(results("work_in_parts:fail", [{}], processes=2))


def test_ray_that_is_not_installed_says_what_to_type(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"betabloom\[ray\]"):
        list(results("work_in_parts:fail", [{}], ray="local"))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> str:
    """The text for a folder of 30 pictures, in two classes, one of them damaged."""
    folder = tmp_path_factory.mktemp("drawn")
    source = data.Drawn(30, seed=1, size=16)
    for i in range(30):
        (folder / f"c{i % 2}").mkdir(exist_ok=True)
        source.read(i).save(folder / f"c{i % 2}" / f"{i:02d}.png")
    (folder / "c1" / "07.png").write_bytes(b"\x89PNG nothing")
    return str(folder)


@pytest.mark.parametrize("form", ["tar", "parquet"])
def test_shards_written_in_shares_are_those_written_at_once_and_hold_every_picture_once(form, drawn, tmp_path):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    source = data.open_source(drawn)
    plan = plan_shards(drawn, source, per_shard=7, form=form, pipeline=SQUARE)
    assert plan.parts == 5
    manifest = shard_source(plan, tmp_path / "whole")
    assert shard_source(plan, tmp_path / "shares", share=(2, 2)) is None
    part = next((tmp_path / "shares").glob(f"*.{form}"))
    written = part.stat().st_mtime_ns
    assert shard_source(plan, tmp_path / "shares", share=(1, 2)) == manifest
    assert shard_source(plan, tmp_path / "shares") == manifest
    assert part.stat().st_mtime_ns == written  # what is there is left alone
    assert contents(tmp_path / "whole") == contents(tmp_path / "shares")
    assert manifest["pictures"] == 29
    assert [skip["name"] for skip in manifest["skipped"]] == ["c1/07.png"]
    assert manifest["label_names"] == ["c0", "c1"]
    stream = data.open_stream(f"{tmp_path / 'whole'}/part-*.{form}")
    examples = [(np.asarray(image), label) for _, image, label in stream]
    prepared = data.prepare(source, SQUARE, cache=tmp_path)
    assert np.array_equal(np.stack([picture for picture, _ in examples]), prepared.pictures)
    assert [label for _, label in examples] == prepared.labels.tolist()


def test_shards_of_files_are_copies_and_a_folder_of_others_is_refused(drawn, tmp_path):
    source = data.open_source(drawn)
    shard_source(plan_shards(drawn, source), tmp_path / "shards")
    stream = data.open_stream(f"{tmp_path / 'shards'}/*.tar")
    assert next(iter(stream.files()))[1].read() == (Path(drawn) / source.names[0]).read_bytes()
    with pytest.raises(UsageError, match="shards of another source"):
        shard_source(plan_shards(drawn, source, per_shard=5), tmp_path / "shards")
    with pytest.raises(UsageError, match="3/10"):
        shard_source(plan_shards(drawn, source), tmp_path / "new", share=(4, 3))


def test_a_part_that_is_lost_is_written_again(drawn, tmp_path):
    plan = plan_shards(drawn, data.open_source(drawn), per_shard=7)
    shard_source(plan, tmp_path)
    before = contents(tmp_path)
    next(tmp_path.glob("part-00002-*.tar")).unlink()
    shard_source(plan, tmp_path, processes=2)
    assert contents(tmp_path) == before


def test_a_stream_that_goes_on_opens_no_shard_that_it_has_passed(drawn, tmp_path):
    shard_source(plan_shards(drawn, data.open_source(drawn), per_shard=3, pipeline=SQUARE), tmp_path)
    streamed = data.Streamed(data.open_stream(f"{tmp_path}/part-*.tar"), SQUARE)
    batches = streamed.batches(4, 1, 0.1, buffer=4)
    for _ in range(5):
        next(batches)
    position = json.loads(json.dumps(batches.position))
    later = [next(batches) for _ in range(6)]
    opened: list[str] = []
    stream = data.open_stream(f"{tmp_path}/part-*.tar")
    from betabloom.data.sources import shards

    original = shards._examples
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "_examples", lambda place, *more: opened.append(place) or original(place, *more))
        resumed = data.Streamed(stream, SQUARE).batches(4, 1, 0.1, buffer=4)
        opened.clear()
        resumed.go_to(position)
        assert np.array_equal(next(resumed), later[0])
        assert len(opened) <= 6
    assert all(np.array_equal(next(resumed), batch) for batch in later[1:])


def test_pictures_prepared_by_several_processes_make_the_same_store(drawn, tmp_path):
    source = data.open_source(drawn)
    one = data.prepare(source, SQUARE, cache=tmp_path / "one")
    two = data.prepare(source, SQUARE, cache=tmp_path / "two", spread=Spread(drawn, processes=2))
    assert contents(one.path) == contents(two.path)
    assert not list((tmp_path / "two" / "stores").glob("*.part"))


@pytest.fixture(scope="module")
def model(tmp_path_factory, small_store, tiny_config):
    """A model directory."""
    folder = tmp_path_factory.mktemp("model") / "model"
    loop.train(small_store, tiny_config.replace({"steps": 2})).save(folder)
    return folder


@pytest.mark.parametrize("chosen", [{"n": 530, "start": 5}, {"numbers": "3,9-14,700"}])
def test_files_generated_in_parts_are_those_of_one_request(chosen, model, tmp_path):
    request = Request(seed=4, **chosen).checked()
    count, _, _ = write_files(open_model(model, request), request, tmp_path / "one", {"model_path": "m"})
    assert write_in_parts(model, request, tmp_path / "two", {"model_path": "m"}) == count
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    with pytest.raises(UsageError, match="one picture after the other"):
        write_in_parts(model, dataclasses.replace(request, novel=True), tmp_path / "three", {})


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_codes_made_in_parts_are_those_of_one_call(suffix, model, tmp_path, monkeypatch):
    from betabloom.model import code_parts
    from betabloom.model.model import load

    monkeypatch.setattr(code_parts, "ROWS", 100)
    store = data.prepare(data.open_source("drawn:230"), data.Pipeline.named("square", (16, 16)), cache=tmp_path)
    loaded = load(model)
    mean, log_var = loaded.encode(np.asarray(store.pictures))
    codes = Codes(mean, log_var, list(store.names), loaded.fingerprint, store.labels)
    write_codes(codes, tmp_path / f"one{suffix}", store.label_names)
    assert encode_in_parts(str(model), store, np.arange(230), tmp_path / f"two{suffix}") == 6
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_codes_in_a_folder_go_on_where_they_stopped_and_are_not_mixed(model, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    from betabloom.model import code_parts

    monkeypatch.setattr(code_parts, "ROWS", 64)
    store = data.prepare(data.open_source("drawn:150"), data.Pipeline.named("square", (16, 16)), cache=tmp_path)
    encode_in_parts(str(model), store, np.arange(150), tmp_path / "codes")
    before = contents(tmp_path / "codes")
    assert len(before) == 4
    (tmp_path / "codes" / "part-00001-of-00003.parquet").unlink()
    encode_in_parts(str(model), store, np.arange(150), tmp_path / "codes")
    assert contents(tmp_path / "codes") == before
    assert len(read_codes(tmp_path / "codes" / "part-00002-of-00003.parquet").names) == 22
    with pytest.raises(UsageError, match="another model or of other pictures"):
        encode_in_parts(str(model), store, np.arange(149), tmp_path / "codes")


@pytest.fixture(scope="module")
def evaluated(model, tmp_path_factory):
    """A model, pictures on the disk, and what one process measures; parts are small."""
    from betabloom.model.model import load
    from betabloom.reports.evaluate import evaluate

    cache = tmp_path_factory.mktemp("cache")
    store = data.prepare(data.open_source("drawn:230"), data.Pipeline.named("square", (16, 16)), cache=cache)
    loaded = load(model)
    return loaded, store, evaluate(loaded, store, n=150, samples=2)


def test_an_evaluation_in_parts_is_that_of_one_process_to_the_last_digit(model, evaluated, small_store, monkeypatch):
    from betabloom.reports import evaluation_parts
    from betabloom.reports.evaluate import evaluate
    from betabloom.reports.evaluation_parts import Workers

    monkeypatch.setattr(evaluation_parts, "PART", 64)
    loaded, store, one = evaluated
    found = evaluate(loaded, store, n=150, samples=2, workers=Workers(str(model), "pixels"))
    assert found.to_dict() == one.to_dict()
    assert all(np.array_equal(a, b) for a, b in zip(found.pairs, one.pairs, strict=True))
    with pytest.raises(UsageError, match="prepare them first"):
        evaluate(loaded, small_store, n=8, workers=Workers(str(model), "pixels"))


@pytest.mark.slow
def test_a_process_that_is_killed_changes_nothing_in_an_evaluation(model, evaluated, monkeypatch):
    from betabloom.reports.evaluate import evaluate
    from betabloom.reports.evaluation_parts import Workers
    from betabloom.system import parts

    killed, asked = list[int](), parts._Worker._asked

    def kill_the_first(worker, request):
        if not killed:
            killed.append(1)
            threading.Timer(1, lambda: worker._process.kill()).start()
        return asked(worker, request)

    monkeypatch.setattr(parts._Worker, "_asked", kill_the_first)
    loaded, store, one = evaluated
    found = evaluate(loaded, store, n=150, samples=2, workers=Workers(str(model), "pixels", processes=2))
    assert killed
    assert found.to_dict() == one.to_dict()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a worker is found in /proc")
@pytest.mark.filterwarnings("ignore")  # Ray warns of its own ways
def test_ray_makes_what_one_process_makes_also_when_a_worker_is_killed(drawn, model, evaluated, tmp_path, monkeypatch):
    from betabloom.reports.evaluate import evaluate
    from betabloom.reports.evaluation_parts import Workers

    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else its workers wait for everything else on a busy machine
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False, object_store_memory=100 << 20)
    try:
        source = data.open_source(drawn)
        plan = plan_shards(drawn, source, per_shard=3)
        shard_source(plan, tmp_path / "one")
        shard_source(plan, tmp_path / "ray", ray="local")
        assert contents(tmp_path / "one") == contents(tmp_path / "ray")
        one = data.prepare(source, SQUARE, cache=tmp_path / "a")
        two = data.prepare(source, SQUARE, cache=tmp_path / "b", spread=Spread(drawn, ray="local"))
        assert contents(one.path) == contents(two.path)
        request = Request(seed=4, n=2000).checked()
        write_files(open_model(model, request), request, tmp_path / "made", {})
        killed: list[int] = []
        threading.Thread(target=end_a_worker, args=[killed], daemon=True).start()
        write_in_parts(model, request, tmp_path / "made-by-ray", {}, ray="local")
        assert killed
        assert contents(tmp_path / "made") == contents(tmp_path / "made-by-ray")
        loaded, pictures, measured = evaluated
        found = evaluate(loaded, pictures, n=150, samples=2, workers=Workers(str(model), "pixels", ray="local"))
        assert found.to_dict() == measured.to_dict()
    finally:
        ray.shutdown()


def end_a_worker(killed: list[int]) -> None:
    """Kill one of Ray's workers of this process as soon as one maps."""
    for _ in range(400):
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if b"ray::Map" in (process / "cmdline").read_bytes() and _started_here(process):
                    os.kill(int(process.name), signal.SIGKILL)
                    killed.append(int(process.name))
                    return
        time.sleep(0.05)


def _started_here(process: Path) -> bool:
    """Whether a process is one of those that this one started, at any remove."""
    while process.name not in ("0", "1"):
        if process.name == str(os.getpid()):
            return True
        process = process.with_name((process / "stat").read_text().rpartition(")")[2].split()[1])
    return False
