"""The inception score, by its formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from deepcadence.search import SearchError, inception_score


class Classifier(nn.Module):
    """Three classes: which channel is the brightest, more or less."""

    def forward(self, images: Tensor) -> Tensor:
        return 6 * images.mean(dim=(2, 3))


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def test_it_is_the_exponential_of_the_mean_divergence() -> None:
    probabilities = Classifier()(images(100)).double().softmax(1)
    divergence = (probabilities * (probabilities / probabilities.mean(0)).log()).sum(1)
    mean, _ = inception_score(images(100), Classifier(), inputs="unit", splits=1)
    assert mean == pytest.approx(float(divergence.mean().exp()), rel=1e-5)
    assert mean > 1.01


def test_splits_are_drawn_from_the_seed_alone() -> None:
    first = inception_score(images(60), Classifier(), inputs="unit", splits=4)
    torch.rand(5)
    assert inception_score(images(60), Classifier(), inputs="unit", splits=4) == first
    assert inception_score(images(60), Classifier(), inputs="unit", splits=4, seed=1) != first
    assert first[1] > 0


def test_fewer_images_than_splits() -> None:
    with pytest.raises(SearchError, match="found 3"):
        inception_score(images(3), Classifier())


def test_logits_that_are_not_finite() -> None:
    class Dark(nn.Module):
        def forward(self, batch: Tensor) -> Tensor:
            return batch.mean(dim=(2, 3)).log()

    found = images(20)
    found[3] = 0
    with pytest.raises(SearchError, match=r"not finite for 1 of 20 images \(first: sample 3 "):
        inception_score(found, Dark(), inputs="unit", splits=2)
