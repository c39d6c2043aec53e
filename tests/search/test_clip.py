"""CLIP score with a small CLIP model from a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor

from deepcadence.search import ClipScore, SearchError
from deepcadence.search.quality import metric_name, own_quality
from tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip")
    text, vision = tiny.text_encoder().config, tiny.image_encoder().config
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=tiny.CONTEXT)
    with tiny.seeded(0):
        CLIPModel(config).save_pretrained(path)
    processor = CLIPImageProcessor(size={"shortest_edge": 224}, crop_size=224)
    CLIPProcessor(image_processor=processor, tokenizer=tiny.tokenizer()).save_pretrained(path)
    return path


def test_it_is_the_cosine_of_image_and_prompt(folder: Path) -> None:
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    prompts = ("a cat", "a red bicycle", "dusk")
    score = ClipScore(folder)
    found = own_quality(score, images, torch.zeros_like(images), prompts)
    model, processor = CLIPModel.from_pretrained(folder), CLIPProcessor.from_pretrained(folder)
    inputs = processor(
        text=list(prompts), images=list((images * 255).round().byte()), return_tensors="pt", padding=True
    )
    with torch.no_grad():
        output = model(**inputs)
    cosine = torch.nn.functional.cosine_similarity(output.image_embeds, output.text_embeds)
    assert float(found.max()) > 0
    torch.testing.assert_close(found, 100 * cosine.clamp(min=0), rtol=1e-3, atol=1e-2)
    assert metric_name(score) == "clip_score"
    torch.testing.assert_close(score(images[1:2], images, prompts[1:2]), found[1:2])
    assert score(images[:, :1], images, prompts).shape == (3,)


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="no such folder"):
        ClipScore(tmp_path / "none")
    with pytest.raises(SearchError, match="not a CLIP model"):
        ClipScore(tmp_path)
    images = torch.zeros(2, 3, 8, 8)
    with pytest.raises(SearchError, match="a prompt for each of 2 images, found 0"):
        ClipScore(folder)(images, images, ())
