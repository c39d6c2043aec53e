"""What happens to caches in service: each condition says yes, refused (and usable afterwards), or what is wrong.

The settings are the boldest that are compared, in runs of eight steps. A cache survives a condition if the run after it
gives what a freshly made pipeline gives, to the bit.
"""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable
from typing import Any

import diffusers
import torch

from benchmarks.peers_contenders import Contender, Ours
from benchmarks.peers_models import Model, UNet

STEPS = 8
Check = Callable[[type[Contender], Any], str]


def another_batch(kind: type[Contender], model: Model) -> str:
    """Two pictures after one."""
    pipe = _enabled(kind, model.build())
    model.run(pipe, STEPS)
    return _same(model.run(pipe, STEPS, batch=2), model.run(_enabled(kind, model.build()), STEPS, batch=2))


def broken_off(kind: type[Contender], model: Model) -> str:
    """A run that an exception ended, such as a user who went away."""

    def leave(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        if step == STEPS // 2:
            raise InterruptedError
        return kwargs

    pipe = _enabled(kind, model.build())
    with contextlib.suppress(InterruptedError):
        model.run(pipe, STEPS, callback_on_step_end=leave)
    return _same(model.run(pipe, STEPS), model.run(_enabled(kind, model.build()), STEPS))


def shorter_run(kind: type[Contender], model: Model) -> str:
    """A run of fewer steps before."""
    pipe = _enabled(kind, model.build())
    model.run(pipe, STEPS - 3)
    return _same(model.run(pipe, STEPS), model.run(_enabled(kind, model.build()), STEPS))


def enabled_twice(kind: type[Contender], model: Model) -> str:
    """Enabled twice and disabled once, the model is as it was."""
    pipe = model.build()
    plain = model.run(pipe, STEPS)
    one = kind(kind.settings[-1], STEPS)
    one.enable(pipe)
    word = "yes"
    try:
        one.enable(pipe)
    except Exception:  # noqa: BLE001 - each has errors of its own
        word = "refused"
    one.disable(pipe)
    return word if torch.equal(model.run(pipe, STEPS), plain) else "cannot be disabled"


def two_threads(kind: type[Contender], model: Model) -> str:
    """Two pipelines around one denoiser, step by step in turns, each as when it runs alone."""
    pipes = [model.build()]
    pipes.append(copy.copy(pipes[0]))
    pipes[1].scheduler = copy.deepcopy(pipes[0].scheduler)
    _enabled(kind, pipes[0])
    alone = [_run_seed(model, pipe, seed) for seed, pipe in enumerate(pipes)]
    barrier = threading.Barrier(2)
    found: dict[int, torch.Tensor] = {}
    errors: list[str] = []  # the first to fail is the cause

    def wait(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        barrier.wait(timeout=600)
        return kwargs

    def work(seed: int) -> None:
        try:
            found[seed] = _run_seed(model, pipes[seed], seed, callback_on_step_end=wait)
        except Exception as error:  # noqa: BLE001 - each has errors of its own
            errors.append(type(error).__name__)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors[0] if errors else _same(torch.cat([found[0], found[1]]), torch.cat(alone))


def another_sampler(name: str) -> Check:
    """A sampler with more than one call a step: as a schedule of ours that counts calls."""

    def check(kind: type[Contender], model: UNet) -> str:
        results: list[torch.Tensor] = []
        for each in (kind, Ours):
            pipe = model.build()
            pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config)
            calls: list[None] = []
            hook = pipe.unet.register_forward_pre_hook(lambda *_, calls=calls: calls.append(None))
            model.run(pipe, STEPS)
            hook.remove()
            results.append(model.run(_enabled(each, pipe, len(calls)), STEPS))
        return _same(results[0], results[1], "other calls")

    return check


def another_strength(kind: type[Contender], model: UNet) -> str:
    """Image to image, after a run with another strength."""

    def run(pipe: Any, strength: float) -> torch.Tensor:
        side, generator = model.size()["height"], torch.Generator().manual_seed(0)
        picture = torch.rand(1, 3, side, side, generator=generator)
        call = {"image": picture, "strength": strength, "num_inference_steps": STEPS, "generator": generator}
        latents: torch.Tensor = pipe("a coat", output_type="latent", return_dict=False, **call)[0]
        return latents

    pipe = _enabled(kind, model.to_img2img(model.build()))
    run(pipe, 1.0)
    return _same(run(pipe, 0.5), run(_enabled(kind, model.to_img2img(model.build())), 0.5))


def freeu(kind: type[Contender], model: UNet) -> str:
    """FreeU, set after the cache: as a schedule of ours on a model that had it from the start."""
    setting = {"s1": 0.9, "s2": 0.2, "b1": 1.5, "b2": 1.6}
    pipe, reference = _enabled(kind, model.build()), model.build()
    pipe.enable_freeu(**setting)
    reference.enable_freeu(**setting)
    return _same(model.run(pipe, STEPS), model.run(_enabled(Ours, reference), STEPS))


def _enabled(kind: type[Contender], pipe: Any, calls: int = STEPS) -> Any:
    kind(kind.settings[-1], calls).enable(pipe)
    return pipe


def _run_seed(model: Model, pipe: Any, seed: int, **more: Any) -> torch.Tensor:
    return model.run(pipe, STEPS, generator=torch.Generator().manual_seed(seed), **more)


def _same(found: torch.Tensor, expected: torch.Tensor, otherwise: str = "other latents") -> str:
    return "yes" if torch.equal(found, expected) else otherwise


FOR_ALL: dict[str, Check] = {
    "another batch": another_batch,
    "after a run that broke off": broken_off,
    "enabled twice": enabled_twice,
    "two threads": two_threads,
}
FOR_UNETS: dict[str, Check] = {
    "Heun": another_sampler("HeunDiscreteScheduler"),
    "PNDM": another_sampler("PNDMScheduler"),
    "img2img after another strength": another_strength,
    "FreeU": freeu,
}
CONDITIONS: dict[str, dict[str, Check]] = {
    "unet": FOR_ALL | FOR_UNETS,
    "flux": FOR_ALL | {"after a shorter run": shorter_run},
    "wan": FOR_ALL | {"after a shorter run": shorter_run},
}
