"""Searching schedules: quality against the uncached model, Optuna studies with the baselines in them, and export."""

from __future__ import annotations

from deepcadence.search import _extra as _extra  # isort: skip - says what is missing before the imports below fail
from deepcadence.search.agreement import Agreement, PredictorInfo
from deepcadence.search.baselines import baselines
from deepcadence.search.candidates import Candidate, Origin
from deepcadence.search.clip import ClipScore
from deepcadence.search.distribution import DistributionMetric, DistributionValue, fid, kid
from deepcadence.search.errors import SearchError
from deepcadence.search.evaluate import Evaluator, Measurement, Progress, Reference
from deepcadence.search.export import export_front
from deepcadence.search.features import Features, load_extractor
from deepcadence.search.heldout import Comparison, HeldOut, finalize, held_out_seeds
from deepcadence.search.inception_score import inception_score
from deepcadence.search.joining import join_study
from deepcadence.search.lpips import Lpips
from deepcadence.search.predicted_front import Point, predicted_front
from deepcadence.search.predictor import Predictor
from deepcadence.search.quality import PSNR_CAP, Metric, QualityFunction, psnr, ssim
from deepcadence.search.racing import RacedOut
from deepcadence.search.results import FailedTrial, StudyResult, TrialRecord
from deepcadence.search.sampler import Sampler
from deepcadence.search.select import select
from deepcadence.search.settings import StudySettings
from deepcadence.search.space import SearchSpace, cuts_within_reach
from deepcadence.search.statistics import Estimate, mean_and_ci, paired_difference
from deepcadence.search.study import run_study
from deepcadence.search.timing import CallSeconds, call_seconds, wall_speedups

__all__ = [
    "PSNR_CAP",
    "Agreement",
    "CallSeconds",
    "Candidate",
    "ClipScore",
    "Comparison",
    "DistributionMetric",
    "DistributionValue",
    "Estimate",
    "Evaluator",
    "FailedTrial",
    "Features",
    "HeldOut",
    "Lpips",
    "Measurement",
    "Metric",
    "Origin",
    "Point",
    "Predictor",
    "PredictorInfo",
    "Progress",
    "QualityFunction",
    "RacedOut",
    "Reference",
    "Sampler",
    "SearchError",
    "SearchSpace",
    "StudyResult",
    "StudySettings",
    "TrialRecord",
    "baselines",
    "call_seconds",
    "cuts_within_reach",
    "export_front",
    "fid",
    "finalize",
    "held_out_seeds",
    "inception_score",
    "join_study",
    "kid",
    "load_extractor",
    "mean_and_ci",
    "paired_difference",
    "predicted_front",
    "psnr",
    "run_study",
    "select",
    "ssim",
    "wall_speedups",
]
