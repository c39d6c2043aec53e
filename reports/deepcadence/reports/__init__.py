"""Figures and the HTML report. Each figure is data (`*_info`) and a drawing of it (`plot_*`, matplotlib axes)."""

from __future__ import annotations

from deepcadence.reports import _extra as _extra  # isort: skip - says what is missing before the imports below fail
from deepcadence.reports._style import figure_style
from deepcadence.reports.comparison import ComparisonInfo, Outcome, comparison_info, plot_comparison
from deepcadence.reports.costs import CostsInfo, CutCost, costs_info, macs_text, plot_costs
from deepcadence.reports.distance import DistanceInfo, distance_info, plot_distance
from deepcadence.reports.front import FrontInfo, FrontPoint, front_info, plot_front
from deepcadence.reports.images import ImagePair, ImagePairsInfo, image_pairs_info, plot_image_pairs
from deepcadence.reports.report import render_report, write_report
from deepcadence.reports.similarity import SimilarityInfo, plot_similarity, similarity_info
from deepcadence.reports.timeline import TimelineInfo, plot_timeline, timeline_info

__all__ = [
    "ComparisonInfo",
    "CostsInfo",
    "CutCost",
    "DistanceInfo",
    "FrontInfo",
    "FrontPoint",
    "ImagePair",
    "ImagePairsInfo",
    "Outcome",
    "SimilarityInfo",
    "TimelineInfo",
    "comparison_info",
    "costs_info",
    "distance_info",
    "figure_style",
    "front_info",
    "image_pairs_info",
    "macs_text",
    "plot_comparison",
    "plot_costs",
    "plot_distance",
    "plot_front",
    "plot_image_pairs",
    "plot_similarity",
    "plot_timeline",
    "render_report",
    "similarity_info",
    "timeline_info",
    "write_report",
]
