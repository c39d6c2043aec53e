from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
import torch

from deepcadence.probe import ProfileError
from deepcadence.reports import (
    Table,
    comparison_info,
    costs_info,
    distance_info,
    distance_table,
    front_info,
    history_info,
    image_pairs_info,
    importance_info,
    macs_text,
    prediction_info,
    similarity_info,
    timeline_info,
)
from deepcadence.reports.front import PSNR_CAP
from deepcadence.schedules import Schedule, uniform
from deepcadence.search import PSNR_CAP as MEASURED_CAP
from tests.reports import records


def test_similarity_is_the_matrix_of_its_cut_with_the_full_calls() -> None:
    profile, schedule = records.profile(), records.schedule()
    info = similarity_info(profile, 2, schedule)
    np.testing.assert_allclose(info.values, profile.cosine[2].double().numpy())
    assert (info.cut, info.layer, info.num_calls) == (2, "up_blocks.1.resnets.0", records.CALLS)
    assert info.full_calls == schedule.full_calls
    low, high = info.finite_range
    assert 0 < low < high < 1


def test_similarity_refuses_what_is_not_there() -> None:
    profile = records.profile()
    with pytest.raises(ProfileError, match="found 9"):
        similarity_info(profile, 9)
    with pytest.raises(ValueError, match="no metric 'cosin'"):
        similarity_info(profile, 0, metric="cosin")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"schedule has 3 calls and the profile 20.*resample\(20\)"):
        similarity_info(profile, 0, Schedule(calls=("full", 0, 0)))


def test_a_matrix_without_measured_values_has_a_range() -> None:
    profile = records.profile(calls=1)
    assert similarity_info(profile, 0, metric="output_error").finite_range == (0.0, 1.0)


def test_distance_averages_the_diagonals() -> None:
    profile = records.profile()
    info = distance_info(profile)[1]
    assert info.distances == tuple(range(1, 11))
    assert info.mean[2] == pytest.approx(profile.cosine[1].diagonal(3).double().mean().item())
    assert all(low <= mean <= high for low, mean, high in zip(info.low, info.mean, info.high, strict=True))
    assert info.pairs[:2] == (19, 18)


def test_distance_leaves_out_what_was_not_measured() -> None:
    profile = records.profile()
    calls = torch.arange(records.CALLS)
    profile.output_error[:, (calls[None, :] - calls[:, None]) > 4] = math.nan
    assert distance_info(profile, "output_error")[0].distances == (1, 2, 3, 4)


def test_front_holds_every_trial_and_knows_the_front_and_the_choice() -> None:
    equal = records.trial(99, "nonuniform", ("full",) * records.CALLS, PSNR_CAP)
    study = records.study(extra=(equal,))
    info = front_info(study, chosen=8)
    assert len(info.points) == len(study.trials) - 1
    assert info.left_out == 1
    assert {point.number for point in info.front} == {trial.number for trial in study.front()} - {99}
    assert [point.number for point in info.points if point.chosen] == [8]
    assert [point.macs for point in info.points] == sorted(point.macs for point in info.points)
    assert {point.origin for point in info.points} == {"nonuniform", "uniform", "published", "fewer_steps"}


def test_the_cap_is_that_of_the_measurements() -> None:
    assert PSNR_CAP == MEASURED_CAP


def test_timeline_counts_and_says() -> None:
    info = timeline_info(Schedule(calls=("full", 0, 0, "full", 2, "full")))
    assert info.calls == (None, 0, 0, None, 2, None)
    assert info.intervals == (3, 2, 1)
    assert info.sentence == "6 calls: 3 full, 3 partial at cuts 0, 2; a full call every 1 to 3 calls"
    assert timeline_info(Schedule(calls=("full", "full"))).sentence == "2 calls: 2 full, 0 partial"
    short = timeline_info(Schedule(calls=("full", "full", 0)).extrapolated(1, 0.75))
    assert short.feature == "the feature 0.75 of the way along the line through those of the last 2 full calls"
    adaptive = timeline_info(Schedule(calls=("full", 0)).adaptive(0.1))
    assert adaptive.sentence == "2 calls: 1 full, 1 partial at cut 0, or full where the input changed by more than 0.1"


