from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deepcadence.probe import ProfileError
from deepcadence.reports import (
    comparison_info,
    costs_info,
    distance_info,
    figure_style,
    front_info,
    history_info,
    image_pairs_info,
    importance_info,
    plot_comparison,
    plot_costs,
    plot_distance,
    plot_front,
    plot_history,
    plot_image_pairs,
    plot_importance,
    plot_prediction,
    plot_similarity,
    plot_timeline,
    prediction_info,
    similarity_info,
    timeline_info,
    write_figures,
)
from deepcadence.reports._style import CSS_VARIABLES, INK, MUTED
from deepcadence.reports._svg import inline_svg
from tests.reports import records

PLOTS: dict[str, Callable[[Axes | None], Axes]] = {
    "similarity": lambda ax: plot_similarity(similarity_info(records.profile(), 1, records.schedule()), ax=ax),
    "distance": lambda ax: plot_distance(distance_info(records.profile()), ax),
    "front": lambda ax: plot_front(front_info(records.study(), 8), ax),
    "timeline": lambda ax: plot_timeline(timeline_info(records.schedule()), ax),
    "costs": lambda ax: plot_costs(costs_info(records.profile().meta.macs), ax),
    "comparison": lambda ax: plot_comparison(comparison_info(records.held_out()), ax),
    "history": lambda ax: plot_history(history_info(records.study()), ax),
    "importance": lambda ax: plot_importance(importance_info(records.study(extra=records.searched())), ax),
    "prediction": lambda ax: plot_prediction(prediction_info(records.study()), ax),
    "images": lambda ax: plot_image_pairs(image_pairs_info(*records.images()), ax),
}


HEADS = {"svg": b"<?xml", "pdf": b"%PDF-", "png": b"\x89PNG"}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_takes_and_returns_axes(name: str) -> None:
    ax = Figure().add_subplot()
    assert PLOTS[name](ax) is ax
    assert ax.has_data()


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_makes_its_own_axes_and_leaves_the_style_alone(name: str) -> None:
    before = dict(mpl.rcParams)
    ax = PLOTS[name](None)
    assert isinstance(ax.figure, Figure)
    try:
        assert dict(mpl.rcParams) == before
        assert ax.figure.get_size_inches().min() > 0.5
    finally:
        plt.close(ax.figure)


DIRECT: dict[str, Callable[[Axes], Axes]] = {
    "distance": lambda ax: plot_distance(records.profile(), ax),
    "costs": lambda ax: plot_costs(records.profile(), ax),
    "timeline": lambda ax: plot_timeline(records.schedule(), ax),
    "comparison": lambda ax: plot_comparison(records.held_out(), ax),
    "history": lambda ax: plot_history(records.study(), ax),
    "importance": lambda ax: plot_importance(records.study(extra=records.searched()), ax),
    "prediction": lambda ax: plot_prediction(records.study(), ax),
}


def drawn(plot: Callable[[Axes], Axes]) -> str:
    return inline_svg(plot(Figure().add_subplot()).figure, "a", "x")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DIRECT)
def test_a_plot_takes_what_was_measured_as_well(name: str) -> None:
    assert drawn(DIRECT[name]) == drawn(PLOTS[name])


def test_similarity_of_a_profile_and_the_front_of_a_study() -> None:
    profile, study = records.profile(), records.study()
    info = similarity_info(profile, 1)
    assert drawn(lambda ax: plot_similarity(profile, 1, ax)) == drawn(lambda ax: plot_similarity(info, ax=ax))
    assert drawn(lambda ax: plot_front(study, ax)) == drawn(lambda ax: plot_front(front_info(study), ax))
    with pytest.raises(
        ProfileError, match=re.escape("cut: found None, expected one of the profiled cuts [0, 1, 2, 3]")
    ):
        plot_similarity(profile)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="found 1, expected none: the SimilarityInfo is of cut 1"):
        plot_similarity(info, 1)  # type: ignore[call-overload]


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize("given", [True, False])
def test_a_plot_looks_like_ours_in_any_style(name: str, given: bool) -> None:
    with plt.style.context("dark_background"):
        ax = PLOTS[name](plt.subplots()[1] if given else None)
        assert ax.figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
        assert ax.xaxis.label.get_color() == INK
        assert not ax.spines["top"].get_visible()
        assert {label.get_color() for label in ax.get_xticklabels()} <= {MUTED}
    plt.close("all")


