"""How well the quality of schedules can be predicted from one measurement, by several ways of adding errors up.

    python -m benchmarks.predictor --out reports/results/benchmark-predictor

Random schedules (scattered, jittered, and of the (c, p) family) at several cuts and numbers of full calls are run on
some seeds. The predictors are measured on the first two of these, the fitted ones are fitted on half of the schedules.
Half of the schedules are also run with features extrapolated along a line. Then the fronts of the predictor that
deepcadence uses, held and extrapolated, are run on seeds that nothing was measured on. Prints tables, and with --out
writes them as PATH.md and all figures as PATH.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import nnls
from scipy.stats import spearmanr

from benchmarks.measuring import command_line, environment, markdown_table, write_result
from deepcadence.probe import Effects, Macs, Workload, count_macs, load_pipeline, measure_effects
from deepcadence.probe._called import answering
from deepcadence.probe._rows import to_rows, with_tensor
from deepcadence.probe.effects import AGES, between
from deepcadence.probe.responses import responses
from deepcadence.probe.reuse_errors import ReuseErrors
from deepcadence.schedules import ReuseInfo, Schedule, from_full_calls, nonuniform
from deepcadence.search import Evaluator, Predictor, predicted_front
from deepcadence.search.proposals import CAUTION

Floats = npt.NDArray[np.float64]

PROBED = 2  # seeds, the first
BUDGETS = (0.12, 0.18, 0.24, 0.32, 0.44)  # full calls, as a part of all calls
COLUMNS = {
    "name": ("predictor", "s"),
    "cost": ("cost, plain runs of a sample", ".1f"),
    "test": ("Spearman, test half", ".3f"),
    "all": ("all", ".3f"),
    "unseen": ("all, on the seeds not probed", ".3f"),
    "within": ("within one cut and budget", ".3f"),
    "bias": ("predicted - measured, dB", "+.1f"),
    "spread": ("its spread, dB", ".1f"),
}
LINE_COLUMNS = ("name", "cost", "all", "unseen", "within", "bias", "spread")
FRONT_COLUMNS = {
    "reuse": ("reuse", "s"),
    "speedup": ("MACs, times fewer", ".2f"),
    "full": ("full calls", "d"),
    "predicted": ("predicted PSNR, dB", ".2f"),
    "measured": ("measured, dB", ".2f"),
}


def random_schedules(calls: int, cuts: Sequence[int], count: int, seed: int) -> list[tuple[tuple[int, int], Schedule]]:
    """Schedules with their (cut, budget): each kind at each budget and cut in turn."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        cut = cuts[number % len(cuts)]
        part = number // len(cuts)
        budget = max(2, round(BUDGETS[part % len(BUDGETS)] * calls))
        kind = part // len(BUDGETS) % 3
        if kind == 0:
            full = [0, *generator.choice(np.arange(1, calls), budget - 1, replace=False).tolist()]
        elif kind == 1:
            even = np.linspace(0, calls, budget, endpoint=False)
            moved = np.round(even + generator.normal(0, 0.4 * calls / budget, budget))
            full = sorted({0, *np.clip(moved, 0, calls - 1).astype(int).tolist()})
        else:
            center, power = int(generator.integers(0, calls)), float(generator.uniform(1.05, 2.5))
            full = list(nonuniform(calls, max(2, round(calls / budget)), cut, center, power).full_calls)
        found.append(((cut, budget), from_full_calls(calls, full, cut)))
    return found


