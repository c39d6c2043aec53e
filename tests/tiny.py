"""Small diffusion models and pipelines with random weights, for the tests.

Everything is built from a configuration and a fixed seed, takes well under a second, and is a real diffusers object:
what holds for these holds for the large ones, but for the size. Call a function for a fresh object; nothing is shared.
"""

from __future__ import annotations

import contextlib
import json
import string
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AnimateDiffPipeline,
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    AutoencoderKLWan,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LDMPipeline,
    MotionAdapter,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    StableVideoDiffusionPipeline,
    TextToVideoSDPipeline,
    UNet2DConditionModel,
    UNet2DModel,
    UNet3DConditionModel,
    UNetMotionModel,
    UNetSpatioTemporalConditionModel,
    VQModel,
    WanPipeline,
    WanTransformer3DModel,
)
from diffusers.utils import logging as diffusers_logging
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

diffusers_logging.set_verbosity_error()

CONTEXT = 32  # width of the text embedding


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generator inside, and put it back as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def lively(module: torch.nn.Module, seed: int = 1) -> Any:
    """Add noise to every constant parameter (zero-initialized, norm scale, bias), so that no test is vacuous."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.numel() and bool((parameter == parameter.flatten()[0]).all()):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def unet2d(seed: int = 0, **overrides: Any) -> UNet2DModel:
    """An unconditional U-Net: 16x16, 3 channels, (16, 32), attention in the inner block. 2 layers per block: 6 cuts."""
    config: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": 3,
        "out_channels": 3,
        "layers_per_block": 2,
        "block_out_channels": (16, 32),
        "norm_num_groups": 8,
        "attention_head_dim": 8,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    with seeded(seed):
        return lively(UNet2DModel(**(config | overrides)))


def unet2d_condition(seed: int = 0, **overrides: Any) -> UNet2DConditionModel:
    """A text-conditional U-Net: 8x8, 4 channels, (16, 32), cross attention of width 32. 2 layers per block: 6 cuts."""
    config: dict[str, Any] = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 2,
        "block_out_channels": (16, 32),
        "norm_num_groups": 8,
        "attention_head_dim": 2,
        "cross_attention_dim": CONTEXT,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    with seeded(seed):
        return lively(UNet2DConditionModel(**(config | overrides)))


def unet2d_xl(seed: int = 0, **overrides: Any) -> UNet2DConditionModel:
    """A U-Net of the SDXL kind: text_time conditions, two text encoders wide, several transformer layers per block."""
    config: dict[str, Any] = {
        "attention_head_dim": (2, 4),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "transformer_layers_per_block": (1, 2),
        "projection_class_embeddings_input_dim": 6 * 8 + CONTEXT,
        "cross_attention_dim": 2 * CONTEXT,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    return unet2d_condition(seed, **(config | overrides))


def unet_spatio_temporal(seed: int = 0, **overrides: Any) -> UNetSpatioTemporalConditionModel:
    """A U-Net of the Stable Video Diffusion kind: 3 frames of 8x8, 8 channels in, 4 out. 1 layer per block: 4 cuts."""
    config: dict[str, Any] = {
        "sample_size": 8,
        "num_frames": 3,
        "layers_per_block": 1,
        "block_out_channels": (32, 64),
        "num_attention_heads": (2, 4),
        "cross_attention_dim": CONTEXT,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 3 * 8,
        "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
    }
    with seeded(seed):
        return lively(UNetSpatioTemporalConditionModel(**(config | overrides)))


def unet_motion(seed: int = 0, **overrides: Any) -> UNetMotionModel:
    """A U-Net of the AnimateDiff kind: frames of 8x8, 4 channels, 1 layer per block: 4 cuts."""
    config: dict[str, Any] = {
        "sample_size": 8,
        "layers_per_block": 1,
        "block_out_channels": (16, 32),
        "norm_num_groups": 8,
        "num_attention_heads": 2,
        "motion_num_attention_heads": 2,
        "cross_attention_dim": CONTEXT,
        "down_block_types": ("CrossAttnDownBlockMotion", "DownBlockMotion"),
        "up_block_types": ("UpBlockMotion", "CrossAttnUpBlockMotion"),
    }
    with seeded(seed):
        return lively(UNetMotionModel(**(config | overrides)))


def unet3d(seed: int = 0, **overrides: Any) -> UNet3DConditionModel:
    """A text-to-video U-Net: frames of 8x8, 4 channels, 1 layer per block: 4 cuts."""
    config: dict[str, Any] = {
        "sample_size": 8,
        "layers_per_block": 1,
        "block_out_channels": (16, 32),
        "norm_num_groups": 8,
        "attention_head_dim": 8,
        "cross_attention_dim": CONTEXT,
        "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
        "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"),
    }
    with seeded(seed):
        return lively(UNet3DConditionModel(**(config | overrides)))


def _transformer(model_class: Any, seed: int, config: dict[str, Any]) -> Any:
    with seeded(seed):
        return lively(model_class(**config))


def dit(seed: int = 0, **overrides: Any) -> DiTTransformer2DModel:
    """Class-conditional DiT: 8x8 latents of 4 channels, 6 blocks. 3 cuts."""
    config: dict[str, Any] = {
        "sample_size": 8,
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 6,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "num_embeds_ada_norm": 1000,  # the pipeline takes class 1000 for none
        "norm_elementwise_affine": False,
    }
    return _transformer(DiTTransformer2DModel, seed, config | overrides)


def pixart(seed: int = 0, **overrides: Any) -> PixArtTransformer2DModel:
    """PixArt: 8x8 latents of 4 channels, text of width 32, 6 blocks. 3 cuts."""
    config: dict[str, Any] = {
        "sample_size": 8,
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 6,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "cross_attention_dim": 16,
        "caption_channels": CONTEXT,
        "attention_type": "default",
        "use_additional_conditions": False,
    }
    return _transformer(PixArtTransformer2DModel, seed, config | overrides)


def sd3(seed: int = 0, **overrides: Any) -> SD3Transformer2DModel:
    """Stable Diffusion 3: 8x8 latents of 4 channels, text of width 32, 6 blocks of two streams. 3 cuts."""
    config: dict[str, Any] = {
        "sample_size": 8,
        "patch_size": 2,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 6,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "caption_projection_dim": 16,
        "joint_attention_dim": CONTEXT,
        "pooled_projection_dim": 16,
        "pos_embed_max_size": 32,
    }
    return _transformer(SD3Transformer2DModel, seed, config | overrides)


def flux(seed: int = 0, **overrides: Any) -> FluxTransformer2DModel:
    """Flux: packed latents of 4 channels, text of width 32, 3 + 3 blocks of two streams. 3 cuts."""
    config: dict[str, Any] = {
        "in_channels": 16,
        "num_layers": 3,
        "num_single_layers": 3,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "joint_attention_dim": CONTEXT,
        "pooled_projection_dim": 16,
        "axes_dims_rope": (2, 2, 4),
    }
    return _transformer(FluxTransformer2DModel, seed, config | overrides)


def sana(seed: int = 0, **overrides: Any) -> SanaTransformer2DModel:
    """Sana: 8x8 latents of 4 channels, text of width 32, 6 blocks. 3 cuts."""
    config: dict[str, Any] = {
        "sample_size": 8,
        "patch_size": 1,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 6,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "num_cross_attention_heads": 2,
        "cross_attention_head_dim": 8,
        "cross_attention_dim": 16,
        "caption_channels": CONTEXT,
    }
    return _transformer(SanaTransformer2DModel, seed, config | overrides)


def wan(seed: int = 0, **overrides: Any) -> WanTransformer3DModel:
    """Wan: videos of 4 latent channels, text of width 32, 6 blocks. 3 cuts."""
    config: dict[str, Any] = {
        "patch_size": (1, 2, 2),
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 6,
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "ffn_dim": 32,
        "freq_dim": 16,
        "text_dim": CONTEXT,
        "rope_max_seq_len": 32,
    }
    return _transformer(WanTransformer3DModel, seed, config | overrides)


def vae(seed: int = 0, **overrides: Any) -> AutoencoderKL:
    """A KL autoencoder: 16x16 pictures, 8x8 latents of 4 channels."""
    config: dict[str, Any] = {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": (8, 16),
        "norm_num_groups": 4,
        "down_block_types": ("DownEncoderBlock2D", "DownEncoderBlock2D"),
        "up_block_types": ("UpDecoderBlock2D", "UpDecoderBlock2D"),
        "sample_size": 16,
    }
    with seeded(seed):
        return AutoencoderKL(**(config | overrides)).eval()


def vqvae(seed: int = 0) -> VQModel:
    """A VQ autoencoder: 16x16 pictures, 8x8 latents of 3 channels."""
    with seeded(seed):
        model = VQModel(
            in_channels=3,
            out_channels=3,
            latent_channels=3,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            num_vq_embeddings=16,
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
            up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        )
    return model.eval()


def tokenizer() -> CLIPTokenizer:
    """A byte-level CLIP tokenizer of single characters, made here: no download."""
    letters = string.ascii_lowercase + string.digits + string.punctuation
    names = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:  # the way in that transformers 4 and 5 have in common
        Path(folder, "vocab.json").write_text(json.dumps({name: index for index, name in enumerate(names)}))
        Path(folder, "merges.txt").write_text("#version: 0.2\n")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=16)


def _text_config(size: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=size,
        hidden_size=CONTEXT,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=16,
        projection_dim=CONTEXT,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )


def text_encoder(seed: int = 0) -> CLIPTextModel:
    """A CLIP text encoder of three layers, width 32."""
    with seeded(seed):
        return CLIPTextModel(_text_config(len(tokenizer()))).eval()


def text_encoder_2(seed: int = 1) -> CLIPTextModelWithProjection:
    """SDXL's second text encoder, small."""
    with seeded(seed):
        return CLIPTextModelWithProjection(_text_config(len(tokenizer()))).eval()