def test_costs_are_shares_of_a_full_call() -> None:
    info = costs_info(records.profile().meta.macs, {0: "up"})
    assert info.full_macs == records.FULL
    assert [row.share for row in info.cuts] == pytest.approx([macs / records.FULL for macs in records.PARTIAL.values()])
    assert [row.layer for row in info.cuts] == ["up", "", "", ""]


@pytest.mark.parametrize(
    ("macs", "text"), [(338.83e9, "338.83"), (1.5e12, "1500.00"), (396.09e6, "0.3961"), (7, "0.0000")]
)
def test_macs_are_in_one_unit(macs: float, text: str) -> None:
    assert macs_text(macs) == text


def test_image_pairs_show_the_worst_first_and_no_sample_twice() -> None:
    full, cached = records.images()
    info = image_pairs_info(full, cached, range(100, 132))
    values = [pair.psnr for pair in info.pairs]
    assert values == sorted(values)
    assert [pair.why for pair in info.pairs] == ["worst"] * 3 + ["median"] * 3 + ["best"] * 2
    assert info.pairs[0].seed == 131
    assert info.pairs[-1].seed == 100
    assert info.pairs[-1].psnr == math.inf
    assert len({pair.seed for pair in info.pairs}) == 8
    error = (full[31, 0] - cached[31, 0]).abs().numpy()
    expected = np.clip(error * info.amplification, 0, 1) * 255
    assert np.abs(info.pairs[0].difference[..., 0].astype(float) - expected).max() <= 1
    assert info.pairs[0].full.shape == (32, 32, 3)


def test_the_worst_is_shown_when_there_is_little_to_show() -> None:
    full, cached = records.images(count=2)
    assert [pair.why for pair in image_pairs_info(full, cached).pairs] == ["worst", "best"]
    assert [pair.why for pair in image_pairs_info(full[:1], cached[:1]).pairs] == ["worst"]
    assert [pair.why for pair in image_pairs_info(full[:1], cached[:1], worst=0, best=1).pairs] == ["best"]


@pytest.mark.parametrize(("size", "factor"), [(0.5, 2), (0.1, 8), (0.001, 32), (1.0, 1)])
def test_differences_are_amplified_but_not_to_white(size: float, factor: int) -> None:
    full = torch.zeros(1, 3, 8, 8)
    assert image_pairs_info(full, full + size).amplification == factor


def test_image_pairs_refuse_what_does_not_fit() -> None:
    full, cached = records.images(count=2)
    with pytest.raises(ValueError, match="found"):
        image_pairs_info(full, cached[:1])
    with pytest.raises(ValueError, match="2 images, but 1 seeds"):
        image_pairs_info(full, cached, [1])
    with pytest.raises(ValueError, match="not finite"):
        image_pairs_info(full, cached * float("nan"))


@pytest.mark.parametrize(("fewer", "outcome"), [(-3.0, "wins"), (2.0, "loses"), (0.0, "undecided")])
def test_the_outcome_follows_the_paired_interval(fewer: float, outcome: str) -> None:
    held_out = records.held_out(fewer=fewer)
    info = comparison_info(held_out)
    assert info.outcome == outcome
    assert info.verdict == held_out.verdict
    assert [row.origin for row in info.rows] == ["nonuniform", "uniform", "fewer_steps"]
    assert info.samples == records.SAMPLES


def test_a_better_uniform_schedule_is_a_loss_too() -> None:
    info = comparison_info(records.held_out(uniform_by=2.0))
    assert info.outcome == "loses"
    assert "use that" in info.verdict


def test_without_rivals_there_is_nothing_to_lose_to() -> None:
    alone = records.held_out().model_copy(update={"uniform": None, "fewer_steps": None})
    info = comparison_info(alone)
    assert (len(info.rows), info.outcome) == (1, None)


def test_the_spread_over_samples_goes_with_the_distance() -> None:
    profile = records.profile()
    profile.cosine_std[1] = torch.arange(20.0)[None, :] / 10  # grows with the second call
    info = distance_info(profile, "cosine")[1]
    assert info.spread[0] == pytest.approx(sum(range(1, 20)) / 19 / 10)
    table = distance_table([info])
    assert table.columns[-2] == "spread_over_samples"
    assert [row[-2] for row in table.rows] == list(info.spread)


