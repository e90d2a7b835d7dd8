"""Nuisance parameters without an auxiliary measurement."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from difftune.errors import InputError, nearest
from difftune.histfactory.model import Model

# As far as a fit may go, in units of the variation.
_FAR = 1e3


def without_constraints(model: Model, names: Sequence[str]) -> Model:
    """A model in which nothing but the data of the bins determines some parameters.

    Their auxiliary measurements are left out, of the data too, and their bounds lie far away. pyhf
    cannot express that for a normsys or histosys, so such a model cannot be exported.

    Args:
        model: The model.
        names: Of nuisance parameters with a Gaussian constraint.

    Raises:
        InputError: There is no such parameter.
    """
    if not names:
        return model
    structure, layout = model.structure, model.structure.layout
    free = np.zeros(len(structure.names), bool)
    known = [group.name for group in structure.parameter_sets if group.constraint == "gaussian"]
    for name in names:
        if name not in known:
            raise InputError(
                f"There is no constrained parameter {name!r} to free.{nearest(name, known)}"
            )
    groups = []
    for group in structure.parameter_sets:
        if group.name in names:
            free[group.start : group.start + group.size] = True
            group = group._replace(constraint="none")
        groups.append(group)
    stays = ~free[layout.auxiliary]
    changed = replace(
        layout,
        **{name: getattr(layout, name)[stays] for name in ("auxiliary", "poisson", "center")},
        sigma=layout.sigma[stays],
        lower=np.where(free, -_FAR, layout.lower),
        upper=np.where(free, _FAR, layout.upper),
    )
    return model.replace(
        structure=replace(structure, parameter_sets=tuple(groups), layout=changed), observed=None
    )
