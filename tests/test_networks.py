"""Networks: the reference counts, any allowed size, errors that name the nearest one."""

from __future__ import annotations

import pytest
import torch

import betabloom
from betabloom.config import Config
from betabloom.errors import UsageError
from betabloom.networks.averaging import move_average
from betabloom.networks.build import count_parameters, make_networks
from betabloom.networks.spec import FAMILIES
from betabloom.vae.build import build_vae


def test_the_seed_network_has_its_101_215_779_parameters():
    with torch.device("meta"):
        vae = build_vae((3, 136, 136), 64, "seed", likelihood="bernoulli")
    assert count_parameters(vae) == 101_215_779


def test_the_seed_network_is_the_described_one():
    encoder, decoder = make_networks("seed", (3, 20, 20), 7)
    kinds = [type(module).__name__ for module in encoder.body]
    assert kinds == ["Conv2d", "GELU", "Conv2d", "GELU"]
    assert [m.kernel_size for m in encoder.body[::2]] == [(5, 5), (5, 5)]
    assert [m.out_channels for m in encoder.body[::2]] == [16, 32]
    kinds = [type(module).__name__ for module in decoder.body]
    assert kinds == ["LargeLinear", "View", "GELU", "Transposed", "GELU", "Transposed"]
    bound = (6 / (3 * 25 + 16 * 25)) ** 0.5  # Xavier-uniform
    weights = encoder.body[0].weight.detach()
    assert weights.abs().max() <= bound
    assert weights.std() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_the_burgess_network_is_that_of_the_disentanglement_papers():
    """Convolutions 4×4×32 four times, linear 512→256→256→2·10, mirrored (Burgess et al. 2018, appendix A.1)."""
    encoder, decoder = make_networks("burgess", (1, 64, 64), 10)
    convolutions = 544 + 3 * (32 * 32 * 16 + 32)
    assert count_parameters(encoder) == convolutions + 512 * 256 + 256 + 256 * 256 + 256 + 2 * (256 * 10 + 10)
    transposed = 3 * (32 * 32 * 16 + 32) + 32 * 16 + 1
    assert count_parameters(decoder) == 10 * 256 + 256 + 256 * 256 + 256 + 256 * 512 + 512 + transposed


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 16, 48), (3, 64, 16)])
def test_any_allowed_size_comes_back(family, shape):
    encoder, decoder = make_networks(family, shape, 5, widths=(4, 8) if family == "seed" else (4, 8, 8, 8))
    mean, log_var = encoder(torch.rand(2, *shape))
    assert mean.shape == log_var.shape == (2, 5)
    assert decoder(torch.randn(2, 5)).shape == (2, *shape)


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.strided])
def test_a_size_that_does_not_fit_is_refused_with_the_nearest_that_do(family):
    with pytest.raises(UsageError, match=r"multiples of 16, and 90x100 is not.*96x96, 80x96, 96x112") as error:
        make_networks(family, (3, 100, 90), 8)
    sizes = str(error.value).rsplit("work: ", 1)[1].split(" (")[0].split(", ")
    for size in sizes:
        width, height = map(int, size.split("x"))
        make_networks(family, (3, height, width), 8)


def test_the_smallest_picture_of_the_seed_network_is_named():
    with pytest.raises(UsageError, match="at least 9×9"):
        make_networks("seed", (3, 8, 40), 4)
    make_networks("seed", (3, 9, 9), 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "vgg"}, "seed, burgess, conv, residual"),
        ({"shape": (2, 32, 32)}, "1, 3 or 4 channels, not 2"),
        ({"latents": 0}, "at least 1"),
        ({"kernel": 3}, "even kernel size from 2 to 30, not 3"),
        ({"family": "residual", "kernel": 4}, "odd kernel size from 3 to 31, not 4"),
    ],
)
def test_impossible_values_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        make_networks(**{"family": "conv", "shape": (3, 32, 32), "latents": 4, **changes})


def test_other_kernels_and_widths_work():
    for family, kernel, widths in (("seed", 3, (4, 4, 4)), ("conv", 6, (4, 8)), ("residual", 5, (4, 8))):
        encoder, decoder = make_networks(family, (3, 24, 24), 4, widths, kernel)
        assert decoder(encoder(torch.rand(1, 3, 24, 24))[0]).shape == (1, 3, 24, 24)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_of_layers_is_what_the_layers_do(family):
    """Shapes and numbers of weights are those of the modules, from pictures to features and from codes to pictures."""
    enlargers = "" if family == "seed" else "5"
    config = Config.preset("tiny", family=family, height=32, width=64, widths="4,8", enlargers=enlargers)
    rows = {row["name"]: row for row in betabloom.describe_layers(config)}
    vae = build_vae(config.shape, config.model.latents, family, (4, 8), enlargers=config.model.enlargers)
    seen = {}
    for name, module in vae.named_modules():
        if name in rows:
            module.register_forward_hook(
                lambda module, given, out, name=name: seen.update({name: tuple(out.shape[1:])})
            )
    vae(torch.rand(1, *config.shape), torch.randn(1, config.model.latents))
    heads = {"encoder.mean", "encoder.log_var"}  # computed together
    assert seen == {name: row["shape"] for name, row in rows.items() if name not in heads}
    assert {rows[name]["shape"] for name in heads} == {(config.model.latents,)}
    assert sum(row["parameters"] for row in rows.values()) == count_parameters(vae)


def test_upsampling_starts_without_a_checkerboard():
    """A new residual decoder draws every 2×2 block in one colour."""
    torch.manual_seed(0)
    _, decoder = make_networks("residual", (3, 32, 32), 5, widths=(8, 8))
    picture = decoder(torch.randn(2, 5)).detach()
    assert picture.std() > 1e-3
    blocks = picture.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    torch.testing.assert_close(blocks.amax(4), blocks.amin(4))


def test_the_average_of_weights_begins_soon_and_forgets_slowly():
    """After equal steps it is what they were; one step of many changes it by 1 − d; whole numbers are left alone."""
    average, count = torch.zeros(3), torch.tensor(7)
    move_average([average, count], [torch.ones(3), torch.tensor(9)], 0.9, step=0)
    torch.testing.assert_close(average, torch.full((3,), 0.9))  # (1 + 0) / (10 + 0) of it is old
    assert count == 7
    move_average([average], [torch.zeros(3)], 0.9, step=10_000)
    torch.testing.assert_close(average, torch.full((3,), 0.81))
