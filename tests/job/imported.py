"""All that a run imports: see `tests.job.running`."""

import matplotlib.backends.backend_agg
import matplotlib.backends.backend_pdf
import optax
import pyhf
import scipy.stats
import uproot

import difftune.analysis
import difftune.cli
import difftune.inference
import difftune.job
import difftune.report
import difftune.search
import difftune.selection
import difftune.training
import difftune.workspaces
import tests.job.drawn
import tests.job.running

__all__ = ["difftune", "matplotlib", "optax", "pyhf", "scipy", "tests", "uproot"]
