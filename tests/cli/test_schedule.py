from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from deepcadence.schedules import Schedule, nonuniform, preset, presets, uniform
from tests.cli.conftest import Invoke


def test_new_uniform(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("schedule", "new", "--calls", 10, "--interval", 5, "--cut", 1, "-o", "s.json")
    assert result.exit_code == 0, result.stderr
    assert Schedule.load(tmp_path / "s.json") == uniform(10, 5, 1)
    assert "wrote s.json: 10 calls: 2 full, 8 partial at cut 1" in result.stderr


def test_branch_is_another_name_for_cut(invoke: Invoke, tmp_path: Path) -> None:
    assert invoke("schedule", "new", "--calls", 10, "--interval", 5, "--branch", 3, "-o", "s.json").exit_code == 0
    assert Schedule.load(tmp_path / "s.json").cuts == (3,)


@pytest.mark.parametrize("formula", ["paper", "released"])
def test_new_nonuniform(invoke: Invoke, tmp_path: Path, formula: str) -> None:
    options = ("--interval", 5, "--center", 15, "--power", 1.4, "--formula", formula)
    assert invoke("schedule", "new", *options, "-o", "s.json").exit_code == 0
    assert Schedule.load(tmp_path / "s.json") == nonuniform(50, 5, 0, 15, 1.4, formula)  # type: ignore[arg-type]


def test_new_by_hand(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("schedule", "new", "--calls", 6, "--full-calls", "0, 1,4", "--cut", 2, "-o", "s.json")
    assert result.exit_code == 0, result.stderr
    assert Schedule.load(tmp_path / "s.json").calls == ("full", "full", 2, 2, "full", 2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "how often to make a full call"),
        (("--interval", 5, "--center", 3), "needs both --center and --power"),
        (("--interval", 5, "--power", 1.4), "needs both --center and --power"),
        (("--interval", 5, "--full-calls", "0,3"), "not both"),
        (("--full-calls", "0,x"), "is not a list of calls"),
        (("--interval", 0), "--interval"),
        (("--interval", 5, "--formula", "other"), "--formula"),
        (("--interval", 5, "--order", 1, "--threshold", 0.1), "not both"),
        (("--interval", 5, "--max-hold", 3), "give --threshold as well"),
    ],
)
def test_wrong_usage_exits_with_2(invoke: Invoke, tmp_path: Path, options: tuple[object, ...], sentence: str) -> None:
    result = invoke("schedule", "new", *options, "-o", "s.json")
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert not (tmp_path / "s.json").exists()


def test_a_schedule_without_its_first_full_call_is_refused(invoke: Invoke) -> None:
    result = invoke("schedule", "new", "--full-calls", "3,5", "-o", "s.json")
    assert result.exit_code == 1
    assert "the first call is full" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_schedule_is_replaced_and_another_file_is_not(invoke: Invoke, tmp_path: Path) -> None:
    new = ("schedule", "new", "--interval", 5, "-o", "s.json")
    assert invoke(*new).exit_code == 0
    assert invoke(*new).exit_code == 0
    (tmp_path / "s.json").write_text("my notes")
    result = invoke(*new)
    assert result.exit_code == 1
    assert "s.json exists and is not a schedule" in result.stderr
    assert (tmp_path / "s.json").read_text() == "my notes"


def test_show(invoke: Invoke) -> None:
    invoke("schedule", "new", "--calls", 12, "--interval", 4, "--cut", 2, "-o", "s.json")
    result = invoke("schedule", "show", "s.json")
    assert result.exit_code == 0
    assert "F222F222F2  22" in result.stdout
    assert "12 calls: 3 full, 9 partial at cut 2" in result.stdout
    assert "uniform, interval 4" in result.stdout


def test_show_tells_cost_and_quality(invoke: Invoke, tmp_path: Path) -> None:
    text = (
        '{"format": "deepcadence/schedule", "version": 1, "calls": ["full", 0],'
        '"model": {"class": "UNet2DModel", "cuts": {"0": "up"}},'
        '"cost": {"counter": "exact", "full_macs": 4000000000, "partial_macs": {"0": 2000000000},'
        '"mean_macs": 3000000000, "speedup": 1.3333},'
        '"quality": [{"metric": "psnr", "unit": "dB", "value": 31.25, "ci95": [30, 32], "samples": 64,'
        '"seeds": "held-out", "reference": "full"}]}'
    )
    (tmp_path / "s.json").write_text(text)
    result = invoke("schedule", "show", "s.json")
    assert result.exit_code == 0, result.stderr
    assert "mean call 3 GMACs, full call 4 GMACs: 1.33x fewer (exact count)" in result.stdout
    assert "31.25 dB (95% 30 to 32), 64 held-out samples, against full" in result.stdout


