from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DOutput

from deepcadence.search.outputs import Outputs, name_of

SAMPLE = torch.arange(6.0).reshape(2, 3)


def test_equal_arguments_have_equal_names() -> None:
    def name(sample: torch.Tensor = SAMPLE, **changes: Any) -> str | None:
        return name_of((sample, 5), {"states": [SAMPLE, None], "more": {"scale": 1.0}, "return_dict": False} | changes)

    assert name() is not None
    assert name() == name(SAMPLE.clone())
    different = [
        name(SAMPLE + 1e-6),
        name(SAMPLE.to(torch.bfloat16)),
        name(SAMPLE.reshape(3, 2)),
        name(SAMPLE.reshape(3, 2).t().contiguous()),
        name(SAMPLE.t().contiguous().t()),  # the same values, laid out otherwise: kernels may add in another order
        name(return_dict=True),
        name(states=[SAMPLE]),
        name(states=[SAMPLE, SAMPLE]),
        name(more={"scale": 2.0}),
        name(more={"scale": torch.tensor(1.0)}),
        name_of((SAMPLE, torch.tensor(5)), {}),
        name_of((SAMPLE, torch.tensor(True)), {}),
    ]
    assert len({*different, name()}) == len(different) + 1
    assert None not in different


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": object()}, [torch.ones(1, requires_grad=True)]])
def test_what_cannot_be_compared_by_value_has_no_name(value: Any) -> None:
    assert name_of((SAMPLE,), {"value": value}) is None


@pytest.mark.parametrize(
    "output", [SAMPLE, (SAMPLE,), (SAMPLE, None), UNet2DOutput(sample=SAMPLE), SAMPLE.to(torch.bfloat16), SAMPLE.t()]
)
def test_outputs_come_back_as_they_were_and_are_ones_own(output: Any) -> None:
    outputs = Outputs()
    assert outputs.compute("a", lambda: output) is output
    for _ in range(2):
        found = outputs.answer(0, "a", pytest.fail)
        assert type(found) is type(output)
        one, other = (value if isinstance(value, torch.Tensor) else value[0] for value in (found, output))
        assert torch.equal(one, other)
        assert (one.dtype, one.stride()) == (other.dtype, other.stride())
        one.zero_()
    assert outputs.replayed == {0: 2}


def test_what_cannot_be_kept_is_computed_each_time() -> None:
    outputs = Outputs()
    for name, output in (("a", object()), ("b", torch.ones(1, requires_grad=True)), (None, SAMPLE)):
        for _ in range(2):
            assert outputs.answer("full", name, lambda output=output: output) is output  # type: ignore[misc]
    assert outputs.nbytes == 0
    assert not outputs.replayed


def run(outputs: Outputs, names: str, output: torch.Tensor = SAMPLE) -> str:
    """The calls of these names that were not computed."""
    outputs.begin()
    computed: list[str] = []
    for name in names:

        def compute(name: str = name) -> torch.Tensor:
            computed.append(name)
            return output

        outputs.answer("full", name, compute)
    assert outputs.replayed.total() == len(names) - len(computed)
    return "".join(name for name in names if name not in computed)


def test_the_latest_calls_of_a_run_make_room_for_others() -> None:
    outputs = Outputs(limit=10 * SAMPLE.nbytes)
    for names in ("abcdefgh", "xy"):
        assert run(outputs, names) == ""
    assert outputs.nbytes == 10 * SAMPLE.nbytes
    assert run(outputs, "z") == ""
    assert outputs.nbytes == 9 * SAMPLE.nbytes
    assert run(outputs, "xyz") == "xyz"
    assert run(outputs, "abcdefgh") == "abcdef"


def test_of_equal_calls_those_make_room_that_were_not_used_for_longest() -> None:
    outputs = Outputs(limit=10 * SAMPLE.nbytes)
    for name in "abcdefghij":
        assert run(outputs, name) == ""
    for name in "ac":
        assert run(outputs, name) == name
    assert run(outputs, "k") == ""
    assert [name for name in "acefghijk" if run(outputs, name)] == list("acefghijk")
    assert (run(outputs, "b"), run(outputs, "d")) == ("", "")


def test_what_is_larger_than_all_the_room_is_not_kept() -> None:
    outputs = Outputs(limit=2 * SAMPLE.nbytes)
    assert run(outputs, "a") == ""
    assert run(outputs, "b", torch.ones(4, *SAMPLE.shape)) == ""
    assert run(outputs, "ab") == "a"


def test_after_a_random_number_was_drawn_nothing_is_kept() -> None:
    outputs = Outputs()
    outputs.compute("a", SAMPLE.clone)
    with torch.random.fork_rng(devices=[]):
        outputs.compute("b", lambda: torch.rand(3))
    assert outputs.nbytes == 0
    outputs.compute("c", SAMPLE.clone)
    assert all(outputs.find("full", name) is None for name in "abc")
    assert outputs.name_of((SAMPLE,), {}) is None
