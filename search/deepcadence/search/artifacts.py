"""Pictures of a study's trials, where optuna-dashboard finds them."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import optuna
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from torch import Tensor

from deepcadence.probe.pictures import grid

__all__ = ["keep_picture"]

_SHOWN = 16


def keep_picture(trial: optuna.Trial, images: Tensor, folder: Path) -> None:
    """Keep the first 16 of a trial's images (n, channels, height, width) in one PNG, an artifact of Optuna's.

    Args:
        trial: which is told of it.
        images: float in [0, 1].
        folder: of the artifacts; made if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = images[:_SHOWN]
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, f"trial-{trial.number}.png")
        grid(shown, columns=math.ceil(len(shown) ** 0.5)).save(file)
        upload_artifact(artifact_store=FileSystemArtifactStore(folder), file_path=str(file), study_or_trial=trial)
