import numpy as np
import pytest

from difftune.errors import InputError
from difftune.inference import Injection
from difftune.report import signal_injection
from tests.report.readable import assert_readable, texts


def test_means_spreads_and_pulls_are_drawn_in_the_order_of_the_values():
    values = np.array([2.0, 0.0])
    strengths = values[:, None] + np.array([[-0.4, 0.0, 0.7], [-0.3, 0.1, 0.2]])
    found = Injection("mu", values, strengths, np.full((2, 3), 0.5), np.ones((2, 3)))
    figure = signal_injection(found, title="Signal strength")
    assert_readable(figure)
    numbers = figure.numbers
    np.testing.assert_allclose(numbers["values"], [0.0, 2.0])
    np.testing.assert_allclose(numbers["mean"], [0.0, 2.1], atol=1e-12)
    np.testing.assert_allclose(numbers["spread"][1], np.std([-0.4, 0.0, 0.7], ddof=1))
    np.testing.assert_allclose(numbers["pull_mean"], [0.0, 0.2], atol=1e-12)
    said = " ".join(texts(figure))
    assert "slope 1.050, offset" in said
    assert "Injected Signal strength" in said


def test_one_value_has_no_line():
    found = Injection("mu", np.ones(1), np.array([[0.5, 1.5]]), np.ones((1, 2)), np.ones((1, 2)))
    assert "slope" not in " ".join(texts(signal_injection(found)))
    with pytest.raises(InputError, match="needs two injected values"):
        found.line()
