"""Settings: each once, unique names, errors that name them."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import yaml

from betabloom.config import PRESETS, SECTION_OF, SECTIONS, Config, parse_duration, parse_size
from betabloom.errors import UsageError


def test_names_are_unique_across_sections_and_every_one_is_explained():
    fields = [f for section in SECTIONS.values() for f in dataclasses.fields(section)]
    assert max(Counter(f.name for f in fields).values()) == 1
    assert all(f.metadata["help"] for f in fields)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_yaml(name):
    config = Config.preset(name)
    assert Config.from_dict(yaml.safe_load(yaml.safe_dump(config.to_dict()))) == config


def test_presets_are_short_differences():
    """A preset that repeats a default says nothing."""
    defaults = Config()
    for name, changes in PRESETS.items():
        for key, value in changes.items():
            assert getattr(getattr(defaults, SECTION_OF[key]), key) != value, (name, key)


def test_the_larger_preset_has_one_more_level_and_as_many_codes():
    small, large = (Config.preset(name) for name in ("flowers64", "flowers128"))
    assert large.shape == (3, 128, 128)
    assert large.model.widths == (8, 16, 32, 64, 64)  # half of those of the family, and one more
    changes = {"height": 64, "width": 64, "widths": (), "beta": small.objective.beta}
    assert large.replace(changes) == small


def test_the_seed_preset_has_the_settings_of_the_student_project():
    config = Config.preset("seed")
    assert config.shape == (3, 136, 136)
    assert (config.model.family, config.model.latents, config.model.likelihood) == ("seed", 64, "bernoulli")
    assert (config.objective.beta, config.objective.beta_schedule) == (4.0, "constant")
    train = config.train
    assert (train.learning_rate, train.batch, train.epochs, train.seed) == (3e-4, 32, 30, 42)
    assert (train.ema, train.clip, train.warmup_steps, train.decay_from, train.weight_decay) == (0, 0, 0, 1, 0)
    assert (config.data.pipeline, config.data.split, config.data.flip) == ("enhance", "train", False)


def test_text_is_converted_and_both_spellings_work():
    config = Config.preset("tiny", **{"objective.beta": "4", "widths": "8,16", "flip": "no", "budget": "2m"})
    assert config.objective.beta == 4.0
    assert config.model.widths == (8, 16)
    assert config.data.flip is False
    assert config.train.budget == 120


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"betta": 4}, r"Unknown setting 'betta'\. Did you mean 'beta'\? The settings are: background, batch"),
        ({"sead": 4}, r"Did you mean 'seed'\?"),
        ({"optimiser": "adm"}, r"Unknown optimiser 'adm'\. Did you mean 'adam'\? Choose one of: muon, adam\."),
        ({"budget": "0s"}, "leaves no time to train"),
        ({"channels": 2}, "'channels' must be one of 1, 3, 4, not 2"),
        ({"data.beta": 4}, "Unknown setting 'data.beta'"),
        ({"beta": "four"}, "'beta' must be a number, not 'four'"),
        ({"batch": 1.5}, "'batch' must be a whole number, not 1.5"),
        ({"flip": "maybe"}, "'flip' must be true or false, not 'maybe'"),
        ({"widths": "32,wide"}, "'widths' must be numbers like 32,64,128"),
        ({"beta": -1}, "'beta' must lie between 0 and"),
        ({"beta": float("nan")}, "'beta' must lie between"),
        ({"batch": -1}, "'batch' must lie between 0 and"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(UsageError, match=message):
        Config().replace(settings)


def test_every_number_has_a_range_or_choices_and_its_default_lies_within():
    for section in SECTIONS.values():
        for setting in dataclasses.fields(section):
            between, choices = setting.metadata["between"], setting.metadata["choices"]
            if setting.type in ("int", "float"):
                assert (between is not None) != bool(choices), setting.name
            else:
                assert between is None, setting.name
            assert not choices or setting.default in choices, setting.name
            assert not between or between[0] <= setting.default <= between[1], setting.name


def test_unknown_preset_and_broken_files_are_refused():
    with pytest.raises(UsageError, match="flowers64, flowers128, tiny, seed"):
        Config.preset("huge")
    for broken in ([], {"data": 3}, {"what": {"beta": 1}}, None):
        with pytest.raises(UsageError):
            Config.from_dict(broken)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("20m", 1200), ("1h30m", 5400), ("1.5h", 5400), ("2M", 120)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "20 minutes", "m", "-5m"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UsageError, match="90s, 20m or 1h30m"):
        parse_duration(text)


def test_sizes_are_width_by_height():
    assert parse_size("64") == (64, 64)
    assert parse_size("96x64") == (64, 96)
    with pytest.raises(UsageError, match="WIDTHxHEIGHT"):
        parse_size("large")


def test_settings_written_under_a_former_name_are_read():
    assert Config.from_dict({"train": {"start": "flowers64"}}).train.init_from == "flowers64"
    assert Config.preset("tiny", start="flowers64").train.init_from == "flowers64"
