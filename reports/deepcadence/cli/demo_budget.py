"""How much of everything the demo does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Numbers that keep the demo under five minutes on two idle CPU cores.

    On two idle cores of an AMD EPYC it took 244 s.
    """

    steps: int = 50
    """DDIM steps of a run; as many calls."""
    batch_size: int = 32
    profile_seeds: int = 8
    """Samples whose features are compared."""
    max_distance: int = 4
    """Output errors are measured for features up to this many calls old, on 2 of the samples."""
    search_seeds: int = 8
    """Samples that every trial generates."""
    predicted: int = 12
    """Schedules that a predictor proposes, before those at the target."""
    trials: int = 8
    """Schedules that the search in (c, p) tries."""
    uniform: int = 8
    published: int = 3
    fewer_steps: tuple[int, ...] = (40, 33, 25, 20, 16)
    """Baselines that are run beside them."""
    target_speedup: float = 2.0
    """What the demo asks for: at least so many times fewer MACs."""
    held_out: int = 64
    """Samples of the final comparison."""
    images: int = 16
    """Samples that are shown with the schedule and without."""
    columns: int = 8
    scale: int = 3
    """Of the image sheets: images in a row, screen pixels per image pixel."""
