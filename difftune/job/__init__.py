"""The job: an analysis file in, a run directory with the whole analysis out."""

from difftune.job.config import Config
from difftune.job.loading import from_dict, load
from difftune.job.outcome import Outcome
from difftune.job.run import check, run

__all__ = ["Config", "Outcome", "check", "from_dict", "load", "run"]
