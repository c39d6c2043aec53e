from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from deepcadence.probe import Setup
from deepcadence.reports import image_pairs_info, render_report, write_report
from deepcadence.schedules import Quality, Schedule, uniform
from deepcadence.search import FailedTrial
from tests.reports import records

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>"


class Outline(HTMLParser):
    """Tags, ids, headings and external references of a page; complains about a tag that is not closed."""

    void = frozenset({"meta", "link", "img", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.open: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        assert not [name for name in values if name.startswith("on")]
        if values.get("id"):
            self.ids.append(str(values["id"]))
        if tag == "a":
            self.anchors.append(str(values["href"]))
        if tag == "img":
            self.images.append(values)
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def whole() -> dict[str, Any]:
    return {
        "profile": records.profile(),
        "study": records.study(),
        "held_out": records.held_out(),
        "images": image_pairs_info(*records.images()),
        "commands": ["deepcadence probe bundled -o profile.safetensors", "deepcadence report -o report.html"],
    }


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(**whole())


def sections(page: str) -> list[str]:
    return re.findall(r'<section id="([\w-]+)"', page)


def test_the_whole_report(page: str) -> None:
    outline = Outline(page)
    assert sections(page) == [
        "result", "comparison", "schedule", "images", "front", "search", "similarity", "macs", "setup", "repeat",
    ]  # fmt: skip
    assert outline.tags.count("h1") == 1
    assert outline.tags.count("svg") == 4 + 3 + 2 + 2
    assert len(outline.images) == 3 * 8
    assert all(image["alt"] and str(image["src"]).startswith("data:image/png;base64,") for image in outline.images)
    assert len(outline.ids) == len(set(outline.ids))
    assert {anchor.removeprefix("#") for anchor in outline.anchors} <= set(outline.ids)
    assert outline.tags.count("script") == 2  # one of the page's own, one that holds data
    assert page.startswith("<!doctype html>")


def test_only_the_script_of_the_page_may_run(page: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    for word in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "import("):
        assert word not in script, word


def front_data(page: str) -> list[dict[str, Any]]:
    (text,) = re.findall(r'<script type="application/json" id="front-points">(.*?)</script>', page, flags=re.DOTALL)
    return json.loads(text)  # type: ignore[no-any-return]


def test_every_point_carries_its_schedule(page: str) -> None:
    points = front_data(page)
    trials = {trial.number: trial for trial in records.study().trials}
    assert sorted(point["number"] for point in points) == sorted(trials)
    for point in points:
        trial = trials[point["number"]]
        assert 0 < point["left"] < 1
        assert 0 < point["top"] < 1
        assert trial.label == point["label"]
        if trial.calls is None:
            assert (point["json"], "no schedule to load" in point["note"]) == ("", True)
            continue
        schedule = Schedule.loads(point["json"])
        assert schedule.calls == trial.calls
        assert schedule.model is not None
        assert schedule.sampler == records.sampler()
        assert schedule.dumps() == point["json"]
    (chosen,) = (point for point in points if "the chosen schedule" in point["facts"])
    assert Schedule.loads(chosen["json"]) == records.schedule()


def test_of_trials_with_the_same_calls_the_one_that_reuses_alike_is_chosen() -> None:
    line = records.schedule().extrapolated(1)
    held = next(trial for trial in records.trials() if trial.calls == records.schedule().calls)
    update = {"number": 90, "label": "the line", "order": 1, "psnr": held.psnr + 5}
    page = render_report(study=records.study(extra=(held.model_copy(update=update),)), schedule=line)
    (chosen,) = (point for point in front_data(page) if "the chosen schedule" in point["facts"])
    assert chosen["label"] == "the line"


def test_a_long_study_stays_in_the_budget() -> None:
    first = len(records.trials())
    many = tuple(records.trial(n, "nonuniform", uniform(20, 2 + n % 7, n % 3).calls, 15 + n / 200) for n in
                 range(first, first + 1500))  # fmt: skip
    page = render_report(study=records.study(extra=many))
    assert len(page.encode()) < 3_000_000
    points = front_data(page)
    assert len(points) == 1000
    assert f"{first + 1500 - 1000} more trials are left out" in page
    assert all(point["json"] for point in points if "on the front" in point["facts"])
    assert any("keep this page small" in point["note"] for point in points)


def test_it_needs_nothing_else(page: str) -> None:
    addresses = set(re.findall(r'https?://[^\s"\'<)]+', page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in page
    assert "url(http" not in page
    assert len(page.encode()) < 1_000_000


def test_it_says_how_it_was_measured(page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL))
    for words in (
        "Caching schedule for UNet2DModel",
        "20 calls a run · DDIMScheduler · 32 held-out samples · 15 trials",
        "Caching is worth it",
        "10 steps",
        "16 seeds (0 to 15)",
        "32 seeds (100 to 131)",
        "0.3390 GMACs",
        "up_blocks.2.resnets.0",
        "28.0%",
        "deepcadence report -o report.html",
        "num_inference_steps=20",
        "&#34;deepcadence/schedule&#34;",
        "torch",
    ):
        assert words in text, words


def test_it_shows_what_was_typed_and_with_which_versions() -> None:
    def setup(command: str, torch: str) -> Setup:
        return Setup(command=command, versions={"torch": torch}, machine=f"a <CPU> of {torch}")

    profile, study = records.profile(), records.study()
    meta = profile.meta.model_copy(update={"setup": setup("deepcadence probe m", "2.7")})
    profile = dataclasses.replace(profile, meta=meta)
    for version, rows in (("2.7", ["profile, search", "report"]), ("2.8", ["profile", "search", "report"])):
        searched = study.model_copy(update={"setup": setup("deepcadence search m && <b>", version)})
        page = render_report(profile=profile, study=searched, commands=["deepcadence report", "deepcadence probe m"])
        commands = "deepcadence probe m\ndeepcadence search m &amp;&amp; &lt;b&gt;\ndeepcadence report</code>"
        assert commands in page
        assert re.findall(r"<dt>Versions \(([^)]*)\)</dt>", page) == rows
        assert f"<dd>torch {version}</dd>" in page
        assert f"<dd>a &lt;CPU&gt; of {version}</dd>" in page
    page = render_report(profile=records.profile())
    assert re.findall(r"<dt>Versions \(([^)]*)\)</dt>", page) == ["report"]
    assert "made this report" not in page


def test_a_cut_names_what_runs_again_or_what_is_left_out(page: str) -> None:
    assert "A partial call runs again from up_blocks.3.resnets.0." in page
    assert ">Runs again from</th>" in page
    profile = records.profile()
    blocks = profile.meta.model.model_copy(
        update={"cuts": {cut: f"blocks.{1 + cut} to blocks.4" for cut in profile.cuts}}
    )
    meta = profile.meta.model_copy(update={"model": blocks})
    transformer = render_report(profile=dataclasses.replace(profile, meta=meta))
    assert "A partial call leaves out blocks.1 to blocks.4." in transformer
    assert ">Leaves out</th>" in transformer
    assert "uns again from" not in transformer


def test_the_same_input_gives_the_same_bytes(page: str) -> None:
    assert render_report(**whole()) == page


def test_a_loss_is_called_one() -> None:
    page = render_report(held_out=records.held_out(fewer=3.0))
    assert 'class="verdict loses"' in page
    assert "Caching is not worth it here" in page
    assert "better.</p>" in page, "the first sentence is the headline"
    assert "<li>Use fewer steps instead.</li>" in page
    assert 'class="verdict undecided"' in render_report(held_out=records.held_out(fewer=0.0))


def test_sections_adapt() -> None:
    assert sections(render_report(profile=records.profile())) == ["result", "similarity", "macs", "setup"]
    assert sections(render_report(study=records.study())) == ["result", "front", "search", "macs", "setup"]
    assert sections(render_report(schedule=records.schedule())) == ["result", "schedule", "macs", "setup", "repeat"]
    bare = render_report(schedule=Schedule(calls=("full", 0)))
    assert sections(bare) == ["result", "schedule", "setup", "repeat"]
    assert "2 calls: 1 full, 1 partial at cut 0" in bare
    assert "no finished trial" in render_report(study=records.study(found=False))
    for page in (bare, render_report(profile=records.profile(calls=1))):
        Outline(page)
    with pytest.raises(ValueError, match="nothing to report"):
        render_report()


def test_a_schedule_speaks_for_itself() -> None:
    quality = Quality(
        metric="psnr", unit="dB", value=31.25, ci95=(30.9, 31.6), samples=256, seeds="held-out", reference="full"
    )
    page = render_report(schedule=records.schedule().model_copy(update={"quality": (quality,)}))
    assert "31.25 dB" in page
    assert "256 samples" in page
    assert "no comparison with fewer steps" in page


def test_a_schedule_of_another_length_is_not_marked_and_that_is_said() -> None:
    page = render_report(profile=records.profile(), schedule=records.schedule().resample(10))
    assert "The schedule has 10 calls and the profile 20, so it is not marked." in page


@pytest.mark.parametrize("where", ["title", "command", "model", "prompt", "study", "trial", "label"])
def test_text_from_outside_stays_text(where: str) -> None:
    arguments = whole()
    if where == "title":
        arguments["title"] = EVIL
    elif where == "command":
        arguments["commands"] = [EVIL]
    elif where == "model":
        arguments["profile"] = records.profile(name=EVIL)
    elif where == "prompt":
        arguments["profile"] = records.profile(prompts=(EVIL,))
    elif where == "study":
        arguments["study"] = records.study(name=EVIL)
    elif where == "trial":
        evil = records.trial(99, "uniform", uniform(20, 4, 0).calls, 25.0, label=EVIL)
        arguments["study"] = records.study(extra=(evil,))
    else:
        arguments["held_out"] = records.held_out(label=EVIL)
    page = render_report(**arguments)
    assert "&lt;script&gt;" in page
    assert EVIL not in page
    outline = Outline(page)
    assert outline.tags.count("script") == 2
    assert len(outline.images) == 24


def evil(record: Any) -> Any:
    """The record with `EVIL` added to every text that may be any text."""
    data = record.model_dump(mode="json", by_alias=True)

    def changed(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: changed(value) for key, value in node.items()}
        if isinstance(node, list):
            return [changed(value) for value in node]
        return node + EVIL if isinstance(node, str) else node

    for place in [(key,) for key in data] + [
        (key, inner) for key in data if isinstance(data[key], dict) for inner in data[key]
    ]:
        *outer, last = place
        holder = data[outer[0]] if outer else data
        before = holder[last]
        holder[last] = changed(before)
        try:
            type(record).model_validate(data)
        except ValueError:  # a hash, a date, one of a few words
            holder[last] = before
    return type(record).model_validate(data)


def test_every_text_of_every_file_stays_text() -> None:
    profile = records.profile(prompts=("a cat",))
    study = records.study()
    trials = tuple(evil(trial.model_copy(update={"own": trial.psnr})) for trial in study.trials)
    arguments = {
        "profile": dataclasses.replace(profile, meta=evil(profile.meta)),
        "study": evil(
            study.model_copy(update={"trials": trials, "failed": (FailedTrial(number=9, label=EVIL, error=EVIL),)})
        ),
        "held_out": evil(records.held_out()),
        "schedule": evil(records.schedule()),
    }
    assert EVIL in arguments["schedule"].model.class_name
    assert EVIL in arguments["held_out"].chosen.label
    assert EVIL in arguments["profile"].meta.prompts[0]
    page = render_report(**arguments)
    assert EVIL not in page
    outline = Outline(page)
    assert outline.tags.count("script") == 2
    assert outline.images == []


def test_large_images_stay_in_the_budget() -> None:
    full, cached = records.images(count=8, side=384, channels=3)
    noise = (full + 0.3 * full.new_empty(full.shape).uniform_()).clamp(0, 1)
    page = render_report(schedule=records.schedule(), images=image_pairs_info(noise, cached))
    assert len(page.encode()) < 3_000_000
    assert re.search(r"Shown at \d+ of 384 pixels; measured at full size", page)


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    write_report(path, schedule=records.schedule(), title="first")
    first = path.read_text(encoding="utf-8")
    assert "<title>first</title>" in first
    assert '<meta name="generator" content="deepcadence' in first
    with pytest.raises(ValueError, match="nothing to report"):
        write_report(path)
    assert path.read_text(encoding="utf-8") == first
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]
