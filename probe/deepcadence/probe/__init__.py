"""Probing diffusion models: workloads, recorded features and how alike they are, and what calls cost."""

from __future__ import annotations

from deepcadence.probe._trace import Trace
from deepcadence.probe.benching import Timing, bench
from deepcadence.probe.config import load_denoiser_config
from deepcadence.probe.effects import Effects, measure_effects
from deepcadence.probe.errors import LoadError, ProfileError, WorkloadError
from deepcadence.probe.info import ProfileInfo
from deepcadence.probe.loading import load_pipeline
from deepcadence.probe.macs import Counter, Macs, count_macs
from deepcadence.probe.memory import DEFAULT_MEMORY_LIMIT, MemoryPlan, estimate_memory
from deepcadence.probe.probing import Progress, probe
from deepcadence.probe.profile import Profile
from deepcadence.probe.projection import ProjectionInfo
from deepcadence.probe.record import Recording, record
from deepcadence.probe.setup import Setup
from deepcadence.probe.similarity import Pairs, compare
from deepcadence.probe.spacing import spaced
from deepcadence.probe.workload import Workload, noise_of

__all__ = [
    "DEFAULT_MEMORY_LIMIT",
    "Counter",
    "Effects",
    "LoadError",
    "Macs",
    "MemoryPlan",
    "Pairs",
    "Profile",
    "ProfileError",
    "ProfileInfo",
    "Progress",
    "ProjectionInfo",
    "Recording",
    "Setup",
    "Timing",
    "Trace",
    "Workload",
    "WorkloadError",
    "bench",
    "compare",
    "count_macs",
    "estimate_memory",
    "load_denoiser_config",
    "load_pipeline",
    "measure_effects",
    "noise_of",
    "probe",
    "record",
    "spaced",
]
