"""What several modules of this folder share."""

import pyhf
import pytest


@pytest.fixture
def minuit():
    """pyhf's fits by Minuit, to a tight tolerance."""
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-4))
    yield
    pyhf.set_backend("numpy", "scipy")
