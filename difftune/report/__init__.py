"""Figures, tables and the HTML report of a run.

What shows a search or a network is imported when it is first used, so that the picture of a
likelihood does not wait for the training of networks.
"""

import importlib
from typing import TYPE_CHECKING, Any

from difftune.report.fit_tables import (
    bin_yields_table,
    effects_table,
    exclusion_table,
    fitted_yields_table,
    goodness_table,
    groups_table,
    parameters_table,
    ranking_table,
)
from difftune.report.html import (
    Block,
    Code,
    Collapsible,
    Numbers,
    Picture,
    Row,
    Section,
    Text,
    png,
    render,
    save,
    to_json,
)
from difftune.report.likelihood import exclusion_report, likelihood_report
from difftune.report.plots.contour import cls_scan, likelihood_contours, likelihood_profile
from difftune.report.plots.discriminant import roc, score_distributions
from difftune.report.plots.exclusion import discovery_scan, exclusion_contour, exclusion_curve
from difftune.report.plots.features import (
    clustered_correlations,
    feature_correlations,
    feature_distributions,
    parameter_correlations,
)
from difftune.report.plots.fit_overview import composition, fit_summary, morphing
from difftune.report.plots.injection import signal_injection
from difftune.report.plots.predictions import (
    ResidualsOf,
    bias_and_resolution,
    predicted_against_true,
    quantile_calibration,
    residual_distribution,
)
from difftune.report.plots.ranking import grouped_ranking, ranking
from difftune.report.plots.region import region
from difftune.report.plots.smoothing import smoothed_variations
from difftune.report.plots.systematics import negligible, pulls, systematic_variations
from difftune.report.style import Label, PlotFigure
from difftune.report.tables import Cell as Cell
from difftune.report.tables import Measured, Table, written
from difftune.report.tables import as_text as as_text
from difftune.report.uncertainty import Uncertainty, uncertainty

if TYPE_CHECKING:
    from difftune.report.lineage import best_network, line_of_descent
    from difftune.report.onnx import to_onnx, write_onnx
    from difftune.report.parallel import ParallelCoordinates
    from difftune.report.plots.front import pareto_front, score_against_condition
    from difftune.report.plots.history import hyperparameter_history, loss_history
    from difftune.report.plots.scan import score_against_hyperparameters, score_against_pairs
    from difftune.report.plots.selection import selection_path, variable_importance
    from difftune.report.run_tables import (
        importance_table,
        members_table,
        over_seeds,
        samples_table,
        selection_table,
        significance_table,
        yields_table,
    )

_LATER = {
    "best_network": "lineage",
    "line_of_descent": "lineage",
    "to_onnx": "onnx",
    "write_onnx": "onnx",
    "ParallelCoordinates": "parallel",
    "pareto_front": "plots.front",
    "score_against_condition": "plots.front",
    "hyperparameter_history": "plots.history",
    "loss_history": "plots.history",
    "score_against_hyperparameters": "plots.scan",
    "score_against_pairs": "plots.scan",
    "selection_path": "plots.selection",
    "variable_importance": "plots.selection",
    "importance_table": "run_tables",
    "members_table": "run_tables",
    "over_seeds": "run_tables",
    "samples_table": "run_tables",
    "selection_table": "run_tables",
    "significance_table": "run_tables",
    "yields_table": "run_tables",
}

__all__ = [
    "Block",
    "Code",
    "Collapsible",
    "Label",
    "Measured",
    "Numbers",
    "ParallelCoordinates",
    "Picture",
    "PlotFigure",
    "ResidualsOf",
    "Row",
    "Section",
    "Table",
    "Text",
    "Uncertainty",
    "best_network",
    "bias_and_resolution",
    "bin_yields_table",
    "cls_scan",
    "clustered_correlations",
    "composition",
    "discovery_scan",
    "effects_table",
    "exclusion_contour",
    "exclusion_curve",
    "exclusion_report",
    "exclusion_table",
    "feature_correlations",
    "feature_distributions",
    "fit_summary",
    "fitted_yields_table",
    "goodness_table",
    "grouped_ranking",
    "groups_table",
    "hyperparameter_history",
    "importance_table",
    "likelihood_contours",
    "likelihood_profile",
    "likelihood_report",
    "line_of_descent",
    "loss_history",
    "members_table",
    "morphing",
    "negligible",
    "over_seeds",
    "parameter_correlations",
    "parameters_table",
    "pareto_front",
    "png",
    "predicted_against_true",
    "pulls",
    "quantile_calibration",
    "ranking",
    "ranking_table",
    "region",
    "render",
    "residual_distribution",
    "roc",
    "samples_table",
    "save",
    "score_against_condition",
    "score_against_hyperparameters",
    "score_against_pairs",
    "score_distributions",
    "selection_path",
    "selection_table",
    "signal_injection",
    "significance_table",
    "smoothed_variations",
    "systematic_variations",
    "to_json",
    "to_onnx",
    "uncertainty",
    "variable_importance",
    "write_onnx",
    "written",
    "yields_table",
]


def __getattr__(name: str) -> Any:
    """Imports a name when it is first asked for."""
    if name in _LATER:
        return getattr(importlib.import_module(f"difftune.report.{_LATER[name]}"), name)
    raise AttributeError(f"module 'difftune.report' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
