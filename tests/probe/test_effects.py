from __future__ import annotations

from typing import Any

import pytest
import torch

from deepcadence.probe import ProfileError, Workload, count_macs, measure_effects
from deepcadence.probe._called import answering, output_tensor
from deepcadence.probe._rows import by_sample, rows_of, to_rows, with_tensor
from deepcadence.probe.effects import between
from deepcadence.probe.responses import responses
from deepcadence.probe.reuse_errors import ReuseErrors
from deepcadence.schedules import Schedule, cached
from tests import tiny


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload(tiny.ddim_pipeline(), steps=5, seeds=(3, 4), batch_size=4)


def recorded(workload: Workload, **changes: Any) -> tuple[ReuseErrors, torch.Tensor]:
    arguments: dict[str, Any] = {"cuts": (0, 2), "ages": (1, 2), "samples": 2, "kept": (2,), "dimensions": 10**6}
    recording = ReuseErrors(workload.pipeline, **(arguments | changes))
    with answering(workload.pipeline, recording):
        return recording, workload.run()


def test_the_errors_are_those_of_partial_calls(workload: Workload) -> None:
    recording, images = recorded(workload)
    assert torch.equal(images, workload.run())
    outputs: list[torch.Tensor] = []
    schedule = Schedule(calls=["full", "full", 2, "full", "full"])  # call 2 reuses the feature of call 1
    with cached(workload.pipeline, schedule):
        hook = workload.pipeline.unet.register_forward_hook(lambda *a: outputs.append(output_tensor(a[2])))
        workload.run()
        hook.remove()
    error = (outputs[2] - recording.outputs[2]).flatten(1)
    torch.testing.assert_close(recording.errors[2][1, 0], error, rtol=1e-4, atol=1e-6)
    assert float(error.norm()) > 1e-3
    assert recording.errors[0].abs().max() == 0
    assert recording.errors[1][:, 1].abs().max() == 0  # no feature of age 2 at call 1
    assert set(recording.whole) == {2}


def test_a_push_is_what_a_changed_output_does(workload: Workload) -> None:
    """Runs that are pushed at different calls, side by side, against the same change made by hand."""
    recording, images = recorded(workload)
    generator = torch.Generator().manual_seed(0)
    size = images[0].numel()
    pushes = [(call, sample, torch.randn(size, generator=generator)) for call, sample in ((1, 0), (3, 1), (4, 0))]
    rows: list[int] = []
    found = responses(workload, recording.outputs, recording.template, pushes, rows.append)

    def by_hand(call: int, sample: int, change: torch.Tensor) -> torch.Tensor:
        count = 0

        def answer(args: Any, kwargs: Any) -> Any:
            nonlocal count
            output = forward(*args, **kwargs)
            tensor = output_tensor(output)
            if count == call:
                tensor = tensor + change.reshape(tensor.shape)
            count += 1
            return with_tensor(output, tensor)

        with answering(workload.pipeline, answer) as forward:
            return workload.run(workload.seeds[sample : sample + 1])[0]

    for push, image in zip(pushes, found, strict=True):
        torch.testing.assert_close(image, by_hand(*push), rtol=1e-4, atol=1e-5)
        assert (image - images[push[1]]).abs().max() > 1e-3
    assert sum(rows) == 3 + 1  # calls 2 to 4 of the first run, call 4 of the second, none of the third


def test_what_effects_hold_and_cost(workload: Workload) -> None:
    macs = count_macs(workload.pipeline.unet)
    told: list[tuple[str, int, int]] = []
    effects = measure_effects(workload, (0, 1), macs, progress=lambda *event: told.append(event))
    assert effects.errors.shape == (2, 3, 5, 2, 128)
    assert (effects.cuts, effects.ages, effects.seeds, effects.num_calls) == ((0, 1), (1, 2, 3), (3, 4), 5)
    assert effects.gains[0] == 0
    assert (effects.gains[1:] > 0).all()
    tried = (4 + 3 + 2) * (macs.partial[0] + macs.partial[1]) / macs.full
    assert effects.cost == pytest.approx(2 * (5 + tried + (3 + 2 + 1 + 0)) / 5)
    assert told[-1] == ("predictor", round(5 * effects.cost), round(5 * effects.cost))
    again = measure_effects(workload, (0, 1), macs)
    assert torch.equal(again.errors, effects.errors)
    assert torch.equal(again.gains, effects.gains)


def test_guidance_and_latents(request: pytest.FixtureRequest) -> None:
    """Two rows a sample, and an output that is no image."""
    workload = Workload(tiny.sd_pipeline(), steps=3, seeds=(0, 1), prompts=("a", "b"), batch_size=4)
    macs = count_macs(workload.pipeline.unet)
    effects = measure_effects(workload, (0,), macs, pushed_calls=2)
    assert effects.errors.shape == (1, 2, 3, 2, 128)
    assert effects.cost == pytest.approx(2 * (3 + (2 + 1) * macs.partial[0] / macs.full + 1) / 3)
    assert (effects.gains[1:] > 0).all()


def test_gains_between_calls_are_geometric() -> None:
    assert between({1: 1.0, 3: 4.0, 4: 1.0}, 5).tolist() == pytest.approx([0, 1, 2, 4, 1])


def test_what_cannot_be_measured_is_said(workload: Workload) -> None:
    macs = count_macs(workload.pipeline.unet)
    with pytest.raises(ProfileError, match="1 calls"):
        measure_effects(workload.replace(steps=1), (0,), macs)
    with pytest.raises(ProfileError, match="cuts: found"):
        measure_effects(workload, (9,), macs.__class__(**(macs.__dict__ | {"partial": {**macs.partial, 9: 1}})))


def test_rows_and_samples() -> None:
    rows = torch.arange(24.0).reshape(4, 2, 3)  # two branches of two samples
    flat = by_sample(rows, 2)
    assert flat[0].tolist() == [*range(6), *range(12, 18)]
    assert torch.equal(to_rows(flat, rows), rows)
    value = {"a": torch.arange(4), "b": torch.arange(3), "c": None}
    picked = rows_of(value, 4, torch.tensor([2, 0]))
    assert picked["a"].tolist() == [2, 0]
    assert picked["b"] is value["b"]
    assert with_tensor((rows, 1), rows + 1)[1] == 1
    assert torch.equal(with_tensor(rows, rows + 1), rows + 1)
