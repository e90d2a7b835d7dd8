"""The command line of difftune, whose figures are made but not drawn: most of a small run.

`python -m tests.job.undrawn run ...`.
"""

from matplotlib.figure import Figure

from difftune.cli import main


def blank(figure, stream, **options):
    """In the place of `Figure.savefig`."""
    stream.write(b"not drawn")


def unplaced(figure):
    """In the place of `Figure.draw_without_rendering`, which tells a legend what lies behind it."""


def undrawn() -> None:
    """Runs the command of `sys.argv`."""
    Figure.savefig, Figure.draw_without_rendering = blank, unplaced
    main()


if __name__ == "__main__":
    undrawn()