def image_encoder(seed: int = 0) -> CLIPVisionModelWithProjection:
    """A CLIP image encoder of one layer: 224x224 pictures, as the pipelines make them, in 16 patches; width 32."""
    config = CLIPVisionConfig(
        image_size=224,
        patch_size=56,
        hidden_size=CONTEXT,
        intermediate_size=37,
        num_hidden_layers=1,
        num_attention_heads=4,
        projection_dim=CONTEXT,
    )
    with seeded(seed):
        return CLIPVisionModelWithProjection(config).eval()


def quiet(pipeline: Any) -> Any:
    """Turn off the progress bar of a pipeline."""
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sd_scheduler() -> DDIMScheduler:
    """The DDIM scheduler as Stable Diffusion 1.x sets it."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )


def ddim_pipeline(**overrides: Any) -> DDIMPipeline:
    """DDIM over `unet2d(**overrides)`."""
    return quiet(DDIMPipeline(unet=unet2d(**overrides), scheduler=DDIMScheduler()))


def ddpm_pipeline(**overrides: Any) -> DDPMPipeline:
    """DDPM (noise at each step) over `unet2d(**overrides)`."""
    return quiet(DDPMPipeline(unet=unet2d(**overrides), scheduler=DDPMScheduler()))


def ldm_pipeline(**overrides: Any) -> LDMPipeline:
    """Unconditional latent diffusion: an 8x8 U-Net and a VQ autoencoder."""
    unet = unet2d(**({"sample_size": 8} | overrides))
    return quiet(LDMPipeline(vqvae=vqvae(), unet=unet, scheduler=DDIMScheduler()))


def sd_components(**overrides: Any) -> dict[str, Any]:
    """What StableDiffusionPipeline and its relatives take; `overrides` go to the U-Net."""
    return {
        "vae": vae(),
        "text_encoder": text_encoder(),
        "tokenizer": tokenizer(),
        "unet": unet2d_condition(**overrides),
        "scheduler": sd_scheduler(),
        "safety_checker": None,
        "feature_extractor": None,
    }


def sd_pipeline(**overrides: Any) -> StableDiffusionPipeline:
    """Stable Diffusion 1.x, 16x16 pictures."""
    return quiet(StableDiffusionPipeline(**sd_components(**overrides), requires_safety_checker=False))


def sd_img2img_pipeline(**overrides: Any) -> StableDiffusionImg2ImgPipeline:
    """Stable Diffusion image to image; give it `image=` and `strength=`."""
    return quiet(StableDiffusionImg2ImgPipeline(**sd_components(**overrides), requires_safety_checker=False))


def sd_inpaint_pipeline(**overrides: Any) -> StableDiffusionInpaintPipeline:
    """Stable Diffusion inpainting (a U-Net of 9 input channels); give it `image=` and `mask_image=`."""
    components = sd_components(**({"in_channels": 9} | overrides))
    return quiet(StableDiffusionInpaintPipeline(**components, requires_safety_checker=False))


def sdxl_pipeline(**overrides: Any) -> StableDiffusionXLPipeline:
    """SDXL, 16x16 pictures."""
    return quiet(
        StableDiffusionXLPipeline(
            vae=vae(),
            text_encoder=text_encoder(),
            text_encoder_2=text_encoder_2(),
            tokenizer=tokenizer(),
            tokenizer_2=tokenizer(),
            unet=unet2d_xl(**overrides),
            scheduler=sd_scheduler(),
            force_zeros_for_empty_prompt=True,
            add_watermarker=False,
        )
    )


def text(*names: str, batch: int = 2, tokens: int = 6, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random prompt embeddings for pipelines that come without text encoders, by the names of their arguments."""
    generator = torch.Generator().manual_seed(seed)

    def made(name: str) -> torch.Tensor:
        if name.endswith("mask"):
            return (torch.arange(tokens) < tokens - 2).long().repeat(batch, 1)
        return torch.randn(*((batch, 16) if "pooled" in name else (batch, tokens, CONTEXT)), generator=generator)

    return {name: made(name) for name in names}


