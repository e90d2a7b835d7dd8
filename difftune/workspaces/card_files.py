"""Histograms of a CMS Combine datacard, from its ROOT files."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError, nearest
from difftune.workspaces.card import Card, Shapes

Numbers = Float[np.ndarray, " bins"]
Edges = Float[np.ndarray, " edges"]


class CardFiles:
    """The ROOT files of a card, each opened once."""

    def __init__(self, card: Card, mass: str | float | int | None) -> None:
        self.card = card
        self.mass = None if mass is None else f"{mass:g}" if isinstance(mass, float) else str(mass)
        self.opened: dict[Path, Any] = {}

    def __enter__(self) -> "CardFiles":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.opened.values():
            file.close()

    def shapes(self, channel: str, process: str) -> Shapes | None:
        """The line that says where a process of a channel is; None for a counting experiment."""
        for own, of in (
            (channel, process),
            (channel, "*"),
            ("*", process),
            ("*", "*"),
        ):
            for line in self.card.shapes:
                if (line.channel, line.process) == (own, of):
                    return None if line.file == "FAKE" else line
        if self.card.shapes:
            raise InputError(
                f"{self.card.path}: no line 'shapes' says where {process!r} of channel {channel!r} "
                "is."
            )
        return None

    def read(
        self, line: Shapes, channel: str, process: str, varied: str | None = None
    ) -> tuple[Numbers, Numbers, Edges] | None:
        """Contents, uncertainties and edges; None where a varied histogram is not there."""
        pattern = line.nominal if varied is None else line.varied
        if pattern is None:
            self.card.refuse(
                line.line, f"there are shape uncertainties ({varied}); name their histograms, too."
            )
        name = self._filled(line, pattern, channel, process, varied)
        if ":" in name:
            self.card.refuse(
                line.line, f"{name!r} is in a RooFit workspace. Only histograms (TH1) are read."
            )
        file = self._file(line, self._filled(line, line.file, channel, process, varied))
        try:
            found = file[name]
            values, edges = found.values(), found.axis().edges()
            errors = found.errors()
        except KeyError as error:
            if varied is not None:
                return None
            keys = [key.split(";")[0] for key in file.keys(recursive=True)]
            raise InputError(
                f"{self.card.path}, line {line.line}: {line.file} has no histogram {name!r}."
                f"{nearest(name, keys)}"
            ) from error
        except AttributeError as error:
            raise InputError(
                f"{self.card.path}, line {line.line}: {name!r} in {line.file} is no TH1."
            ) from error
        if values.ndim != 1:
            self.card.refuse(line.line, f"{name!r} has {values.ndim} axes. Unroll it to one.")
        return (np.asarray(values, float), np.asarray(errors, float), np.asarray(edges, float))

    def _filled(
        self, line: Shapes, pattern: str, channel: str, process: str, varied: str | None
    ) -> str:
        values = {"$PROCESS": process, "$CHANNEL": channel, "$SYSTEMATIC": varied or ""}
        if "$MASS" in pattern and self.mass is None:
            self.card.refuse(line.line, f"{pattern!r} asks for a mass: give it as mass=125.")
        values["$MASS"] = self.mass or ""
        for key, value in values.items():
            pattern = pattern.replace(key, value)
        if "$" in pattern:
            self.card.refuse(line.line, f"{pattern!r}: only {', '.join(values)} are known.")
        return pattern

    def _file(self, line: Shapes, name: str) -> Any:
        import uproot  # which a counting experiment, and another file, do without

        path = self.card.path.parent / name
        if path not in self.opened:
            try:
                self.opened[path] = uproot.open(path)
            except (OSError, ValueError) as error:
                raise InputError(
                    f"{self.card.path}, line {line.line}: {path} cannot be read as a ROOT file: "
                    f"{error}"
                ) from error
        return self.opened[path]
