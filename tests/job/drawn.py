"""The command line of difftune; fonts of its figures are not cut to size, half of a figure's time.

`python -m tests.job.drawn run ...`.
"""

from difftune.cli import main
from difftune.report import style

if __name__ == "__main__":
    settings = style.settings
    style.settings = lambda: settings() | {"pdf.fonttype": 3}
    main()
