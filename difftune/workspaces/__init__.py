"""Workspaces as objects: taken apart, joined, pruned, and exchanged with other tools."""

from difftune.workspaces.opening import read_file
from difftune.workspaces.patches import Patches
from difftune.workspaces.pruning import Pruned
from difftune.workspaces.smoothing import Smoothed
from difftune.workspaces.workspace import Workspace

__all__ = ["Patches", "Pruned", "Smoothed", "Workspace", "read_file"]
