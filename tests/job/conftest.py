"""What runs of the tests share."""

import pytest
from matplotlib.figure import Figure

from tests.job.undrawn import blank


@pytest.fixture(scope="module")
def undrawn():
    """Figures of runs in this process are made but not drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", blank)
        yield
