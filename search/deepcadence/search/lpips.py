"""LPIPS: how alike images look to a network, as a quality function."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.error import URLError

import torch
from torch import Tensor, nn

from deepcadence.schedules import MissingExtraError
from deepcadence.search.errors import SearchError
from deepcadence.search.features import load_extractor
from deepcadence.search.quality import check_images

Network = Literal["alex", "squeeze", "vgg"]
"""Networks of torchvision that LPIPS was fitted to."""

_BATCH = 32


class Lpips:
    """LPIPS (Zhang et al. 2018, arXiv 1801.03924) of images and their references, negative: 0 is equal, and the best.

    A quality function, which a study knows as "lpips".

    Args:
        network: one of torchvision's, whose weights torchvision fetches once (`pip install torchvision`); or a
            module, or the path of one saved with TorchScript, that takes two batches (n, 3, height, width) in [-1, 1]
            and gives a distance each, as the LPIPS authors' own does. Loading TorchScript runs no Python, but use files
            that you trust.
        device: where it runs.

    Raises:
        MissingExtraError: torchvision is missing.
        SearchError: its weights cannot be had, or the file is no TorchScript.
    """

    __name__ = "lpips"

    def __init__(
        self, network: Network | Path | str | nn.Module = "alex", *, device: str | torch.device = "cpu"
    ) -> None:
        if isinstance(network, str) and network in get_args(Network):
            network = _of_torchvision(cast(Network, network))
        module = network if isinstance(network, nn.Module) else load_extractor(network)
        self._network, self._device = module.to(device).eval(), torch.device(device)

    @torch.no_grad()
    def __call__(self, images: Tensor, reference: Tensor, prompts: tuple[str, ...] = ()) -> Tensor:
        """(n,) negative distances of images (n, 1 or 3, height, width) in [0, 1] to their references.

        Raises:
            SearchError: the shapes differ, a value is not finite, or the network gave something else than distances.
        """
        check_images(images, reference)
        batches = zip(torch.split(images, _BATCH), torch.split(reference, _BATCH), strict=True)
        return torch.cat([-self._distances(*pair) for pair in batches])

    def _distances(self, images: Tensor, reference: Tensor) -> Tensor:
        found = self._network(self._prepared(images), self._prepared(reference))
        if not isinstance(found, Tensor) or found.numel() != len(images):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise SearchError(f"the network gave {shape} for {len(images)} pairs of images; expected a distance each")
        return found.reshape(-1).float().cpu()

    def _prepared(self, images: Tensor) -> Tensor:
        return images.to(self._device, torch.float32).clamp(0, 1).expand(-1, 3, -1, -1) * 2 - 1


def _of_torchvision(name: Network) -> nn.Module:
    if find_spec("torchvision") is None:
        raise MissingExtraError(
            f"LPIPS by {name!r} needs torchvision in the build that goes with your torch; install with: "
            "pip install torchvision, or give a network of your own"
        )
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    try:
        network: nn.Module = LearnedPerceptualImagePatchSimilarity(net_type=name).net
    except (URLError, OSError, RuntimeError) as error:
        raise SearchError(f"torchvision's weights of {name!r} cannot be had: {error}") from error
    return network
