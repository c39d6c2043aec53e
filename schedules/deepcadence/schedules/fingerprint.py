"""What must stay the same within a run for a stored feature to be valid."""

from __future__ import annotations

import copy
import numbers
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

# They differ from call to call without making a feature stale.
_FREE = frozenset({"timestep", "timesteps", "return_dict"})


def describe(value: Any) -> Any:
    """Shape, dtype and device of tensors, containers element by element, other values as they are."""
    if isinstance(value, torch.Tensor):
        return (value.shape, value.dtype, value.device)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return tuple([describe(item) for item in value])
    if isinstance(value, Mapping):
        return tuple([(key, describe(item)) for key, item in value.items()])
    return value if isinstance(value, numbers.Number) else type(value)  # a number of NumPy is one


def fingerprint(names: tuple[str, ...], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Description of each argument of a call, by the name it has in `forward`."""
    described = {name: describe(value) for name, value in zip(names, args, strict=False) if name not in _FREE}
    for name, value in kwargs.items():
        if name not in _FREE:
            described[name] = describe(value)
    tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
    kind = next((tensor.device.type for tensor in tensors), "cpu")
    if torch.is_autocast_enabled(kind):
        described["autocast"] = torch.get_autocast_dtype(kind)
    return described


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first argument that changed, in words; None if none did."""
    if before == now:
        return None
    for name in [*before, *now]:
        if before.get(name) != now.get(name):
            return f"{name} changed from {_words(before.get(name))} to {_words(now.get(name))}"
    return None


def _words(described: Any) -> str:
    if isinstance(described, tuple) and len(described) == 3 and isinstance(described[0], torch.Size):
        shape, dtype, device = described
        return f"{list(shape)} {dtype} on {device}".replace("torch.", "")
    return str(described)


# What PEFT keeps in each layer. Its properties, such as `active_adapters`, read the same at ten times the price.
_KEPT = tuple(map(operator.itemgetter, ("scaling", "_active_adapter", "_disable_adapters", "merged_adapters")))


class Adapters:
    """The adapters of a model (PEFT, and IP-Adapters): which are active, and how strongly.

    Modules are looked through only when adapters come or go. In between, reading a state takes microseconds, and a
    tenth of one for each layer of an adapter.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._configs: list[Any] = []
        self._loads = 0
        self._layers: list[Any] = []
        self._attributes: list[dict[str, Any]] = []  # of the layers
        self._seen: list[Any] | None = None  # what the layers kept when their state was taken
        self._tensors: list[torch.Tensor] = []  # scales that are tensors, as LoRAs have them that are swapped in place
        self._state: tuple[Any, ...] = ()
        self._attentions: list[nn.Module] = []
        self._projections: tuple[Any, ...] = (None, None)

    def state(self) -> tuple[Any, ...] | None:
        """Something that compares unequal once an adapter was added, removed, switched or scaled; None without any."""
        found = self._peft(), self._image_prompts()
        return None if found == (None, None) else found

    def _image_prompts(self) -> tuple[Any, ...] | None:
        """The scales of IP-Adapters: each attention that they change holds its own."""
        children = self._model._modules
        projections = children.get("encoder_hid_proj"), children.get("image_proj")
        if projections != self._projections:
            self._projections = projections
            self._attentions = [
                layer for layer in self._model.modules() if hasattr(getattr(layer, "processor", None), "to_k_ip")
            ]
        return tuple(map(_image_scale, self._attentions)) or None

    def _peft(self) -> tuple[Any, ...] | None:
        config: Mapping[str, Any] = self._model.__dict__.get("peft_config") or {}
        # Another adapter of the same name has another configuration, which may be equal.
        if len(config) != len(self._configs) or not all(map(operator.is_, config.values(), self._configs)):
            self._configs = list(config.values())
            self._loads += 1
            self._layers = [layer for layer in self._model.modules() if hasattr(layer, "active_adapters")]
            self._layers = [layer for layer in self._layers if isinstance(getattr(layer, "scaling", None), dict)]
            self._attributes = [vars(layer) for layer in self._layers]
            self._seen = None
        if not config:
            return None
        now = self._kept()
        if now is None or now != self._seen:
            values = [value for layer in self._layers for value in layer.scaling.values()]
            self._tensors = [value for value in values if isinstance(value, torch.Tensor)]
            self._seen = _copied(self._kept())
            self._state = self._loads, tuple(config), tuple(map(_adapter_state, self._layers))
        return self._state

    def _kept(self) -> list[list[Any]] | None:
        """What the layers keep now, a list for each kind; None if it is kept elsewhere, or has no version."""
        try:
            kept = [list(map(kind, self._attributes)) for kind in _KEPT]
        except (KeyError, RuntimeError):
            return None
        return [*kept, [tensor._version for tensor in self._tensors]] if self._tensors else kept


def _copied(kept: list[list[Any]] | None) -> list[list[Any]] | None:
    """The same with copies of lists and dicts, which PEFT changes in place."""
    return kept and [[copy.copy(each) if isinstance(each, (dict, list)) else each for each in kind] for kind in kept]


def _image_scale(attention: nn.Module) -> Any:
    processor = attention._modules.get("processor") or attention.processor
    return describe(getattr(processor, "scale", None))


def _adapter_state(layer: Any) -> tuple[Any, ...]:
    # A scale for one call is multiplied in and divided out again, which may leave a rounding error behind.
    scaling = tuple(round(float(value), 6) for value in layer.scaling.values())
    return tuple(layer.active_adapters), scaling, layer.disable_adapters, layer.merged