MASKED = ("prompt_embeds", "prompt_attention_mask", "negative_prompt_embeds", "negative_prompt_attention_mask")
POOLED = ("prompt_embeds", "pooled_prompt_embeds")


def dit_pipeline(**overrides: Any) -> DiTPipeline:
    """DiT, 16x16 pictures; give it `class_labels=`."""
    return quiet(DiTPipeline(transformer=dit(**overrides), vae=vae(), scheduler=DDIMScheduler()))


def pixart_pipeline(**overrides: Any) -> PixArtAlphaPipeline:
    """PixArt, 16x16 pictures; give it `text(*MASKED)`."""
    pipeline = PixArtAlphaPipeline(
        transformer=pixart(**overrides),
        vae=vae(),
        scheduler=DPMSolverMultistepScheduler(),
        tokenizer=None,
        text_encoder=None,
    )
    return quiet(pipeline)


def sd3_pipeline(**overrides: Any) -> StableDiffusion3Pipeline:
    """Stable Diffusion 3, 16x16 pictures; give it `text(*POOLED)`, and the same negative."""
    encoders = ("text_encoder", "tokenizer")
    none = {f"{name}{number}": None for name in encoders for number in ("", "_2", "_3")}
    scheduler = FlowMatchEulerDiscreteScheduler()
    pipeline = StableDiffusion3Pipeline(
        transformer=sd3(**overrides), vae=vae(shift_factor=0.1), scheduler=scheduler, **none
    )
    return quiet(pipeline)


