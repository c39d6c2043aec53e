"""Profiles on disk: the same after a trip, and an error for every way in which a file can be bad."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from deepcadence.probe import Macs, Profile, ProfileError, ProfileInfo, Setup
from deepcadence.schedules import Created, ModelInfo, SamplerInfo

MATRICES = [
    name + suffix for name in ("cosine", "relative_l2", "relative_l1", "output_error") for suffix in ("", "_std")
]


def make() -> Profile:
    generator = torch.Generator().manual_seed(0)
    matrices = {name: torch.rand(2, 3, 3, generator=generator) for name in MATRICES}
    matrices["output_error"][:, 1, 0] = float("nan")
    meta = ProfileInfo(
        model=ModelInfo(class_name="UNet2DModel", cuts={0: "up.1", 2: "up.0"}),
        sampler=SamplerInfo(class_name="DDIMScheduler", timesteps=(801, 401, 1)),
        macs=Macs(100, {0: 10, 2: 30}, "exact", (3, 8, 8), {0: "up.1"}, {0: (4, 8, 8)}),
        cuts=(0, 2),
        num_calls=3,
        steps=3,
        seeds=(0, 1),
        error_seeds=(0,),
        max_distance=1,
        prompts=("ein\nHut \N{TOP HAT}",),
        created=Created.now(),
        setup=Setup.now("deepcadence probe model"),
    )
    return Profile(**matrices, meta=meta)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make().save(tmp_path / "profile.safetensors")
    return tmp_path / "profile.safetensors"


def test_the_same_after_a_trip(path: Path) -> None:
    original, loaded = make(), Profile.load(path)
    assert loaded.meta.model_copy(update={"created": original.meta.created}) == original.meta
    assert list(loaded.meta.timesteps) == [801, 401, 1]
    assert loaded.meta.macs.partial == {0: 10, 2: 30}
    for name in MATRICES:
        torch.testing.assert_close(getattr(loaded, name), getattr(original, name), rtol=0, atol=0, equal_nan=True)
    loaded.save(path.with_name("again.safetensors"))
    assert path.with_name("again.safetensors").read_bytes() == path.read_bytes()


def test_the_file_is_plain_safetensors(path: Path) -> None:
    loaded = load_file(path)
    assert sorted(loaded) == sorted(MATRICES)
    assert loaded["cosine"].shape == (2, 3, 3)


def test_nothing_but_the_file_is_written(path: Path) -> None:
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(OSError, match="gone"):
        make().save(path.parent / "gone" / "profile.safetensors")


def test_a_profile_is_told_in_a_line() -> None:
    assert repr(make()).startswith("<Profile of UNet2DModel: cuts 0, 2; 3 calls, 2 samples, deepcadence ")


def test_a_cut_that_was_not_profiled() -> None:
    with pytest.raises(ProfileError, match=r"cut: found 1, expected one of the profiled cuts \[0, 2\]"):
        make().index(1)


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The file with another header."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    text = json.dumps(change(header) or header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    return path


def meta_changed(path: Path, **changes: Any) -> Path:
    def change(header: dict[str, Any]) -> None:
        meta = json.loads(header["__metadata__"]["deepcadence"]) | changes
        header["__metadata__"]["deepcadence"] = json.dumps(meta)

    return rewritten(path, change)


def fails(path: Path, place: str, expected: str) -> None:
    with pytest.raises(ProfileError) as caught:
        Profile.load(path)
    message = str(caught.value)
    assert str(path) in message
    assert place in message, message
    assert expected in message, message
    assert "found" in message or "cannot be read" in message


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"", "byte 0: found 0 bytes"),
        (b"1234567", "byte 0: found 7 bytes"),
        (b"\xff" * 8, "byte 0: found a header of 18446744073709551615 bytes in a file of 8"),
        ((2**40).to_bytes(8, "little") + b"{}", "byte 0"),
        (b"\x01" + bytes(7) + b"{}", "byte 0: found a header of 1 bytes"),
        (b"\x02" + bytes(7) + b"{]", "header: found no valid JSON"),
        (b"\x02" + bytes(7) + b"\xff\xff", "header: found no valid JSON"),
        (b"\x02" + bytes(7) + b"[]", "header: found a JSON list"),
        (b"\x02" + bytes(7) + b"{}", "__metadata__.deepcadence: found null"),
        ((200_000).to_bytes(8, "little") + b"[" * 200_000, "header: found no valid JSON"),
        (b'\x0d\0\0\0\0\0\0\0{"a":1,"a":2}', 'header: found no valid JSON (key "a": found it more than once'),
    ],
)
def test_files_of_another_kind(tmp_path: Path, content: bytes, place: str) -> None:
    path = tmp_path / "other.bin"
    path.write_bytes(content)
    fails(path, place, "expected")


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    fails(tmp_path / "none", "cannot be read", "expected a profile")
    fails(tmp_path, "cannot be read", "expected a profile")


def test_safetensors_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    fails(path, "__metadata__.deepcadence: found null", "the description of a profile")
    save_file({"weight": torch.zeros(3)}, path, {"deepcadence": "hello"})
    fails(path, "__metadata__.deepcadence: found no valid JSON", "the description of a profile")


@pytest.mark.parametrize("cut_off", [1, 7, 300])
def test_a_file_that_is_cut_short_or_has_a_tail(path: Path, cut_off: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-cut_off])
    fails(path, "data: found", "576, 8 matrices of [2, 3, 3]")
    path.write_bytes(content + bytes(cut_off))
    fails(path, "data: found", "576, 8 matrices of [2, 3, 3]")


@pytest.mark.parametrize(
    ("changes", "place", "expected"),
    [
        ({"format": "other"}, "format: found", "deepcadence/profile"),
        ({"version": 2}, "version: found 2", "1"),
        ({"wings": 2}, "wings: found an unknown key", "expected only"),
        ({"cuts": [2, 0]}, "cuts", "ascending order"),
        ({"cuts": []}, "cuts: found", "expected"),
        ({"cuts": [0, 1]}, "macs.partial", "each profiled cut"),
        ({"num_calls": 0}, "num_calls: found 0", "whole number from 1"),
        ({"num_calls": 2**62}, "data: found 576 bytes", "expected"),
        ({"num_calls": "3"}, "num_calls", "whole number"),
        ({"seeds": []}, "seeds", "expected"),
        ({"seeds": [-1]}, "seeds[0]", "expected"),
        ({"error_seeds": [9]}, "error_seeds", "some of the seeds"),
        ({"macs": {"full": 0}}, "macs", "expected"),
        ({"macs": None}, "macs", "expected"),
        ({"projection": {"dimensions": 3}}, "projection", "expected"),
        ({"model": 7}, "model: found 7", "an object"),
        ({"created": None}, "created", "expected"),
        ({"setup": {"command": "a\nb"}}, "setup.command", "text on one line"),
        ({"setup": {"command": "a" * 4097}}, "setup.command: found 4097", "at most 4096"),
        ({"setup": {"versions": {"torch": "1" * 101}}}, "setup.versions", "a short text"),
        ({"setup": {"machine": "1" * 101}}, "setup.machine: found 101", "at most 100"),
        ({"setup": {"versions": {str(n): "1" for n in range(51)}}}, "setup.versions", "at most 50"),
    ],
)
def test_bad_metadata(path: Path, changes: dict[str, Any], place: str, expected: str) -> None:
    fails(meta_changed(path, **changes), place, expected)


def test_a_profile_of_before_setups_has_an_empty_one(path: Path) -> None:
    tensors, header = load_file(path), json.loads(make().meta.model_dump_json(by_alias=True))
    del header["setup"]
    save_file(tensors, path, metadata={"deepcadence": json.dumps(header)})
    assert Profile.load(path).meta.setup == Setup()


def test_a_setup_is_one_short_line() -> None:
    setup = Setup.now("probe 'a\nb\udcff\x1b' " + "c" * 5000)
    assert setup.command.startswith("probe 'a\\nb\\udcff\\x1b' ccc")
    assert (len(setup.command), setup.command[-1]) == (4096, "…")
    assert setup.versions["torch"] == version("torch")
    assert "python" in setup.versions
    assert f", {torch.get_num_threads()} thread" in setup.machine


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ({"dtype": "F16"}, "cosine.dtype: found F16"),
        ({"dtype": ["F32"]}, "cosine.dtype"),
        ({"shape": [2, 9]}, "cosine.shape: found [2, 9]"),
        ({"shape": [2, 3, 10**18]}, "cosine.shape"),
        ({"data_offsets": [0, 10**18]}, "cosine.data_offsets"),
        ({"data_offsets": [-72, 0]}, "cosine.data_offsets"),
        ({"data_offsets": [5760, 5832]}, "cosine.data_offsets"),
        ({"data_offsets": [1, 73]}, "cosine.data_offsets"),
        ({"data_offsets": [72, 144]}, "data_offsets"),
        ({"data_offsets": None}, "cosine.data_offsets"),
        ({"data_offsets": [0.0, 72]}, "cosine.data_offsets"),
        ({"data_offsets": [True, 72]}, "cosine.data_offsets"),
    ],
)
def test_bad_layout(path: Path, entry: dict[str, Any], place: str) -> None:
    fails(rewritten(path, lambda header: header["cosine"].update(entry)), place, "expected")


def test_matrices_that_are_missing_or_surplus(path: Path) -> None:
    content = path.read_bytes()
    fails(rewritten(path, lambda header: header.pop("cosine") and None), 'header: found no "cosine"', "the matrices")
    path.write_bytes(content)
    fails(rewritten(path, lambda header: header.update(odd=header["cosine"])), 'header: found also "odd"', "matrices")
    path.write_bytes(content)
    fails(rewritten(path, lambda header: header.update(cosine=[1])), "cosine.dtype", "F32")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cosine", 1.5),
        ("cosine", float("nan")),
        ("relative_l2", -0.1),
        ("relative_l2", float("inf")),
        ("relative_l1", float("nan")),
        ("output_error", -1.0),
        ("cosine_std", float("inf")),
    ],
)
def test_impossible_values_are_neither_written_nor_read(path: Path, name: str, value: float) -> None:
    profile = make()
    getattr(profile, name)[1, 0, 2] = value
    before = path.read_bytes()
    with pytest.raises(ProfileError, match=rf"{name}\[1, 0, 2\]: found"):
        profile.save(path)
    assert path.read_bytes() == before
    begin = json.loads(before[8 : 8 + int.from_bytes(before[:8], "little")])[name]["data_offsets"][0]
    data = bytearray(before)
    start = 8 + int.from_bytes(before[:8], "little") + begin + 4 * (9 + 2)
    data[start : start + 4] = torch.tensor([value]).numpy().tobytes()
    path.write_bytes(bytes(data))
    fails(path, f"{name}[1, 0, 2]", "expected")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_gives_a_profile_or_its_error(path: Path, data: st.DataObject) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = path.with_name("damaged.safetensors")
    kept = data.draw(st.integers(0, len(content))) if data.draw(st.booleans()) else len(content)
    damaged.write_bytes(bytes(content[:kept]))
    message = None
    try:
        Profile.load(damaged)
    except ProfileError as error:
        message = str(error)
    assert message is None or str(damaged) in message
