"""Multiply-accumulates of a denoiser: whole, and for a partial call at each cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import ConfigDict
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from deepcadence.probe._called import by_row, first_tensor
from deepcadence.probe._meta import meta_twin
from deepcadence.probe._paper_rules import paper_rules
from deepcadence.probe.errors import LoadError
from deepcadence.schedules import Schedule, UnsupportedModelError, denoiser
from deepcadence.schedules.families import Family, family_of

__all__ = ["Counter", "Macs", "count_macs"]

Counter = Literal["exact", "paper"]


@dataclass(frozen=True)
class Macs:
    """What one call costs, per sample; classifier-free guidance, which doubles it, is not counted in.

    Attributes:
        full: multiply-accumulates (MACs) of a full call.
        partial: MACs of a partial call at each cut.
        counter: by which rules; figures by different rules must not be compared.
        sample_shape: (channels, height, width) of the sample counted for, a video's with its frames; (tokens, channels)
            of packed latents.
        layers: each cut's first layer that a partial call runs again, as a dotted name; where features are residuals,
            the first and the last block that they stand for.
        feature_shapes: shape of each cut's feature, without the batch dimension.
    """

    full: int
    partial: Mapping[int, int]
    counter: Counter
    sample_shape: tuple[int, ...]
    layers: Mapping[int, str] = field(default_factory=dict)
    feature_shapes: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # where it is part of a profile's JSON

    def mean(self, schedule: Schedule) -> float:
        """Mean MACs of a call under `schedule`: (k F + sum of partials) / T."""
        return float(schedule.mean_macs(self.full, self.partial))

    def speedup(self, schedule: Schedule) -> float:
        """How many times fewer MACs `schedule` takes than full calls only."""
        return self.full / self.mean(schedule)


def count_macs(
    model: nn.Module | str | Path | Any,
    *,
    counter: Counter = "exact",
    size: tuple[int, ...] | None = None,
    cuts: Iterable[int] | None = None,
) -> Macs:
    """Count the MACs of a full call and of a partial call at each cut, on the meta device: nothing is computed.

    `counter="exact"` counts every matrix product and convolution, those of attention included (half of what
    `torch.utils.flop_counter` counts). fvcore counts convolutions and linear layers the same, cannot see attention's
    products, and adds norms and resizing. `counter="paper"` follows the published tables of DeepCache (arXiv
    2312.00858), which leave attention's products out and count biases and norms. A model of diffusers is built again
    from its configuration, so adapters that were added to it (LoRA, IP-Adapters) are not counted.

    Args:
        model: a denoiser, a pipeline, or the place of one: see `load_denoiser_config`.
        counter: "exact" or "paper".
        size: (height, width) of the sample, in latent units for a latent model, or (frames, height, width) of a video;
            if None the config's sample size, or what the model's pipelines have by default.
        cuts: which cuts to count; all if None.

    Raises:
        UnsupportedModelError: the model is of no known family.
        LoadError: `model` is a path or id, and no config is found there.
        ValueError: an unknown counter or cut.
    """
    if counter not in ("exact", "paper"):
        raise ValueError(f"counter: found {counter!r}, expected 'exact' or 'paper'")
    twin = _twin(model)
    with _named(model):
        family = family_of(twin)
        layers = family.cuts(twin)
    wanted = sorted(layers if cuts is None else set(cuts))
    unknown = [cut for cut in wanted if cut not in layers]
    if unknown:
        raise ValueError(f"cuts: found {unknown}, expected some of 0 to {max(layers)}")
    with _named(model):
        return _counted(twin, family, {cut: layers[cut] for cut in wanted}, counter, size)


@contextmanager
def _named(model: Any) -> Iterator[None]:
    """What goes wrong in the body names the place of the model, if it was given by that."""
    try:
        yield
    except Exception as error:
        if not isinstance(model, str | Path):
            raise
        if isinstance(error, UnsupportedModelError):
            raise UnsupportedModelError(f"{model}: {error}") from error
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise LoadError(f"{model}: the model of this config cannot be called: {reason}") from error


def _counted(
    twin: nn.Module, family: Family, layers: Mapping[int, str], counter: Counter, size: tuple[int, ...] | None
) -> Macs:
    inputs = family.example_inputs(twin, batch=1, size=size, device="meta")
    views = family.views(twin, layers)
    count = _counters(twin)[counter]
    features: dict[int, torch.Tensor] = {}
    full = count(lambda: features.update(views.full(**inputs)[1]))
    partial = {cut: count(lambda cut=cut: views.partial(cut, features[cut], **inputs)) for cut in layers}  # type: ignore[misc]
    return Macs(
        full=full,
        partial=partial,
        counter=counter,
        sample_shape=tuple(first_tensor(inputs).shape[1:]),
        layers=dict(layers),
        feature_shapes={cut: tuple(by_row(features[cut], 1).shape[1:]) for cut in layers},
    )


def feature_shapes(model: nn.Module, size: tuple[int, ...], cuts: Iterable[int]) -> list[tuple[int, ...]]:
    """The shape of each cut's feature for one sample of `size`, without the batch; one run on the meta device."""
    twin = _twin(model)
    family = family_of(twin)
    with torch.no_grad():
        features = family.views(twin, cuts).full(**family.example_inputs(twin, size=size, device="meta"))[1]
    return [tuple(by_row(features[cut], 1).shape[1:]) for cut in cuts]


def _twin(model: Any) -> nn.Module:
    if isinstance(model, str | Path):
        from deepcadence.probe.config import load_denoiser_config

        return load_denoiser_config(model)
    module = denoiser(model)
    on_meta = all(parameter.device.type == "meta" for parameter in module.parameters())
    return module if on_meta else meta_twin(module)


def _counters(twin: nn.Module) -> dict[str, Callable[[Callable[[], Any]], int]]:
    @torch.no_grad()
    def exact(run: Callable[[], Any]) -> int:
        with FlopCounterMode(display=False) as flops:
            run()
        return int(flops.get_total_flops()) // 2

    @torch.no_grad()
    def paper(run: Callable[[], Any]) -> int:
        with paper_rules(twin) as tally:
            run()
        return tally.macs

    return {"exact": exact, "paper": paper}
