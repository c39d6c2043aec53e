"""The report as a reader sees it, in a headless Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from deepcadence.reports import image_pairs_info, write_report
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
    assert len(sizes) == 9
    assert min(sizes) > 250


def test_small_text_in_figures_stays_legible(browser: WebDriver, reports: dict[str, Path]) -> None:
    page = Page.open(browser, reports["whole"], 400)
    heights = page.run("return [...document.querySelectorAll('.plot svg text')].map(t => t.getBBox().height && "
                       "parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getBoundingClientRect().width / "
                       "t.ownerSVGElement.viewBox.baseVal.width)")  # fmt: skip
    assert min(heights) > 7.5


def test_scripts_in_the_data_do_not_run(browser: WebDriver, tmp_path: Path) -> None:
    evil = "<script>document.title='hit'</script><img src=x onerror=\"document.title='hit'\">"
    path = tmp_path / "evil.html"
    write_report(
        path,
        profile=records.profile(name=evil, prompts=(evil,)),
        held_out=records.held_out(label=evil),
        title=evil,
        commands=[evil],
    )
    page = Page.open(browser, path, 1280)
    assert page.driver.title == evil
    assert page.run("return document.querySelectorAll('script, body img').length") == 0
    assert page.console() == []
