"""The job: an analysis file in, a run directory with the whole analysis out."""

from difftune.job.again import measured_again, quickened
from difftune.job.applying import apply
from difftune.job.automatic import automatic
from difftune.job.comparing import compare
from difftune.job.config import Config
from difftune.job.drafting import draft
from difftune.job.loading import from_dict, load
from difftune.job.outcome import Outcome, Trained
from difftune.job.outcome import selected_text as selected_text
from difftune.job.regression import Regressed
from difftune.job.run import check, run, select
from difftune.job.sheet import Draft
from difftune.job.watching import watch

__all__ = [
    "Config",
    "Draft",
    "Outcome",
    "Regressed",
    "Trained",
    "apply",
    "automatic",
    "check",
    "compare",
    "draft",
    "from_dict",
    "load",
    "measured_again",
    "quickened",
    "run",
    "select",
    "watch",
]
