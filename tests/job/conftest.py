"""What runs of the tests share."""

import pytest
from matplotlib.figure import Figure

from tests.job.undrawn import blank, unplaced


@pytest.fixture(scope="module")
def undrawn():
    """Figures of runs in this process are made but not drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", blank)
        patch.setattr(Figure, "draw_without_rendering", unplaced)
        yield
