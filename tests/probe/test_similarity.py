"""Comparisons of features and their projections, next to the plain formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcadence.probe import compare
from deepcadence.probe._moments import Moments
from deepcadence.probe.projection import Projection, projection_info, table_bytes


def features(calls: int, rows: int, size: tuple[int, ...], seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(rows, *size, generator=generator)
    return [base + 0.3 * torch.randn(rows, *size, generator=generator) for _ in range(calls)]


@pytest.mark.parametrize("work_bytes", [1, 5000, 2**26])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_all_pairs_by_the_plain_formulas(work_bytes: int, layout: torch.memory_format) -> None:
    recorded = [feature.to(memory_format=layout) for feature in features(5, 2, (3, 4, 6))]
    pairs = compare(recorded, work_bytes=work_bytes)
    assert pairs.relative_l1 is not None
    for row in range(2):
        for i in range(5):
            for j in range(5):
                a, b = recorded[i][row].double().flatten(), recorded[j][row].double().flatten()
                cosine = a @ b / (a.norm() * b.norm())
                assert pairs.cosine[row, i, j].item() == pytest.approx(cosine.item(), abs=1e-9)
                l2, l1 = (a - b).norm() / b.norm(), (a - b).abs().sum() / b.abs().sum()
                assert pairs.relative_l2[row, i, j].item() == pytest.approx(l2.item(), abs=1e-7)
                assert pairs.relative_l1[row, i, j].item() == pytest.approx(l1.item(), rel=1e-5)


def test_half_precision_features_are_summed_in_full() -> None:
    recorded = [feature.half() for feature in features(3, 1, (64, 32, 32))]
    half, full = compare(recorded), compare([feature.double() for feature in recorded])
    assert half.relative_l1 is not None
    assert full.relative_l1 is not None
    torch.testing.assert_close(half.cosine, full.cosine, atol=1e-12, rtol=0)
    torch.testing.assert_close(half.relative_l2, full.relative_l2, atol=1e-7, rtol=0)
    torch.testing.assert_close(half.relative_l1, full.relative_l1, atol=1e-5, rtol=0)


def test_features_that_differ_by_little_are_told_apart() -> None:
    first = torch.randn(1, 100_000, generator=torch.Generator().manual_seed(0)).double()
    pairs = compare([first, first * (1 + 1e-6), first], l1=False)
    assert pairs.relative_l2[0, 0, 1].item() == pytest.approx(1e-6, rel=1e-2)
    assert pairs.relative_l2[0, 0, 2].item() < 1e-7
    assert pairs.relative_l1 is None


@settings(max_examples=25)
@given(calls=st.integers(1, 5), rows=st.integers(1, 3), size=st.integers(1, 40), seed=st.integers(0, 99))
def test_what_always_holds(calls: int, rows: int, size: int, seed: int) -> None:
    pairs = compare(features(calls, rows, (size,), seed))
    assert pairs.cosine.shape == (rows, calls, calls)
    assert (pairs.cosine.abs() <= 1).all()
    torch.testing.assert_close(pairs.cosine, pairs.cosine.mT)
    assert (pairs.relative_l2.diagonal(dim1=1, dim2=2) == 0).all()
    absolute = pairs.relative_l2 * pairs.norms[:, None, :]
    torch.testing.assert_close(absolute, absolute.mT)


def test_projected_distances_keep_their_bound() -> None:
    recorded = features(8, 4, (20_000,))
    whole, info = compare(recorded), projection_info(1024)
    norms = torch.stack([feature.norm(dim=1) for feature in recorded], dim=1)
    off = ~torch.eye(8, dtype=torch.bool).expand(4, 8, 8)
    for seed in range(3):
        projection = Projection(20_000, info.dimensions, seed, torch.device("cpu"))
        pairs = compare([projection(feature) for feature in recorded], norms=norms, l1=False)
        errors = (pairs.relative_l2[off] / whole.relative_l2[off] - 1).abs()
        assert (errors <= info.relative_error).double().mean() >= info.confidence
        assert errors.max() > 1e-4  # it is a projection
        torch.testing.assert_close(pairs.norms, whole.norms, rtol=1e-5, atol=0)


@settings(max_examples=30)
@given(size=st.integers(1, 300), dimensions=st.integers(1, 300))
def test_every_coordinate_is_used_once_with_a_sign(size: int, dimensions: int) -> None:
    projection = Projection(size, dimensions, 0, torch.device("cpu"))
    matrix = projection(torch.eye(size))
    assert matrix.shape == (size, min(size, dimensions))
    assert (matrix.abs().sum(1) == 1).all()
    assert table_bytes(size, dimensions) == projection._order.nbytes + projection._signs.nbytes


def test_projections_are_unbiased() -> None:
    x = torch.arange(1.0, 101).view(1, -1)
    squares = [Projection(100, 16, seed, torch.device("cpu"))(x).square().sum() for seed in range(2000)]
    mean = torch.stack(squares).mean().item()
    spread = torch.stack(squares).std().item()
    truth = x.square().sum().item()
    assert mean == pytest.approx(truth, rel=4 * math.sqrt(2 / 16 / 2000))
    assert spread / truth <= math.sqrt(2 / 16) * 1.1


def test_the_seed_decides_and_more_dimensions_err_less() -> None:
    x = torch.randn(2, 3, 10, 10)
    cpu = torch.device("cpu")
    first, again, other = (Projection(300, 32, seed, cpu)(x) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert projection_info(65536).relative_error < projection_info(4096).relative_error < 0.06
    assert projection_info(8).relative_error == 1


def test_small_features_are_kept_whole() -> None:
    x = torch.randn(2, 5)
    assert torch.equal(Projection(5, 64, 0, torch.device("cpu"))(x), x)


def test_mean_and_spread() -> None:
    samples = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0))
    moments = Moments()
    moments.add(samples[:4])
    moments.add(samples[4:])
    torch.testing.assert_close(moments.mean, samples.mean(0))
    torch.testing.assert_close(moments.std, samples.std(0))
    single = Moments()
    single.add(samples[:1])
    assert single.std.isnan().all()


def test_moments_of_ranks_are_those_of_all_their_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0)) + 5
    samples[:, 0, 0] = float("nan")
    whole, parts = Moments(), [Moments() for _ in range(3)]  # the last one has no samples
    for moments, rows in zip((whole, *parts), (samples, samples[:2], samples[2:], samples[:0]), strict=True):
        moments.add(rows)
    gathered = iter([torch.tensor([2, 5, 0]), *(_stacked(parts, name) for name in ("_mean", "_squares"))])
    monkeypatch.setattr("deepcadence.probe._moments.gather", lambda _: next(gathered))
    parts[2].join((2, 3))
    assert parts[2].count == 7
    torch.testing.assert_close(parts[2].mean, whole.mean, equal_nan=True)
    torch.testing.assert_close(parts[2].std, whole.std, equal_nan=True)


def _stacked(parts: list[Moments], name: str) -> torch.Tensor:
    return torch.stack([getattr(moments, name).expand(2, 3) for moments in parts])
