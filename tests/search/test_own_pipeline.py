"""A sampling loop of one's own, with nothing of diffusers but the U-Net."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from deepcadence.probe import Workload, probe
from deepcadence.search import finalize, run_study, select
from tests import tiny


class Loop:
    """Neither a base class nor a scheduler."""

    def __init__(self) -> None:
        self.unet = tiny.unet2d()

    @torch.no_grad()
    def __call__(self, generator: list[torch.Generator], num_inference_steps: int = 6) -> SimpleNamespace:
        x = torch.cat([torch.randn(1, 3, 16, 16, generator=each) for each in generator])
        for step in range(num_inference_steps):
            x = x - self.unet(x, 1000 - step).sample / num_inference_steps
        return SimpleNamespace(images=(x / 2 + 0.5).clamp(0, 1))


def test_a_pipeline_without_a_scheduler_is_its_own_sampler() -> None:
    workload = Workload(Loop(), steps=6, seeds=(0, 1))
    profile = probe(workload, cuts=[0], max_distance=1)
    assert profile.meta.sampler.class_name == "Loop"
    study = run_study(workload, profile=profile, trials=1, max_uniform=1, max_published=0, fewer_steps=[3])
    held_out = finalize(workload, study, select(study, target_speedup=1.1), seeds=(7, 8))
    assert held_out.schedule.sampler is not None
    assert held_out.schedule.sampler.class_name == "Loop"
