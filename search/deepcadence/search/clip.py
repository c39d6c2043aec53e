"""CLIP score: how well images fit their prompts, as a quality function."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from deepcadence.search.errors import SearchError

_BATCH = 32


class ClipScore:
    """CLIP score (Hessel et al. 2021, arXiv 2104.08718) of images and their prompts: 100 max(cosine, 0) each.

    A quality function, which a study knows as "clip_score"; the reference images are not looked at.

    Args:
        folder: of a CLIP model as transformers saves one, with tokenizer and image processor. Nothing is fetched.
        device: where it runs.

    Raises:
        SearchError: the folder holds no such model.
    """

    __name__ = "clip_score"

    def __init__(self, folder: str | Path, *, device: str | torch.device = "cpu") -> None:
        from transformers import CLIPModel, CLIPProcessor

        if not Path(folder).is_dir():
            raise SearchError(f"{folder}: no such folder; expected a CLIP model as transformers saves one")
        try:
            self._model = CLIPModel.from_pretrained(folder, local_files_only=True).to(device).eval()
            self._processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise SearchError(f"{folder}: not a CLIP model: {str(error).splitlines()[0]}") from error

    @torch.no_grad()
    def __call__(self, images: Tensor, reference: Tensor, prompts: tuple[str, ...]) -> Tensor:
        """(n,) scores of images (n, 1 or 3, height, width) in [0, 1].

        Raises:
            SearchError: the model takes no prompts.
        """
        if len(prompts) != len(images):
            raise SearchError(f"CLIP score takes a prompt for each of {len(images)} images, found {len(prompts)}")
        pictures = (images.expand(-1, 3, -1, -1).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        starts = range(0, len(prompts), _BATCH)
        return torch.cat([self._scores(pictures[at : at + _BATCH], prompts[at : at + _BATCH]) for at in starts])

    def _scores(self, pictures: Tensor, prompts: tuple[str, ...]) -> Tensor:
        inputs = self._processor(
            text=list(prompts), images=list(pictures.numpy()), return_tensors="pt", padding=True, truncation=True
        )
        output = self._model(**inputs.to(self._model.device))
        return 100 * torch.cosine_similarity(output.image_embeds, output.text_embeds).clamp(min=0).cpu()
