"""Whether a schedule is worth it, in plain words."""

from __future__ import annotations

from collections.abc import Mapping

from deepcadence.search.statistics import Estimate


def words(
    label: str,
    *,
    uniform: Mapping[str, tuple[str, Estimate | None]],
    fewer: tuple[int, Estimate | None] | None,
    chosen_is: str | None,
) -> str:
    """One sentence on fewer steps, one on each uniform rival; differences are chosen minus the other, in dB, paired.

    `uniform` has the best uniform schedule by how it reuses features, "held" or "extrapolated"; `chosen_is` names the
    one that the chosen schedule is itself, if it is one.
    """
    sentences = [_on_fewer_steps(label, fewer)]
    sentences += [_on_uniform(how, *rival, how == chosen_is) for how, rival in uniform.items()]
    return " ".join(
        sentences if uniform else [*sentences, "No uniform schedule is as cheap, or none that gives finite images."]
    )


def _on_fewer_steps(label: str, fewer: tuple[int, Estimate | None] | None) -> str:
    steps, difference = fewer or (0, None)
    if difference is None:
        return f"No smaller number of steps is as cheap as {label}, or none that gives finite images."
    if difference.ci95[0] > 0:
        return f"Caching is worth it: within the same MACs, {steps} steps are {_by(difference)} worse."
    if difference.ci95[1] < 0:
        return (
            f"Caching is not worth it here: within the same MACs, {steps} steps without a schedule are "
            f"{_by(difference)} better. Use fewer steps instead."
        )
    return f"Caching and {steps} steps cannot be told apart at equal MACs: the difference is {_range(difference)}."


def _on_uniform(how: str, label: str, difference: Estimate | None, is_chosen: bool) -> str:
    if is_chosen or difference is None:
        return f"The schedule is itself the best uniform one with features {how}."
    name = f"The best uniform schedule with features {how} ({label})"
    if difference.ci95[0] > 0:
        return f"{name} is {_by(difference)} worse."
    if difference.ci95[1] < 0:
        return f"{name} is {_by(difference)} better: use that."
    return f"{name} cannot be told apart: the difference is {_range(difference)}."


def _by(difference: Estimate) -> str:
    low, high = sorted(abs(end) for end in difference.ci95)
    return f"{abs(difference.mean):.2f} dB (95% interval {low:.2f} to {high:.2f})"


def _range(difference: Estimate) -> str:
    return f"{difference.mean:+.2f} dB (95% interval {difference.ci95[0]:+.2f} to {difference.ci95[1]:+.2f})"
