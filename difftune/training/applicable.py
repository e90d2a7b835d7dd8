"""The method of whatever has a network: scores for the entries of files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.data import Events
from difftune.errors import InputError


class Applicable:
    """Something that `difftune.apply` takes: a network, several, or what tuning gave."""

    def apply(
        self, files: str | Path | Sequence[str | Path], output: str | Path, **options: Any
    ) -> tuple[Path, ...]:
        """Scores every entry of files, and writes the scores beside them: `difftune.apply`.

        Args:
            files: Paths, globs or addresses of ROOT, Parquet or CSV files.
            output: The folder to write to; files of the same name are replaced.
            **options: As of `difftune.apply`, such as `branch="nn"` or `form="parquet"`.

        Returns:
            The files that were written.

        Raises:
            InputError: A file or tree has not what is needed, nothing has, or it cannot be written.
        """
        # It knows all kinds of networks, each of which is one of these.
        from difftune.training.applying import apply

        return apply(self, files, output, **options)


def features_of(
    events: Events | Float[np.ndarray, "events features"], wanted: Sequence[str], who: str
) -> Float[np.ndarray, "events features"]:
    """The features of events as an array, if they are those that a classifier wants.

    Args:
        events: Events, or their features as a plain array.
        wanted: Names of the features, in their order.
        who: Of the classifier, for the message.

    Raises:
        InputError: When the events have other features, or the same in another order.
    """
    if isinstance(events, Events):
        given, raw = list(events.feature_names), np.asarray(events.features)
        fits = tuple(events.feature_names) == tuple(wanted)
    else:
        given, raw = list(np.shape(events)), np.asarray(events, np.float32)
        fits = raw.ndim == 2 and raw.shape[1] == len(wanted)
    if not fits:
        raise InputError(
            f"the {who} the features {list(wanted)}, in this order; the events have {given}."
        )
    return raw
