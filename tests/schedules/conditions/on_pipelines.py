"""Conditions of a pipeline: how it is called, what runs beside its denoiser, and what is done to all of it."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import Any

import diffusers
import torch
from diffusers.callbacks import SD3CFGCutoffCallback, SDCFGCutoffCallback, SDXLCFGCutoffCallback

from deepcadence.schedules import denoiser
from tests import tiny
from tests.schedules.conditions import on_models
from tests.schedules.conditions.cases import AbsentError, ModelCase, PipelineCase
from tests.schedules.conditions.families import PICTURE, SMALL, Column


def _with(column: Column, **arguments: Any) -> PipelineCase:
    """The pipeline called with these arguments, if it has them."""
    case = PipelineCase.of(column)
    if not set(arguments) <= set(inspect.signature(case.pipe.__call__).parameters):
        raise AbsentError
    case.arguments |= arguments
    return case


def _turned_into(
    column: Column, classes: dict[str, str], model: dict[str, Any] | None = None, **components: Any
) -> PipelineCase:
    """Another pipeline with the same components, but for those given here; `model` is how its denoiser is made."""
    if column.name not in classes or column.pipeline is None:
        raise AbsentError
    case = PipelineCase.of(replace(column, pipeline=partial(column.pipeline, **(model or {}))))
    pipeline_class = getattr(diffusers, classes[column.name])
    known = inspect.signature(pipeline_class).parameters
    components = {name: part for name, part in case.pipe.components.items() if name in known} | components
    case.pipe = tiny.quiet(pipeline_class(**components))
    return case


def prompt_embeddings(column: Column) -> PipelineCase:
    """Prompt embeddings given directly."""
    case = _with(column, prompt_embeds=None)
    if "prompt" not in case.arguments:
        case.arguments["prompt_embeds"] = column.arguments["prompt_embeds"]
        return case
    arguments: dict[str, Any] = {"prompt": case.arguments.pop("prompt"), "device": "cpu"}
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    embedded = case.pipe.encode_prompt(**arguments, num_images_per_prompt=1, do_classifier_free_guidance=True)
    case.arguments |= dict(zip(names, embedded, strict=False))
    return case


def clip_skip(column: Column) -> PipelineCase:
    """`clip_skip`"""
    case = _with(column, clip_skip=1)
    if column.name == "SD3":  # which is called with embeddings elsewhere
        wide = 2 * tiny.CONTEXT  # its two text encoders, side by side
        case = _turned_into(
            column,
            {"SD3": "StableDiffusion3Pipeline"},
            {"joint_attention_dim": wide, "pooled_projection_dim": wide},
            text_encoder=tiny.text_encoder_2(0),
            text_encoder_2=tiny.text_encoder_2(1),
            tokenizer=tiny.tokenizer(),
            tokenizer_2=tiny.tokenizer(),
        )
        case.arguments = {**SMALL, "prompt": "a coat", "clip_skip": 1}
    if not hasattr(case.pipe.text_encoder, "text_model"):  # where diffusers looks for it, transformers 5 has it no more
        object.__setattr__(case.pipe.text_encoder, "text_model", case.pipe.text_encoder)
    return case


def guidance_rescale(column: Column) -> PipelineCase:
    """`guidance_rescale`"""
    return _with(column, guidance_rescale=0.7)


def several_images(column: Column) -> PipelineCase:
    """Several images at once, after a run that made one."""
    case = PipelineCase.of(column)
    one = dict(case.arguments)
    if "prompt" in one:
        known = inspect.signature(case.pipe.__call__).parameters
        names = [name for name in ("num_images_per_prompt", "num_videos_per_prompt") if name in known]
        if not names:
            raise AbsentError
        case.arguments[names[0]] = 2
    elif "batch_size" in one:
        one["batch_size"] = 1
    elif "class_labels" in one:
        case.arguments["class_labels"] = [1, 2]
    elif "prompt_embeds" in one:
        one = {name: part[:1] if isinstance(part, torch.Tensor) else part for name, part in one.items()}
    else:
        case.arguments["image"] = [PICTURE, PICTURE.rotate(90)]
    more = case.arguments

    def first() -> None:
        case.arguments = one
        case.run()
        case.arguments = more

    case.first = first
    return case


def interrupted(column: Column) -> PipelineCase:
    """A run after one that a callback interrupted."""
    case = _with(column, callback_on_step_end=None)
    if not hasattr(type(case.pipe), "interrupt"):
        raise AbsentError

    def stop(pipe: Any, _step: int, _timestep: Any, _kwargs: Any) -> dict[str, Any]:
        pipe._interrupt = True
        return {}

    def first() -> None:
        case.arguments["callback_on_step_end"] = stop
        case.run()
        case.arguments["callback_on_step_end"] = None

    case.first = first
    return case


def guidance_off(column: Column) -> PipelineCase | ModelCase:
    """Guidance that a callback of diffusers switches off; where there is none, half of the batch."""
    callbacks: dict[str, Any] = {
        "SD": SDCFGCutoffCallback,
        "SDXL": SDXLCFGCutoffCallback,
        "SD3": SD3CFGCutoffCallback,
    }
    if column.name not in callbacks:
        return on_models.guidance_off(column)
    callback = callbacks[column.name](cutoff_step_index=0, cutoff_step_ratio=None)
    case = _with(column, callback_on_step_end=callback, callback_on_step_end_tensor_inputs=callback.tensor_inputs)
    if column.name == "SD3":
        case.arguments |= {name: case.arguments[name][:1] for name in case.arguments if name.endswith("embeds")}
    case.forced = frozenset({1})
    return case


def lora_between_runs(column: Column) -> PipelineCase:
    """Another LoRA than in the run before."""
    case = PipelineCase.of(column)
    model = denoiser(case.pipe)
    on_models.add_lora(model, "first", "second")

    def first() -> None:
        case.run()
        on_models.use_lora(model, "second")

    case.first = first
    return case


def image_to_image(column: Column) -> PipelineCase:
    """Image to image, or video to video, with a strength."""
    classes = {
        "SD": "StableDiffusionImg2ImgPipeline",
        "SDXL": "StableDiffusionXLImg2ImgPipeline",
        "motion": "AnimateDiffVideoToVideoPipeline",
        "3D": "VideoToVideoSDPipeline",
        "SD3": "StableDiffusion3Img2ImgPipeline",
        "Flux": "FluxImg2ImgPipeline",
        "Wan": "WanVideoToVideoPipeline",
        "Sana": "SanaSprintImg2ImgPipeline",
    }
    if column.name == "Sana":  # the pipeline is for a distilled model, which is told the guidance
        case = _turned_into(column, classes, {"guidance_embeds": True}, scheduler=diffusers.SCMScheduler())
        case.arguments = {name: each for name, each in case.arguments.items() if not name.startswith("negative")}
        case.arguments["intermediate_timesteps"] = None
    else:
        case = _turned_into(column, classes)
    case.arguments |= {"strength": 0.75}
    case.steps = 4
    frames = case.arguments.pop("num_frames", None)
    case.arguments |= {"image": PICTURE} if frames is None else {"video": [PICTURE] * frames}
    return case


def inpaint(column: Column) -> PipelineCase:
    """Inpainting."""
    classes = {
        "SD": "StableDiffusionInpaintPipeline",
        "SDXL": "StableDiffusionXLInpaintPipeline",
        "SD3": "StableDiffusion3InpaintPipeline",
        "Flux": "FluxInpaintPipeline",
    }
    if column.name == "SD3":  # the pipeline is for 16 channels
        channels, decoder = {"in_channels": 16, "out_channels": 16}, tiny.vae(latent_channels=16, shift_factor=0.1)
        case = _turned_into(column, classes, channels, vae=decoder)
    else:
        case = _turned_into(column, classes)
    case.arguments |= {"image": PICTURE, "mask_image": PICTURE, "strength": 1.0, "height": 16, "width": 16}
    return case


def denoising_start(column: Column) -> PipelineCase:
    """A base pipeline with `denoising_end`, and one for images that goes on with `denoising_start`."""
    base = _with(column, denoising_end=0.5)
    latents = base.run()
    case = _turned_into(column, {"SDXL": "StableDiffusionXLImg2ImgPipeline"})
    case.arguments |= {"image": latents, "denoising_start": 0.5}
    case.steps = 6
    return case


def denoising_end(column: Column) -> PipelineCase:
    """The first part of a run, with `denoising_end`."""
    case = _with(column, denoising_end=0.5)
    case.steps = 6
    return case


def perturbed_attention(column: Column) -> PipelineCase:
    """Perturbed-attention guidance (PAG): a third side in the batch."""
    classes = {
        "SD": "StableDiffusionPAGPipeline",
        "SDXL": "StableDiffusionXLPAGPipeline",
        "motion": "AnimateDiffPAGPipeline",
        "PixArt": "PixArtSigmaPAGPipeline",
        "SD3": "StableDiffusion3PAGPipeline",
        "Sana": "SanaPAGPipeline",
    }
    layers = {"SD3": "blocks.2", "PixArt": "blocks.2", "Sana": "transformer_blocks.2"}
    layer = layers.get(column.name, "mid")
    case = _turned_into(column, classes, pag_applied_layers=layer)
    case.arguments["pag_scale"] = 3.0
    return case


CONTROLLED = {
    "SD": "StableDiffusionControlNetPipeline",
    "SDXL": "StableDiffusionXLControlNetPipeline",
    "motion": "AnimateDiffControlNetPipeline",
    "SD3": "StableDiffusion3ControlNetPipeline",
    "Flux": "FluxControlNetPipeline",
    "Sana": "SanaControlNetPipeline",
}


def controlnet(column: Column) -> PipelineCase | ModelCase:
    """A ControlNet in the pipeline for it, that ends before the run does if it can; or its residuals alone."""
    if column.name not in CONTROLLED:
        return on_models.controlnet(column)
    case = _controlled(column, PICTURE)
    known = inspect.signature(case.pipe.__call__).parameters
    case.arguments |= {"control_guidance_end": 0.6} if "control_guidance_end" in known else {}
    return case


def held_controlnet(column: Column) -> PipelineCase:
    """A ControlNet that is not called at partial calls."""
    case = _controlled(column, PICTURE)
    case.hold_controlnet = True
    return case


def multi_controlnet(column: Column) -> PipelineCase:
    """Two ControlNets, in the pipeline for them."""
    if column.name == "Sana":  # whose pipeline takes one
        raise AbsentError
    case = _controlled(column, PICTURE, PICTURE.rotate(90))
    case.arguments |= {"controlnet_conditioning_scale": [1.0, 0.5]}
    return case


def _controlled(column: Column, *pictures: Any) -> PipelineCase:
    """The pipeline with a ControlNet for each picture."""
    nets = [_controlnet(column, seed) for seed in range(len(pictures))] if column.name in CONTROLLED else []
    case = _turned_into(column, CONTROLLED, controlnet=nets if len(nets) > 1 else nets[0] if nets else None)
    name = {"SD": "image", "SDXL": "image", "motion": "conditioning_frames"}.get(column.name, "control_image")
    each = [[picture] * 2 if column.name == "motion" else picture for picture in pictures]  # of two frames
    case.arguments[name] = each if len(each) > 1 else each[0]
    return case


def _controlnet(column: Column, seed: int) -> Any:
    with tiny.seeded(seed):
        if column.name in ("SD", "SDXL", "motion"):
            unet = tiny.unet2d_condition(layers_per_block=1) if column.name == "motion" else column.model()
            net = diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))
        else:
            net_class: Any = getattr(diffusers, f"{column.name}ControlNetModel")
            known = inspect.signature(net_class).parameters
            config = {name: value for name, value in column.model().config.items() if name in known}
            few = {"num_layers": 2, "num_single_layers": 1, "force_zeros_for_pooled_projection": False}
            net = net_class(**config | {name: value for name, value in few.items() if name in known})
    return tiny.lively(net)


def t2i_adapter(column: Column) -> PipelineCase | ModelCase:
    """A T2I-Adapter in the pipeline for it; or its residuals alone."""
    if column.name != "SD":
        return on_models.t2i_adapter(column)
    with tiny.seeded(0):
        adapter = diffusers.T2IAdapter(channels=[16, 32], num_res_blocks=1, downscale_factor=2)
    case = _turned_into(column, {"SD": "StableDiffusionAdapterPipeline"}, adapter=tiny.lively(adapter))
    case.arguments |= {"image": PICTURE, "height": 16, "width": 16}
    return case


def vae_slicing(column: Column) -> PipelineCase:
    """Slices in the autoencoder."""
    case = PipelineCase.of(column)
    vae: Any = getattr(case.pipe, "vae", None)
    if not hasattr(vae, "use_slicing"):
        raise AbsentError
    vae.enable_slicing()
    case.arguments["output_type"] = "np"
    return case


def model_offload(column: Column) -> PipelineCase | ModelCase:
    """`enable_model_cpu_offload`, for two runs: behind each, the pipeline takes its hooks off and puts them on anew."""
    if column.pipeline is None:
        return on_models.model_offload(column)
    case = PipelineCase.of(column)
    case.pipe.enable_model_cpu_offload(device="cpu")
    case.first = case.run
    return case
