"""The Hugging Face Hub, as a stand-in on this machine: what is put there comes back, and nothing else does."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

import betabloom
from betabloom import export
from betabloom.cli import main
from betabloom.config import Config
from betabloom.data import Pipeline
from betabloom.errors import BetabloomError, FormatError, UsageError
from betabloom.metrics import Measure
from betabloom.model import hub as hub_names
from betabloom.model.model import Model
from betabloom.system.atomic import json_text, with_null
from betabloom.vae.build import make_vae

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # by the Hub's client
constants = pytest.importorskip("huggingface_hub.constants", reason="the extra hub")
_spec = importlib.util.spec_from_file_location("hub_stand_in", Path(__file__).parent / "hub_stand_in.py")
assert _spec is not None
assert _spec.loader is not None
stand_in = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stand_in)

REPORT = {
    "features": "pixels",
    "measures": {
        "fidelity": {"generated": {"frechet_distance": {"value": 12.5, "low": 11.0, "high": 14.0}}},
        "novelty": {"generated, by pixels": {"near_copies": {"value": 0.01, "low": 0.0, "high": 0.03}}},
        "likelihood": {},
    },
}


@pytest.fixture(scope="module")
def model(tiny_config) -> Model:
    facts = {"source": "drawn flowers", "samplers": {"prior": {"near_copies": 0.02, "kernel_distance": 0.3,
             "interval": [0.2, 0.4], "pictures": 60}}}  # fmt: skip
    config = Config.preset("tiny", **{**tiny_config.data.__dict__, "licence": "CC0", "family": "conv", "widths": "8,16",
             "latents": 6})  # fmt: skip
    vae = make_vae(config).eval().requires_grad_(False)
    return Model(vae, config, Pipeline.named("square", (16, 16)), facts)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in that this process takes for the Hub, with an empty cache."""
    monkeypatch.chdir(tmp_path)
    found = stand_in.Hub()
    with stand_in.serving(found) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", stand_in.TOKEN)
        yield found


def same(one: Model, other: Model) -> bool:
    return bool(np.array_equal(one.generate(3, seed=1), other.generate(3, seed=1)))


def test_what_is_pushed_is_loaded_by_its_name(hub, model, tmp_path):
    made = export.push(model, "me/flowers", "apache-2.0", REPORT)
    assert made["commit"] == hub.files("me/flowers")[0]
    assert same(betabloom.load("me/flowers"), model)
    assert same(betabloom.load(f"hf:me/flowers@{made['commit']}"), model)
    facts = export.pull("me/flowers", tmp_path / "copy")
    assert facts["commit"] == made["commit"]
    assert json.loads((tmp_path / "copy" / "hub.json").read_text("utf-8"))["files"] == facts["files"]
    assert same(betabloom.load(tmp_path / "copy"), model)
    export.pull("me/flowers", tmp_path / "copy")  # its own kind is replaced


def test_the_card_says_what_the_hub_and_a_reader_need(hub, model):
    page = Path("page.html")
    page.write_text("<!doctype html>", encoding="utf-8")
    export.push(model, "me/flowers", "apache-2.0", REPORT, page)
    _, files = hub.files("me/flowers")
    assert files["shared.html"] == b"<!doctype html>"
    assert files["samples.png"].startswith(b"\x89PNG")
    _, head, text = files["README.md"].decode().split("---\n", 2)
    facts = yaml.safe_load(head)
    assert facts["library_name"] == "betabloom"
    assert facts["pipeline_tag"] == "unconditional-image-generation"
    assert facts["license"] == "apache-2.0"
    assert 'betabloom.load("me/flowers")' in text
    assert "| Fréchet distance | 12.5 | 11 … 14 |" in text
    assert "| near copies of training pictures, share | 0.01 | 0 … 0.03 |" in text
    assert "Licence of the pictures: CC0" in text
    assert "(samples.png)" in text
    assert "shared.html" in text
    assert text.index("# A β-VAE") < text.index("(samples.png)") < text.index("## Measures")


def test_without_a_report_the_card_has_what_training_measured(model):
    from betabloom.export.card import hub_card

    card = hub_card(model, "me/flowers")
    assert "kernel distance to held-out pictures 0.3 (95 % interval 0.2 … 0.4)" in card
    assert "near copies of training pictures 2.0 %" in card
    with pytest.raises(UsageError, match="is not what `betabloom evaluate"):
        hub_card(model, "me/flowers", report={"measures": 3})


