import inspect

import numpy as np
import pytest

from difftune import report
from difftune.errors import InputError
from tests.report import samples

# Whatever can be written as JSON or text may be given; the other two ask of the network itself.
ANYTHING = {"to_json", "written", "to_onnx", "write_onnx"}
FUNCTIONS = [
    name
    for name in report.__all__
    if inspect.isfunction(getattr(report, name)) and name not in ANYTHING
]


class Wrong:
    """What no argument is."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_argument_of_another_kind_gets_through(name):
    function = getattr(report, name)
    parameters = inspect.signature(function).parameters
    needed = {n: Wrong() for n, p in parameters.items() if p.default is p.empty}
    assert needed
    for wrong in parameters:
        with pytest.raises(InputError, match=rf"{name}\((\w+)=.*"):
            function(**needed | {wrong: Wrong()})
    with pytest.raises(InputError, match=name):
        function()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: report.exclusion_table(3), "exclusion_table(found=3): give an Exclusion, not 3."),
        (
            lambda: report.fitted_yields_table({"SR": 1}),
            "fitted_yields_table(predictions={'SR': 1}): give a Prediction, not 1.",
        ),
        (
            lambda: report.pulls(["a"], ["x"], [1.0]),
            "pulls(values=['x']): give numbers [parameters], not ['x'].",
        ),
        (
            lambda: report.parameter_correlations([1.0], ["a"]),
            "parameter_correlations(correlation=[1.0]): give numbers [parameters, parameters], "
            "not [1.0].",
        ),
        (
            lambda: report.composition([]),
            "composition(predictions=[]): give a mapping of a Prediction, not [].",
        ),
        (
            lambda: report.region(samples.toy_templates(), log="yes"),
            "region(log='yes'): give True or False, not 'yes'.",
        ),
        (
            lambda: report.save("figure", "folder", "name"),
            "save(figure='figure'): give a Figure, not 'figure'.",
        ),
    ],
)
def test_it_is_said_what_came_and_what_is_wanted(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == words


def test_lists_of_numbers_are_arrays():
    figure = report.parameter_correlations([[1, 0.5], [0.5, 1]], ("a", "b"))
    np.testing.assert_array_equal(figure.numbers["correlation"], [[1, 0.5], [0.5, 1]])
