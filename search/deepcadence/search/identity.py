"""What a study is about, so that it never mixes trials of different models, samplers, seeds or prompts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

import optuna
import torch
from pydantic import Field, ValidationError, model_validator
from torch import nn

from deepcadence.probe import Macs, Workload
from deepcadence.schedules import (
    MAX_CALLS,
    ModelInfo,
    SamplerInfo,
    denoiser,
    family_of,
    model_info,
    sampler_info,
)
from deepcadence.schedules.fields import Count, Cut, CutKey, Text, describe, problem
from deepcadence.search.errors import SearchError
from deepcadence.search.fields import Finite, Record, Whole, problems
from deepcadence.search.results import StudyResult
from deepcadence.search.space import SearchSpace
from deepcadence.search.storage import IDENTITY

_ENDS = 256  # values hashed at either end of a parameter: enough to tell trainings apart, cheap for any model

_WORDS = {
    "model": "another model",
    "sampler": "another sampler or other settings of it",
    "steps": "another number of steps",
    "num_calls": "another number of calls",
    "seeds": "other seeds",
    "metric": "another metric",
    "space": "another search space",
    "macs": "other costs (another counter or sample size)",
    "fingerprint": "other weights, another dtype, other prompts or other call arguments (--call)",
}


_Steps = Annotated[int, Field(strict=True, ge=1, le=MAX_CALLS)]


class _Ranges(Record):
    """The attributes of a `SearchSpace` that say what may be tried; what older studies lack has its default."""

    cuts: Annotated[tuple[Cut, ...], Field(min_length=1)]
    intervals: tuple[_Steps, _Steps]
    centers: tuple[Whole, Whole]
    powers: tuple[Finite, Finite] = SearchSpace.powers
    orders: tuple[Annotated[int, Field(strict=True, ge=0, le=2)], ...] = SearchSpace.orders
    alphas: tuple[Finite, ...] = SearchSpace.alphas
    thresholds: tuple[Finite, ...] = SearchSpace.thresholds
    max_holds: tuple[_Steps, ...] = SearchSpace.max_holds
    fewer: tuple[tuple[_Steps, _Steps], ...] = SearchSpace.fewer
    spacings: tuple[Text | None, ...] = SearchSpace.spacings


class _Costs(Record):
    """The costs that the study counts by, at the cuts that it searches."""

    full: Count
    partial: dict[CutKey, Count]
    counter: Literal["exact", "paper"]
    sample_shape: tuple[Count, ...]


class StudyIdentity(Record):
    """What `study_identity` says of a study, read from its storage to take part in it."""

    model: ModelInfo
    sampler: SamplerInfo
    steps: _Steps
    num_calls: _Steps
    seeds: Annotated[tuple[Whole, ...], Field(min_length=1)]
    metric: Text
    space: _Ranges
    macs: _Costs
    fingerprint: Text

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        for place, known in (("macs.partial", self.macs.partial), ("model.cuts", self.model.cuts)):
            unknown = [cut for cut in self.space.cuts if cut not in known]
            if unknown:
                raise problem(f"cuts of {place}", "space.cuts", str(unknown[0]))
        return self

    @classmethod
    def from_study(cls, study: optuna.Study) -> Self:
        """Read it from an Optuna study.

        Raises:
            SearchError: it is not one of deepcadence; says what is wrong.
        """
        try:
            found = cls.model_validate(_stored(study))
            found.search_space().check()
        except ValidationError as error:
            raise SearchError(problems(f"study {study.study_name!r}: {IDENTITY}", error)) from error
        except SearchError as error:
            raise SearchError(f"study {study.study_name!r}: {IDENTITY}: space: {error}") from error
        return found

    def search_space(self) -> SearchSpace:
        """The space that the study searches."""
        return SearchSpace(num_calls=self.num_calls, steps=self.steps, **dict(self.space))

    def costs(self) -> Macs:
        """The costs that it counts by."""
        return Macs(**dict(self.macs))


def _stored(study: optuna.Study) -> dict[str, Any] | None:
    """The identity as it is stored; None in a new study."""
    found = study.user_attrs.get(IDENTITY)
    if found is not None and not isinstance(found, dict):
        raise SearchError(f"study {study.study_name!r}: {IDENTITY}: found {describe(found)}, expected an object")
    return found


def study_identity(workload: Workload, space: SearchSpace, macs: Macs, metric: str) -> dict[str, Any]:
    """All that trials of one study have in common, as JSON data."""
    model = denoiser(workload.pipeline)
    cuts = family_of(model).cuts(model)
    identity = {
        "model": model_info(model, cuts).model_dump(mode="json", by_alias=True),
        "sampler": sampler_info(workload.sampler).model_dump(mode="json", by_alias=True),
        "steps": workload.steps,
        "num_calls": space.num_calls,
        "seeds": list(workload.seeds),
        "metric": metric,
        "space": {name: values for name, values in asdict(space).items() if name not in ("num_calls", "steps")},
        "macs": {
            "full": macs.full,
            "partial": {str(cut): macs.partial[cut] for cut in space.cuts},
            "counter": macs.counter,
            "sample_shape": list(macs.sample_shape),
        },
        "fingerprint": fingerprint(workload),
    }
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain


def fingerprint(workload: Workload) -> str:
    """SHA-256 over samples of the denoiser's weights, the prompts, and the call arguments that are plain data."""
    digest = hashlib.sha256()
    for name, parameter in sorted(denoiser(workload.pipeline).named_parameters()):
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        digest.update(_ends(parameter))
    digest.update(json.dumps([list(workload.prompts), _plain(dict(workload.call_kwargs))], sort_keys=True).encode())
    return digest.hexdigest()