def test_new_adaptive(invoke: Invoke, tmp_path: Path) -> None:
    options = ("--calls", 10, "--interval", 10, "--threshold", 0.25)
    result = invoke("schedule", "new", *options, "--max-hold", 4, "-o", "s.json")
    assert result.exit_code == 0, result.stderr
    assert "10 calls: 1 full, 9 partial at cut 0, or full where the input changed by more than 0.25" in result.stderr
    assert Schedule.load(tmp_path / "s.json") == uniform(10, 10, 0).adaptive(0.25, 4)
    assert "adaptive, threshold 0.25, max_hold 4" in invoke("schedule", "show", "s.json").stdout
    assert invoke("schedule", "new", *options, "-o", "t.json").exit_code == 0
    assert Schedule.load(tmp_path / "t.json").reuse.max_hold is None
    bad = invoke("schedule", "new", "--interval", 5, "--threshold", -1, "-o", "u.json")
    assert bad.exit_code == 1
    assert "reuse.threshold: found -1.0, expected a finite number, 0 or above" in bad.stderr


def test_validate_says_which_file_is_bad_and_why(invoke: Invoke, tmp_path: Path) -> None:
    invoke("schedule", "new", "--interval", 5, "-o", "good.json")
    assert invoke("schedule", "validate", "good.json").exit_code == 0
    (tmp_path / "bad.json").write_text('{"format": "deepcadence/schedule", "version": 1, "calls": [0]}')
    result = invoke("schedule", "validate", "bad.json", "good.json", "none.json")
    assert result.exit_code == 1
    assert "good.json: ok, 50 calls: 10 full, 40 partial at cut 0" in result.stdout
    assert 'bad.json: calls[0]: found 0, expected "full"' in result.stderr
    assert "none.json" in result.stderr


def test_resample(invoke: Invoke, tmp_path: Path) -> None:
    invoke("schedule", "new", "--interval", 5, "-o", "s.json")
    assert invoke("schedule", "resample", "s.json", "--calls", 20, "-o", "t.json").exit_code == 0
    assert Schedule.load(tmp_path / "t.json") == uniform(50, 5, 0).resample(20)


@pytest.mark.parametrize(
    ("to", "key"), [("deepcache", "cache_interval"), ("cache-dit", "cache_config"), ("smoothcache", "attn1")]
)
def test_export(invoke: Invoke, tmp_path: Path, to: str, key: str) -> None:
    uniform(10, 5, 1).save(tmp_path / "s.json")
    for _ in range(2):  # its own kind of file is replaced
        result = invoke("schedule", "export", "s.json", "--to", to, "-o", "out.json")
        assert result.exit_code == 0, result.stderr
    assert key in json.loads((tmp_path / "out.json").read_text())
    assert "lost: where the schedule comes from" in result.stderr
    found = json.loads(invoke("schedule", "export", "s.json", "--to", to, "-o", "out.json", "--json").stdout)
    assert found["file"] == "out.json"
    assert found["lost"][-1].startswith("where the schedule comes from")
    assert invoke("schedule", "export", "s.json", "--to", to, "-o", "s.json").exit_code == 1  # another kind of file


def test_what_cannot_be_exported_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    uniform(10, 5, 1).extrapolated().save(tmp_path / "s.json")
    result = invoke("schedule", "export", "s.json", "--to", "deepcache", "-o", "out.json")
    assert result.exit_code == 1
    assert 's.json: reuse.mode: found "extrapolate", expected "hold"' in result.stderr
    assert not (tmp_path / "out.json").exists()


def test_import(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "mask.txt").write_text("1101\n")
    (tmp_path / "attn.json").write_text('{"attn1": [1,1,0,1]}')
    for name, origin in (("mask.txt", "cache-dit"), ("attn.json", "smoothcache")):
        result = invoke("schedule", "import", name, "--from", origin, "--cut", 2, "-o", "s.json", "--json")
        assert result.exit_code == 0, result.stderr
        assert Schedule.load(tmp_path / "s.json").calls == ("full", "full", 2, "full")
        assert bool(json.loads(result.stdout)["lost"]) == (origin == "smoothcache")
    result = invoke("schedule", "import", "mask.txt", "--from", "smoothcache", "-o", "s.json")
    assert result.exit_code == 1
    assert "mask.txt: " in result.stderr


CACHE_DIT_YAML = """
# as the guide of cache-dit has it, but for a mask that is written out
cache_config:
  max_warmup_steps: 8
  Fn_compute_blocks: 2
  Bn_compute_blocks: 1
  enable_taylorseer: false
  num_inference_steps: 6
  steps_computation_mask: [1, 1, 0, 1, 0, 0]
  steps_computation_policy: static
parallelism_config: {ulysses_size: auto}
"""


