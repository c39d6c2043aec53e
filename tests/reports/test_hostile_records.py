"""Records of strangers in a report: odd characters, long names, and far more of everything than any model has."""

from __future__ import annotations

import dataclasses
import re
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from deepcadence.probe import Macs, Profile
from deepcadence.reports import costs_info, image_pairs_info, render_report, timeline_info, write_figures
from deepcadence.reports._figures import make_figures
from deepcadence.reports._sources import Sources
from deepcadence.schedules import Schedule
from deepcadence.search import HeldOut, StudyResult
from tests.reports import records

ILLEGAL = "\x00\x0b\x1b\x7f\x9b\ufffe\ud800"


def with_labels(text: str) -> tuple[StudyResult, HeldOut]:
    """A study and a comparison whose labels and metric hold `text`, as they can where no file was read."""
    study, held_out = records.study(extra=records.searched()), records.held_out()
    trials = tuple(trial.model_copy(update={"own": trial.psnr, "label": f"label {text}"}) for trial in study.trials)
    chosen = held_out.chosen.model_copy(update={"label": f"label {text}"})
    return study.model_copy(update={"trials": trials, "metric": f"metric {text}"}), held_out.model_copy(
        update={"chosen": chosen}
    )


def test_what_xml_does_not_allow_is_replaced(tmp_path: Path) -> None:
    study, held_out = with_labels(ILLEGAL)
    page = render_report(study=study, held_out=held_out, title=f"title {ILLEGAL}", commands=[f"line {ILLEGAL}"])
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]", page)
    assert "label \ufffd" in page
    assert "metric \ufffd" in page
    page.encode("utf-8")
    for path in write_figures(tmp_path, study=study.model_copy(update={"metric": "m\x1b\ufffe"})):
        if path.suffix == ".svg":
            ElementTree.fromstring(path.read_text(encoding="utf-8"))


def test_long_names_are_cut() -> None:
    began = time.process_time()
    study, held_out = with_labels("a b" * 100_000)
    page = render_report(study=study, held_out=held_out)
    assert time.process_time() - began < 20
    assert len(page) < 1_000_000


def many_cuts(count: int) -> Profile:
    """A profile of three calls with so many cuts, the last of which is the cheapest."""
    profile = records.profile(calls=3)
    macs = Macs(
        full=records.FULL, partial={cut: 10**7 - cut for cut in range(count)}, counter="exact", sample_shape=(1, 8, 8)
    )
    model = profile.meta.model.model_copy(update={"cuts": dict.fromkeys(range(count), "x")})
    meta = profile.meta.model_copy(update={"cuts": tuple(range(count)), "macs": macs, "model": model})
    matrices = {field.name: getattr(profile, field.name) for field in dataclasses.fields(profile)} | {"meta": meta}
    for name, matrix in matrices.items():
        if name != "meta":
            matrices[name] = matrix[:1].expand(count, -1, -1).contiguous()
    return Profile(**matrices)


def test_of_very_many_cuts_the_cheapest_are_drawn() -> None:
    figures = make_figures(Sources(profile=many_cuts(300)))
    assert [plot.id for plot in figures.heat_maps] == [f"similarity-{cut}" for cut in range(268, 300)]
    assert {row[0] for plot in figures.distances for row in plot.table.rows} == set(range(268, 300))
    assert figures.costs is not None
    assert "The 60 cheapest of 300 cuts are shown." in figures.costs.caption
    assert len(figures.costs.table.rows) == 301
    page = render_report(profile=many_cuts(40))
    assert "Only the 32 cheapest cuts are drawn; 8 more are left out to keep this page small." in page
    assert len(re.findall(r'<figure class="card" id="similarity-\d+"', page)) == 32
    assert "left out to keep" not in render_report(profile=many_cuts(32))


def test_of_very_many_cuts_the_table_of_costs_has_the_first() -> None:
    schedule = records.schedule()
    assert schedule.cost is not None
    partial = {cut: 1000 + cut for cut in range(1200)}
    cost = schedule.cost.model_copy(update={"partial_macs": partial})
    page = render_report(schedule=schedule.model_copy(update={"cost": cost}))
    assert page.count('<th scope="row">cut ') == 1000
    assert "200 more cuts are left out to keep this page small." in page
    assert len(costs_info(many_cuts(61).meta.macs).shown) == 60


@pytest.mark.parametrize(
    ("calls", "most"),
    [(["full", 0] * 50_000, 2_000_000), (["full", *(call % 9_999 for call in range(99_999))], 3_000_000)],
)
def test_a_very_long_schedule_is_drawn_in_blocks(calls: list[Any], most: int) -> None:
    schedule = Schedule(calls=tuple(calls))
    began = time.process_time()
    page = render_report(schedule=schedule)
    assert time.process_time() - began < 20
    assert len(page) < most
    assert "A block stands for 200 calls" in page
    assert ("The 60 cuts that are used most have a row." in page) == (len(schedule.cuts) > 1)
    assert len(timeline_info(schedule).table.rows) == 100_000


def test_a_block_covers_the_calls_that_it_stands_for() -> None:
    calls: list[Any] = ["full", *[0] * 1_499, *[1] * 2]
    figures = make_figures(Sources(schedule=Schedule(calls=tuple(calls))))
    assert figures.timeline is not None
    axes = figures.timeline._axes()
    edges = [(box.x0, box.x1) for box in (patch.get_extents() for patch in axes.patches)]
    shown = [tuple(round(axes.transData.inverted().transform((x, 0))[0], 3) for x in each) for each in edges]
    whole = (-0.5, 1501.5)  # the row itself; a block stands for 4 calls: 1,502 in 376
    assert shown == [whole, (-0.5, 1499.5), whole, (1499.5, 1501.5), whole, (-0.5, 3.5)]
    exact = make_figures(Sources(schedule=Schedule(calls=("full", 0, 0)))).timeline
    assert exact is not None
    assert "A block stands for" not in exact.caption
    assert len(exact._axes().patches) == 2 + 3


def test_more_full_calls_than_can_be_seen_are_not_marked() -> None:
    profile = records.profile(calls=300)
    page = render_report(profile=profile, schedule=Schedule(calls=("full",) * 300))
    assert "The schedule has 300 full calls, too many to mark." in page
    assert "Dots mark the schedule" in render_report(profile=profile, schedule=Schedule(calls=("full", *[0] * 299)))


def test_pairs_of_bytes_are_those_of_floats() -> None:
    full, cached = ((images * 255).round() for images in records.images())
    floats = image_pairs_info(full / 255, cached / 255)
    found = image_pairs_info(full.byte(), cached.byte())
    assert found.amplification == floats.amplification
    for one, other in zip(found.pairs, floats.pairs, strict=True):
        assert (one.seed, one.why) == (other.seed, other.why)
        assert one.psnr == pytest.approx(other.psnr)
        for name in ("full", "cached", "difference"):
            assert (getattr(one, name) == getattr(other, name)).all()
