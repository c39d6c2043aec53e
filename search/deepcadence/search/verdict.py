"""Whether a schedule is worth it, in plain words."""

from __future__ import annotations

from deepcadence.search.statistics import Estimate


def words(
    label: str,
    *,
    uniform: tuple[str, Estimate] | None,
    fewer: tuple[int, Estimate] | None,
    chosen_is_uniform: bool,
) -> str:
    """One sentence on fewer steps, one on uniform; differences are chosen minus the other, in dB, paired."""
    return f"{_on_fewer_steps(label, fewer)} {_on_uniform(uniform, chosen_is_uniform)}"


def _on_fewer_steps(label: str, fewer: tuple[int, Estimate] | None) -> str:
    if fewer is None:
        return f"No smaller number of steps is as cheap as {label}."
    steps, difference = fewer
    if difference.ci95[0] > 0:
        return f"Caching is worth it: within the same MACs, {steps} steps are {_by(difference)} worse."
    if difference.ci95[1] < 0:
        return (
            f"Caching is not worth it here: within the same MACs, {steps} steps without a schedule are "
            f"{_by(difference)} better. Use fewer steps instead."
        )
    return f"Caching and {steps} steps cannot be told apart at equal MACs: the difference is {_range(difference)}."


def _on_uniform(uniform: tuple[str, Estimate] | None, chosen_is_uniform: bool) -> str:
    if chosen_is_uniform:
        return "The schedule is itself the best uniform one."
    if uniform is None:
        return "No uniform schedule is as cheap."
    label, difference = uniform
    if difference.ci95[0] > 0:
        return f"The best uniform schedule ({label}) is {_by(difference)} worse."
    if difference.ci95[1] < 0:
        return f"The best uniform schedule ({label}) is {_by(difference)} better: use that."
    return f"The best uniform schedule ({label}) cannot be told apart: the difference is {_range(difference)}."


def _by(difference: Estimate) -> str:
    low, high = sorted(abs(end) for end in difference.ci95)
    return f"{abs(difference.mean):.2f} dB (95% interval {low:.2f} to {high:.2f})"


def _range(difference: Estimate) -> str:
    return f"{difference.mean:+.2f} dB (95% interval {difference.ci95[0]:+.2f} to {difference.ci95[1]:+.2f})"
