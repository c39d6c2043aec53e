from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcadence.probe import Effects, Macs
from deepcadence.schedules import nonuniform
from deepcadence.search.predicted_front import best_within, mixed, paths, predicted_front
from deepcadence.search.predictor import FULL, Calls, Predictor

CALLS = 9
MACS = Macs(full=100, partial={0: 10, 2: 40}, counter="exact", sample_shape=(1, 4, 4))


def effects(seed: int = 0, calls: int = CALLS, ages: tuple[int, ...] = (1, 2, 4)) -> Effects:
    """Errors that grow with age, point much the same way, and are smaller at the inner cut."""
    generator = torch.Generator().manual_seed(seed)
    age = torch.tensor(ages, dtype=torch.float32)[None, :, None, None, None]
    errors = (1 + 0.5 * torch.randn(2, len(ages), calls, 2, 6, generator=generator)) * age
    errors[1] /= 3
    for place, each in enumerate(ages):
        errors[:, place, :each] = 0
    gains = torch.rand(calls, generator=generator, dtype=torch.float64) * 1e-2
    gains[0] = 0
    return Effects(errors, gains, (0, 2), ages, (0, 1), 1.0)


def by_hand(found: Effects, calls: list[int], alpha: float) -> list[float]:
    """The mean squared change of each sample, call by call; ages 1 to 4 are all measured."""
    total, full = torch.zeros(2, 6), []
    for call, did in enumerate(calls):
        if did == FULL:
            full.append(call)
            continue

        def error(source: int, call: int = call, did: int = did) -> torch.Tensor:
            return found.errors[did, found.ages.index(call - source), call]

        held = error(full[-1])
        if alpha and len(full) > 1:
            slope = alpha * (call - full[-1]) / (full[-1] - full[-2])
            held = held + slope * (held - error(full[-2]))
        total += held * found.gains[call]
    return total.square().sum(1).tolist()


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_errors_are_summed_as_vectors(alpha: float) -> None:
    found = effects(ages=tuple(range(1, CALLS)))
    predictor = Predictor(found, MACS, alpha=alpha)
    schedules = [[FULL, 0, FULL, 1, 1, FULL, 0, 1, 0], [FULL, FULL, 0, 0, 0, 0, 0, 0, 1], [FULL] * CALLS]
    changes = predictor.change(np.array(schedules))
    for calls, change in zip(schedules, changes, strict=True):
        assert change.tolist() == pytest.approx(by_hand(found, calls, alpha), rel=1e-4)
    assert predictor.psnr(np.array(schedules))[2] == 100
    expected = -10 * np.log10(changes[:2]).mean(axis=1)
    assert predictor.psnr(np.array(schedules))[:2] == pytest.approx(expected)


def test_ages_between_and_beyond_those_measured() -> None:
    found = effects()
    predictor = Predictor(found, MACS)
    gain = float(found.gains[8])

    def change(age: int) -> float:
        calls = np.full((1, CALLS), FULL)
        calls[0, 9 - age :] = 0
        return float(predictor.change(calls)[0, 0])

    def alone(age: float) -> torch.Tensor:
        places = {1: 0, 2: 1, 4: 2}
        low, high = (2, 4) if age > 2 else (1, 2)
        part = (age - low) / (high - low)
        return found.errors[0, places[low], 8, 0] * (1 - part) + found.errors[0, places[high], 8, 0] * part

    table = predictor.table.reshape(2, CALLS - 1, CALLS, 2, 6)
    for age in (1, 2, 3, 4, 5, 8):
        assert table[0, age - 1, 8, 0].tolist() == pytest.approx((alone(age) * gain).tolist(), rel=1e-4, abs=1e-7)
    assert change(1) > 0


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_norms_are_the_lengths_of_single_effects(alpha: float) -> None:
    predictor = Predictor(effects(), MACS, alpha=alpha)
    norms = predictor.norms()
    assert norms.shape == (2, CALLS if alpha else 1, CALLS, CALLS)
    assert np.isinf(norms[:, :, 4, :5]).all()
    for earlier, first, call in ((0, 2, 3), (1, 5, 8), (0, 0, 4)):
        calls = np.full((1, CALLS), FULL)
        calls[0, 1:call] = 0
        calls[0, [earlier, first]] = FULL
        calls[0, call] = 1
        silent = predictor.change(np.where(np.arange(CALLS) == call, FULL, calls))  # all but the call in question
        only = _difference(predictor, calls, call)
        assert norms[1, earlier if alpha else 0, first, call] == pytest.approx(only, rel=1e-4)
        assert (silent >= 0).all()