class Propagation:
    """An error of each call, and what the image makes of it: with the network, and with the sampler alone."""

    def __init__(self, workload: Workload, cuts: Sequence[int], effects: Effects) -> None:
        self.workload, self.calls, self.samples = workload, effects.num_calls, len(workload.seeds)
        self.recording = ReuseErrors(
            workload.pipeline, cuts, effects.ages, self.samples, range(1, self.calls), dimensions=2**40
        )
        with answering(workload.pipeline, self.recording):
            self.images = workload.run()
        self.places = [(call, sample) for call in range(1, self.calls) for sample in range(self.samples)]
        self.size = self.images[0].numel()

    def pushed(self, errors: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """Changes of the images, (T - 1, samples, size), by these errors of each call."""
        pushes = [(call, sample, errors[call][sample]) for call, sample in self.places]
        found = responses(
            self.workload, self.recording.outputs, self.recording.template, pushes, lambda rows: None
        ).reshape(self.calls - 1, self.samples, -1)
        return found - self.images.flatten(1)

    def frozen(self) -> torch.Tensor:
        """The same, with all other outputs of the network as they were."""
        found = []
        for at in range(1, self.calls):
            count = -1

            def answer(args: Any, kwargs: Any, at: int = at) -> Any:
                nonlocal count
                count += 1
                output = self.recording.outputs[count].clone()
                if count == at:
                    output += to_rows(self.recording.whole[at], output).to(output.dtype)
                return with_tensor(self.recording.template, output)

            with answering(self.workload.pipeline, answer):
                found.append((self.workload.run() - self.images).flatten(1))
        return torch.stack(found)

    def noise(self) -> dict[int, torch.Tensor]:
        """White noise as long as the errors."""
        generator = torch.Generator().manual_seed(0)
        found = {}
        for call, error in self.recording.whole.items():
            noise = torch.randn(error.shape, generator=generator).to(error.device)
            found[call] = noise * error.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
        return found

    def gains(self, changes: torch.Tensor) -> torch.Tensor:
        """(T,): root mean square of the changes per length of the error, the geometric mean over samples."""
        lengths = torch.stack([self.recording.whole[call].norm(dim=1).cpu() for call in range(1, self.calls)])
        each = changes.double().norm(dim=2) / self.size**0.5 / lengths
        return between(dict(enumerate(each.clamp_min(1e-12).log().mean(1).exp().tolist(), 1)), self.calls)

    def vectors(self, effects: Effects, changes: torch.Tensor) -> Effects:
        """Effects whose errors are changes of the image, exact along each call's error and scaled beside it.

        Only where the image has the size of the output.
        """
        errors = torch.stack(self.recording.errors, dim=2)  # (cuts, ages, T, samples, size)
        found = torch.zeros_like(errors)
        for call in range(1, self.calls):
            along, change = self.recording.whole[call].cpu(), changes[call - 1]
            squares = along.square().sum(1)
            part = (errors[:, :, call] * along).sum(-1) / squares
            scale = (change * along).sum(1) / squares
            rest = errors[:, :, call] - part[..., None] * along
            found[:, :, call] = part[..., None] * change + scale[:, None] * rest
        ones = torch.full((self.calls,), self.size**-0.5, dtype=torch.float64)
        return replace(effects, errors=found, gains=ones)


def decibels(mean_squares: Floats) -> Floats:
    """PSNR of (n, samples), the mean over samples."""
    return np.asarray(-10 * np.log10(np.maximum(mean_squares, 1e-12)).mean(axis=1))


def summed(predictor: Predictor, calls: npt.NDArray[np.int64], power: int) -> Floats:
    """The sum of lengths (power 1) or of squared lengths (2) of single effects, as a PSNR."""
    lengths = np.linalg.norm(predictor.table.reshape(len(predictor.table), PROBED, -1), axis=-1).astype(float)
    return decibels((predictor.weights(calls) @ lengths**power) ** (2 / power))


def fitted(squares: Floats, measured: Floats, train: npt.NDArray[np.int64]) -> dict[str, Floats]:
    """Weights per call, fitted to some of the schedules: squares (n, T) of effects, measured PSNR (n,)."""
    loss = 10 ** (-measured / 10)
    ridge = 0.1 * np.eye(squares.shape[1])
    weights, _ = nnls(
        np.vstack([squares[train] / loss[train, None], ridge]),
        np.concatenate([np.ones(len(train)), 0.1 * np.ones(len(ridge))]),
    )
    logs = np.log(squares + 1e-3 * squares.max())
    mean, center = logs[train].mean(axis=0), measured[train].mean()
    inner = (logs - mean)[train]
    slopes = np.linalg.solve(
        inner.T @ inner + len(train) * np.eye(squares.shape[1]), inner.T @ (measured[train] - center)
    )
    return {
        "fitted: weights on squared lengths (NNLS)": decibels(squares @ weights[:, None]),
        "fitted: ridge on log squared lengths": (logs - mean) @ slopes + center,
    }


def by_call(predictor: Predictor, calls: npt.NDArray[np.int64]) -> Floats:
    """Squared lengths of effects, mean over samples: (n, T)."""
    rows = np.square(predictor.table.astype(float)).sum(-1) / PROBED
    weights = predictor.weights(calls).tocoo()
    found = np.zeros(calls.shape)
    np.add.at(found, (weights.row, weights.col % predictor.num_calls), rows[weights.col])
    return found


def correlation(one: Floats, two: Floats) -> float:
    """Spearman's rank correlation."""
    return float(spearmanr(one, two).statistic)


def judged(
    name: str,
    cost: float | None,
    predicted: Floats,
    measured: Floats,
    test: npt.NDArray[np.int64],
    groups: Sequence[Any],
) -> dict[str, Any]:
    """A row of the table; `measured` is (n, seeds)."""
    mean, unseen = measured.mean(axis=1), measured[:, PROBED:].mean(axis=1)
    inside = [
        correlation(predicted[rows], mean[rows])
        for key in dict.fromkeys(groups)
        if len(rows := [n for n, group in enumerate(groups) if group == key]) >= 4 and np.ptp(predicted[rows]) > 0
    ]
    return {
        "name": name,
        "cost": cost,
        "test": correlation(predicted[test], mean[test]),
        "all": correlation(predicted, mean),
        "unseen": correlation(predicted, unseen),
        "within": float(np.mean(inside)) if inside else None,
        "bias": float((predicted - mean).mean()),
        "spread": float((predicted - mean).std()),
    }


def compare(
    workload: Workload, cuts: Sequence[int], macs: Macs, count: int, tell: Callable[[str], None]
) -> tuple[Effects, list[dict[str, Any]]]:
    """The effects, and a row per predictor."""
    probed = workload.replace(seeds=workload.seeds[:PROBED])
    effects = measure_effects(probed, cuts, macs)
    tell(f"effects: {effects.cost:.1f} plain runs of a sample")
    calls = effects.num_calls
    schedules = random_schedules(calls, cuts, count, seed=1)
    evaluator, found = Evaluator(workload, macs=macs), []
    for number, (_, schedule) in enumerate(schedules, 1):
        found.append(evaluator.measure(schedule).psnr.double().numpy())
        if number % 10 == 0:
            tell(f"schedules: {number} of {len(schedules)}")
    measured = np.stack(found)
    groups = [group for group, _ in schedules]
    order = np.random.default_rng(2).permutation(len(schedules))
    train, test = order[: len(order) // 2], order[len(order) // 2 :]

    propagation = Propagation(probed, cuts, effects)
    tell("propagation: recorded")
    real = propagation.pushed(propagation.recording.whole)
    tell("propagation: real errors")
    noise = propagation.gains(propagation.pushed(propagation.noise()))
    frozen = propagation.gains(propagation.frozen())
    tell("propagation: noise, sampler")

    used = Predictor(effects, macs)
    coded = used.encode([schedule.calls for _, schedule in schedules])
    flat = replace(effects, gains=torch.ones(calls, dtype=torch.float64) * 1e-3)
    tried = effects.cost - PROBED * sum(calls - 1 - call for call in pushed_calls(calls)) / calls
    every = tried + PROBED * (calls - 1) / 2
    rows = [
        ("MACs alone", 0.0, 40 * used.price(coded)),
        ("errors alone, squares", tried, summed(Predictor(flat, macs), coded, 2)),
        ("sampler alone, vectors", tried, Predictor(replace(effects, gains=frozen), macs).psnr(coded)),
        ("gains of white noise, vectors", every, Predictor(replace(effects, gains=noise), macs).psnr(coded)),
        ("gains, squared lengths", effects.cost, summed(used, coded, 2)),
        ("gains, lengths", effects.cost, summed(used, coded, 1)),
        *(
            (name, effects.cost, values)
            for name, values in fitted(by_call(used, coded), measured.mean(1), train).items()
        ),
        ("gains at every call, vectors", every, Predictor(with_gains(effects, propagation, real), macs).psnr(coded)),
        ("**gains at nine calls, vectors (used)**", effects.cost, used.psnr(coded)),
    ]
    if effects.errors.shape[-1] and propagation.size == propagation.recording.errors[0].shape[-1]:
        exact = Predictor(propagation.vectors(effects, real), macs).psnr(coded)
        rows.append(("propagated through the run at every call, vectors", every, exact))
    return effects, [judged(name, cost, values, measured, test, groups) for name, cost, values in rows]


def with_gains(effects: Effects, propagation: Propagation, changes: torch.Tensor) -> Effects:
    """The effects with a gain measured at each call."""
    return replace(effects, gains=propagation.gains(changes))


def pushed_calls(calls: int) -> list[int]:
    """The calls that `measure_effects` pushes at by default."""
    return sorted({round(call) for call in torch.linspace(1, calls - 1, 9).tolist()})


LINE = ReuseInfo(mode="extrapolate", order=1)


def extrapolated(
    effects: Effects, workload: Workload, cuts: Sequence[int], macs: Macs, count: int
) -> list[dict[str, Any]]:
    """Rows for features extrapolated along a line."""
    schedules = random_schedules(effects.num_calls, cuts, count, seed=3)
    evaluator = Evaluator(workload, macs=macs)
    found = [evaluator.measure(schedule.model_copy(update={"reuse": LINE})).psnr for _, schedule in schedules]
    measured = torch.stack(found).double().numpy()
    groups, test = [group for group, _ in schedules], np.arange(len(schedules))
    rows = []
    for name, alpha, caution in (
        ("as if held, vectors", 0.0, 0.0),
        ("extrapolated, vectors", 1.0, 0.0),
        ("**extrapolated, vectors, cautious (used)**", 1.0, CAUTION),
    ):
        predictor = Predictor(effects, macs, alpha=alpha, caution=caution)
        values = predictor.psnr(predictor.encode([schedule.calls for _, schedule in schedules]))
        rows.append(judged(name, effects.cost, values, measured, test, groups))
    return rows


def front(predictor: Predictor, workload: Workload, macs: Macs, count: int) -> list[dict[str, Any]]:
    """The predicted front, measured."""
    evaluator = Evaluator(workload, macs=macs)
    reuse = LINE if predictor.alpha else ReuseInfo()
    rows = []
    for point in predicted_front(predictor, count):
        schedule = Schedule(calls=predictor.decode(point.calls), reuse=reuse)
        measured = evaluator.measure(schedule)
        rows.append(
            {
                "reuse": "line" if predictor.alpha else "hold",
                "speedup": measured.speedup,
                "full": len(schedule.full_calls),
                "predicted": point.psnr,
                "measured": float(measured.psnr.double().mean()),
                "calls": list(schedule.calls),
            }
        )
    return rows


def speed(predictor: Predictor) -> dict[str, float]:
    """Seconds for a front of 24, and predictions a second."""
    began = time.perf_counter()
    points = predicted_front(predictor, 24)
    seconds = time.perf_counter() - began
    many = np.tile(np.stack([point.calls for point in points]), (100, 1))
    began = time.perf_counter()
    predictor.psnr(many)
    return {"front_seconds": seconds, "predictions_per_second": len(many) / (time.perf_counter() - began)}


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled", help="bundled, a folder or a hub id; makes images from noise")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--cuts", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--schedules", type=int, default=90, help="random schedules to run")
    parser.add_argument("--seeds", type=int, default=4, help="samples of each, of which two are probed")
    parser.add_argument("--front", type=int, default=12, help="points of the predicted front to run")
    parser.add_argument("--front-seeds", type=int, default=8, help="samples of each, none of them probed")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="write PATH.json and PATH.md")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    pipe = load_pipeline(arguments.model, device=arguments.device)
    workload = Workload(
        pipe, steps=arguments.steps, seeds=tuple(range(arguments.seeds)), batch_size=arguments.batch_size
    )
    height, width = workload.trace().sample_shape[-2:]
    macs = count_macs(pipe, size=(height, width))
    effects, rows = compare(workload, arguments.cuts, macs, arguments.schedules, lambda line: print(line, flush=True))
    predictor = Predictor(effects, macs)
    held_out = tuple(range(arguments.seeds, arguments.seeds + arguments.front_seeds))
    line = extrapolated(effects, workload, arguments.cuts, macs, arguments.schedules // 2)
    other = workload.replace(seeds=held_out)
    points = front(predictor, other, macs, arguments.front)
    points += front(Predictor(effects, macs, alpha=1.0, caution=CAUTION), other, macs, arguments.front)
    agreement = correlation(
        np.array([point["predicted"] for point in points]), np.array([point["measured"] for point in points])
    )
    took = speed(predictor)
    command = command_line("benchmarks.predictor")
    text = (
        f"Model {arguments.model}, {arguments.steps} steps, {arguments.device}. {arguments.schedules} random schedules "
        f"at cuts {', '.join(map(str, arguments.cuts))} with {BUDGETS[0]:.0%} to {BUDGETS[-1]:.0%} full calls; PSNR to "
        f"the uncached run, mean over {arguments.seeds} seeds, {PROBED} of which were probed. Errors were tried at "
        f"ages {', '.join(map(str, AGES))}. The test half is what the fitted predictors were not fitted to.\n\n"
        f"{markdown_table(rows, COLUMNS)}\n"
        f"{arguments.schedules // 2} random schedules with features extrapolated along a line:\n\n"
        f"{markdown_table(line, {key: COLUMNS[key] for key in LINE_COLUMNS})}\n"
        f"The predicted fronts, on {arguments.front_seeds} other seeds (Spearman {agreement:.3f}, n = {len(points)}):"
        "\n\n"
        f"{markdown_table(points, FRONT_COLUMNS)}\n"
        f"A front of 24 schedules took {took['front_seconds']:.1f} s; {took['predictions_per_second']:,.0f} "
        f"predictions a second.\n\nMade with `{command}`.\n"
    )
    print(text)
    if arguments.out is not None:
        result = {
            "command": command,
            "environment": environment("diffusers", "scipy"),
            "options": {key: value for key, value in vars(arguments).items() if key != "out"},
            "rows": rows,
            "extrapolated": line,
            "front": points,
            "front_spearman": agreement,
            **took,
        }
        write_result(arguments.out, result, text)


if __name__ == "__main__":
    main()