def test_each_origin_has_a_marker_of_its_own() -> None:
    ax = PLOTS["front"](Figure().add_subplot())
    shapes = {}
    for collection in ax.collections:
        vertices = np.asarray(collection.get_paths()[0].vertices)
        shapes[collection.get_label()] = tuple(vertices.round(3).ravel())
    names = ["searched (c, p)", "uniform 1:N", "published (c, p)", "fewer steps"]
    assert set(names) <= set(shapes)
    assert len({shapes[name] for name in names}) == len(names)


def test_cuts_differ_by_more_than_color() -> None:
    ax = PLOTS["distance"](Figure().add_subplot())
    lines = ax.get_lines()[: len(records.PARTIAL)]
    assert len({(str(line.get_marker()), str(line.get_linestyle())) for line in lines}) == len(lines)


def test_long_runs_are_drawn_smaller() -> None:
    ax = plot_similarity(records.profile(calls=1000), 0, Figure().add_subplot())
    array = ax.images[0].get_array()
    assert array is not None
    assert array.shape == (250, 250)
    assert list(ax.images[0].get_extent()) == [-0.5, 999.5, 999.5, -0.5]


@pytest.mark.parametrize("label", ["$\\frac{$", "a $x$ b", "<script>alert(1)</script>", "]]> -->"])
def test_labels_are_literal(label: str) -> None:
    figure = Figure()
    plot_comparison(comparison_info(records.held_out(label=label)), figure.add_subplot())
    svg = inline_svg(figure, "one", "test")
    assert "<script" not in svg
    assert label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in svg


def test_svgs_do_not_clash_and_refer_to_themselves_only() -> None:
    first, second = (inline_svg(PLOTS["front"](Figure().add_subplot()).figure, name, "x") for name in ("one", "two"))  # type: ignore[arg-type]
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert all(ids)
    assert not ids[0] & ids[1]
    references = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', first)
    assert references
    assert {one or other for one, other in references} <= ids[0]
    assert not re.search(r'(?:href|src)="(?!#|data:)', first)


def test_an_svg_is_the_same_every_time_and_says_what_it_is() -> None:
    first, second = (inline_svg(PLOTS["similarity"](Figure().add_subplot()).figure, "a", "a <b>") for _ in range(2))  # type: ignore[arg-type]
    assert first == second
    assert 'role="img"' in first
    assert 'aria-label="a &lt;b&gt;"' in first
    assert "<metadata" not in first
    assert "<style" not in first
    with pytest.raises(ValueError, match="prefix"):
        inline_svg(Figure(), 'a"b', "x")


def test_colors_follow_the_page() -> None:
    figure = Figure()
    with figure_style():
        PLOTS["front"](figure.add_subplot())
    svg = inline_svg(figure, "a", "x")
    for name in ("--series-search", "--series-uniform", "--series-published", "--series-fewer", "--ink", "--muted"):
        assert f"var({name}, #" in svg
    for color in CSS_VARIABLES:
        assert not re.search(rf"(?<!, ){color}", svg)


def test_figures_are_files_with_their_data(tmp_path: Path) -> None:
    sources: dict[str, Any] = {"study": records.study(), "schedule": records.schedule()}
    written = write_figures(tmp_path, **sources, formats=("svg", "pdf", "png"))
    names = {"timeline", "front", "history", "prediction", "costs"}
    assert {path.name for path in written} == {f"{name}.{kind}" for name in names for kind in (*HEADS, "csv")}
    for path in written:
        assert path.read_bytes().startswith(HEADS.get(path.suffix[1:], b""))
    rows = list(csv.DictReader((tmp_path / "front.csv").open(newline="")))
    assert [row["label"] for row in rows] == [point.label for point in front_info(records.study()).points]
    assert float(rows[0]["psnr"]) == front_info(records.study()).points[0].quality
    first = (tmp_path / "front.pdf").read_bytes()
    write_figures(tmp_path, **sources, formats=["pdf"])
    assert (tmp_path / "front.pdf").read_bytes() == first


def test_figures_want_a_known_format_and_something_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no figure format 'gif': expected one of svg, pdf, png"):
        write_figures(tmp_path / "new", schedule=records.schedule(), formats=("gif",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nothing to report"):
        write_figures(tmp_path / "new")
    assert not (tmp_path / "new").exists()