def check_identity(
    study: optuna.Study, now: dict[str, Any], *, advice: str = "give another study name to start a new study"
) -> None:
    """Note down what a new study is about; for an old one, check it.

    Raises:
        SearchError: the study is about something else; says what was found and what was expected.
    """
    then = _stored(study)
    if then is None:
        if study.get_trials(deepcopy=False):
            raise SearchError(f"study {study.study_name!r} was not made by deepcadence; give another study name")
        study.set_user_attr(IDENTITY, now)
        return
    for key, words in _WORDS.items():
        if then.get(key) != now[key]:
            place, found, expected = _first_difference(key, now[key], then.get(key))
            values = f": {place} is {_short(found)}, expected {_short(expected)} as in the study"
            raise SearchError(
                f"study {study.study_name!r} was made with {words}{'' if key == 'fingerprint' else values}; {advice}"
            )


def check_same_workload(workload: Workload, result: StudyResult) -> None:
    """Raise `SearchError` unless the workload, its seeds aside, is that of the study."""
    model, sampler = denoiser(workload.pipeline), sampler_info(workload.sampler)
    for what, found, expected in (
        ("model", model_info(model, {}).config_sha256, result.model.config_sha256),
        ("sampler", sampler.class_name, result.sampler.class_name),
        ("sampler settings", sampler.config_sha256, result.sampler.config_sha256),
        ("number of steps", workload.steps, result.steps),
        ("weights, prompts or call arguments", fingerprint(workload), result.fingerprint),
    ):
        if found != expected:
            raise SearchError(
                f"the workload is not that of study {result.study_name!r}: {what}: found {found}, expected {expected}"
            )


def _ends(parameter: nn.Parameter) -> bytes:
    if parameter.device.type == "meta":
        return b"meta"
    flat = parameter.detach().reshape(-1)
    ends = torch.cat([flat[:_ENDS], flat[-_ENDS:]]).contiguous().cpu()
    return ends.view(torch.uint8).numpy().tobytes()


def _plain(value: object) -> object:
    """JSON data as it is, anything else by its type: an image or a tensor has no text that is the same everywhere."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if value is None or isinstance(value, bool | int | float | str) else type(value).__name__


def _first_difference(place: str, found: Any, expected: Any) -> tuple[str, Any, Any]:
    """Where two records that are not equal differ first, such as model.class, and what either has there."""
    if not (isinstance(found, dict) and isinstance(expected, dict)):
        return place, found, expected
    keys = (key for key in {**found, **expected} if found.get(key) != expected.get(key))
    key = next(keys, None) or next(iter(found.keys() ^ expected.keys()))  # null in one, nothing in the other
    return _first_difference(f"{place}.{key}", found.get(key), expected.get(key))


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
