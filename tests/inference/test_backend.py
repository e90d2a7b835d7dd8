import logging

import numpy as np
import pyhf
import pytest
from scipy.optimize import OptimizeResult

from difftune.inference.backend import FitError, fitted, pyhf_backend


def failure(message: str) -> pyhf.exceptions.FailedMinimization:
    return pyhf.exceptions.FailedMinimization(OptimizeResult(message=message))


def test_sets_numpy_and_minuit_and_puts_back_what_was():
    optimizer = pyhf.optimize.scipy_optimizer(maxiter=7)
    pyhf.set_backend("numpy", optimizer, precision="32b")
    try:
        with pyhf_backend("minuit", strategy=2):
            tensorlib, inside = pyhf.get_backend()
            assert (tensorlib.name, tensorlib.precision) == ("numpy", "64b")
            assert (inside.name, inside.strategy) == ("minuit", 2)
        with pytest.raises(KeyError), pyhf_backend():
            raise KeyError
        tensorlib, after = pyhf.get_backend()
        assert tensorlib.precision == "32b"
        assert after is optimizer
    finally:
        pyhf.set_backend("numpy", precision="64b")


def test_tries_again_more_carefully(caplog):
    seen = []

    def action() -> float:
        optimizer = pyhf.get_backend()[1]
        seen.append((optimizer.name, getattr(optimizer, "strategy", None)))
        if len(seen) == 1:
            raise failure("Optimization failed.")
        return np.nan if len(seen) == 2 else 3.5

    with caplog.at_level(logging.INFO, logger="difftune"):
        assert fitted("The fit of x", action) == 3.5
    assert seen == [("minuit", None), ("minuit", None), ("minuit", 2)]
    assert "The fit of x: minuit tolerance=0.01: Optimization failed." in caplog.text
    assert "The fit of x: minuit tolerance=0.1: the result is not finite." in caplog.text


def test_gives_up_with_every_reason():
    def action() -> float:
        raise failure(f"{pyhf.get_backend()[1].name} lost.")

    with pytest.raises(FitError, match=r"The fit of x did not .* minuit lost.*scipy lost.*Likely"):
        fitted("The fit of x", action)


def test_other_errors_pass():
    def action() -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fitted("The fit of x", action)
