"""Loading pipelines, from a folder or the hub, without running code that comes with them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deepcadence.probe import bundled
from deepcadence.probe._allocations import allocating_at_most
from deepcadence.probe._complete import check_complete, whole_encoders
from deepcadence.probe._extras import require
from deepcadence.probe._folder import check_contents, check_places
from deepcadence.probe._meta import bounded
from deepcadence.probe._source import check_index, components, read_json, resolve
from deepcadence.probe.errors import LoadError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

__all__ = ["load_pipeline"]


def load_pipeline(
    model: str | Path, *, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
) -> DiffusionPipeline:
    """Load a diffusers pipeline.

    Weights are read from safetensors files only, and code that comes with a model is never run.

    Args:
        model: a folder with a `model_index.json`, a hub id such as "owner/name", or "bundled".
        device: where to move it ("cuda", "cpu", ...); stays on the CPU if None.
        dtype: floating-point type ("float16", `torch.float16`, ...); float32 if None.

    Raises:
        LoadError: the model is not found, not complete, or needs code of its own; or there is no such device or type;
            or the bundled weights are not those that the package was published with.
        MissingExtraError: diffusers is not installed.
    """
    diffusers = require("diffusers")
    floating, target = _floating(dtype), _device(device)
    place = resolve(model)
    if place == bundled.path():
        bundled.check_weights()
    try:
        folder = place if isinstance(place, Path) else _fetched(place, diffusers)
        index, files = _checked(folder, diffusers)
        with bounded(), allocating_at_most(_elements(files)):
            pipeline = _loaded(folder, index, diffusers, {"variant": "fp16"} if _only_fp16(place) else {}, floating)
    except LoadError:
        raise
    except Exception as error:
        raise LoadError(_explain(place, error)) from error
    check_complete(pipeline, place)
    pipeline.register_to_config(_name_or_path=str(place))
    return pipeline.to(target)


def _fetched(place: str, diffusers: Any) -> Path:
    """Where the hub's files are, once fetched; which are fetched says an index that is checked before."""
    check_index(diffusers.DiffusionPipeline.load_config(place), place, diffusers.pipelines)
    return Path(diffusers.DiffusionPipeline.download(place, use_safetensors=True, trust_remote_code=False))


def _checked(folder: Path, diffusers: Any) -> tuple[dict[str, Any], list[Path]]:
    """The index of a pipeline's folder, and all its files, which are sound."""
    files = check_places(folder) if folder.is_dir() else []
    index = _local_index(folder)
    check_index(index, folder, diffusers.pipelines)
    check_contents(folder, files, {library for library, _ in components(index).values()})
    return index, files


def _elements(files: Collection[Path]) -> int:
    """How many elements loading may allocate: weights have 4 bits at least, and are made up to twice."""
    return 4 * sum(path.stat().st_size for path in files if path.suffix == ".safetensors") + 2**26


def _loaded(
    folder: Path, index: Mapping[str, Any], diffusers: Any, variant: dict[str, str], floating: torch.dtype
) -> DiffusionPipeline:
    return diffusers.DiffusionPipeline.from_pretrained(
        str(folder),
        **{_dtype_argument(diffusers): floating},
        use_safetensors=True,
        trust_remote_code=False,
        **variant,
        **whole_encoders(folder, index, diffusers, variant, floating),
    )


def _local_index(place: Path) -> dict[str, Any]:
    index = place / "model_index.json"
    if index.is_file():
        return read_json(index)
    hint = "expected the folder of a pipeline, as save_pretrained writes it"
    if (place / "config.json").is_file():
        hint += "; this is the folder of a single model, which is enough for counting MACs only"
    raise LoadError(f"{place}: found no model_index.json, {hint}")


def _dtype_argument(diffusers: Any) -> str:
    """What `from_pretrained` calls the type: it was renamed, and warns about the old name."""
    major, minor = (int(part) for part in diffusers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (0, 42) else "torch_dtype"


def _only_fp16(place: Path | str) -> bool:
    """Whether a local folder holds no other weights than those of the variant."""
    weights = [path.name for path in place.glob("*/*.safetensors")] if isinstance(place, Path) else []
    return bool(weights) and all(".fp16" in name for name in weights)


def _floating(dtype: str | torch.dtype | None) -> torch.dtype:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype or torch.float32
    if isinstance(found, torch.dtype) and found.is_floating_point:
        return found
    raise LoadError(f"dtype: found {dtype!r}, expected 'float32', 'float16' or 'bfloat16'")


def _device(device: str | torch.device | None) -> torch.device:
    try:
        target = torch.device(device or "cpu")
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise LoadError(f"device: found {str(device)!r}, which cannot be used here ({reason})") from error
    return target


def _explain(place: Path | str, error: Exception) -> str:
    reason = " ".join(str(error).split())
    if len(reason) > 500:
        reason = reason[:500] + " ..."
    if isinstance(place, Path):
        return f"{place}: the pipeline cannot be loaded: {type(error).__name__}: {reason}"
    return (
        f"{place}: found no such folder, and the hub did not give it either; check the name, the network, and whether "
        f"the model asks you to log in or accept a licence ({type(error).__name__}: {reason})"
    )
