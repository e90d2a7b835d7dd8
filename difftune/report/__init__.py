"""Figures, tables and the HTML report of a run."""

from difftune.report.fit_tables import (
    bin_yields_table,
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
from difftune.report.likelihood import likelihood_report
from difftune.report.lineage import best_network, line_of_descent
from difftune.report.onnx import to_onnx, write_onnx
from difftune.report.parallel import ParallelCoordinates
from difftune.report.plots.contour import cls_scan, likelihood_contours, likelihood_profile
from difftune.report.plots.discriminant import roc, score_distributions
from difftune.report.plots.features import (
    clustered_correlations,
    feature_correlations,
    feature_distributions,
    parameter_correlations,
)
from difftune.report.plots.front import pareto_front, score_against_condition
from difftune.report.plots.history import hyperparameter_history, loss_history
from difftune.report.plots.ranking import grouped_ranking, ranking
from difftune.report.plots.region import region
from difftune.report.plots.scan import score_against_hyperparameters, score_against_pairs
from difftune.report.plots.selection import selection_path, variable_importance
from difftune.report.plots.systematics import negligible, pulls, systematic_variations
from difftune.report.run_tables import (
    importance_table,
    members_table,
    over_seeds,
    samples_table,
    selection_table,
    significance_table,
    yields_table,
)
from difftune.report.style import Label, PlotFigure
from difftune.report.tables import Cell as Cell
from difftune.report.tables import Measured, Table, written
from difftune.report.tables import as_text as as_text
from difftune.report.uncertainty import Uncertainty, uncertainty

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
    "Row",
    "Section",
    "Table",
    "Text",
    "Uncertainty",
    "best_network",
    "bin_yields_table",
    "cls_scan",
    "clustered_correlations",
    "feature_correlations",
    "feature_distributions",
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
    "negligible",
    "over_seeds",
    "parameter_correlations",
    "parameters_table",
    "pareto_front",
    "png",
    "pulls",
    "ranking",
    "ranking_table",
    "region",
    "render",
    "roc",
    "samples_table",
    "save",
    "score_against_condition",
    "score_against_hyperparameters",
    "score_against_pairs",
    "score_distributions",
    "selection_path",
    "selection_table",
    "significance_table",
    "systematic_variations",
    "to_json",
    "to_onnx",
    "uncertainty",
    "variable_importance",
    "write_onnx",
    "written",
    "yields_table",
]
