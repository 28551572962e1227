"""The features of a network that was trained on flowers: from a file, for any pictures, and nothing else's weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from betabloom.errors import FormatError, UsageError
from betabloom.metrics import features, open_extractor
from betabloom.metrics.resnet import CLASSES, FlowerNet, to_input


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("resnet") / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in FlowerNet().state_dict().items()}, path)
    return path


def test_features_are_what_the_last_layer_sees_of_each_picture_alone(file):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    extractor = open_extractor(f"resnet102:{file}")
    found = features(pictures, extractor)
    assert found.shape == (5, 256)
    np.testing.assert_allclose(features(pictures[3:], extractor), found[3:], atol=1e-5)
    network = extractor.function.network
    logits = network(to_input(torch.from_numpy(pictures)))
    assert logits.shape == (5, CLASSES)
    torch.testing.assert_close(network.head(torch.from_numpy(found)), logits)


def test_pictures_of_other_sizes_and_grey_ones_are_seen_too(file):
    extractor = open_extractor(f"resnet102:{file}")
    x = np.full((2, 128, 96, 1), 200, np.uint8)
    np.testing.assert_allclose(
        features(x, extractor), features(np.full((2, 64, 64, 3), 200, np.uint8), extractor), atol=1e-4
    )


def test_the_name_tells_trainings_apart(file, tmp_path):
    torch.manual_seed(1)
    save_file({name: value.contiguous() for name, value in FlowerNet().state_dict().items()}, tmp_path / "other")
    assert open_extractor(f"resnet102:{file}").name != open_extractor(f"resnet102:{tmp_path / 'other'}").name


def test_files_that_are_missing_or_something_else_are_refused(tmp_path):
    with pytest.raises(UsageError, match="train_resnet102"):
        open_extractor(f"resnet102:{tmp_path / 'none'}")
    save_file({"x": torch.zeros(3)}, tmp_path / "wrong")
    (tmp_path / "text").write_text("no weights")
    for name in ("wrong", "text"):
        with pytest.raises(FormatError, match="does not hold the weights"):
            open_extractor(f"resnet102:{tmp_path / name}")
