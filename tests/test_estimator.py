"""The scikit-learn estimator: the checks of scikit-learn, all of them, and what a latent-variable model means."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from betabloom import BetaVAE
from betabloom.data.sources.drawn import pictures_with_factors

FEWEST_CHECKS = 45  # of scikit-learn 1.6; 1.9 has 47, and one that is skipped for a wrong tag has one
CHECKS = """
import json
from sklearn.utils.estimator_checks import check_estimator
from betabloom import BetaVAE
found = check_estimator(BetaVAE(2, max_iter=3, hidden=8, random_state=0), on_fail=None, on_skip=None)
print(json.dumps([(each["check_name"], each["status"], repr(each["exception"])) for each in found]))
"""


def curve(n: int = 400, seed: int = 0) -> np.ndarray:
    """Points along a half circle in the plane, and noise: one dimension that no straight line is."""
    rng = np.random.default_rng(seed)
    angle = np.pi * rng.random(n)
    return np.column_stack([np.cos(angle), np.sin(angle), 5 + 2 * np.cos(angle)]) + 0.01 * rng.standard_normal((n, 3))


@pytest.fixture(scope="module")
def fitted() -> BetaVAE:
    return BetaVAE(1, beta=0.5, max_iter=600, random_state=0).fit(curve())


def test_every_check_of_scikit_learn_runs_and_passes() -> None:
    surroundings = os.environ | {"SCIPY_ARRAY_API": "1"}  # without it one check skips itself
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHECKS], capture_output=True, text=True, check=False, env=surroundings
    )
    found = json.loads(run.stdout.splitlines()[-1])
    assert [each for each in found if each[1] != "passed"] == []
    assert len(found) >= FEWEST_CHECKS, "a wrong tag makes most checks skip themselves"


def test_a_curve_is_followed_where_a_line_cannot(fitted: BetaVAE) -> None:
    new = curve(seed=1)
    ours = np.square(fitted.inverse_transform(fitted.transform(new)) - new).sum(1).mean()
    line = PCA(1).fit(curve())
    assert ours < 0.25 * np.square(line.inverse_transform(line.transform(new)) - new).sum(1).mean()


def test_samples_lie_where_the_data_is_and_far_rows_are_unlikely(fitted: BetaVAE) -> None:
    rows = fitted.sample(300, random_state=1)
    assert rows.shape == (300, 3)
    assert_allclose(np.hypot(rows[:, 0], rows[:, 1]), 1, atol=0.25)
    assert_array_equal(rows, fitted.sample(300, random_state=1))
    assert fitted.score(curve(seed=2)) > fitted.score(curve(seed=2) + np.eye(3)[0]) + 10
    assert_allclose(fitted.score(curve(seed=2)), fitted.score_samples(curve(seed=2)).mean())


def test_the_score_is_a_density_of_the_units_given(fitted: BetaVAE) -> None:
    tenfold = BetaVAE(1, beta=0.5, max_iter=600, random_state=0).fit(10 * curve())
    assert_allclose(tenfold.score(10 * curve(seed=2)), fitted.score(curve(seed=2)) - 3 * np.log(10), atol=0.05)


def test_the_seed_decides_and_nobody_elses_numbers_are_touched() -> None:
    import torch

    torch.manual_seed(5)
    first = BetaVAE(2, max_iter=20, random_state=3).fit(curve())
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.rand(1) == after
    again, other = (BetaVAE(2, max_iter=20, random_state=seed).fit(curve()) for seed in (3, 4))
    assert_array_equal(first.transform(curve()), again.transform(curve()))
    assert np.abs(first.transform(curve()) - other.transform(curve())).max() > 0.01


def test_it_works_in_pipelines_searches_and_clones() -> None:
    search = GridSearchCV(
        make_pipeline(StandardScaler(), BetaVAE(1, max_iter=30, random_state=0)), {"betavae__beta": [0.5, 50.0]}, cv=2
    ).fit(curve(120))
    assert search.best_params_ == {"betavae__beta": 0.5}
    best = search.best_estimator_[-1]
    assert clone(best).get_params() == best.get_params()
    assert not hasattr(clone(best), "vae_")
    assert_array_equal(pickle.loads(pickle.dumps(best)).transform(curve(9)), best.transform(curve(9)))


def test_columns_have_names_and_can_be_a_pandas_frame() -> None:
    pandas = pytest.importorskip("pandas")
    model = BetaVAE(2, max_iter=3, random_state=0).set_output(transform="pandas")
    found = model.fit_transform(pandas.DataFrame(curve(), columns=["a", "b", "c"]))
    assert list(found.columns) == list(model.get_feature_names_out()) == ["betavae0", "betavae1"]
    assert list(model.feature_names_in_) == ["a", "b", "c"]


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_rows_that_are_pictures_get_a_network_for_pictures(beta: float) -> None:
    pictures, _ = pictures_with_factors(64, seed=0, size=16)
    rows = pictures.reshape(64, -1).astype(np.float32)
    model = BetaVAE(4, beta=beta, image_shape=(16, 16, 3), widths=(8, 16), max_iter=60, random_state=0).fit(rows)
    back = model.inverse_transform(model.transform(rows))
    assert back.shape == rows.shape
    assert back.dtype == np.float32
    assert back.min() >= 0
    assert back.max() <= 255
    assert np.square(back - rows).mean() < np.square(rows - rows.mean(0)).mean()
    assert any(parameter.ndim == 4 for parameter in model.vae_.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_components": 0}, "'n_components' must be at least 1"),
        ({"beta": -1}, "'beta' must be 0 or more"),
        ({"image_shape": (5, 5)}, "do not have 3 values"),
        ({"max_iter": 0}, "'max_iter' must be at least 1"),
    ],
)
def test_impossible_parameters_are_named_when_fitting(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BetaVAE(**settings).fit(curve(10))


def test_codes_of_another_width_and_no_samples_are_refused(fitted: BetaVAE) -> None:
    with pytest.raises(ValueError, match="should have 1 columns"):
        fitted.inverse_transform(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="'n_samples'"):
        fitted.sample(0)