def _difference(predictor: Predictor, calls: Calls, call: int) -> float:
    with_it = np.asarray(predictor.weights(calls) @ predictor.table)
    rows = predictor.weights(calls).tocoo()
    keep = rows.col % CALLS == call
    total = (rows.data[keep, None] * predictor.table[rows.col[keep]]).sum(0)
    assert with_it.shape == (1, len(total))
    return float(np.sqrt(np.square(total).sum() / 2))


def test_codes_are_read_and_written() -> None:
    predictor = Predictor(effects(), MACS)
    calls = nonuniform(CALLS, 3, 2, 4, 1.3).calls
    coded = predictor.encode([calls])
    assert predictor.decode(coded[0]) == list(calls)
    assert predictor.price(coded)[0] == pytest.approx(sum(1 if c == "full" else 0.4 for c in calls) / CALLS)


@settings(max_examples=5)
@given(seed=st.integers(0, 1000))
def test_the_front_is_close_to_the_best_of_all_schedules(seed: int) -> None:
    """Brute force over all 2187 schedules of 8 calls at two cuts."""
    calls = 8
    predictor = Predictor(effects(seed, calls), MACS)
    grid = np.stack(np.meshgrid(*[[FULL, 0, 1]] * (calls - 1), indexing="ij"), axis=-1).reshape(-1, calls - 1)
    everything = np.concatenate([np.full((len(grid), 1), FULL), grid], axis=1)
    prices, values = predictor.price(everything), predictor.psnr(everything)
    front = predicted_front(predictor, 50)
    assert len(front) > 5
    assert [point.price for point in front] == sorted(point.price for point in front)
    lost = []
    for point in front:
        best = values[prices <= point.price + 1e-9].max()
        assert point.psnr <= best + 1e-6
        lost.append(best - point.psnr)
    assert np.median(lost) < 0.5


@settings(max_examples=5)
@given(seed=st.integers(0, 1000), speedup=st.sampled_from([1.3, 1.5, 1.8]))
def test_what_is_best_within_a_target_is_close_to_the_best_of_all(seed: int, speedup: float) -> None:
    """Brute force over all 2187 schedules of 8 calls at two cuts."""
    calls = 8
    predictor = Predictor(effects(seed, calls), MACS)
    grid = np.stack(np.meshgrid(*[[FULL, 0, 1]] * (calls - 1), indexing="ij"), axis=-1).reshape(-1, calls - 1)
    everything = np.concatenate([np.full((len(grid), 1), FULL), grid], axis=1)
    values = predictor.psnr(everything)[predictor.price(everything) * speedup <= 1]
    starts = paths(predictor)
    found = best_within(predictor, speedup, starts, everything[::97])
    assert 1 <= len(found) <= 12
    assert [point.psnr for point in found] == sorted((point.psnr for point in found), reverse=True)
    assert all(point.price * speedup <= 1 for point in found)
    assert found[0].psnr >= predictor.psnr(starts)[predictor.price(starts) * speedup <= 1].max()
    assert values.max() - found[0].psnr < 1.5


def test_nothing_is_best_within_what_cannot_be_reached() -> None:
    predictor = Predictor(effects(3, 8), MACS)
    assert best_within(predictor, 50.0, paths(predictor)) == []


