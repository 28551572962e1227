"""Directions of a model that is understood: they are found, and have the names that they deserve."""

from __future__ import annotations

import numpy as np
import pytest

from betabloom.errors import UsageError
from betabloom.imaging.properties import PROPERTIES, measure_properties
from betabloom.latent import (
    attribute_directions,
    distinct,
    principal_directions,
    property_directions,
    ranked,
    sefa_directions,
)
from betabloom.latent.directions import Direction

TRUTH = ("size", "lightness of the surroundings", "hue, green to red", "hue, blue to yellow")


def axis(i):
    return Direction("pca", np.eye(4)[i])


@pytest.mark.parametrize("i", range(4))
def test_a_direction_is_named_by_what_it_changes(discs, space, i):
    (found,) = ranked(discs, space, [axis(i)])
    if i == 0:  # a larger disc reaches nearer to the edge: its size is what changes most
        assert found.effects["size"] > 1
    else:
        assert found.name == TRUTH[i]
    assert found.effects[found.name] > 0  # it points to where its property grows


def test_what_changes_more_per_nat_comes_first(discs, space):
    found = ranked(discs, space, [axis(i) for i in range(4)])
    assert [each.change for each in found] == sorted((each.change for each in found), reverse=True)
    weak = Direction("pca", 0.01 * np.eye(4)[1])
    assert ranked(discs, space, [weak, axis(1)])[0].change > 10 * ranked(discs, space, [weak])[0].change
    assert ranked(discs, space, [weak])[0].name == "unnamed"


def test_property_directions_change_their_property_and_leave_the_others(discs, space):
    found = {each.name: each for each in property_directions(discs, space)}
    assert set(found) == set(PROPERTIES) - {"symmetry"}  # every disc is symmetric
    for i, name in enumerate(TRUTH):
        unit = found[name].vector / np.linalg.norm(found[name].vector)
        assert unit[i] > 0.85


def test_sefa_orders_by_what_the_first_layer_passes_on(discs, space):
    order = [int(np.abs(each.vector).argmax()) for each in sefa_directions(discs, space, 4)]
    assert order == [1, 2, 0, 3]


def test_principal_directions_are_those_of_the_largest_variance():
    from betabloom.latent import Space

    codes = np.random.default_rng(0).standard_normal((4000, 3)) * [1, 5, 2]
    found = principal_directions(Space.of(codes), 3)
    assert [int(np.abs(each.vector).argmax()) for each in found] == [1, 2, 0]
    assert [np.linalg.norm(each.vector) for each in found] == pytest.approx([5, 2, 1], rel=0.05)


def test_attribute_directions_point_from_the_others_to_the_class(space):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 2
    codes = rng.standard_normal((300, 4)) + np.outer(labels, [0, 0, 2, 0])
    against, towards = attribute_directions(space, codes, labels, ["no", "yes"])
    assert towards.name == "yes"
    assert towards.vector[2] / np.linalg.norm(towards.vector) > 0.95
    assert np.allclose(against.vector, -towards.vector, atol=1e-6)
    with pytest.raises(UsageError, match="all of one class"):
        attribute_directions(space, codes, np.zeros(300, int))


def test_repeated_directions_are_left_out(space):
    kept = distinct(space, [axis(0), axis(1), Direction("sefa", -2 * np.eye(4)[0])])
    assert [each.kind for each in kept] == ["pca", "pca"]
    one, other = (Direction("pca", np.eye(4)[i], "lightness") for i in (2, 3))
    assert distinct(space, [one, other]) == [one]


def test_properties_measure_what_they_say(discs):
    values = dict(zip(PROPERTIES, measure_properties(discs.decode(np.zeros((1, 4), np.float32)))[0], strict=True))
    assert values["roundness"] > 0.98
    assert values["symmetry"] == pytest.approx(1, abs=1e-6)
    assert abs(values["place, left to right"]) < 1e-6
    moved = np.roll(discs.decode(np.zeros((1, 4), np.float32)), 4, axis=2)
    assert measure_properties(moved)[0][PROPERTIES.index("place, left to right")] > 0.2
    assert measure_properties(moved)[0][PROPERTIES.index("symmetry")] < 0.8
    wide = discs.decode(np.zeros((1, 4), np.float32))[:, 8:24:1].repeat(2, 1)
    assert measure_properties(wide)[0][PROPERTIES.index("roundness")] < 0.9
