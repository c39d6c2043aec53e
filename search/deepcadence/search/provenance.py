"""A schedule file that says where it came from: model, sampler, cost, held-out quality."""

from __future__ import annotations

from deepcadence.probe import spaced
from deepcadence.schedules import (
    Cost,
    Created,
    Quality,
    SamplerInfo,
    Schedule,
    denoiser,
    family_of,
    model_info,
    sampler_info,
)
from deepcadence.search.candidates import Candidate
from deepcadence.search.evaluate import Evaluator, Measurement
from deepcadence.search.statistics import Estimate, mean_and_ci


def documented(
    candidate: Candidate, evaluator: Evaluator, measured: Measurement | None, own: str | None = None
) -> Schedule:
    """The candidate's schedule with all that is known about it.

    Args:
        candidate: what was found; not fewer steps.
        evaluator: says model, sampler and cost of the calls.
        measured: the candidate on held-out seeds, if it was run there.
        own: the name of the quality function of one's own, if it was measured too.
    """
    schedule, workload, macs = candidate.schedule(), evaluator.workload, evaluator.macs
    model = denoiser(workload.pipeline)
    layers = family_of(model).cuts(model)
    went_on = measured.went_on if measured is not None else getattr(candidate, "went_on", 0.0)
    mean = schedule.mean_macs(macs.full, macs.partial)
    if candidate.cut is not None:
        mean += went_on * (macs.full - macs.partial[candidate.cut]) / schedule.num_calls
    reference = "full" if candidate.steps == workload.steps else f"full, {workload.steps} steps"
    return Schedule(
        calls=schedule.calls,
        reuse=schedule.reuse,
        generator=schedule.generator,
        model=model_info(model, {cut: layers[cut] for cut in schedule.cuts}),
        sampler=_sampler(candidate, evaluator),
        cost=Cost(
            counter=macs.counter,
            full_macs=macs.full,
            partial_macs={cut: macs.partial[cut] for cut in schedule.cuts},
            mean_macs=mean,
            speedup=macs.full / mean * (evaluator.num_calls / schedule.num_calls),
            reference_calls=None if schedule.num_calls == evaluator.num_calls else evaluator.num_calls,
            sample_shape=tuple(macs.sample_shape),
        ),
        quality=None if measured is None else tuple(_held_out_quality(measured, own, reference)),
        created=Created.now(),
    )


def _sampler(candidate: Candidate, evaluator: Evaluator) -> SamplerInfo:
    """How the candidate runs its sampler."""
    timesteps = evaluator.trace_of(candidate.steps, candidate.spacing).timesteps
    plain = None if timesteps is None else [_plain(timestep) for timestep in timesteps]
    with spaced(evaluator.workload.pipeline, candidate.spacing):
        return sampler_info(evaluator.workload.sampler, plain, candidate.steps)


def _held_out_quality(measured: Measurement, own: str | None, reference: str) -> list[Quality]:
    """PSNR and SSIM of a measurement on held-out seeds, with their intervals; also the function of one's own, `own`."""
    found = [
        _figure("psnr", "dB", mean_and_ci(measured.psnr), reference),
        _figure("ssim", "", mean_and_ci(measured.ssim), reference),
    ]
    if own is not None and measured.own is not None:
        found.append(_figure(own, "", mean_and_ci(measured.own), reference))
    return found


def _figure(metric: str, unit: str, estimate: Estimate, reference: str) -> Quality:
    return Quality(
        metric=metric,
        unit=unit,
        value=estimate.mean,
        ci95=estimate.ci95,
        samples=estimate.samples,
        seeds="held-out",
        reference=reference,
    )


def _plain(timestep: float) -> float:
    return int(timestep) if float(timestep).is_integer() else timestep
