"""The whole chain: read, tune, bin, fit, report."""

from difftune.workflow.tune import Task, Tuned, tune

__all__ = ["Task", "Tuned", "tune"]
