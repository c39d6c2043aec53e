"""Workloads on real pipelines: the same images for the same seed, whatever the batch."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from deepcadence.probe import Workload, WorkloadError
from tests import tiny

SIZE = {"height": 16, "width": 16}


def img2img() -> Workload:
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    kwargs = {"image": image, "strength": 0.5}
    return Workload(tiny.sd_img2img_pipeline(), steps=8, prompts=("a cat", "a dog"), call_kwargs=kwargs)


def inpaint() -> Workload:
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    kwargs = {"image": image, "mask_image": torch.ones(1, 1, 16, 16), **SIZE}
    return Workload(tiny.sd_inpaint_pipeline(), steps=4, prompts=("a cat", "a dog"), call_kwargs=kwargs)


def text(pipeline: Any) -> Workload:
    kwargs = {**SIZE, "negative_prompt": "ugly", "guidance_scale": 3.0}
    return Workload(pipeline, steps=4, prompts=("a cat", "a dog", "a hat"), call_kwargs=kwargs)


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "ddim": lambda: Workload(tiny.ddim_pipeline(), steps=4),
    "ddim eta": lambda: Workload(tiny.ddim_pipeline(), steps=4, call_kwargs={"eta": 1.0}),
    "ddpm": lambda: Workload(tiny.ddpm_pipeline(), steps=4),
    "ldm": lambda: Workload(tiny.ldm_pipeline(), steps=4),
    "sd": lambda: text(tiny.sd_pipeline()),
    "sdxl": lambda: text(tiny.sdxl_pipeline()),
    "img2img": img2img,
    "inpaint": inpaint,
}


@pytest.mark.parametrize(
    ("pipeline", "given", "sentence"),
    [
        (tiny.sd_img2img_pipeline, {}, r"does not run .* \(image was not given; give it in Python, Workload\("),
        (tiny.sd_img2img_pipeline, {"image": "cat.png"}, "call_kwargs: image: found text, expected a picture; give it"),
        (tiny.sd_pipeline, {"cross_attention_kwargs": 5}, "does not run with these arguments: AttributeError: "),
    ],
)
def test_what_is_wrong_with_a_picture_or_another_argument(
    pipeline: Callable[[], Any], given: dict[str, Any], sentence: str
) -> None:
    workload = Workload(pipeline(), steps=2, prompts=("a cat",), call_kwargs=given)
    with pytest.raises(WorkloadError, match=sentence):
        workload.run([0])


def test_a_video_is_one_image_with_its_frames_below_each_other() -> None:
    workload = Workload(
        tiny.text_to_video_pipeline(), steps=2, prompts=("a cat", "a dog"), call_kwargs={**SIZE, "num_frames": 3}
    )
    videos = workload.run([0, 1])
    assert videos.shape == (2, 3, 3 * 16, 16)
    frames = torch.from_numpy(workload.call([0, 1]).frames)  # (videos, frames, height, width, channels)
    assert torch.equal(videos[1, :, 16:32], frames[1, 1].permute(2, 0, 1))


@pytest.mark.parametrize("name", list(WORKLOADS))
def test_a_seed_gives_the_same_image_in_every_batch(name: str) -> None:
    workload = WORKLOADS[name]()
    together = workload.run([5, 2, 4])
    assert together.shape == (3, 3, 16, 16)
    assert together.dtype == torch.float32
    assert together.is_contiguous()
    assert 0 <= together.min() < together.max() <= 1
    assert torch.equal(together, workload.run([5, 2, 4]))
    for index, seed in enumerate((5, 2, 4)):
        alone = workload.run([seed])[0]
        torch.testing.assert_close(alone, together[index], atol=1e-3, rtol=0)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_images_are_those_of_the_pipeline_itself() -> None:
    pipeline = tiny.sd_pipeline()
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    images = pipeline(["b", "a"], generator=generators, num_inference_steps=3, output_type="np", **SIZE).images
    workload = Workload(pipeline, steps=3, prompts=("a", "b"), call_kwargs=SIZE)
    assert np.array_equal(workload.run([3, 4]).permute(0, 2, 3, 1).numpy(), images)


def test_global_generators_and_progress_bars_are_left_as_found(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline = tiny.ldm_pipeline()
    pipeline.scheduler = diffusers.DDPMScheduler()  # takes noise from the global generator in this pipeline
    pipeline.set_progress_bar_config(disable=False, desc="mine")
    state = torch.random.get_rng_state()
    workload = Workload(pipeline, steps=3)
    first = workload.run([1])
    assert torch.equal(state, torch.random.get_rng_state())
    torch.rand(3)
    assert torch.equal(first, workload.run([1]))
    assert pipeline._progress_bar_config == {"disable": False, "desc": "mine"}
    assert "mine" not in capsys.readouterr().err


def test_a_pipeline_without_settings_of_its_bar_still_runs_by_itself() -> None:
    pipeline = tiny.ddim_pipeline()
    del pipeline._progress_bar_config
    Workload(pipeline, steps=2).run([0])
    assert not hasattr(pipeline, "_progress_bar_config")
    pipeline(num_inference_steps=2)


SCHEDULERS = {
    "DDIMScheduler": 6,
    "DDPMScheduler": 6,
    "DPMSolverMultistepScheduler": 6,
    "UniPCMultistepScheduler": 6,
    "HeunDiscreteScheduler": 11,
    "PNDMScheduler": 7,
    "EulerAncestralDiscreteScheduler": 6,
    "LCMScheduler": 6,
    "KDPM2DiscreteScheduler": 11,
}


@pytest.mark.parametrize(("name", "calls"), list(SCHEDULERS.items()))
def test_calls_are_counted_for_every_sampler(name: str, calls: int) -> None:
    pipeline = tiny.sd_pipeline()
    skip = {"skip_prk_steps": True} if name == "PNDMScheduler" else {}
    pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config, **skip)
    workload = Workload(pipeline, steps=6, prompts=("a",), call_kwargs=SIZE)
    counted = []
    handle = pipeline.unet.register_forward_hook(lambda *_: counted.append(1))
    workload.run([0])
    handle.remove()
    assert workload.num_calls() == len(counted) == calls


def test_counting_is_cheap_and_sees_strength_and_steps() -> None:
    workload = img2img()
    assert workload.num_calls() == 4
    assert workload.num_calls(20) == 10
    counted: list[int] = []
    pipeline = workload.pipeline
    real = pipeline.unet.conv_in.register_forward_hook(lambda *_: counted.append(1))
    trace = workload.trace()
    real.remove()
    assert counted == [1]
    assert trace.rows == 2
    assert trace.sample_shape == (4, 8, 8)
    assert trace.timesteps is not None
    assert len(trace.timesteps) == 4
    assert "forward" not in vars(pipeline.unet)


def test_counting_leaves_no_trace_after_an_exception() -> None:
    workload = Workload(tiny.ddim_pipeline(), steps=2)
    handle = workload.pipeline.unet.conv_in.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        workload.num_calls()
    handle.remove()
    assert "forward" not in vars(workload.pipeline.unet)
    assert workload.num_calls() == 2


def test_class_labels_are_dealt_out_by_seed() -> None:
    seen: list[Any] = []

    class Labelled:
        def __call__(
            self, class_labels: list[int], generator: Any = None, num_inference_steps: int = 2, output_type: str = "pil"
        ) -> Any:
            seen.append((class_labels, num_inference_steps, output_type))
            return SimpleNamespace(images=np.zeros((len(class_labels), 4, 6, 3), dtype=np.float32))

    workload = Workload(Labelled(), steps=7, call_kwargs={"class_labels": [10, 20, 30]})
    assert workload.run([4, 3]).shape == (2, 3, 4, 6)
    assert seen == [([20, 10], 7, "np")]


def test_batches_and_replace() -> None:
    workload = Workload(None, seeds=(3, 1, 2, 9, 8), batch_size=2)
    assert list(workload.batches()) == [(3, 1), (2, 9), (8,)]
    assert workload.replace(steps=3).steps == 3
    assert workload.steps == 50
    assert list(workload.replace(seeds=()).batches()) == []
    assert Workload(None, prompts="one").prompts == ("one",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps: found 0"),
        ({"steps": 2.5}, "steps: found 2.5"),
        ({"batch_size": -1}, "batch_size: found -1"),
        ({"seeds": (1, 1)}, "seeds: found some twice"),
        ({"seeds": (1, 2**32 + 1)}, "seeds: found some twice"),
        ({"seeds": (-1,)}, "seeds: found -1"),
        ({"seeds": ("a",)}, "seeds: found 'a'"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        Workload(None, **changes)


def test_arguments_that_do_not_fit_are_named() -> None:
    with pytest.raises(WorkloadError, match="StableDiffusionPipeline takes prompts and the workload has none"):
        Workload(tiny.sd_pipeline()).run([0])
    with pytest.raises(WorkloadError, match="DDIMPipeline takes no prompts here"):
        Workload(tiny.ddim_pipeline(), prompts=("a",)).run([0])
    with pytest.raises(WorkloadError, match="found wings, which DDIMPipeline does not take"):
        Workload(tiny.ddim_pipeline(), call_kwargs={"wings": 2}).run([0])
    with pytest.raises(WorkloadError, match="found generator, which the workload sets itself"):
        Workload(tiny.ddim_pipeline(), call_kwargs={"generator": None}).run([0])
    with pytest.raises(WorkloadError, match="seeds: found none"):
        Workload(tiny.ddim_pipeline()).run([])
    with pytest.raises(WorkloadError, match="takes no generator"):
        Workload(_NoGenerator()).run([0])


class _NoGenerator:
    def __call__(self, batch_size: int = 1) -> Any:
        return None


@pytest.mark.parametrize("result", [SimpleNamespace(audios=[1]), SimpleNamespace(images=np.zeros((2, 8, 8, 3)))])
def test_results_that_are_not_one_image_a_seed(result: Any) -> None:
    class Odd:
        def __call__(self, batch_size: int = 1, generator: Any = None) -> Any:
            return result

    with pytest.raises(WorkloadError, match="Odd: found"):
        Workload(Odd()).run([0])
