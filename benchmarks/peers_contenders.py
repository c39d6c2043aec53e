"""The caches that are compared, each behind the same two calls: `enable(pipe)` and `disable(pipe)`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import diffusers
import torch

from benchmarks.peers_models import Model
from deepcadence.probe import count_macs
from deepcadence.schedules import Handle, Schedule, apply, denoiser, family_of, from_full_calls, uniform


class Contender(ABC):
    """One cache with one setting; None recomputes everything at each call."""

    package: ClassVar[str] = "diffusers"
    settings: ClassVar[tuple[Any, ...]]
    """From the mildest on."""

    def __init__(self, setting: Any, calls: int) -> None:
        self.setting, self.calls = setting, calls

    @abstractmethod
    def enable(self, pipe: Any) -> None:
        """From now on, runs of `pipe` are cached."""

    @abstractmethod
    def disable(self, pipe: Any) -> None:
        """No longer."""


class Ours(Contender):
    """A schedule of ours."""

    package = "deepcadence"
    settings = (3,)

    def enable(self, pipe: Any) -> None:
        schedule = self.setting
        if not isinstance(schedule, Schedule):
            schedule = uniform(self.calls, 1 if schedule is None else schedule, 0)
        self.handle: Handle = apply(pipe, schedule)

    def disable(self, pipe: Any) -> None:
        self.handle.remove()


class DeepCache(Contender):
    """The package of the DeepCache paper, at its branch 0."""

    package = "DeepCache"
    settings = (3,)

    def enable(self, pipe: Any) -> None:
        from DeepCache import DeepCacheSDHelper

        if not hasattr(self, "helper"):  # its users enable one helper twice
            self.helper = DeepCacheSDHelper(pipe=pipe)
            self.helper.set_params(cache_interval=self.setting or 1, cache_branch_id=0)
        self.helper.enable()

    def disable(self, pipe: Any) -> None:
        self.helper.disable()


class OfDiffusers(Contender):
    """A cache that diffusers brings, by its configuration."""

    def enable(self, pipe: Any) -> None:
        pipe.transformer.enable_cache(self.config(pipe))

    def disable(self, pipe: Any) -> None:
        pipe.transformer.disable_cache()

    @abstractmethod
    def config(self, pipe: Any) -> Any:
        """What `enable_cache` takes."""


class FirstBlockCache(OfDiffusers):
    """Goes on behind the first block where its residual changed by more than a threshold."""

    settings = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

    def config(self, pipe: Any) -> Any:
        return diffusers.FirstBlockCacheConfig(threshold=-1.0 if self.setting is None else self.setting)


class MagCache(OfDiffusers):
    """Skips up to so many steps in a row. Its ratios, measured for a model, are ones here: they never stop it."""

    settings = (2,)

    def config(self, pipe: Any) -> Any:
        return diffusers.MagCacheConfig(
            max_skip_steps=self.setting or 0,
            mag_ratios=[1.0] * self.calls,
            num_inference_steps=self.calls,
            retention_ratio=0.1,
        )


class TaylorSeer(OfDiffusers):
    """Recomputes every so many steps, and extrapolates the output of every attention by order 1 between them."""

    settings = (3,)

    def config(self, pipe: Any) -> Any:
        return diffusers.TaylorSeerCacheConfig(cache_interval=self.setting or 1, taylor_factors_dtype=None)


class PyramidAttentionBroadcast(OfDiffusers):
    """Recomputes attention every so many steps."""

    settings = (3,)

    def config(self, pipe: Any) -> Any:
        return diffusers.PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=self.setting or 1,
            cross_attention_block_skip_range=self.setting or 1,
            current_timestep_callback=lambda: pipe.current_timestep,
        )


class FasterCache(OfDiffusers):
    """Recomputes self-attention every so many steps, and extrapolates it between them."""

    settings = (3,)

    def config(self, pipe: Any) -> Any:
        return diffusers.FasterCacheConfig(
            spatial_attention_block_skip_range=self.setting or 1,
            is_guidance_distilled=True,  # no batch with both sides of the guidance, of which it could skip one
            current_timestep_callback=lambda: pipe.current_timestep,
        )


class CacheDit(Contender):
    """cache-dit with a fixed mask of the steps that are computed, and one block that always runs."""

    package = "cache-dit"
    settings = (3,)

    def enable(self, pipe: Any) -> None:
        import cache_dit

        mask = [int(step % (self.setting or 1) == 0) for step in range(self.calls)]
        config = cache_dit.DBCacheConfig(
            Fn_compute_blocks=1,
            max_warmup_steps=1,
            num_inference_steps=self.calls,
            steps_computation_mask=mask,
            steps_computation_policy="static",
        )
        cache_dit.enable_cache(pipe, cache_config=config)

    def disable(self, pipe: Any) -> None:
        import cache_dit

        cache_dit.disable_cache(pipe)


FOR_TRANSFORMERS: dict[str, type[Contender]] = {
    "FirstBlockCache": FirstBlockCache,
    "MagCache": MagCache,
    "TaylorSeer": TaylorSeer,
    "PyramidAttentionBroadcast": PyramidAttentionBroadcast,
    "FasterCache": FasterCache,
    "cache-dit": CacheDit,
}
PEERS: dict[str, dict[str, type[Contender]]] = {
    "unet": {"DeepCache": DeepCache},
    "flux": FOR_TRANSFORMERS,
    "wan": FOR_TRANSFORMERS,
}


def schedules_by_macs(model: Model, calls: int) -> list[tuple[float, Schedule, str]]:
    """Schedules with full calls as evenly apart as can be, by the share of MACs that they take, dearest first.

    For each number of full calls and cut: (share of the MACs of full calls only, schedule, what it is).
    """
    network = denoiser(model.build())
    macs = count_macs(network, size=_size(model, network))
    found = []
    for full in range(1, calls):
        at = sorted({index * calls // full for index in range(full)})
        for cut in macs.partial:
            schedule = from_full_calls(calls, at, cut)
            found.append((1 / macs.speedup(schedule), schedule, f"{full} of {calls} full, cut {cut}"))
    return sorted(found, key=lambda entry: -entry[0])


def _size(model: Model, network: Any) -> tuple[int, ...]:
    """The size of the denoiser's sample in a run."""
    shapes: list[torch.Size] = []

    def look(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        sample = args[0] if args else kwargs["hidden_states"]
        shapes.append(sample.shape)

    pipe = model.build()
    denoiser(pipe).register_forward_pre_hook(look, with_kwargs=True)
    model.run(pipe, 1)
    return family_of(network).size_of(network, tuple(shapes[0][1:]))
