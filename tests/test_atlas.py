"""The atlas of β: trainings that differ in β and seed alone; what the page says follows from the numbers."""

from __future__ import annotations

import errno
import json
import math
import re
import sys
from typing import TYPE_CHECKING

import pytest

import betabloom
from betabloom import Config
from betabloom.cli import main
from betabloom.errors import BetabloomError, UsageError
from betabloom.metrics import Measure
from betabloom.reports import atlas, atlas_sweep
from betabloom.reports.atlas import SHOWN, Atlas, compared, measure_atlas
from betabloom.reports.atlas_page import atlas_html, verdict
from betabloom.reports.atlas_sweep import check_betas, members_of, train_sweep

if TYPE_CHECKING:
    from pathlib import Path

SMALL = {"widths": (8, 16, 16), "latents": 3, "steps": 6, "validations": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def atlas_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("atlas") / "out"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BETABLOOM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield betabloom.prepare("drawn:80", size=32)


def config(**changes) -> Config:
    return Config.preset("tiny", **(SMALL | changes))


def test_a_sweep_keeps_what_is_finished_and_adds_what_is_new(atlas_folder: Path, store) -> None:
    first = train_sweep(store, config(), [4, 0], atlas_folder, seeds=1)
    assert [(member.beta, member.seed) for member in first] == [(0, 1), (4, 1)]
    models = [betabloom.load(member.folder) for member in first]
    assert [model.config.model.posterior for model in models] == ["point", "normal"]
    assert {model.training["steps"] for model in models} == {6}
    same = {(m.config.model.widths, m.config.train.batch, m.config.data) for m in models}
    assert len(same) == 1
    before = [(member.folder / "model" / "model.safetensors").stat().st_mtime_ns for member in first]
    more = train_sweep(store, config(), [0, 1, 4], atlas_folder, seeds=1)
    assert [member.beta for member in more] == [0, 1, 4]
    after = [(m.folder / "model" / "model.safetensors").stat().st_mtime_ns for m in more if m.beta != 1]
    assert after == before


def test_a_full_disk_says_to_type_the_same_again(tmp_path: Path, store, monkeypatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "x")

    def fail(*_: object) -> None:
        raise BetabloomError("type: betabloom train --resume x") from full

    monkeypatch.setattr(atlas_sweep, "train", fail)
    with pytest.raises(BetabloomError, match=rf"disk is full: {tmp_path} .* type the same again"):
        train_sweep(store, config(), [0, 1], tmp_path, seeds=1)


def test_what_the_budget_does_not_reach_is_not_begun(tmp_path: Path, store) -> None:
    members = train_sweep(store, config(), [0, 1], tmp_path / "out", seeds=2, budget=1e-3)
    assert members == []
    assert not (tmp_path / "out" / "runs").exists()
    with pytest.raises(UsageError, match="No training of this atlas is finished"):
        measure_atlas(members, store)


def test_another_setting_other_pictures_and_other_folders_are_refused(atlas_folder: Path, store, tmp_path) -> None:
    train_sweep(store, config(), [0, 4], atlas_folder, seeds=1)
    with pytest.raises(UsageError, match="made with latents = 3, not 5"):
        train_sweep(store, config(latents=5), [0, 4], atlas_folder, seeds=1)
    with pytest.raises(UsageError, match="made with steps = 6, not 9"):
        train_sweep(store, config(steps=9), [0, 4], atlas_folder, seeds=1)
    with pytest.raises(UsageError, match="made of other pictures"):
        train_sweep(betabloom.prepare("drawn:60", size=32), config(), [0, 4], atlas_folder, seeds=1)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no atlas"):
        train_sweep(store, config(), [0, 4], tmp_path, seeds=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("betas", "message"),
    [([1, 2, 1], "β = 1 stands in the list twice"), ([1], "at least two"), ([0, -1], "not -1"), ([0, math.inf], "inf")],
)
def test_lists_of_beta_that_cannot_be(betas: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_betas(betas)


@pytest.mark.slow
def test_a_page_is_made_of_it_and_loads_nothing(atlas_folder: Path, store, monkeypatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(atlas, "PICTURES", 120)
    train_sweep(store, config(), [0, 4], atlas_folder, seeds=1)
    found = measure_atlas([m for m in members_of(atlas_folder, (0, 4), 1) if m.finished], store)
    assert found.measures[4]["rate"].value > 0 == found.measures[0]["rate"].value
    assert 0 <= found.measures[4]["mig"].value <= 1
    assert found.pca["mig"].low <= found.pca["mig"].value
    page = atlas_html(found)
    assert page.count("<img src=") >= 2 + 2 * 3
    assert not re.search(r"(src|href)=[\"']?(http|//)", page)
    assert all(word in page for word in ("AE", "β-VAE", "PCA", "MIG", "Traversals", "The answer"))
    json.dumps(found.to_dict())


def made(**scores: tuple[float, float]) -> Atlas:
    """An atlas in which every score lies in one interval for β = 0 and in another for β = 4."""
    rest = {"rate": 30.0, "squared_error": 9.0, "distortion": 1.0}

    def measures(pick: int, shift: float) -> dict[str, Measure]:
        found = {name: Measure(name, v + shift, v + shift, v + shift, {}, "") for name, v in rest.items()}
        for name in SHOWN:
            middle = scores[name][pick]
            found[name] = Measure(name, middle, middle - 0.05, middle + 0.05, {}, "")
        return found

    low, high = measures(0, 0), measures(1, 5)
    high["rate"] = Measure("rate", 10.0, 10.0, 10.0, {}, "")
    return Atlas({0.0: low, 1.0: low, 4.0: high}, {name: low[name] for name in SHOWN}, [], {"steps": 100})


def test_the_answer_says_higher_only_where_intervals_are_apart() -> None:
    clear = made(**dict.fromkeys(SHOWN, (0.1, 0.5)))
    assert compared(clear, "mig") == (4.0, "higher", "higher")
    assert not any("reasons" in each for each in verdict(clear))
    unclear = made(**dict.fromkeys(SHOWN, (0.42, 0.5)))
    assert compared(unclear, "mig") == (4.0, "not told apart", "not told apart")
    assert any("few for codes" in each for each in verdict(unclear))
    assert compared(made(**dict.fromkeys(SHOWN, (0.5, 0.1))), "mig") == (4.0, "lower", "lower")
    assert "cheaper codes, blurrier pictures" in verdict(clear)[0]
    del clear.measures[1.0]
    assert verdict(clear)[0].startswith("Only one β above 0 was trained (4)")


@pytest.mark.parametrize("betas", ["0,2,2", "0", "x,2"])
def test_the_command_refuses_before_anything_is_made(betas, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["betabloom", "atlas", "drawn:60", "--betas", betas])
    with pytest.raises(SystemExit) as end:
        main.main()
    assert end.value.code == 2
    assert "--betas" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
