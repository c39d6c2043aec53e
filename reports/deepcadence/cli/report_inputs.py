"""What `deepcadence report` reads besides the files of the other commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deepcadence.cli.images import STEPS
from deepcadence.schedules import DeepcadenceError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from deepcadence.probe import Profile
    from deepcadence.reports import ImagePairsInfo
    from deepcadence.schedules import Schedule
    from deepcadence.search import StudyResult

_MAX_PIXELS = 2**25

_MAX_PIXELS_IN_ALL = 2**27
"""Of the images of both folders together: 64 pairs of 1024 x 1024."""


class ImagesError(DeepcadenceError, ValueError):
    """Two folders of images that make no pairs."""


class InputsError(DeepcadenceError, ValueError):
    """Files that are of different models."""


def check_one_model(profile: Profile | None, study: StudyResult | None, schedule: Schedule | None) -> None:
    """Raise `InputsError` if they are of different models: the page is about one. A schedule need not name any."""
    models = {
        "the profile": profile.meta.model if profile else None,
        "the study": study.model if study else None,
        "the schedule": schedule.model if schedule else None,
    }
    known = [
        (model.config_sha256, f"{name} of {model.class_name} with config {model.config_sha256[:12]}")
        for name, model in models.items()
        if model and model.config_sha256
    ]
    for digest, words in known[1:]:
        if digest != known[0][0]:
            raise InputsError(f"a report is about one model: found {known[0][1]}, and {words}")


def image_pairs(full: Path, cached: Path) -> ImagePairsInfo:
    """Pairs of the images that `deepcadence generate` wrote for the same seeds, without a schedule and with it.

    Raises:
        ImagesError: there is no seed that both folders have, two images differ in size or were made with different
            numbers of steps, they are too large, or a file is no PNG.
        OSError: a folder cannot be read.
    """
    import torch

    from deepcadence.reports import image_pairs_info

    without, with_ = _by_seed(full), _by_seed(cached)
    seeds = sorted(without.keys() & with_.keys())
    if not seeds:
        raise ImagesError(
            f"{full} and {cached} have no image of the same seed: found {len(without)} and {len(with_)} files "
            "seed-NUMBER.png, expected what `deepcadence generate` writes for the same seeds"
        )
    _check_sizes([folder[seed] for seed in seeds for folder in (without, with_)])
    stacks: list[list[Tensor]] = [[], []]
    for seed in seeds:
        (left, steps), (right, others) = _read(without[seed]), _read(with_[seed])
        if steps and others and steps != others:
            raise ImagesError(
                f"{without[seed]} was made in {steps} steps and {with_[seed]} in {others}: "
                "give `deepcadence generate` the same --steps for both"
            )
        stacks[0].append(left)
        stacks[1].append(right)
    shapes = {tuple(image.shape) for images in stacks for image in images}
    if len(shapes) > 1:
        found = " and ".join(f"{width}x{height}, {channels} channels" for channels, height, width in sorted(shapes)[:2])
        raise ImagesError(f"the images in {full} and {cached} differ in size: found {found}, expected one size")
    return image_pairs_info(torch.stack(stacks.pop(0)), torch.stack(stacks.pop()), seeds)


def _by_seed(folder: Path) -> dict[int, Path]:
    """Seed -> file."""
    names = ((re.fullmatch(r"seed-(\d{1,18})\.png", path.name), path) for path in folder.iterdir())
    return {int(match[1]): path for match, path in names if match}


def _read(path: Path) -> tuple[Tensor, str | None]:
    """A PNG as uint8 (channels, height, width), 1 channel if gray, else 3; and its steps, if it says them."""
    import numpy as np
    import torch

    with _opened(path) as image:
        steps = image.info.get(STEPS)
        pixels = np.array(image.convert("L" if image.mode == "L" else "RGB"))
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1), steps


def _check_sizes(paths: list[Path]) -> None:
    """Raise `ImagesError` if an image, or all of them together, have too many pixels; none is decoded for that."""
    total = 0
    for path in paths:
        with _opened(path) as image:
            pixels = image.width * image.height
            if pixels > _MAX_PIXELS:
                raise ImagesError(f"{path}: found {image.width}x{image.height} pixels, expected at most {_MAX_PIXELS}")
        total += pixels
        if total > _MAX_PIXELS_IN_ALL:
            raise ImagesError(
                f"{path}: found more than {_MAX_PIXELS_IN_ALL} pixels in the {len(paths)} images of both folders "
                "together, expected at most so many; leave fewer seeds in them"
            )


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """A PNG, not decoded yet; what Pillow raises inside becomes an `ImagesError`."""
    import PIL.Image

    try:
        with PIL.Image.open(path, formats=("PNG",)) as image:
            yield image
    except ImagesError:
        raise
    except Exception as error:  # a broken file makes Pillow raise errors of many kinds
        raise ImagesError(f"{path}: cannot be read as a PNG ({error})") from error
