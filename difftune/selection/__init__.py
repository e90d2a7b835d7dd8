"""Input variables: how much each matters, and which to keep."""

from difftune.selection.attribution import (
    correlation,
    expected_gradients,
    information_about,
    input_gradients,
    integrated_gradients,
    mutual_information,
    separation,
)
from difftune.selection.comparison import (
    Change,
    Changes,
    ScoreShapes,
    decorrelated,
    logarithm,
    on_test_events,
    score_shapes,
    try_changes,
)
from difftune.selection.elimination import Selection, Step, eliminate, forward
from difftune.selection.gates import LearnedGates, TemplateShift, learn_gates
from difftune.selection.importance import (
    METHODS,
    Importance,
    Ranking,
    importance,
    leave_one_out,
)
from difftune.selection.study import Networks, Study, train
from difftune.selection.variables import DataIssues, Units
from difftune.selection.variables import single_variables as single_variables

__all__ = [
    "METHODS",
    "Change",
    "Changes",
    "DataIssues",
    "Importance",
    "LearnedGates",
    "Networks",
    "Ranking",
    "ScoreShapes",
    "Selection",
    "Step",
    "Study",
    "TemplateShift",
    "Units",
    "correlation",
    "decorrelated",
    "eliminate",
    "expected_gradients",
    "forward",
    "importance",
    "information_about",
    "input_gradients",
    "integrated_gradients",
    "learn_gates",
    "leave_one_out",
    "logarithm",
    "mutual_information",
    "on_test_events",
    "score_shapes",
    "separation",
    "train",
    "try_changes",
]
