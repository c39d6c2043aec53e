"""A made-up measurement, small but of the real types: 20 calls, 4 cuts, 12 trials, 32 samples."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from deepcadence.probe import Macs, Profile, ProfileInfo
from deepcadence.schedules import Cost, Created, ModelInfo, SamplerInfo, Schedule, nonuniform, uniform
from deepcadence.search import (
    Comparison,
    HeldOut,
    Origin,
    PredictorInfo,
    StudyResult,
    TrialRecord,
    mean_and_ci,
    paired_difference,
)

CALLS = 20
SAMPLES = 32
FULL = 339_000_000
PARTIAL = {0: 50_000_000, 1: 95_000_000, 2: 169_000_000, 3: 260_000_000}
CREATED = Created(by="deepcadence 0.1.0", at="2025-01-31T12:00:00+00:00")


def model(name: str = "UNet2DModel") -> ModelInfo:
    layers = {cut: f"up_blocks.{3 - cut}.resnets.0" for cut in PARTIAL}
    return ModelInfo(class_name=name, config_sha256="a" * 64, cuts=layers)


def sampler() -> SamplerInfo:
    return SamplerInfo(class_name="DDIMScheduler", config_sha256="b" * 64)


def profile(*, calls: int = CALLS, name: str = "UNet2DModel", prompts: tuple[str, ...] = ()) -> Profile:
    """Features that change fastest around three quarters of the run, and the less the deeper the cut."""
    place = torch.arange(calls) / calls
    way = torch.cumsum(0.6 + 2.2 * torch.exp(-(((place - 0.75) / 0.2) ** 2)), 0) * 50 / calls
    apart = (way[:, None] - way[None, :]).abs()
    cosine = torch.stack([torch.exp(-((apart / (22 + 18 * cut)) ** 1.2)) for cut in PARTIAL])
    error = (1 - cosine) * 1.2
    error[:, torch.ones(calls, calls, dtype=torch.bool).tril()] = math.nan
    spread = torch.full_like(cosine, 0.02)
    meta = ProfileInfo(
        model=model(name),
        sampler=sampler(),
        macs=Macs(full=FULL, partial=PARTIAL, counter="exact", sample_shape=(1, 32, 32)),
        cuts=tuple(PARTIAL),
        num_calls=calls,
        steps=calls,
        seeds=tuple(range(16)),
        prompts=prompts,
        created=CREATED,
    )
    one, two, three, four = (spread.clone() for _ in range(4))
    return Profile(cosine, one, 1 - cosine, two, 1 - cosine, three, error, four, meta)


def trial(number: int, origin: Origin, calls: Any, psnr: float, label: str = "", steps: int = CALLS) -> TrialRecord:
    macs = FULL * steps / CALLS if calls is None else Schedule(calls=calls).mean_macs(FULL, PARTIAL)
    return TrialRecord(
        number=number,
        origin=origin,
        label=label or f"{origin} {number}",
        calls=calls,
        steps=steps,
        psnr=psnr,
        ssim=min(1.0, 0.6 + psnr / 100),
        mean_macs=macs,
        speedup=FULL / macs,
        psnr_samples=(psnr, psnr),
        ssim_samples=(0.9, 0.9),
        seconds_per_sample=0.1,
    )


def trials() -> list[TrialRecord]:
    rows: list[tuple[Origin, Any, float]] = [
        ("uniform", uniform(CALLS, interval, cut).calls, 34 - 2.2 * interval + cut)
        for interval in (2, 3, 5)
        for cut in (0, 2)
    ]
    rows.append(("published", nonuniform(CALLS, 3, 0, 6, 1.4).calls, 27.1))
    for interval, center in ((2, 14), (3, 15), (4, 13), (5, 16)):
        rows.append(("nonuniform", nonuniform(CALLS, interval, 1, center, 1.3).calls, 36.5 - 2.2 * interval))
    found = [trial(number, *row) for number, row in enumerate(rows)]
    for steps in (16, 10, 7, 4):
        found.append(trial(len(found), "fewer_steps", None, 12 + 1.1 * steps, f"{steps} steps", steps))
    return found


def study(*, extra: tuple[TrialRecord, ...] = (), name: str = "demo", found: bool = True) -> StudyResult:
    return StudyResult(
        study_name=name,
        metric="psnr",
        trials=(*trials(), *extra) if found else (),
        failed=(),
        num_calls=CALLS,
        steps=CALLS,
        seeds=tuple(range(16)),
        cuts=tuple(PARTIAL),
        full_macs=FULL,
        partial_macs=PARTIAL,
        counter="exact",
        sample_shape=(1, 32, 32),
        model=model(),
        sampler=sampler(),
        fingerprint="f",
        predictor=predictor() if found else None,
    )


def predictor() -> PredictorInfo:
    """All schedules predicted, one dB too low, but for the first."""
    known = {trial.key: trial.psnr - 1 for trial in trials()[1:] if trial.calls is not None}
    return PredictorInfo(predicted=known, samples=2, runs=1.5)


def searched() -> tuple[TrialRecord, ...]:
    """36 trials of the search, whose quality and cost depend on the interval, and hardly on the cut."""
    found = []
    for place in range(36):
        interval, cut = 2 + place % 6, place // 6 % 2
        made = nonuniform(CALLS, interval, cut, place % 5 + 5, 1.2)
        new = trial(100 + place, "nonuniform", made.calls, 40 - 3 * interval + 0.1 * cut)
        values = {"interval": interval, "cut": cut, "center": place % 5 + 5.0, "power": 1.2, "order": place % 3}
        found.append(new.model_copy(update=values))
    return tuple(found)


def schedule() -> Schedule:
    """A trial of the study, on its front."""
    calls = next(trial for trial in trials() if trial.origin == "nonuniform").calls
    assert calls is not None
    cost = Cost(counter="exact", full_macs=FULL, partial_macs=PARTIAL, mean_macs=169e6, speedup=2.0)
    return Schedule(calls=calls, model=model(), sampler=sampler(), cost=cost, created=CREATED)


def held_out(
    *, fewer: float = -3.0, uniform_by: float = -1.0, label: str = "nonuniform 1:2 c=14 p=1.3 cut 1"
) -> HeldOut:
    """`fewer` and `uniform_by`: by how many dB these rivals are better than the chosen schedule."""
    generator = torch.Generator().manual_seed(0)
    base = 31.0 + 2 * torch.randn(SAMPLES, generator=generator)

    def row(name: str, origin: Origin, better: float, calls: Any, steps: int = CALLS) -> Comparison:
        full = steps if calls is None else sum(call == "full" for call in calls)
        chosen = origin == "nonuniform"
        noise = 0.5 * torch.randn(SAMPLES, generator=generator)
        psnr = base if chosen else base + better + noise
        ssim = (0.6 + psnr / 100).clamp(max=1)
        return Comparison(
            origin=origin,
            label=name,
            calls=calls,
            steps=steps,
            full_calls=full,
            partial_calls=0 if calls is None else len(calls) - full,
            mean_macs=FULL / 2,
            speedup=2.0,
            wall_speedup=1.7,
            seconds_per_sample=0.1,
            psnr=mean_and_ci(psnr),
            ssim=mean_and_ci(ssim),
            psnr_difference=None if chosen else paired_difference(base, psnr),
        )

    return HeldOut(
        schedule=schedule(),
        chosen=row(label, "nonuniform", 0, schedule().calls),
        uniform=row("uniform 1:3 cut 0", "uniform", uniform_by, uniform(CALLS, 3, 0).calls),
        fewer_steps=row("10 steps", "fewer_steps", fewer, None, 10),
        seeds=tuple(range(100, 100 + SAMPLES)),
        num_calls=CALLS,
        full_macs=FULL,
        seconds_per_sample=0.2,
        evaluations=12,
    )


def images(*, count: int = SAMPLES, side: int = 32, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Full and cached images (count, channels, side, side): soft discs, the later the more disturbed."""
    generator = torch.Generator().manual_seed(1)
    axis = torch.linspace(-1, 1, side)
    radius = (axis[:, None] ** 2 + axis[None, :] ** 2).sqrt()
    sizes = 0.3 + 0.5 * torch.rand(count, channels, 1, 1, generator=generator)
    full = ((sizes - radius) * 4).clamp(0, 1)
    noise = torch.randn(full.shape, generator=generator) * torch.linspace(0, 0.08, count)[:, None, None, None]
    return full, (full + noise).clamp(0, 1)