@pytest.mark.parametrize("speedup", [1.5, 2.0, 2.9])
def test_what_is_best_within_a_target_takes_what_it_allows(speedup: float) -> None:
    """To one call of a run of 30."""
    predictor = Predictor(effects(3, 30), MACS)
    found = best_within(predictor, speedup, paths(predictor))
    assert max(point.price for point in found) > 1 / speedup - 0.03
    assert len(predicted_front(predictor, 2)) <= 2


@pytest.mark.parametrize("caution", [0.0, 0.1])
def test_caution_counts_the_features_of_an_extrapolation_one_by_one(caution: float) -> None:
    found = effects(ages=tuple(range(1, CALLS)))
    predictor = Predictor(found, MACS, alpha=0.7, caution=caution)
    schedule = [FULL, 0, FULL, 1, 1, FULL, 0, 1, 0]
    alone, slopes = torch.zeros(2), 0.0
    for call, did, sources in (
        (1, 0, (0, 0)),
        (3, 1, (2, 0)),
        (4, 1, (2, 0)),
        (6, 0, (5, 2)),
        (7, 1, (5, 2)),
        (8, 0, (5, 2)),
    ):
        first, earlier = sources
        slope = 0.7 * (call - first) / (first - earlier) if first > earlier else 0.0
        for source, weight in ((first, 1 + slope), (earlier, -slope)):
            error = found.errors[did, found.ages.index(call - source), call] * found.gains[call]
            alone += (weight * error).square().sum(1)
        slopes += slope**2
    summed = torch.tensor(by_hand(found, schedule, 0.7))
    expected = (summed + caution * alone) * np.exp(0.4 * caution * slopes)
    assert predictor.change(np.array([schedule]))[0].tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    assert predictor.cautious(0.0).change(np.array([schedule]))[0].tolist() == pytest.approx(summed.tolist(), rel=1e-4)


def test_features_that_are_held_ask_for_no_caution() -> None:
    held, cautious = Predictor(effects(), MACS), Predictor(effects(), MACS, caution=0.1)
    schedule = np.array([[FULL, 0, 0, FULL, 1, 1, 0, FULL, 0]])
    assert held.change(schedule).tolist() == cautious.change(schedule).tolist()


def test_paths_are_the_best_for_the_sum_of_lengths_at_one_cut() -> None:
    predictor = Predictor(effects(3, 7), MACS)
    norms = predictor.norms()[:, 0]

    def length(calls: Calls) -> float:
        last, total = 0, 0.0
        for call, did in enumerate(calls):
            last = call if did == FULL else last
            total += 0.0 if did == FULL else norms[did, last, call]
        return total

    grid = np.stack(np.meshgrid(*[[FULL, 0]] * 6, indexing="ij"), axis=-1).reshape(-1, 6)
    for count in range(1, 8):
        all_of_them = [np.array([FULL, *rest]) for rest in grid if (rest == FULL).sum() == count - 1]
        best = min(length(calls) for calls in all_of_them)
        mine = [each for each in paths(predictor) if (each == FULL).sum() == count and not (each == 1).any()]
        assert min(length(calls) for calls in mine) == pytest.approx(best)


@pytest.mark.parametrize("reach", [1, 6], ids=["held", "extrapolated"])
def test_mixed_cuts_are_the_best_of_all_schedules(reach: int) -> None:
    calls = 6
    losses = np.random.default_rng(reach).exponential(size=(2, reach, calls, calls))

    def loss(schedule: Calls) -> float:
        full, total = [], 0.0
        for call, did in enumerate(schedule):
            if did == FULL:
                full.append(call)
            else:
                earlier = 0 if reach == 1 else full[-2] if len(full) > 1 else full[-1]
                total += losses[did, earlier, full[-1], call]
        return total

    grid = np.stack(np.meshgrid(*[[FULL, 0, 1]] * (calls - 1), indexing="ij"), axis=-1).reshape(-1, calls - 1)
    for count, found in enumerate(mixed(losses), 1):
        every = [np.array([FULL, *rest]) for rest in grid if (rest == FULL).sum() == count - 1]
        assert (found == FULL).sum() == count
        assert loss(found) == pytest.approx(min(map(loss, every)))
