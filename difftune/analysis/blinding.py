"""What of observed events stays unseen until somebody asks for it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from difftune.histfactory import Model
from difftune.histograms import Templates
from difftune.inference import carried_over, fit

BLIND_ABOVE = 0.1
"""Largest share of signal in a bin of what is looked at. Backgrounds are known to some ten percent
before a fit, so that less says next to nothing of the signal, and control regions of large signals
are commonly below."""


def is_blind(templates: Templates, role: str, above: float) -> bool:
    """Whether observed events of a region could say something of the signal.

    Those of a signal region could, whatever is expected of it; those of others where the signal is
    expected to be more than a share of a bin.

    Args:
        templates: What is expected.
        role: What the region is for.
        above: That share.
    """
    signal = np.maximum(templates.total("signal").sumw, 0.0)
    background = np.maximum(templates.total("background").sumw, 0.0)
    expected = signal + background
    share = np.divide(signal, expected, out=np.zeros_like(signal), where=expected > 0)
    return role == "signal" or bool(np.any(share > above))


def blinded(templates: Templates) -> Templates:
    """The templates without observed events."""
    return replace(templates, data=None)


def with_asimov(workspace: dict[str, Any], templates: Sequence[Templates]) -> dict[str, Any]:
    """The workspace with Asimov data in blinded channels as the observed ones would have them.

    Nominal Asimov data beside observed events would pull the fit: what a control region says of a
    background would be contradicted. So the channels with observed events are fitted alone, with
    the nominal signal, and the others get what is expected after that fit.

    Args:
        workspace: With nominal Asimov data in channels without observed events.
        templates: Of its channels.
    """
    seen = [each.channel for each in templates if each.data is not None]
    if not seen or len(seen) == len(templates):
        return workspace
    poi = workspace["measurements"][0]["config"]["poi"]
    alone = workspace | {
        key: [each for each in workspace[key] if each["name"] in seen]
        for key in ("channels", "observations")
    }
    control = Model.from_spec(alone, poi=None)
    signal = {poi: 1.0} if poi in control.structure.names else None
    model = Model.from_spec(workspace)
    expected = np.asarray(model.expected(carried_over(model, fit(control, fixed=signal))))
    parts = np.split(expected, np.cumsum(model.structure.bins)[:-1])
    counts = dict(zip(model.structure.channels, parts, strict=True))
    return workspace | {
        "observations": [
            each if each["name"] in seen else each | {"data": counts[each["name"]].tolist()}
            for each in workspace["observations"]
        ]
    }
