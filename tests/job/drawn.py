"""The command line of difftune, whose fonts are not cut to size: that is half of a figure."""

from difftune.cli import main
from difftune.report import style


def drawn() -> None:
    """Runs the command of `sys.argv`."""
    settings = style.settings
    style.settings = lambda: settings() | {"pdf.fonttype": 3}
    main()