def test_a_measure_of_one_picture_has_no_interval_in_the_report_and_in_the_card(model):
    from betabloom.export.card import hub_card

    band = Measure("frechet_distance", 12.5, 0.0, math.inf, {"generated": 1}, "none")
    about = {
        "features": "pixels",
        "measures": {"fidelity": {"generated": {band.name: band.to_dict()}}, "novelty": {}, "likelihood": {}},
    }
    report = json.loads(json_text(with_null(about)), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert "| 12.5 | none |" in hub_card(model, "me/flowers", report=report)


def test_only_files_of_a_model_are_taken(hub, model, tmp_path):
    export.push(model, "me/flowers")
    hub.put(
        "me/flowers", {"setup.py": b"raise SystemExit", "model.py": b"", "weights.pkl": b"x", "a/config.json": b"{}"}
    )
    export.pull("me/flowers", tmp_path / "copy")
    fetched = {path.split("/")[-1] for method, path, _ in hub.requests if method == "GET" and "/resolve/" in path}
    assert fetched == {"config.json", "README.md", "samples.png", "model.safetensors"}
    assert {path.name for path in (tmp_path / "copy").iterdir()} == fetched | {"hub.json"}


def test_a_revision_stays_what_it_was(hub, model):
    first = export.push(model, "me/flowers")["commit"]
    config = json.loads(hub.files("me/flowers")[1]["config.json"])
    hub.put("me/flowers", {"config.json": json.dumps({**config, "format_version": 99}).encode()})
    assert same(betabloom.load(f"me/flowers@{first}"), model)
    with pytest.raises(FormatError, match="format version 99"):
        betabloom.load("me/flowers")


def test_weights_that_are_not_those_of_the_config_are_refused(hub, model, tmp_path):
    export.push(model, "me/flowers")
    weights = bytearray(hub.files("me/flowers")[1]["model.safetensors"])
    weights[-1] ^= 1
    hub.put("me/flowers", {"model.safetensors": bytes(weights)})
    with pytest.raises(BetabloomError, match=r"SHA-256|damaged"):
        betabloom.load("me/flowers")
    with pytest.raises(UsageError, match="Nothing is kept"):
        export.pull("me/flowers", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_offline_what_was_taken_is_there_and_what_was_not_is_one_sentence(hub, model, monkeypatch):
    export.push(model, "me/flowers")
    betabloom.load("me/flowers")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert same(betabloom.load("me/flowers"), model)
    with pytest.raises(BetabloomError, match="cannot be reached, and me/other is not in its cache"):
        betabloom.load("me/other")


def test_a_hub_that_does_not_answer_is_one_sentence(hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BetabloomError, match="cannot be reached, and me/other is not in its cache"):
        betabloom.load("me/other")


def test_a_repository_of_something_else_is_left_alone(hub, model):
    hub.put("me/bert", {"config.json": b'{"model_type": "bert"}', "vocab.txt": b"a"})
    before = hub.files("me/bert")
    with pytest.raises(UsageError, match=r"not of a betabloom model: vocab\.txt"):
        export.push(model, "me/bert")
    hub.put("me/gpt", {"config.json": b'{"model_type": "gpt"}'})
    with pytest.raises(UsageError, match=r"config\.json of another library"):
        export.push(model, "me/gpt")
    assert hub.files("me/bert") == before
    with pytest.raises(FormatError, match="does not belong to a betabloom model"):
        betabloom.load("me/gpt")
    export.push(model, "me/bert", replace=True)
    assert hub.files("me/bert")[1]["vocab.txt"] == b"a"


def test_no_token_is_printed_or_stored(hub, model, tmp_path, capsys, monkeypatch):
    model.save("mine")
    main.run(["push", "mine", "me/flowers", "--json"])
    assert json.loads(capsys.readouterr().out)["repository"] == "me/flowers"
    assert any(stand_in.TOKEN in authorization for _, _, authorization in hub.requests)
    main.run(["pull", "me/flowers"])
    assert "Commit " in (said := capsys.readouterr().out)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(stand_in.TOKEN.encode() in path.read_bytes() for path in kept)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(BetabloomError) as refused:
        main.run(["push", "mine", "me/flowers"])
    assert "hf_wrong" not in str(refused.value)
    assert stand_in.TOKEN not in said
    assert (tmp_path / "flowers" / "hub.json").is_file()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere/model", "There is no nowhere/model"),
        ("me/flowers@v9", "no such revision"),
        ("hf:", "no name of the Hub"),
    ],
)
def test_what_is_not_there_is_one_sentence(hub, model, tmp_path, name, said):
    export.push(model, "me/flowers")
    with pytest.raises(UsageError, match=said):
        export.pull(name, tmp_path / "copy")


def test_a_path_is_no_name_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for text in ("runs/mine", "/a/b", "./a", "a", "a/b/c", "../a", "a/b c", "hf:a"):
        assert not hub_names.is_hub_name(text)
    assert hub_names.is_hub_name("hf:runs/mine")
    assert hub_names.is_hub_name("user/model@v1.0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not hub_names.is_hub_name("user/model")
    with pytest.raises(UsageError, match=r"betabloom\[hub\]"):
        hub_names.download("hf:user/model")