@pytest.mark.parametrize("name", ["cache.yaml", "cache.YML"])
def test_import_of_yaml(invoke: Invoke, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(CACHE_DIT_YAML)
    command = ("schedule", "import", name, "--from", "cache-dit", "--cut", 1, "-o", "s.json", "--json")
    result = invoke(*command)
    assert result.exit_code == 0, result.stderr
    assert Schedule.load(tmp_path / "s.json").calls == ("full", "full", 1, "full", 1, 1)
    lost = ["cache_config.enable_taylorseer", "cache_config.max_warmup_steps", "parallelism_config"]
    assert json.loads(result.stdout)["lost"] == lost
    (tmp_path / name).write_text("- 1\n- 0\n- 0\n")
    assert invoke(*command).exit_code == 0
    assert Schedule.load(tmp_path / "s.json").calls == ("full", 1, 1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cache_config: [1", "line 1 column 17: found text that is not YAML, expected YAML (expected ',' or ']'"),
        ("a: &x [1, 0]\nb: *x\n", "an alias (*): found a part that stands for another one, expected each part written"),
        ("[" * 3000 + "]" * 3000, "nesting: found lists or objects nested too deeply"),
        ("{" * 6000, "nesting: found lists or objects nested too deeply"),
        ("- " * 6000 + "1", "nesting: found lists or objects nested too deeply"),
        ("[" * 60 + "1" + "]" * 60, "nesting: found lists or objects nested too deeply to read, more than 50"),
        ("a: !!bool x", "a value: found one that is not what its tag (!!) says, expected numbers"),
        ('!!int ""', "a value: found one that is not what its tag (!!) says, expected numbers"),
        ("!!timestamp x", "a value: found one that is not what its tag (!!) says, expected numbers"),
        ("!!float x", "a value: found one that JSON does not have"),
        ("#" * 2**16 + "\n", "size: found more than 65536 bytes"),
        ("steps_computation_mask: 2026-01-01", "a value: found one that JSON does not have"),
        ("x: !!python/object/apply:os.getcwd []", "found text that is not YAML, expected YAML (could not determine"),
        (
            "cache_config: {steps_computation_mask: fast}",
            'mask: found "fast", the name of a rule of cache-dit, expected',
        ),
        ("", "top level: found null, expected an object"),
    ],
)
def test_yaml_that_is_no_mask_is_refused(invoke: Invoke, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    began = time.process_time()
    result = invoke("schedule", "import", "c.yaml", "--from", "cache-dit", "-o", "s.json")
    assert time.process_time() - began < 5
    assert result.exit_code == 1
    assert "error: c.yaml: " in result.stderr
    assert sentence in result.stderr
    assert not (tmp_path / "s.json").exists()


def test_list(invoke: Invoke) -> None:
    result = invoke("schedule", "list")
    assert result.exit_code == 0, result.stderr
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "held-out samples" in lines["bundled-2x"]
    assert "250 calls: 25 full" in lines["ldm-4-g-n10"]
    assert "not measured by us" in lines["sd15-row1-n5"]
    found = {each["name"]: each for each in json.loads(invoke("schedule", "list", "--json").stdout)}
    assert list(found) == list(presets())
    assert Schedule.load(found["sd15-row1-n5"]["file"]) == preset("sd15-row1-n5")


def test_what_is_listed_is_taken_by_name(invoke: Invoke, tmp_path: Path) -> None:
    assert "mean call 0.1975 GMACs" in invoke("schedule", "show", "bundled-2x").stdout
    assert invoke("schedule", "resample", "sd15-row1-n5", "--calls", 20, "-o", "twenty.json").exit_code == 0
    assert Schedule.load(tmp_path / "twenty.json") == preset("sd15-row1-n5").resample(20)
    result = invoke("schedule", "show", "bundled-9x")
    assert result.exit_code == 1
    assert "error: No such file or directory: bundled-9x" in result.stderr


def test_a_file_goes_before_what_is_listed(invoke: Invoke, tmp_path: Path) -> None:
    uniform(7, 2, 0).save(tmp_path / "bundled-2x")
    assert "7 calls: 4 full" in invoke("schedule", "show", "bundled-2x").stdout


def test_a_very_long_schedule_is_not_printed_whole(invoke: Invoke, tmp_path: Path) -> None:
    uniform(20_000, 2, 0).save(tmp_path / "long.json")
    shown = invoke("schedule", "show", "long.json").stdout
    assert "and 19000 more" in shown
    assert len(shown) < 3_000