def flux_pipeline(**overrides: Any) -> FluxPipeline:
    """Flux, 16x16 pictures; give it `text(*POOLED)`, and a size."""
    none = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    scheduler = FlowMatchEulerDiscreteScheduler()
    return quiet(FluxPipeline(transformer=flux(**overrides), vae=vae(shift_factor=0.1), scheduler=scheduler, **none))


def sana_pipeline(**overrides: Any) -> SanaPipeline:
    """Sana, 32x32 pictures; give it `text(*MASKED)`, and a size."""
    with seeded(0):
        decoder = AutoencoderDC(
            in_channels=3,
            latent_channels=4,
            encoder_block_out_channels=(8, 16),
            decoder_block_out_channels=(8, 16),
            encoder_block_types="ResBlock",
            decoder_block_types="ResBlock",
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            encoder_qkv_multiscales=((), ()),
            decoder_qkv_multiscales=((), ()),
            upsample_block_type="interpolate",
            downsample_block_type="conv",
        )
    pipeline = SanaPipeline(
        transformer=sana(**overrides),
        vae=decoder.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        tokenizer=None,
        text_encoder=None,
    )
    return quiet(pipeline)


def wan_pipeline(**overrides: Any) -> WanPipeline:
    """Wan, videos of 5 frames of 32x32, 2 of them latent; give it prompt embeddings, and a size."""
    with seeded(0):
        decoder = AutoencoderKLWan(
            base_dim=4,
            z_dim=4,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True, True],
            latents_mean=[0.0] * 4,
            latents_std=[1.0] * 4,
        )
    pipeline = WanPipeline(
        transformer=wan(**overrides),
        vae=decoder.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        tokenizer=None,
        text_encoder=None,
    )
    return quiet(pipeline)


