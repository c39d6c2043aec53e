"""Schedules for other caches, and from them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcadence.schedules import (
    ModelInfo,
    SamplerInfo,
    Schedule,
    ScheduleError,
    export_schedule,
    family_of,
    import_schedule,
    uniform,
)
from deepcadence.schedules.families.transformer import blocks_outside, ranges
from tests import tiny

# As they stand in the repositories of SmoothCache (50-N-3-threshold-0.18.json, cut short) and of cache-dit.
SMOOTHCACHE = '{"attn": [1, 0, 0, 0, 1, 0, 1, 1], \n  "mlp": [1, 0, 0, 0, 1, 0, 1, 1]}'
CALIBRATED = '{\n    "attn1": [1,0,1,0,0,1,0,1]\n}\n'
CACHE_DIT: dict[str, Any] = {
    "Fn_compute_blocks": 1,
    "Bn_compute_blocks": 1,
    "residual_diff_threshold": 0.12,
    "steps_computation_mask": [1, 1, 0, 1, 0, 0],
    "steps_computation_policy": "static",
}
MASK = ("full", "full", 0, "full", 0, 0)


def known(layer: str, calls: tuple[Any, ...] = ("full", 1, 1)) -> Schedule:
    return Schedule(calls=calls, model=ModelInfo(class_name="Model", cuts={1: layer}))


def refused(schedule: Schedule, to: Any, sentence: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        export_schedule(schedule, to, source="s.json")
    assert f"s.json: {sentence}" in str(caught.value)


MANY = json.dumps({"steps_computation_mask": [1, 0], "steps_computation_policy": "static", "a" * 9000: 1})


class TestDeepCache:
    """Arguments of `DeepCacheSDHelper.set_params`; tests/schedules/test_deepcache.py runs the package with them."""

    @pytest.mark.parametrize(("calls", "interval", "cut"), [(9, 3, 1), (10, 3, 0), (4, 9, 2), (5, 1, 0)])
    def test_uniform(self, calls: int, interval: int, cut: int) -> None:
        text, lost = export_schedule(uniform(calls, interval, cut), "deepcache")
        expected = {"cache_branch_id": cut, "cache_interval": min(interval, calls), "skip_mode": "uniform"}
        assert json.loads(text) == expected
        assert f"the number of calls, {calls}: it takes any" in lost
        assert any("two layers a block" in each for each in lost)

    def test_the_cut_is_checked_where_the_model_is_named(self) -> None:
        model = tiny.unet2d_condition()
        for cut, layer in family_of(model).cuts(model).items():
            schedule = uniform(4, 2, cut).model_copy(update={"model": ModelInfo(class_name="U", cuts={cut: layer})})
            assert json.loads(export_schedule(schedule, "deepcache").text)["cache_branch_id"] == cut
        refused(
            known("up_blocks.1.resnets.0"), "deepcache", 'model.cuts["1"]: found "up_blocks.1.resnets.0", expected a'
        )
        refused(known("blocks.1 to blocks.4"), "deepcache", 'model.cuts["1"]: found "blocks.1 to blocks.4", expected a')

    def test_what_is_not_uniform_is_refused(self) -> None:
        schedule = Schedule(calls=("full", 0, "full", 0, 0))
        refused(schedule, "deepcache", 'calls[4]: found 0, expected "full": DeepCache has uniform schedules only')


class TestCacheDit:
    """The section `cache_config` of `cache_dit.load_configs`."""

    def test_a_mask_and_the_blocks_that_run(self) -> None:
        text, lost = export_schedule(known("blocks.2 to blocks.4", ("full", 1, "full", 1)), "cache-dit")
        assert json.loads(text) == {
            "cache_config": {
                "Fn_compute_blocks": 2,
                "Bn_compute_blocks": 1,
                "num_inference_steps": 4,
                "steps_computation_mask": [1, 0, 1, 0],
                "steps_computation_policy": "static",
            }
        }
        assert not any(each.startswith("the cut") for each in lost)

    @given(st.integers(0, 40))
    def test_the_blocks_are_those_of_the_cut(self, cut: int) -> None:
        blocks = 2 ** (cut // 2 + 2)
        start, stop = ranges(blocks)[cut]
        assert blocks_outside(cut) == (start, blocks - stop)

    def test_what_it_does_not_cache_is_refused(self) -> None:
        refused(known("up_blocks.1.resnets.1"), "cache-dit", 'model.cuts["1"]: found "up_blocks.1.resnets.1", expected')
        two = "transformer_blocks.1 to single_transformer_blocks.3"
        refused(known(two), "cache-dit", f'model.cuts["1"]: found "{two}", expected blocks of one list')

    @pytest.mark.parametrize("text", ["[10]", "[1 0]", "[1, 0,]", "1,0", "[]", ""])
    def test_what_only_resembles_a_mask_is_refused(self, text: str) -> None:
        with pytest.raises(ScheduleError, match=r"^c\.json: "):
            import_schedule(text, "cache-dit", source="c.json")

    @pytest.mark.parametrize("text", ["110100", " 1 1 0\n100 ", "[1, 1, 0, 1, 0, 0]\n", json.dumps(CACHE_DIT)])
    def test_import(self, text: str) -> None:
        for given_text in (text, text.encode()):
            found, lost = import_schedule(given_text, "cache-dit")
            assert found.calls == MASK
            assert lost == (("residual_diff_threshold",) if "{" in text else ())

    @pytest.mark.parametrize("cut", [0, 1, 5])
    def test_there_and_back(self, cut: int) -> None:
        schedule = Schedule(calls=("full", cut, cut, "full", cut))
        text, _ = export_schedule(schedule, "cache-dit")
        assert import_schedule(text, "cache-dit", cut=cut) == (import_schedule("10010", "cache-dit", cut=cut)[0], ())
        assert import_schedule(text, "cache-dit", cut=cut).schedule.calls == schedule.calls

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"steps_computation_mask": None}, "steps_computation_mask: found nothing, expected a list of 1"),
            (
                {"steps_computation_mask": "medium"},
                'steps_computation_mask: found "medium", the name of a rule of cache-dit, expected a list of 1 and 0, '
                "as cache_dit.steps_mask(mask_policy=..., total_steps=...) makes of the name",
            ),
            ({"steps_computation_mask": [1, 2]}, "steps_computation_mask[1]: found 2, expected 1 (compute) or 0"),
            ({"steps_computation_mask": [0, 1]}, "steps_computation_mask[0]: found 0, expected 1: the first call"),
            ({"steps_computation_policy": "dynamic"}, 'steps_computation_policy: found "dynamic", expected "static"'),
            ({"enable_taylorseer": True}, "enable_taylorseer: found true, expected false"),
            ({"Fn_compute_blocks": 8}, "Fn_compute_blocks: found 8, expected 1, which is what cut 0 runs"),
        ],
    )
    def test_what_a_schedule_cannot_say_is_refused(self, change: dict[str, Any], sentence: str) -> None:
        text = json.dumps({"cache_config": CACHE_DIT | change})
        with pytest.raises(ScheduleError) as caught:
            import_schedule(text, "cache-dit", source="c.json")
        assert f"c.json: cache_config.{sentence}" in str(caught.value)

    def test_the_policy_must_be_said(self) -> None:
        with pytest.raises(ScheduleError, match='steps_computation_policy: found "dynamic"'):
            import_schedule('{"steps_computation_mask": [1, 0]}', "cache-dit")


class TestSmoothCache:
    """The JSON of `DiffuserCacheHelper`."""

    @pytest.mark.parametrize(("text", "mask"), [(SMOOTHCACHE, "10001011"), (CALIBRATED, "10100101")])
    def test_import(self, text: str, mask: str) -> None:
        found, lost = import_schedule(text, "smoothcache", cut=2)
        assert found.calls == tuple("full" if digit == "1" else 2 for digit in mask)
        assert lost[0].startswith("which layers are reused: there attn")

    def test_there_and_back(self) -> None:
        schedule = known("blocks.1 to blocks.4", ("full", 1, "full", 1, 1))
        text, lost = export_schedule(schedule, "smoothcache")
        assert json.loads(text) == {"attn1": [1, 0, 1, 0, 0]}
        assert import_schedule(text, "smoothcache", cut=1).schedule.calls == schedule.calls
        assert lost[0].startswith("the cut, 1: SmoothCache reuses the self-attention of every block")
        expected = (
            'model.cuts["1"]: found "up_blocks.1.resnets.1", expected blocks of a transformer, which SmoothCache caches'
        )
        refused(known("up_blocks.1.resnets.1"), "smoothcache", expected)

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ('{"attn": [1, 0], "mlp": [1, 1]}', "mlp: found another list, expected the list of attn"),
            ("{}", "top level: found an empty object"),
            ('{"attn": [0, 1]}', "attn[0]: found 0, expected 1: the first call"),
            ('{"attn": [1, true]}', "attn[1]: found true, expected 1 (compute) or 0 (reuse)"),
            ('{"attn": 1}', "attn: found 1, expected a list"),
            ("[1, 0]", "top level: found a list"),
        ],
    )
    def test_what_a_schedule_cannot_say_is_refused(self, text: str, sentence: str) -> None:
        with pytest.raises(ScheduleError) as caught:
            import_schedule(text, "smoothcache", source="c.json")
        assert f"c.json: {sentence}" in str(caught.value)


@pytest.mark.parametrize("value", [[1, 0, 2], [0, 1], 3, {"attn": 1}])
def test_names_of_any_length_are_quoted_in_short(value: Any) -> None:
    for text in (json.dumps({"a" * 9000: value}), json.dumps({"b": [1, 0], "a" * 9000: value})):
        with pytest.raises(ScheduleError) as caught:
            import_schedule(text, "smoothcache", source="c.json")
        assert len(str(caught.value)) < 300
    with pytest.raises(ScheduleError) as caught:
        import_schedule(json.dumps({"a" * 9000: [1, 0], "b": [1, 1]}), "smoothcache", source="c.json")
    assert str(caught.value).startswith("c.json: b: found another list, expected the list of aaa")
    assert len(str(caught.value)) < 300
    for text, origin in ((json.dumps({"a" * 9000: [1, 0]}), "smoothcache"), (MANY, "cache-dit")):
        imported: Any = import_schedule(text, origin)  # type: ignore[arg-type]
        assert all(len(each) < 400 for each in imported.lost)


@pytest.mark.parametrize("to", ["deepcache", "cache-dit", "smoothcache"])
def test_what_no_other_cache_can_be_told_is_refused(to: Any) -> None:
    held = uniform(6, 2, 1)
    refused(held.extrapolated(), to, f'reuse.mode: found "extrapolate", expected "hold", all that {to} can be told')
    refused(held.adaptive(0.1), to, 'reuse.mode: found "adaptive", expected "hold"')
    refused(Schedule(calls=("full", 1, 1, 0)), to, "calls[3]: found a second cut, 0, expected one cut")
    heun = SamplerInfo(class_name="HeunDiscreteScheduler", timesteps=(900, 600, 600))
    refused(Schedule(calls=("full", 1, 1), sampler=heun), to, "sampler.timesteps: found a timestep more than once")
    assert any("where the schedule comes from" in each for each in export_schedule(held, to).lost)
    once = SamplerInfo(class_name="DDIMScheduler", timesteps=(900, 600, 300))
    for sampler, warned in ((None, True), (once, False)):
        lost = export_schedule(Schedule(calls=("full", 1, 1), sampler=sampler), to).lost
        assert any("it counts sampling steps" in each for each in lost) == warned
