"""The columns of the support table: each family, with a small model of it and the pipeline that runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from tests import tiny
from tests.schedules import compvis

PICTURE = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
VIDEO = (2, 8, 8)
SMALL = {"height": 16, "width": 16}
EMBEDDED = (*tiny.POOLED, *(f"negative_{name}" for name in tiny.POOLED))
ONE_LAYER: dict[str, Any] = {"layers_per_block": 1}


@dataclass(frozen=True)
class Column:
    """One family.

    Attributes:
        name: what stands above the column.
        model: makes a model with random weights.
        pipeline: makes the pipeline that runs such a model; None where diffusers has none.
        arguments: what the pipeline is called with.
        size: of the samples of bare calls, if not what the model has by itself.
    """

    name: str
    model: Callable[..., Any]
    pipeline: Callable[..., Any] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, ...] | None = None


def _one_layer(make: Callable[..., Any]) -> Callable[..., Any]:
    """Fewer layers, and so fewer seconds; cut 0 still splits a block."""
    return lambda **overrides: make(**(ONE_LAYER | overrides))


MASKED = tiny.text(*tiny.MASKED) | {"negative_prompt": None, "use_resolution_binning": False}
COLUMNS = [
    Column("U-Net 2D", _one_layer(tiny.unet2d), _one_layer(tiny.ddim_pipeline), {"batch_size": 2}),
    Column("SD", _one_layer(tiny.unet2d_condition), _one_layer(tiny.sd_pipeline), {"prompt": "a coat"}),
    Column("SDXL", _one_layer(tiny.unet2d_xl), _one_layer(tiny.sdxl_pipeline), {"prompt": "a coat"}),
    Column("SVD", tiny.unet_spatio_temporal, tiny.svd_pipeline, {"image": PICTURE, **SMALL, "num_frames": 2}, VIDEO),
    Column("motion", tiny.unet_motion, tiny.animatediff_pipeline, {"prompt": "a coat", "num_frames": 2}, VIDEO),
    Column("3D", tiny.unet3d, tiny.text_to_video_pipeline, {"prompt": "a coat", "num_frames": 2}, VIDEO),
    Column("CompVis", lambda: compvis.unet("text")),
    Column("DiT", tiny.dit, tiny.dit_pipeline, {"class_labels": [1]}),
    Column("PixArt", tiny.pixart, tiny.pixart_pipeline, SMALL | MASKED),
    Column("SD3", tiny.sd3, tiny.sd3_pipeline, SMALL | tiny.text(*EMBEDDED)),
    Column("Flux", tiny.flux, tiny.flux_pipeline, SMALL | tiny.text(*tiny.POOLED)),
    Column("Sana", tiny.sana, tiny.sana_pipeline, {"height": 32, "width": 32} | MASKED),
    Column(
        "Wan",
        tiny.wan,
        tiny.wan_pipeline,
        {**SMALL, "num_frames": 5, "guidance_scale": 1.0, **tiny.text("prompt_embeds")},
    ),
]