def load_ip_adapter(unet: Any, seed: int = 0) -> None:
    """Give a U-Net of Stable Diffusion, or of AnimateDiff, an IP-Adapter with random weights; images have width 32."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return 0.5 * torch.randn(shape, generator=generator)

    width = unet.config.cross_attention_dim
    weights: dict[str, torch.Tensor] = {}
    names = [name.removesuffix(".processor") for name in unet.attn_processors if "motion_modules" not in name]
    for index, name in enumerate(name for name in names if name.endswith("attn2")):
        for key in ("to_k_ip", "to_v_ip"):
            weights[f"{2 * index + 1}.{key}.weight"] = randn(unet.get_submodule(name).inner_dim, width)
    projection = {
        "proj.weight": randn(4 * width, CONTEXT),
        "proj.bias": randn(4 * width),
        "norm.weight": randn(width),
        "norm.bias": randn(width),
    }
    unet._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": weights}], low_cpu_mem_usage=False)


def svd_pipeline(**overrides: Any) -> StableVideoDiffusionPipeline:
    """Stable Video Diffusion, 16x16 pictures; give it `image=`, `height=16`, `width=16`, `num_frames=`."""
    with seeded(0):
        decoder = AutoencoderKLTemporalDecoder(
            latent_channels=4,
            block_out_channels=(32, 64),
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        ).eval()
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        interpolation_type="linear",
        timestep_type="continuous",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
    )
    return quiet(
        StableVideoDiffusionPipeline(
            vae=decoder,
            image_encoder=image_encoder(),
            unet=unet_spatio_temporal(**overrides),
            scheduler=scheduler,
            feature_extractor=CLIPImageProcessor(),
        )
    )


def animatediff_pipeline(**overrides: Any) -> AnimateDiffPipeline:
    """AnimateDiff: the U-Net of Stable Diffusion (1 layer per block: 4 cuts) with motion modules, 16x16 pictures."""
    with seeded(0):
        adapter = MotionAdapter(
            block_out_channels=(16, 32),
            motion_layers_per_block=1,
            motion_norm_num_groups=8,
            motion_num_attention_heads=2,
        )
    components = sd_components(**({"layers_per_block": 1} | overrides))
    del components["safety_checker"]
    pipeline = AnimateDiffPipeline(**components, motion_adapter=adapter)
    lively(pipeline.unet)
    return quiet(pipeline)


def text_to_video_pipeline(**overrides: Any) -> TextToVideoSDPipeline:
    """Text to video, 16x16 pictures."""
    components = sd_components() | {"unet": unet3d(**overrides)}
    for absent in ("safety_checker", "feature_extractor"):
        del components[absent]
    return quiet(TextToVideoSDPipeline(**components))
