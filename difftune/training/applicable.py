"""The method of whatever has a network: scores for the entries of files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


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