def test_history_is_the_growth_of_the_front() -> None:
    study = records.study()
    info = history_info(study)
    assert [point.number for point in info.points] == [t.number for t in study.trials if t.calls is not None]
    shares = [point.share for point in info.points]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert {trial.number for trial in study.front()} - {info.points[0].number} <= {
        point.number for point in info.points if point.improved or point.quality == min(p.quality for p in info.points)
    }
    worse = records.trial(99, "uniform", uniform(20, 2, 2).calls, 20.0)
    assert not history_info(records.study(extra=(worse,))).points[-1].improved


def test_history_of_two_trials_by_hand() -> None:
    one = records.trial(0, "uniform", uniform(20, 2, 0).calls, 20.0)
    two = records.trial(1, "uniform", uniform(20, 2, 2).calls, 30.0)
    three = records.trial(2, "uniform", uniform(20, 4, 0).calls, 25.0)
    study = records.study().model_copy(update={"trials": (one, two, three)})
    saved = [records.FULL - trial.mean_macs for trial in (one, two, three)]
    total = saved[2] * 5 + saved[1] * 5
    assert [p.share for p in history_info(study).points] == pytest.approx([0, saved[1] * 10 / total, 1])


def test_importance_finds_what_matters() -> None:
    info = importance_info(records.study(extra=records.searched()))
    assert info.trials == 36
    assert info.parameters[0].name == "interval"
    assert info.parameters[0].quality > 0.5
    assert sum(each.quality for each in info.parameters) == pytest.approx(1)
    assert sum(each.macs for each in info.parameters) == pytest.approx(1)


def test_importance_of_few_trials_is_unknown() -> None:
    assert importance_info(records.study()).parameters == ()


def test_predictions_stand_next_to_measurements() -> None:
    study = records.study()
    info = prediction_info(study)
    assert [point.number for point in info.points] == [t.number for t in study.trials[1:] if t.calls is not None]
    assert all(point.predicted == pytest.approx(point.measured - 1) for point in info.points)
    assert info.spearman == pytest.approx(1)
    without = prediction_info(study.model_copy(update={"predictor": None}))
    assert (without.points, without.spearman) == ((), None)


def test_every_figure_has_its_data_as_a_table() -> None:
    study, profile = records.study(), records.profile()
    tables = [
        similarity_info(profile, 0).table,
        distance_table(distance_info(profile)),
        front_info(study).table,
        history_info(study).table,
        importance_info(records.study(extra=records.searched())).table,
        prediction_info(study).table,
        comparison_info(records.held_out()).table,
        costs_info(profile.meta.macs).table,
        timeline_info(records.schedule()).table,
        image_pairs_info(*records.images()).table,
    ]
    for table in tables:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert len(table.csv().splitlines()) == 1 + len(table.rows)
    assert len(tables[0].rows) == 20 * 20
    assert tables[0].rows[21][:2] == (1, 1)


def test_csv_starts_no_formula() -> None:
    texts = ("=1+1", "+1", "-1", "@sum", "\t=1", "plain", 'with "quotes", and commas')
    table = Table(("=name",), tuple((text,) for text in texts))
    cells = [row[0] for row in csv.reader(io.StringIO(table.csv()))]
    assert cells == ["'=name", "'=1+1", "'+1", "'-1", "'@sum", "'\t'=1", *texts[5:]]
    numbers = Table(("a", "b", "c", "d"), ((-1.5, None, math.nan, True),))
    assert numbers.csv().splitlines()[1] == "-1.5,,,True"


@pytest.mark.parametrize("unseen", ["", " ", "\u00a0", "\u200b", "\ufeff", "\u3164", "\ufe0f", '"', "'"])
@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\ufe66", "\u2212"])
def test_csv_starts_no_formula_that_is_hidden(unseen: str, sign: str) -> None:
    text = f"{unseen}{sign}1+1"
    given = (text, f"x;{text}", f"x\t{text}", f"x\n{text}", f"x\r\n{text}")
    cells = [row[0] for row in csv.reader(io.StringIO(Table(("a",), tuple((each,) for each in given)).csv()))][1:]
    assert cells == [f"'{text}", f"x;'{text}", f"x\t'{text}", f"x\n'{text}", f"x\r\n'{text}"]
    harmless = ("uniform 1:3 cut 0", "c=14; p=1.3", "a\nb", "5 - 3")
    table = Table(("a",), tuple((each,) for each in harmless))
    assert [row[0] for row in csv.reader(io.StringIO(table.csv()))][1:] == list(harmless)
