"""What stands in for a feature: held, or extrapolated from the last few full calls."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deepcadence.schedules import ReuseInfo, Schedule, ScheduleError, apply, cached, uniform
from deepcadence.schedules.families import family_of
from deepcadence.schedules.reuse import Features, cuts_needed, polynomial_weights
from tests import tiny

STEPS = 9


def schedule(calls: tuple[Any, ...] | None = None, **reuse: Any) -> Schedule:
    return Schedule(calls=calls or uniform(STEPS, 3, 1).calls, reuse=ReuseInfo(**reuse) if reuse else ReuseInfo())


def generate(pipe: Any, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    output = pipe(batch_size=batch, generator=generator, num_inference_steps=STEPS, output_type="np")
    return torch.from_numpy(output.images)


class TestWeights:
    """The polynomial through the last features."""

    @given(st.lists(st.integers(0, 60), min_size=1, max_size=3, unique=True), st.integers(0, 80), st.floats(0, 2))
    def test_they_add_up_to_one(self, known: list[int], call: int, alpha: float) -> None:
        assert sum(polynomial_weights(known, call, alpha)) == pytest.approx(1, abs=1e-9)

    @given(st.lists(st.integers(0, 60), min_size=1, max_size=3, unique=True), st.integers(0, 80))
    def test_a_polynomial_of_that_degree_is_met_exactly(self, known: list[int], call: int) -> None:
        for degree in range(len(known)):
            weights = polynomial_weights(known, call)
            value = sum(weight * at**degree for weight, at in zip(weights, known, strict=True))
            assert value == pytest.approx(call**degree, rel=1e-9, abs=1e-6)

    def test_alpha_is_the_part_of_the_step(self) -> None:
        assert polynomial_weights([6, 3], 8, 1) == pytest.approx((5 / 3, -2 / 3))
        assert polynomial_weights([6, 3], 8, 0.5) == pytest.approx((4 / 3, -1 / 3))
        assert polynomial_weights([6, 3, 0], 8, 0) == (1, 0, 0)


class TestWhatIsKept:
    """One tensor per cut that a later partial call uses, and one more per order."""

    CALLS: tuple[Any, ...] = ("full", 2, "full", 0, 1, "full", 0, 0, "full", "full", 1)

    def test_cuts_needed(self) -> None:
        assert [set(cuts) for cuts in cuts_needed(self.CALLS, 0)] == [
            {2}, set(), {0, 1}, {1}, set(), {0}, {0}, set(), set(), {1}, set(),
        ]  # fmt: skip
        assert set(cuts_needed(self.CALLS, 1)[0]) == {0, 1, 2}
        assert set(cuts_needed(self.CALLS, 1)[5]) == {0}
        assert set(cuts_needed(self.CALLS, 2)[5]) == {0, 1}

    def test_the_longest_schedule_is_looked_through_once(self) -> None:
        needed = cuts_needed(("full", *[3] * 99_998, 4), 1)
        assert [set(needed[at]) for at in (0, -2, -1)] == [{3, 4}, {4}, set()]

    @given(st.lists(st.sampled_from(["full", 0, 1, 2]), max_size=14), st.integers(0, 2))
    def test_what_is_kept_suffices(self, rest: list[Any], order: int) -> None:
        calls = ("full", *rest)
        reuse = ReuseInfo(mode="extrapolate", order=order) if order else ReuseInfo()
        features = Features(reuse, cuts_needed(calls, order))
        full: list[int] = []
        for call, what in enumerate(calls):
            if what == "full":
                features.store(call, {cut: torch.tensor([10.0 * cut + call]) for cut in range(3)})
                full.insert(0, call)
                continue
            known = full[: order + 1]
            assert what in features
            weights = polynomial_weights(known, call)
            expected = sum(w * (10.0 * what + at) for w, at in zip(weights, known, strict=True))
            assert features.stand_in(what, call).item() == pytest.approx(expected, rel=1e-3, abs=1e-3)

    @pytest.mark.parametrize("order", [0, 1, 2])
    def test_bytes_held(self, order: int) -> None:
        pipe = tiny.ddim_pipeline()
        reuse: dict[str, Any] = {"mode": "extrapolate", "order": order} if order else {}
        with cached(pipe, schedule()) as run:
            generate(pipe)
            one = run.stats.bytes_held
        with cached(pipe, schedule(**reuse)) as run:
            generate(pipe)
        assert run.stats.bytes_held == (order + 1) * one
        with cached(pipe, schedule(mode="extrapolate", order=order or 1, alpha=0)) as run:
            generate(pipe)
        assert run.stats.bytes_held == one  # a step of which nothing is taken needs nothing but where it starts

    def test_a_cut_is_not_held_where_no_call_reuses_it(self) -> None:
        pipe = tiny.ddim_pipeline()
        held = []
        for calls in (("full", 0, 0), ("full", 1, 1), ("full", 0, 0, "full", 1, 1), ("full", 0, 1, "full", 1, 1)):
            with cached(pipe, Schedule(calls=calls)) as run:
                pipe(batch_size=1, num_inference_steps=len(calls), output_type="np")
                held.append(run.stats.bytes_held)
        assert held[2] == max(held[0], held[1])
        assert held[3] == held[0] + held[1]


class TestExtrapolate:
    """The mode in a run."""

    @pytest.mark.parametrize(("order", "cut"), list(product([1, 2], [0, 1])))
    def test_alpha_0_is_hold_to_the_bit(self, order: int, cut: int) -> None:
        pipe = tiny.ddim_pipeline()
        calls = uniform(STEPS, 3, cut).calls
        with cached(pipe, schedule(calls)):
            held = generate(pipe)
        with cached(pipe, schedule(calls, mode="extrapolate", order=order, alpha=0)):
            assert torch.equal(generate(pipe), held)
        with cached(pipe, schedule(calls, mode="extrapolate", order=order)):
            assert not torch.equal(generate(pipe), held)

    def test_as_many_as_there_are(self) -> None:
        """With one full call an extrapolation holds, with two a parabola is the line."""
        pipe = tiny.ddim_pipeline()
        one, two = ("full", *[1] * (STEPS - 1)), ("full", 1, 1, "full", *[1] * (STEPS - 4))
        images = []
        for calls, reuse in (
            (one, {}), (one, {"mode": "extrapolate", "order": 2}),
            (two, {"mode": "extrapolate", "order": 1}), (two, {"mode": "extrapolate", "order": 2}),
        ):  # fmt: skip
            with cached(pipe, schedule(calls, **reuse)):
                images.append(generate(pipe))
        assert torch.equal(images[0], images[1])
        assert torch.equal(images[2], images[3])

    @pytest.mark.parametrize("order", [1, 2])
    def test_a_run_by_hand(self, order: int) -> None:
        """The outputs are those of partial calls around the polynomial of what the full calls gave."""
        model = tiny.unet2d()
        views = family_of(model).views(model, [1])
        plan = schedule(mode="extrapolate", order=order, alpha=0.75)
        inputs = [torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(i)) for i in range(STEPS)]
        handle = apply(model, plan)
        found = [model(sample, 500 - 50 * i).sample for i, sample in enumerate(inputs)]
        handle.remove()
        known: list[tuple[int, torch.Tensor]] = []
        for call, (what, sample) in enumerate(zip(plan.calls, inputs, strict=True)):
            if what == "full":
                output, features = views.full(sample, 500 - 50 * call)
                known = [(call, features[1]), *known[:order]]
            else:
                weights = polynomial_weights([at for at, _ in known], call, 0.75)
                feature = torch.stack([w * f for w, (_, f) in zip(weights, known, strict=True)]).sum(0)
                output = views.partial(1, feature, sample, 500 - 50 * call)
            torch.testing.assert_close(found[call], output.sample, rtol=1e-4, atol=1e-5)

    def test_a_change_of_batch_forgets_the_past(self) -> None:
        """After a change, also one that meets a planned full call, nothing older counts."""
        model = tiny.unet2d()
        samples = [torch.randn(b, 3, 16, 16, generator=torch.Generator().manual_seed(b)) for b in (2, 1)]
        handle = apply(model, schedule(("full", 1, "full", 1, "full", 1), mode="extrapolate", order=1))
        for call in range(6):
            model(samples[call >= 2], 500 - call)
        assert not handle.stats.forced
        handle.remove()
        handle = apply(model, schedule(("full", 1, 1, "full", 1, 1), mode="extrapolate", order=1))
        for call in range(6):
            model(samples[call >= 2], 500 - call)
        assert [call for call, _ in handle.stats.forced] == [2]
        handle.remove()


class TestInTheFile:
    """The mode in the JSON."""

    def test_defaults_are_written_out(self, tmp_path: Path) -> None:
        read = Schedule.loads(
            '{"format": "deepcadence/schedule", "version": 1, "calls": ["full"], "reuse": {"mode": "extrapolate"}}'
        )
        assert read.reuse == ReuseInfo(mode="extrapolate", order=1, alpha=1)
        read.save(tmp_path / "schedule.json")
        assert '"order": 1' in (tmp_path / "schedule.json").read_text()
        assert Schedule.load(tmp_path / "schedule.json") == read

    def test_from_a_schedule_that_holds(self) -> None:
        held = uniform(6, 2, 1)
        assert held.extrapolated() == Schedule(calls=held.calls, generator=held.generator, reuse=ReuseInfo(
            mode="extrapolate", order=1, alpha=1
        ))  # fmt: skip
        assert held.extrapolated(2, 0.5).reuse == ReuseInfo(mode="extrapolate", order=2, alpha=0.5)
        with pytest.raises(ScheduleError, match="1 or 2"):
            held.extrapolated(3)

    def test_resampling_keeps_it(self) -> None:
        assert schedule(mode="extrapolate", order=2, alpha=0.5).resample(5).reuse.order == 2

    @pytest.mark.parametrize(
        ("reuse", "place", "found", "expected"),
        [
            ({"mode": "extrapolate", "order": 3}, "reuse.order", "3", "1 or 2"),
            ({"mode": "extrapolate", "order": True}, "reuse.order", "true", "1 or 2"),
            ({"mode": "extrapolate", "order": None}, "reuse.order", "null", "a number"),
            ({"mode": "extrapolate", "alpha": 2.5}, "reuse.alpha", "2.5", "a number from 0 to 2"),
            ({"mode": "extrapolate", "alpha": -1}, "reuse.alpha", "-1", "a number from 0 to 2"),
            ({"mode": "hold", "order": 1}, "reuse.order", "1", 'nothing: it belongs to mode "extrapolate"'),
            ({"alpha": 1}, "reuse.alpha", "1", 'nothing: it belongs to mode "extrapolate"'),
            ({"mode": "adaptive"}, "reuse.threshold", "nothing", "a number"),
            ({"mode": "adaptive", "threshold": None}, "reuse.threshold", "null", "a number"),
            ({"mode": "adaptive", "threshold": -0.1}, "reuse.threshold", "-0.1", "a finite number, 0 or above"),
            ({"mode": "adaptive", "threshold": True}, "reuse.threshold", "true", "a finite number, 0 or above"),
            ({"mode": "adaptive", "threshold": 0.1, "max_hold": 0}, "reuse.max_hold", "0", "a whole number from 1 to"),
            ({"mode": "adaptive", "threshold": 0.1, "order": 1}, "reuse.order", "1", 'belongs to mode "extrapolate"'),
            ({"threshold": 0.1}, "reuse.threshold", "0.1", 'nothing: it belongs to mode "adaptive"'),
            ({"max_hold": 3}, "reuse.max_hold", "3", 'nothing: it belongs to mode "adaptive"'),
        ],
    )
    def test_what_is_wrong_is_said(self, reuse: dict[str, Any], place: str, found: str, expected: str) -> None:
        with pytest.raises(ScheduleError) as caught:
            Schedule(calls=("full", 1), reuse=reuse)
        assert f"{place}: found {found}, expected " in str(caught.value)
        assert expected in str(caught.value)
