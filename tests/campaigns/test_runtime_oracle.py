"""The runtime's campaign: a short run finds nothing, and one on a broken runtime does."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from campaigns.runtime_cases import FoundError, same_traces
from campaigns.runtime_oracle import Campaign, drift, grown, parse_arguments, run
from deepcadence.schedules import Handle
from deepcadence.schedules.dispatch import Installation
from deepcadence.schedules.reuse import Features

KINDS = ("DDIM", "SD", "Flux, two sides")


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.mark.filterwarnings("ignore::deepcadence.schedules.ScheduleWarning")
def test_a_short_run_finds_nothing_and_is_gone_on_with(tmp_path: Path) -> None:
    words = ["--threads", "4", "--out", str(tmp_path / "campaign")]
    first = run(parse_arguments([*words, "--count", "16"]), KINDS)
    result = run(parse_arguments([*words, "--count", "32"]), KINDS)
    assert first["findings"] == result["findings"] == []
    assert (first["cases"], result["cases"]) == (16, 32)
    assert result["runs"] > first["runs"] >= 16
    assert len(result["memory"]) == 2
    assert "32 random cases" in (tmp_path / "campaign.md").read_text()


def kept_for_ever(self: Handle, kept: list[Any] = []) -> None:  # noqa: B006
    kept.append(self)
    REMOVE(self)


REMOVE, STAND_IN, STORE = Handle.remove, Features.stand_in, Features.store
BROKEN: dict[str, tuple[type, str, Callable[..., Any], str]] = {
    "another feature": (Features, "stand_in", lambda *args: STAND_IN(*args) * 1.0001, "differs"),
    "all are kept": (Features, "make_room", lambda _: None, "stats.bytes_held"),
    "the module is left as it is": (Installation, "restore", lambda _: None, "is not as found"),
    "handles are kept": (Handle, "remove", kept_for_ever, "alive"),
    "noise is drawn": (Features, "clear", lambda _: torch.rand(1), "random state"),
}


@pytest.mark.filterwarnings("ignore::deepcadence.schedules.ScheduleWarning")
@pytest.mark.parametrize("how", BROKEN)
def test_it_would_notice(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = Campaign(threads=1, seed=0, kinds=["DDIM"])
    assert campaign.block(range(2))[1] == []
    owner, name, broken, said = BROKEN[how]
    monkeypatch.setattr(owner, name, broken)
    _, findings = campaign.block(range(2, 10))
    assert any(said in each["what"] for each in findings)


def test_drift() -> None:
    memory = [{"seconds": 360.0 * index, "rss": (900 if index < 2 else 1000 + index) * 2**20} for index in range(10)]
    assert drift(memory) == pytest.approx({"begin": 1002.5, "end": 1008.5, "slope": 10})
    assert grown(memory) == []
    assert grown([*memory[:6], *({**each, "rss": 2 * each["rss"]} for each in memory[6:])]) != []


@pytest.mark.parametrize("other", [[-0.0, 1.0], [0.0, 1.0 + 2**-23], [0.0]])
def test_equal_means_to_the_bit(other: list[float]) -> None:
    trace = [torch.tensor([0.0, float("nan")]), torch.tensor([0.0, 1.0])]
    same_traces(trace, [each.clone() for each in trace], "clone")
    with pytest.raises(FoundError, match="tensor 1 of 2 differs"):
        same_traces([trace[0], torch.tensor(other)], trace, "changed")
    with pytest.raises(FoundError, match="tensor 0 of 2 differs"):
        same_traces([trace[0].double(), trace[1]], trace, "of another type")
