"""LPIPS with a small network from a file, and with torchvision's where that is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from deepcadence.schedules import MissingExtraError
from deepcadence.search import Lpips, SearchError
from deepcadence.search import lpips as module
from deepcadence.search.quality import metric_name, own_quality

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # the format that networks come in


class Distance(nn.Module):
    """The shape is that of the authors' own."""

    def forward(self, images: Tensor, reference: Tensor) -> Tensor:
        return (images - reference).square().mean(dim=(1, 2, 3), keepdim=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_the_networks_distance_between_images_from_minus_one_to_one(tmp_path: Path, channels: int) -> None:
    torch.jit.save(torch.jit.script(Distance()), str(tmp_path / "distance.pt"))
    images, reference = torch.rand(2, 40, channels, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    lpips = Lpips(tmp_path / "distance.pt")
    assert metric_name(lpips) == "lpips"
    found = own_quality(lpips, images, reference, ())
    expected = -4 * (images - reference).square().mean(dim=(1, 2, 3))  # twice as far apart
    torch.testing.assert_close(found, expected)
    assert lpips(reference, reference).tolist() == [0.0] * 40


def test_a_network_that_gives_no_distances(tmp_path: Path) -> None:
    class Features(nn.Module):
        def forward(self, images: Tensor, reference: Tensor) -> Tensor:
            return images - reference

    with pytest.raises(SearchError, match=r"gave \(2, 3, 4, 4\) for 2 pairs of images; expected a distance each"):
        Lpips(Features())(torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4))
    with pytest.raises(SearchError, match="no such file"):
        Lpips(tmp_path / "missing.pt")


def test_torchvision_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install torchvision"):
        Lpips("vgg")


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_torchvisions_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights in the place of those that torchvision would fetch."""
    import torchvision
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    weights.parent.mkdir(parents=True)
    torch.manual_seed(0)
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), weights)
    images, reference = torch.rand(2, 3, 3, 64, 64).unbind()
    expected = learned_perceptual_image_patch_similarity(images * 2 - 1, reference * 2 - 1, "alex", reduction="sum")
    torch.testing.assert_close(Lpips("alex")(images, reference).sum(), -expected)
