"""Figures and the HTML report. Each figure is data (`*_info`) and a drawing of it (`plot_*`, matplotlib axes)."""

from __future__ import annotations

from deepcadence.reports import _extra as _extra  # isort: skip - says what is missing before the imports below fail
from deepcadence.reports._style import figure_style
from deepcadence.reports.comparison import ComparisonInfo, Outcome, comparison_info, plot_comparison
from deepcadence.reports.costs import CostsInfo, CutCost, costs_info, plot_costs
from deepcadence.reports.distance import DistanceInfo, distance_info, distance_table, plot_distance
from deepcadence.reports.figure_files import FigureFormat, write_figures
from deepcadence.reports.front import FrontInfo, FrontPoint, front_info, macs_text, plot_front
from deepcadence.reports.history import HistoryInfo, HistoryPoint, history_info, plot_history
from deepcadence.reports.images import ImagePair, ImagePairsInfo, image_pairs_info, plot_image_pairs
from deepcadence.reports.importance import ImportanceInfo, ParameterImportance, importance_info, plot_importance
from deepcadence.reports.prediction import PredictedPoint, PredictionInfo, plot_prediction, prediction_info
from deepcadence.reports.report import render_report, write_report
from deepcadence.reports.similarity import SimilarityInfo, plot_similarity, similarity_info
from deepcadence.reports.tables import Table
from deepcadence.reports.timeline import TimelineInfo, plot_timeline, timeline_info

__all__ = [
    "ComparisonInfo",
    "CostsInfo",
    "CutCost",
    "DistanceInfo",
    "FigureFormat",
    "FrontInfo",
    "FrontPoint",
    "HistoryInfo",
    "HistoryPoint",
    "ImagePair",
    "ImagePairsInfo",
    "ImportanceInfo",
    "Outcome",
    "ParameterImportance",
    "PredictedPoint",
    "PredictionInfo",
    "SimilarityInfo",
    "Table",
    "TimelineInfo",
    "comparison_info",
    "costs_info",
    "distance_info",
    "distance_table",
    "figure_style",
    "front_info",
    "history_info",
    "image_pairs_info",
    "importance_info",
    "macs_text",
    "plot_comparison",
    "plot_costs",
    "plot_distance",
    "plot_front",
    "plot_history",
    "plot_image_pairs",
    "plot_importance",
    "plot_prediction",
    "plot_similarity",
    "plot_timeline",
    "prediction_info",
    "render_report",
    "similarity_info",
    "timeline_info",
    "write_figures",
    "write_report",
]
