"""The command line of difftune, whose figures are made but not drawn: that is most of a small run.

`python -m tests.job.undrawn run ...`.
"""

from matplotlib.figure import Figure

from difftune.cli import main


def blank(figure, stream, **options):
    """In the place of `Figure.savefig`."""
    stream.write(b"not drawn")


if __name__ == "__main__":
    Figure.savefig = blank
    main()
