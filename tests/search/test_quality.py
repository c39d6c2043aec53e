from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from deepcadence.schedules import DeepcadenceError
from deepcadence.search import PSNR_CAP, SearchError, psnr, ssim


def images(n: int = 3, side: int = 16) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_psnr_is_the_textbook_formula_per_sample() -> None:
    reference = images() * 0.5
    shifts = torch.tensor([0.1, 0.01, 0.2])
    found = psnr(reference + shifts[:, None, None, None], reference)
    expected = [-20 * math.log10(shift) for shift in shifts.tolist()]
    assert found.tolist() == pytest.approx(expected, abs=1e-3)


def test_identical_images_are_capped_and_finite() -> None:
    reference = images()
    assert psnr(reference, reference).tolist() == [PSNR_CAP] * 3
    assert ssim(reference, reference).tolist() == pytest.approx([1.0] * 3)
    flat = torch.full((1, 3, 32, 32), 0.55)
    assert float(ssim(flat, flat + 1e-7)) <= 1


@pytest.mark.parametrize("side", [1, 2, 4, 5, 6, 8, 16])
def test_ssim_takes_any_size_and_ranks_noise(side: int) -> None:
    reference = images(side=side)
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(1))
    near, far = ssim(reference + 0.01 * noise, reference), ssim(reference + 0.3 * noise, reference)
    assert near.shape == (3,)
    assert float(near.mean()) > float(far.mean())


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_images_that_are_not_finite_are_an_error_that_says_which(metric: object, value: float) -> None:
    bad = images()
    bad[1, 0, 0, 0] = value
    with pytest.raises(SearchError, match=r"1 of 3 images .* not finite \(first: sample 1\)") as caught:
        metric(bad, images())  # type: ignore[operator]
    assert isinstance(caught.value, DeepcadenceError)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(SearchError, match="1 of 3 reference images"):
        metric(images(), bad)  # type: ignore[operator]


def test_shapes_must_agree() -> None:
    with pytest.raises(SearchError, match=r"\(3, 3, 16, 16\), the reference \(2, 3, 16, 16\)"):
        psnr(images(), images(2))
    with pytest.raises(SearchError, match="expected"):
        psnr(images()[0], images()[0])


@pytest.mark.parametrize(("channels", "side"), [(1, 32), (3, 48)])
def test_psnr_and_ssim_are_those_of_scikit_image(channels: int, side: int) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    reference = images(side=side)[:, :channels]
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(2))
    for strength in (0.003, 0.05, 0.4):
        changed = (reference + strength * noise).clamp(0, 1)
        pairs = [(a.double().numpy(), b.double().numpy()) for a, b in zip(changed, reference, strict=True)]
        theirs = [metrics.peak_signal_noise_ratio(b, a, data_range=1.0) for a, b in pairs]
        assert psnr(changed, reference).tolist() == pytest.approx(theirs, abs=1e-3)
        mirrored = [[np.pad(image, ((0, 0), (5, 5), (5, 5)), mode="reflect") for image in pair] for pair in pairs]
        wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        theirs = [metrics.structural_similarity(a, b, data_range=1.0, channel_axis=0, **wang) for a, b in mirrored]
        assert ssim(changed, reference).tolist() == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_images_whose_squares_no_float_holds_are_an_error_that_says_which(metric: object) -> None:
    huge = images()
    huge[1:] *= 1e20
    with pytest.raises(SearchError, match=r"is not finite for 2 of 3 images \(first: sample 1, with a value of .*e\+"):
        metric(huge, images())  # type: ignore[operator]
    assert bool(torch.isfinite(metric(images() * 1e6, images())).all())  # type: ignore[operator]
