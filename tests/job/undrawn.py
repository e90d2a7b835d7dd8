"""The command line of difftune, whose figures are made but not drawn: that is most of a small run.

`python -m tests.job.undrawn run ...`.
"""

from matplotlib.figure import Figure

from difftune.cli import main


def _blank(figure, stream, **options):
    stream.write(b"not drawn")


if __name__ == "__main__":
    Figure.savefig = _blank
    main()
