from __future__ import annotations

import numpy as np
import pytest
import torch

from deepcadence.search import SearchError, mean_and_ci, paired_difference


def test_interval_contains_the_mean_and_has_the_width_of_theory() -> None:
    data = torch.randn(400, generator=torch.Generator().manual_seed(0)) + 3
    found = mean_and_ci(data)
    assert found.samples == 400
    assert found.mean == pytest.approx(float(data.double().mean()))
    assert found.ci95[0] < found.mean < found.ci95[1]
    assert found.ci95[1] - found.ci95[0] == pytest.approx(2 * 1.96 * float(data.std()) / 20, rel=0.08)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(60):
        low, high = mean_and_ci(list(rng.exponential(size=60))).ci95
        hits += low <= 1.0 <= high
    assert hits >= 50


def test_the_same_seed_gives_the_same_interval() -> None:
    data = torch.rand(50, generator=torch.Generator().manual_seed(0))
    assert mean_and_ci(data) == mean_and_ci(data)
    assert mean_and_ci(data, seed=1).ci95 != mean_and_ci(data, seed=2).ci95


def test_equal_samples_give_a_point() -> None:
    assert mean_and_ci([100.0] * 5).ci95 == (100.0, 100.0)


def test_almost_degenerate_samples_have_a_finite_interval() -> None:
    low, high = mean_and_ci([1.0, 1.0, 1.0, 1.0, 1.0 + 1e-12]).ci95
    assert np.isfinite([low, high]).all()
    assert np.isfinite(mean_and_ci([1.0, 2.0]).ci95).all()


def test_pairing_removes_what_the_samples_share() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=50) * 10
    first, second = list(shared + 1), list(shared + rng.normal(size=50) * 0.1)
    low, high = paired_difference(first, second).ci95
    assert 0.8 < low < high < 1.2


@pytest.mark.parametrize("data", [[], [1.0], [1.0, float("nan")]])
def test_too_little_or_broken_data_is_an_error(data: list[float]) -> None:
    with pytest.raises(SearchError):
        mean_and_ci(data)


def test_pairs_must_match() -> None:
    with pytest.raises(SearchError, match="found 2 and 3"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
