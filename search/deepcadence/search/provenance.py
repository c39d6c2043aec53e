"""A schedule file that says where it came from: model, sampler, cost, held-out quality."""

from __future__ import annotations

from collections.abc import Sequence

from deepcadence.probe import Macs, Workload
from deepcadence.schedules import (
    Cost,
    Created,
    Quality,
    Schedule,
    denoiser,
    family_of,
    model_info,
    sampler_info,
)
from deepcadence.search.candidates import Candidate
from deepcadence.search.evaluate import Measurement
from deepcadence.search.statistics import Estimate, mean_and_ci


def documented(
    candidate: Candidate,
    workload: Workload,
    macs: Macs,
    timesteps: Sequence[float] | None,
    quality: Sequence[Quality] = (),
) -> Schedule:
    """The candidate's schedule with all that is known about it.

    Args:
        candidate: what was found; not fewer steps.
        workload: says model and sampler.
        macs: cost of a full call and of a partial call at each cut in use.
        timesteps: of the reference run.
        quality: figures measured on held-out seeds.
    """
    schedule = candidate.schedule()
    model = denoiser(workload.pipeline)
    layers = family_of(model).cuts(model)
    mean = schedule.mean_macs(macs.full, macs.partial)
    plain = None if timesteps is None else [_plain(timestep) for timestep in timesteps]
    return Schedule(
        calls=schedule.calls,
        reuse=schedule.reuse,
        generator=schedule.generator,
        model=model_info(model, {cut: layers[cut] for cut in schedule.cuts}),
        sampler=sampler_info(workload.sampler, plain),
        cost=Cost(
            counter=macs.counter,
            full_macs=macs.full,
            partial_macs={cut: macs.partial[cut] for cut in schedule.cuts},
            mean_macs=mean,
            speedup=macs.full / mean,
            sample_shape=tuple(macs.sample_shape),
        ),
        quality=tuple(quality) or None,
        created=Created.now(),
    )


def held_out_quality(measured: Measurement, own: str | None = None) -> list[Quality]:
    """PSNR and SSIM of a measurement on held-out seeds, with their intervals; also the function of one's own, `own`."""
    found = [_figure("psnr", "dB", mean_and_ci(measured.psnr)), _figure("ssim", "", mean_and_ci(measured.ssim))]
    if own is not None and measured.own is not None:
        found.append(_figure(own, "", mean_and_ci(measured.own)))
    return found


def _figure(metric: str, unit: str, estimate: Estimate) -> Quality:
    return Quality(
        metric=metric,
        unit=unit,
        value=estimate.mean,
        ci95=estimate.ci95,
        samples=estimate.samples,
        seeds="held-out",
        reference="full",
    )


def _plain(timestep: float) -> float:
    return int(timestep) if float(timestep).is_integer() else timestep
