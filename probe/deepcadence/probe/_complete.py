"""Whether a pipeline has all its weights, and its tokenizers their vocabularies."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from deepcadence.probe._source import component_class, components
from deepcadence.probe.errors import LoadError

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

__all__ = ["check_complete", "whole_encoders"]

_WHOLE = "_deepcadence_whole"
_FEW = 10  # tokens that a tokenizer without its files has beside the special ones


def whole_encoders(
    folder: Path, index: Mapping[str, Any], diffusers: Any, variant: Mapping[str, str], dtype: torch.dtype
) -> dict[str, Any]:
    """The components of a pipeline that are models of transformers, loaded as diffusers would.

    transformers fills what the files lack with random numbers, and tells only who asks.

    Raises:
        LoadError: the files lack a weight.
    """
    accepted = inspect.signature(getattr(diffusers, index["_class_name"].removeprefix("Flax"), object)).parameters
    loaded = {}
    for name, (library, class_name) in components(index).items():
        model_class = component_class(library, class_name, diffusers.pipelines)
        if name in accepted and _of_transformers(model_class):
            place = folder / name if (folder / name).is_dir() else folder
            has_variant = any(
                f".{one}" in path.name for one in variant.values() for path in place.glob("*.safetensors")
            )
            loaded[name] = _whole(model_class, place, dtype, variant if has_variant else {})
    return loaded


def _whole(model_class: Any, place: Path, dtype: torch.dtype, variant: Mapping[str, str]) -> Any:
    model, report = model_class.from_pretrained(
        str(place),
        **{_dtype_argument(): dtype},
        **variant,
        use_safetensors=True,
        low_cpu_mem_usage=True,
        output_loading_info=True,
    )
    hint = "; if a newer version of transformers saved it, update transformers"
    _refuse(str(place), min(report["missing_keys"], default=None), hint)
    setattr(model, _WHOLE, True)
    return model


def _dtype_argument() -> str:
    """What `from_pretrained` of transformers calls the type: it was renamed, and warns about the old name."""
    import transformers

    major, minor = (int(part) for part in transformers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def _of_transformers(found: Any) -> bool:
    return isinstance(found, type) and any(base.__name__ == "PreTrainedModel" for base in found.__mro__)


def check_complete(pipeline: DiffusionPipeline, place: Path | str) -> None:
    """Raise `LoadError` if the files lack a weight or a vocabulary.

    diffusers warns of a weight, and leaves it without a value.
    """
    for name, component in pipeline.components.items():
        if isinstance(component, torch.nn.Module):
            lacking = next((weight for weight, value in component.named_parameters() if value.is_meta), None)
            _refuse(f"{place}: {name}", lacking)
        if _of_transformers(type(component)) and not hasattr(component, _WHOLE):
            raise LoadError(f"{place}: {name}: found a {type(component).__name__} under another name, expected its own")
        if hasattr(component, "get_added_vocab"):
            _check_vocabulary(component, f"{place}: {name}")


def _refuse(place: str, lacking: str | None, hint: str = "") -> None:
    if lacking is not None:
        raise LoadError(f"{place}: found no weights for {lacking}, expected all that its config asks for{hint}")


def _check_vocabulary(tokenizer: Any, place: str) -> None:
    tokens = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens) - tokenizer.get_added_vocab().keys()
    if len(tokens) < _FEW:
        raise LoadError(f"{place}: found a tokenizer of {len(tokens)} tokens, expected the files of its vocabulary")
