from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from deepcadence.search import DistributionMetric, DistributionValue, SearchError, fid, kid

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # the format that extractors come in


class Extractor(nn.Module):
    """Means and spreads of each channel in quadrants: 24 features. Says what it was given."""

    def forward(self, images: Tensor) -> Tensor:
        values = images.float()
        pooled = nn.functional.adaptive_avg_pool2d(values, (2, 2)).flatten(1)
        spread = nn.functional.adaptive_avg_pool2d(values * values, (2, 2)).flatten(1)
        return torch.cat([pooled, spread / 255.0], dim=1)


def images(seed: int, n: int = 60, channels: int = 3, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    base = torch.rand(n, channels, 1, 1, generator=generator)
    return (0.5 * base + 0.3 * torch.rand(n, channels, 8, 8, generator=generator) + shift).clamp(0, 1)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "extractor.pt"
    torch.jit.save(torch.jit.script(Extractor()), str(path))
    return path


@pytest.mark.parametrize("distance", [fid, kid])
def test_distance_from_a_file_grows_with_the_shift(distance: object, weights: Path) -> None:
    real = images(0)
    values = [distance(real, images(1, shift=shift), weights) for shift in (0.0, 0.1, 0.2)]  # type: ignore[operator]
    assert values[0] < values[1] < values[2]


def test_fid_is_the_frechet_distance_of_the_features() -> None:
    real, generated = images(0), images(1, shift=0.1)
    a, b = (Extractor()((x * 255).round()).double() for x in (real, generated))
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    root = torch.linalg.eigvals(cov_a @ cov_b).sqrt().real.sum()
    expected = (a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * root
    assert fid(real, generated, Extractor()) == pytest.approx(float(expected), rel=1e-4)


def test_batches_do_not_matter(weights: Path) -> None:
    metric = DistributionMetric("fid", weights)
    for batch in torch.split(images(0), 7):
        metric.add(batch, real=True)
    for batch in torch.split(images(1), 11):
        metric.add(batch, real=False)
    assert metric.compute().value == pytest.approx(fid(images(0), images(1), weights), rel=1e-4)


@pytest.mark.parametrize("name", ["fid", "kid"])
def test_generated_images_can_be_replaced_and_real_ones_stay(name: str, weights: Path) -> None:
    metric = DistributionMetric(name, weights, seed=3)  # type: ignore[arg-type]
    metric.add(images(0), real=True)
    metric.add(images(1, shift=0.2), real=False)
    first = metric.compute()
    metric.clear_generated()
    metric.add(images(1), real=False)
    second = metric.compute()
    assert second.value < first.value
    assert (second.real_samples, second.generated_samples) == (60, 60)
    metric.clear_generated()
    metric.add(images(1, shift=0.2), real=False)
    assert metric.compute() == first


def test_kid_leaves_the_global_generator_alone(weights: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    value = kid(images(0), images(1), weights)
    assert torch.rand(1) == expected
    assert value == kid(images(0), images(1), weights)


@pytest.mark.parametrize(("inputs", "low", "high"), [("uint8", 0, 255), ("unit", 0, 1), ("signed", -1, 1)])
def test_extractor_gets_the_range_and_size_that_it_wants(inputs: str, low: float, high: float) -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            seen.append(batch)
            return batch.float().mean((2, 3))

    metric = DistributionMetric("fid", Spy(), inputs=inputs, size=12)  # type: ignore[arg-type]
    metric.add(torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 1, 8, 8), real=True)
    assert seen[0].shape == (2, 3, 12, 12)
    assert (seen[0].dtype == torch.uint8) == (inputs == "uint8")
    assert float(seen[0].min()) == low
    assert float(seen[0].max()) == high


def test_errors_name_the_problem(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(SearchError, match=r"missing\.pt: no such file"):
        fid(images(0), images(1), tmp_path / "missing.pt")
    (tmp_path / "bad.pt").write_bytes(b"no script")
    with pytest.raises(SearchError, match=r"bad\.pt: not a TorchScript file"):
        fid(images(0), images(1), tmp_path / "bad.pt")
    metric = DistributionMetric("fid", weights)
    metric.add(images(0), real=True)
    with pytest.raises(SearchError, match="found 60 and 0"):
        metric.compute()
    with pytest.raises(SearchError, match="2 channels"):
        metric.add(images(0, channels=2), real=False)
    with pytest.raises(SearchError, match="not finite"):
        metric.add(images(0) / 0.0, real=False)


@pytest.mark.parametrize("distance", [fid, kid])
def test_features_that_are_not_finite_are_an_error_that_says_which(distance: object) -> None:
    class Dark(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return batch.float().mean((2, 3)).log()

    generated = images(1)
    generated[[7, 9]] = 0
    with pytest.raises(SearchError, match=r"features that are not finite for 2 of 60 images \(first: sample 7 "):
        distance(images(0), generated, Dark())  # type: ignore[operator]


def test_a_distance_is_finite_or_an_error() -> None:
    metric = DistributionMetric("kid", Extractor(), subset_size=1)
    metric.add(images(0), real=True)
    metric.add(images(1), real=False)
    with pytest.raises(SearchError, match="kid came out as nan"):
        metric.compute()
    with pytest.raises(ValidationError, match="finite number"):
        DistributionValue(metric="fid", value=float("nan"), real_samples=2, generated_samples=2)
