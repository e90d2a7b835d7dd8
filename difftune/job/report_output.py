"""Where a report leaves its figures and tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from difftune import report
from difftune.files import write
from difftune.job.config import Config
from difftune.report import Block, Label, Picture, PlotFigure


@dataclass(frozen=True, kw_only=True)
class Output:
    """Saves figures and tables under a name, and hands them to the report.

    Attributes:
        folder: The run directory.
        label: What stands above each figure.
        everything: Whether there is also what a reader has to fold out.
        prefix: What all names begin with.
    """

    folder: Path
    label: Label
    everything: bool
    prefix: str = ""

    @classmethod
    def of(cls, config: Config, folder: Path) -> "Output":
        """That of a run.

        Args:
            config: The resolved configuration.
            folder: The run directory.
        """
        general = config.general
        label = Label(
            name=general.experiment,
            status=general.label,
            detail=general.detail,
            titles=general.titles,
            colors=general.colors,
        )
        return cls(folder=folder, label=label, everything=general.figures == "all")

    def under(self, prefix: str) -> "Output":
        """The same with names that begin so."""
        return replace(self, prefix=prefix)

    def picture(self, figure: PlotFigure, name: str, caption: str, *, width: int = 70) -> Picture:
        """A figure, in so many percent of the page's width."""
        _, picture, _ = report.save(figure, self.folder / "plots", self.prefix + name)
        return Picture(picture.read_bytes(), caption, width)

    def pictures(self, figures: Sequence[PlotFigure], name: str, caption: str) -> list[Block]:
        """Figures of one kind, numbered where there are several."""
        return [
            self.picture(figure, f"{name}_{i}" if len(figures) > 1 else name, caption, width=100)
            for i, figure in enumerate(figures, 1)
        ]

    def table(self, table: report.Table, name: str) -> report.Table:
        """A table with titles for the page; the names in CSV are those of the analysis file."""
        place, titles = self.folder / "tables", self.label.titles
        write(place / f"{self.prefix}{name}.csv", table.csv())
        write(place / f"{self.prefix}{name}.tex", table.titled(titles).latex())
        return table.titled(titles)

    def folded(self, title: str, blocks: Callable[[], Sequence[Block]]) -> list[Block]:
        """What a reader folds out: a section of its own, where everything is wanted."""
        return [report.Collapsible(title, list(blocks()))] if self.everything else []
