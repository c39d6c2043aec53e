"""Inception score through torchmetrics, with a classifier from a local file."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torchmetrics.image.inception import InceptionScore

from deepcadence.search.errors import SearchError
from deepcadence.search.features import Features, Inputs

_BATCH = 64


def inception_score(
    images: Tensor,
    classifier: str | Path | nn.Module,
    *,
    inputs: Inputs = "uint8",
    size: int | None = None,
    splits: int = 10,
    seed: int = 0,
) -> tuple[float, float]:
    """Inception score (Salimans et al. 2016, arXiv 1606.03498): how sure a classifier is, and of how many classes.

    Args:
        images: (n, 1 or 3, height, width) in [0, 1].
        classifier: maps images to unnormalized logits (n, classes), as the extractor of `Features`.
        inputs: what the classifier takes.
        size: side of the square to which images are resized before.
        splits: parts of the images, drawn at random, over which mean and spread are taken.
        seed: of that drawing.

    Returns:
        Mean and standard deviation over the splits (NaN of one split); from 1 to the number of
        classes, higher is better.

    Raises:
        SearchError: fewer images than splits, or as in `Features`.
    """
    if len(images) < splits:
        raise SearchError(f"the inception score of {splits} splits takes at least as many images, found {len(images)}")
    features = Features(classifier, inputs=inputs, size=size)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Metric `InceptionScore` will save")
        metric = InceptionScore(feature=nn.Identity(), splits=splits)
    for batch in torch.split(images, _BATCH):
        metric.update(features(batch).cpu())
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # it shuffles by the global generator
        warnings.filterwarnings("ignore", message=r"std\(\)")  # of one split
        torch.manual_seed(seed)
        mean, std = metric.compute()
    return float(mean), float(std)
