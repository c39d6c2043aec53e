"""The report as a reader sees it, in a headless Chromium."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from deepcadence.reports import front_info, image_pairs_info, write_report
from deepcadence.schedules import Schedule, uniform
from tests.reports import records
from tests.reports.pages import Page

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

LONG = "an-unusually-long-name-without-any-place-to-break-it-" * 4

CONTRAST = """
const lum = c => { const v = c.map(x => { x /= 255; return x <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4; });
                   return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
const rgb = s => s.match(/[\\d.]+/g).map(Number);
const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
                      if (c.length === 3 || c[3] === 1) return c.slice(0, 3); } return [255, 255, 255]; };
const poor = [];
for (const e of document.querySelectorAll('main *, header *')) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!own || e.tagName === 'STYLE') continue;
  const style = getComputedStyle(e), svg = e instanceof SVGElement;
  const a = lum(rgb(svg ? style.fill : style.color).slice(0, 3)), b = lum(behind(e));
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (ratio < 4.5) poor.push(e.textContent.trim().slice(0, 40) + ' ' + ratio.toFixed(2));
}
return poor;
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    profile, study, held_out = records.profile(prompts=(LONG,)), records.study(), records.held_out()
    images = image_pairs_info(*records.images())
    paths = {name: folder / f"{name}.html" for name in ("whole", "long", "profile", "study")}
    write_report(paths["whole"], profile=profile, study=study, held_out=held_out, images=images, commands=["a"])
    write_report(
        paths["long"],
        profile=records.profile(name=LONG, prompts=(LONG,)),
        study=records.study(name=LONG),
        held_out=records.held_out(label=LONG, fewer=3),
        title=LONG,
        commands=[LONG],
    )
    write_report(paths["profile"], profile=profile)
    write_report(paths["study"], study=study)
    return paths


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", ["whole", "long", "profile", "study"])
def test_quiet_alone_and_no_wider_than_the_window(
    browser: WebDriver, reports: dict[str, Path], name: str, width: int
) -> None:
    page = Page.open(browser, reports[name], width)
    page.run("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert page.console() == []
    assert page.requests() == [reports[name].as_uri()]
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run("return document.body.scrollHeight") > 800


def test_a_page_that_is_not_quiet_is_found_out(browser: WebDriver, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text("<body style='width:2000px'><img src='missing.png'><script>console.error('no')</script>")
    page = Page.open(browser, path, 400)
    assert any("no" in message for message in page.console())
    assert len(page.requests()) == 2
    assert page.run("return document.documentElement.scrollWidth") > 400


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(browser: WebDriver, reports: dict[str, Path], scheme: Literal["light", "dark"]) -> None:
    page = Page.open(browser, reports["whole"], 1280, scheme)
    dark = page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(15, 18, 22)"
    assert dark == (scheme == "dark")
    assert page.run(CONTRAST) == []


def test_every_picture_is_there(browser: WebDriver, reports: dict[str, Path]) -> None:
    page = Page.open(browser, reports["whole"], 400)
    assert page.run("return [...document.images].every(i => i.complete && i.naturalWidth === 32)")
    assert page.run("return getComputedStyle(document.images[0]).imageRendering") == "pixelated"
    sizes = page.run("return [...document.querySelectorAll('.plot svg')].map(s => s.getBoundingClientRect().width)")
    assert len(sizes) == 11
    assert min(sizes) > 250


def test_small_text_in_figures_stays_legible(browser: WebDriver, reports: dict[str, Path]) -> None:
    page = Page.open(browser, reports["whole"], 400)
    heights = page.run("return [...document.querySelectorAll('.plot svg text')].map(t => t.getBBox().height && "
                       "parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getBoundingClientRect().width / "
                       "t.ownerSVGElement.viewBox.baseVal.width)")  # fmt: skip
    assert min(heights) > 8


def test_scripts_in_the_data_do_not_run(browser: WebDriver, tmp_path: Path) -> None:
    evil = "</script><script>document.title='hit'</script><img src=x onerror=\"document.title='hit'\">"
    path = tmp_path / "evil.html"
    trial = records.trial(99, "uniform", uniform(records.CALLS, 4, 0).calls, 45.0, label=evil)
    write_report(
        path,
        profile=records.profile(name=evil, prompts=(evil,)),
        study=records.study(extra=(trial,)),
        held_out=records.held_out(label=evil),
        title=evil,
        commands=[evil],
    )
    page = Page.open(browser, path, 1280)
    page.click(*point_at(page, 99))
    assert page.run("return document.querySelector('#front-panel .name').textContent") == evil
    assert page.run("return document.querySelector('.tip strong').textContent") == evil
    assert page.driver.title == evil
    assert page.run("return document.querySelectorAll('script').length") == 2
    assert page.run("return document.querySelectorAll('body img').length") == 0
    assert page.console() == []


def test_no_other_script_runs(browser: WebDriver, reports: dict[str, Path]) -> None:
    page = Page.open(browser, reports["study"], 1280)
    page.run("document.body.append(Object.assign(document.createElement('script'), {textContent: 'hit = 1'}))")
    assert page.run("return typeof hit") == "undefined"
    assert any("Content Security Policy" in message for message in page.console())


# ---- the script: tables and points

COLUMN = "return [...document.querySelectorAll('#macs tbody tr')].map(r => r.cells[1].textContent)"


def test_a_table_sorts_by_click_and_by_key(browser: WebDriver, reports: dict[str, Path]) -> None:
    page = Page.open(browser, reports["whole"], 1280)
    cheap_first = ["0.0500", "0.0950", "0.1690", "0.2600", "0.3390"]
    heading = "document.querySelectorAll('#macs thead th')[1]"
    assert page.run(COLUMN) == ["0.3390", *cheap_first[:-1]]
    page.run(f"{heading}.querySelector('button').click()")
    assert page.run(COLUMN) == cheap_first
    assert page.run(f"return {heading}.ariaSort") == "ascending"
    page.run(f"{heading}.querySelector('button').focus()")
    page.press("Enter")
    assert page.run(COLUMN) == cheap_first[::-1]
    assert page.run(f"return {heading}.ariaSort") == "descending"
    assert page.run("return document.querySelectorAll('#macs [aria-sort]').length") == 1


def test_what_has_no_value_is_sorted_last(browser: WebDriver, reports: dict[str, Path]) -> None:
    page = Page.open(browser, reports["whole"], 1280)
    last = "const r = document.querySelectorAll('#comparison tbody tr'); return r[r.length - 1].className"
    for _ in range(2):
        page.run("document.querySelectorAll('#comparison thead button')[6].click()")
        assert page.run(last) == "chosen"


def point_at(page: Page, number: int) -> tuple[float, float]:
    """Where the point of a trial is in the window, scrolled into view."""
    x, y = page.run(
        "document.querySelector('#front-plot').scrollIntoView({behavior: 'instant', block: 'center'});"
        "const p = JSON.parse(document.getElementById('front-points').textContent);"
        f"const i = p.findIndex(q => q.number === {number});"
        "const b = document.querySelectorAll('.point')[i].getBoundingClientRect();"
        "return [b.x + b.width / 2, b.y + b.height / 2]"
    )
    return x, y


@pytest.mark.parametrize("width", [1280, 400])
def test_points_lie_on_their_markers(browser: WebDriver, reports: dict[str, Path], width: int) -> None:
    page = Page.open(browser, reports["whole"], width)
    away = page.run("""
        const center = e => { const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; };
        const markers = [...document.querySelectorAll('#front-plot [id*=PathCollection] use')].map(center);
        return [...document.querySelectorAll('.point')].map(center).map(
            ([x, y]) => Math.min(...markers.map(([a, b]) => Math.hypot(x - a, y - b))));
    """)
    assert len(away) == len(records.trials())
    assert max(away) < 2


@pytest.mark.parametrize("width", [1280, 400])
def test_a_click_on_a_point_gives_a_schedule_that_loads(
    browser: WebDriver, reports: dict[str, Path], width: int, tmp_path: Path
) -> None:
    page = Page.open(browser, reports["whole"], width)
    page.downloads(tmp_path)
    points = {point.number: point for point in front_info(records.study()).points}
    number = next(n for n, point in points.items() if point.on_front)
    place = point_at(page, number)
    page.move(*place)
    tip = page.run("const t = document.querySelector('.tip'); return t.hidden ? '' : t.innerText")
    assert points[number].label in tip
    assert "on the front" in tip
    page.click(*place)
    expected = points[number].schedule
    assert expected is not None
    text = page.run("return document.querySelector('#front-panel .json').textContent")
    assert Schedule.loads(text) == expected
    assert page.run("return document.documentElement.scrollWidth") <= width
    page.run("document.querySelector('#front-panel .save').click()")
    assert Schedule.load(page.downloaded(tmp_path / f"schedule-trial-{number}.json")) == expected
    page.run("document.querySelector('#front-panel .copy').click()")
    assert page.wait("return document.querySelector('#front-panel .state').textContent.match(/^(Copied|Selected)/)")
    assert page.console() == []


def test_points_by_keyboard(browser: WebDriver, reports: dict[str, Path]) -> None:
    page = Page.open(browser, reports["whole"], 1280)
    assert page.run("return document.querySelectorAll('.point[tabindex=\"0\"]').length") == 1
    page.run("document.querySelector('.point[tabindex=\"0\"]').focus()")
    page.press("End")
    page.press("ArrowLeft")
    points = sorted(front_info(records.study()).points, key=lambda point: (point.macs, point.number))
    assert page.run("return document.activeElement.ariaLabel").startswith(points[-2].label)
    assert points[-2].label in page.run("return document.querySelector('.tip').innerText")
    page.press("Enter")
    assert page.run("return document.activeElement.id") == "front-panel"
    assert page.run("return document.querySelector('#front-panel .name').textContent") == points[-2].label
    page.run("document.querySelector('#front-panel .close').click()")
    assert page.run("return document.activeElement.ariaLabel").startswith(points[-2].label)


def test_fewer_steps_have_no_schedule_to_give(browser: WebDriver, reports: dict[str, Path]) -> None:
    page = Page.open(browser, reports["whole"], 1280)
    page.click(*point_at(page, next(trial.number for trial in records.trials() if trial.calls is None)))
    assert "no schedule" in page.run("return document.querySelector('#front-panel .why').innerText")
    assert page.run("return document.querySelector('#front-panel .save').offsetParent") is None


def test_the_page_reads_the_same_without_its_script(browser: WebDriver, reports: dict[str, Path]) -> None:
    page = Page.open(browser, reports["whole"], 400, scripts=False)
    assert page.run("return document.querySelectorAll('.sort, .point').length") == 0
    assert page.run("return document.querySelector('#front-panel').offsetParent") is None
    assert page.run("return document.querySelector('.js-only').offsetParent") is None
    assert page.run("return document.querySelectorAll('#front tbody tr').length") == len(records.trials())
    assert page.run("return document.documentElement.scrollWidth") <= 400


# ---- on paper

PAPER = 688  # CSS pixels between the margins of an A4 sheet


@pytest.mark.parametrize("name", ["whole", "long"])
def test_on_paper(browser: WebDriver, reports: dict[str, Path], name: str) -> None:
    page = Page.open(browser, reports[name], PAPER, "dark")
    page.run("document.querySelectorAll('#front-plot .point')[0]?.click()")
    page.media("print")
    assert page.run("return document.documentElement.scrollWidth") <= PAPER
    assert page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run(CONTRAST) == []
    for gone in ("nav", "#front-panel", ".points", ".js-only"):
        assert page.run(f"return document.querySelector('{gone}').offsetParent") is None, gone
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF-")
    assert 3 <= len(re.findall(rb"/Type /Page\b", pdf)) <= 16
