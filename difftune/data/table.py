"""What the formats have in common: columns of known kinds that can be read in chunks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from difftune.data.compiling import Kind

Chunk = tuple[int, dict[str, np.ndarray]]


@dataclass(frozen=True)
class Table:
    """One tree or file: what its metadata tell, and how its columns are read.

    Attributes:
        file: Path or address.
        tree: Name of the tree; None for Parquet and CSV.
        kinds: Kind of each column, by name.
        rows: How many rows there are; None where only reading tells (CSV).
        read: Given names of columns and rows a chunk, yields chunks: the number of the first row,
            and the columns as arrays of numbers, bools, or bytes (texts in UTF-8).
    """

    file: str
    tree: str | None
    kinds: Mapping[str, Kind]
    rows: int | None
    read: Callable[[Sequence[str], int], Iterator[Chunk]] = field(repr=False)

    @property
    def place(self) -> str:
        """How messages name it: `file` or `file:tree`."""
        return self.file if self.tree is None else f"{self.file}:{self.tree}"

    @property
    def noun(self) -> str:
        """What its columns are called."""
        return "column" if self.tree is None else "branch"
