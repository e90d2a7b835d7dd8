"""Bad input is refused with its channel, sample and modifier, and with the remedy.

What is wrong with a spec is pyhf's judgement or ours where pyhf is silent; the messages are for
people, so what they must contain is written here.
"""

import copy
import re
from collections.abc import Callable

import jax
import numpy as np
import pyhf
import pytest

from difftune.errors import InputError
from difftune.histfactory import Model
from tests.histfactory import specs


def refused(spec: dict, **options) -> str:
    with pytest.raises(InputError) as error:
        Model.from_spec(spec, **options)
    return str(error.value)


def sample_of(spec: dict, channel: int, sample: int) -> dict:
    return spec["channels"][channel]["samples"][sample]


def _missing_data(spec):
    del sample_of(spec, 0, 1)["data"]


def _unknown_type(spec):
    sample_of(spec, 0, 0)["modifiers"][1]["type"] = "normsyst"


def _text_for_a_number(spec):
    sample_of(spec, 1, 0)["data"][1] = "205"


def _no_channels(spec):
    del spec["channels"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_missing_data, ("channel 'SR'", "sample 'signal'", "'data' is a required property")),
        (_unknown_type, ("channel 'SR'", "sample 'ttbar'", "normsyst")),
        (_text_for_a_number, ("channel 'CR'", "sample 'ttbar'", "'205' is not of type 'number'")),
        (_no_channels, ("its top level", "'channels' is a required property")),
    ],
)
def test_what_the_schema_of_pyhf_refuses(change: Callable, said: tuple[str, ...]):
    spec = specs.everything()
    change(spec)
    with pytest.raises(pyhf.exceptions.InvalidSpecification):
        pyhf.schema.validate(spec, "workspace.json")
    message = refused(spec)
    for words in said:
        assert words in message, message


def _bins_of_sample(spec):
    sample_of(spec, 0, 1)["data"].append(1.0)


def _bins_of_histosys(spec):
    sample_of(spec, 0, 0)["modifiers"][2]["data"]["lo_data"].pop()


def _bins_of_staterror(spec):
    sample_of(spec, 1, 0)["modifiers"][4]["data"].append(1.0)


def _bins_of_shapesys(spec):
    sample_of(spec, 0, 2)["modifiers"][0]["data"].pop()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_bins_of_sample, ("'SR'", "'signal'", "4 bins", "has 3")),
        (_bins_of_histosys, ("'SR'", "'ttbar'", "histosys 'jes'", "lo_data", "2 bins", "has 3")),
        (_bins_of_staterror, ("'CR'", "'ttbar'", "staterror 'stat_CR'", "3 bins", "has 2")),
        (_bins_of_shapesys, ("'SR'", "'fakes'", "shapesys 'fakes_SR'", "2 bins", "has 3")),
    ],
)
def test_templates_of_different_lengths(change: Callable, said: tuple[str, ...]):
    spec = specs.everything()
    change(spec)
    # pyhf stops, too, with one or another error.
    with pytest.raises(Exception, match=r".") as theirs:
        pyhf.Workspace(spec).model()
    assert not isinstance(theirs.value, InputError)
    message = refused(spec)
    for words in (*said, "needs the same bins"):
        assert words in message, message


def test_observations():
    spec = specs.everything()
    spec["observations"][0]["data"].pop()
    assert "Channel 'SR': 2 observations for 3 bins" in refused(spec)
    spec = specs.everything()
    spec["observations"][1]["data"][1] = -3.0
    assert "Channel 'CR', observations: bin 1 holds -3.0" in refused(spec)
    spec = specs.everything()
    spec["observations"][1]["data"][0] = float("nan")
    assert "Channel 'CR', observations: bin 0 is nan" in refused(spec)
    spec = specs.everything()
    del spec["observations"][1]
    assert "Channel 'CR' has no observations. Add them" in refused(spec)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none(value):
    spec = specs.everything()
    sample_of(spec, 0, 1)["data"][2] = value
    assert re.search(r"'SR', sample 'signal': bin 2 is (nan|inf)\. Fill it", refused(spec))
    spec = specs.everything()
    sample_of(spec, 0, 1)["modifiers"][3]["data"]["hi_data"][1] = value
    message = refused(spec)
    assert "sample 'signal', histosys 'jes', hi_data: bin 1 is" in message


@pytest.mark.parametrize("value", [0.0, -0.5, float("nan"), float("inf")])
def test_factors_that_are_not_positive(value):
    spec = specs.everything()
    sample_of(spec, 0, 0)["modifiers"][3]["data"]["lo"] = value
    message = refused(spec)
    assert f"Channel 'SR', sample 'ttbar', normsys 'xs_ttbar': lo is {value}" in message
    assert "1.06 is +6 %" in message


def test_negative_expectation(caplog):
    spec = specs.everything()
    sample_of(spec, 1, 1)["data"][1] = -300.0
    # The factors on both samples can cure it; norm_ttbar starts at 1.05, jes at 0.
    said = "Channel 'CR', bin 1: the model expects -84.75 events at its nominal point"
    model = Model.from_spec(spec)
    assert f"{said}, of which -300 from sample 'fakes'. Fits start from" in caplog.text
    theirs = pyhf.Workspace(spec).model()
    assert model.config.suggested_init() == theirs.config.suggested_init()
    start = model.structure.layout.start
    assert (theirs.expected_actualdata(start.tolist()) > 0).all()
    assert (start >= model.structure.layout.lower).all()
    # Nothing scales the fakes, and no factor on the rest is large enough.
    sample_of(spec, 1, 1)["modifiers"].pop(1)
    sample_of(spec, 1, 1)["data"][1] = -3e5
    message = refused(spec)
    assert "Channel 'CR', bin 1" in message
    assert "-3e+05 from sample 'fakes'" in message
    assert "Merge bins" in message
    spec = specs.everything()
    sample_of(spec, 1, 1)["data"][1] = -1.0
    Model.from_spec(spec)
    assert "Channel 'CR', sample 'fakes': -1 events expected in bin 1" in caplog.text


def test_names_that_occur_twice():
    spec = specs.everything()
    spec["channels"].append(copy.deepcopy(spec["channels"][0]))
    assert "two channels called 'SR'. Rename or merge" in refused(spec)
    spec = specs.everything()
    spec["channels"][1]["samples"].append(copy.deepcopy(sample_of(spec, 1, 0)))
    assert "Channel 'CR' has two samples called 'ttbar'. Rename or merge" in refused(spec)


def test_names_that_do_not_exist():
    spec = specs.several_measurements()
    assert "no measurement 'secnd'" in refused(spec, measurement="secnd")
    assert "Did you mean 'second'?" in refused(spec, measurement="secnd")
    message = refused(spec, poi="norm_tbar")
    assert "'norm_tbar' is no parameter of the model" in message
    assert "Did you mean 'norm_ttbar'?" in message
    assert "'stat_SR' has one value per bin" in refused(spec, poi="stat_SR")
    spec["measurements"] = []
    assert "measurement" in refused(spec)


def test_interpolation_codes():
    for settings, said in (
        ({"normsys": {"interpcode": "code4p"}}, "no interpolation code 'code4p' for 'normsys'"),
        ({"histosys": {"interpcode": "code1"}}, "no interpolation code 'code1' for 'histosys'"),
        ({"shapesys": {"interpcode": "code0"}}, "for 'shapesys'"),
        ({"normsys": {"code": "code4"}}, "as {'normsys': {'interpcode': 'code4'}}"),
    ):
        message = refused(specs.everything(), modifier_settings=settings)
        assert said in message
        assert "'code2'" in message


def test_patches_that_do_not_fit():
    spec = specs.everything()
    good = [{"op": "remove", "path": "/channels/0/samples/1"}]
    for bad in (
        [{"op": "replace", "path": "/channels/7/name", "value": "x"}],
        [{"op": "add", "path": "/channels/0/nothing/here", "value": 1}],
        [{"op": "test", "path": "/version", "value": "2"}],
        [{"op": "nonsense", "path": "/version"}],
    ):
        message = refused(spec, patches=[good, bad])
        assert "patches[1] does not fit the spec" in message
        assert "background-only workspace" in message


def test_a_shared_staterror_of_different_samples():
    """pyhf asserts that the channels of a staterror are those of each of its samples."""
    spec = specs.everything()
    sample_of(spec, 1, 0)["modifiers"][4]["name"] = "stat_SR"
    with pytest.raises(AssertionError):
        pyhf.Workspace(spec).model()
    assert "Give each channel a staterror with a name of its own" in refused(spec)


def test_luminosity_without_its_measurement():
    """pyhf fails over None."""
    spec = specs.everything()
    del spec["measurements"][0]["config"]["parameters"][0]
    with pytest.raises(TypeError):
        pyhf.Workspace(spec).model()
    message = refused(spec)
    assert "Channel 'SR', sample 'ttbar', lumi 'lumi'" in message
    assert "'sigmas': [0.02]" in message.replace('"', "'")


def test_a_shapefactor_with_fewer_parameters_than_bins():
    """pyhf takes the number of the first channel, and multiplies further bins by parameter 0."""
    shape = specs.modifier("shapefactor", "shape")
    spec = specs.workspace(
        [
            specs.channel("A", specs.sample("b", [2.0, 3.0], specs.MU, shape)),
            specs.channel("B", specs.sample("b", [1.0, 1.0, 1.0], shape)),
        ]
    )
    theirs = pyhf.Workspace(spec).model()
    values = np.ones(theirs.config.npars)
    values[theirs.config.par_slice("mu")] = 7.0
    assert theirs.config.poi_index == 0
    assert theirs.expected_actualdata(values)[4] == 7.0
    message = refused(spec)
    assert "Channel 'B', sample 'b', shapefactor 'shape': 3 bins" in message
    assert "the 2 of the first channel" in message


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("jes", {"sigmas": [0.5]}, r"'jes', sigmas: its modifiers are \['histosys', 'normsys'\]"),
        ("norm_fakes", {"auxdata": [1.0]}, "'norm_fakes', auxdata: its modifiers are"),
        ("stat_CR", {"factors": [4.0, 4.0]}, "'stat_CR', factors: its modifiers are"),
        ("stat_CR", {"sigmas": [0.1, 0.0]}, r"'stat_CR', sigmas: 0\.0 must be positive"),
        ("norm_fakes", {"bounds": [[2.0]]}, r"'norm_fakes', bounds: \[2\.0\] is no pair"),
        ("norm_fakes", {"bounds": [[2.0, 1.0]]}, "first must not be above the second"),
        ("norm_fakes", {"inits": [np.nan]}, r"'norm_fakes', inits: entry 0 is nan"),
    ],
)
def test_what_a_measurement_says_of_parameters(name, options, said):
    spec = specs.everything()
    spec["measurements"][0]["config"]["parameters"].append({"name": name, **options})
    assert re.search(said, refused(spec))
    spec = specs.everything()
    lumi = spec["measurements"][0]["config"]["parameters"][0]
    lumi["auxdata"] = [1.0, 1.0]
    assert "Parameter 'lumi', auxdata: 2 entries, where the model has 1" in refused(spec)


def test_a_modifier_that_is_listed_twice_is_said(caplog):
    spec = specs.ALL["a modifier twice"]()
    Model.from_spec(spec)
    for kind, name in (("normsys", "norm"), ("histosys", "tilt"), ("normfactor", "mu")):
        said = f"Channel 'SR', sample 's' lists the {kind} {name!r} 2 times: only the last counts"
        assert said in caplog.text


def test_what_pyhf_says_of_parameters_and_names():
    spec = specs.everything()
    spec["measurements"][0]["config"]["parameters"].append({"name": "stat_CR", "inits": [1.0]})
    with pytest.raises(pyhf.exceptions.InvalidModel, match="Incorrect number of values"):
        pyhf.Workspace(spec).model()
    assert "'stat_CR', inits: 1 entries, where the model has 2 of that name" in refused(spec)
    spec = specs.everything()
    sample_of(spec, 0, 0)["modifiers"][3]["name"] = "stat_CR"
    with pytest.raises(pyhf.exceptions.InvalidNameReuse):
        pyhf.Workspace(spec).model()
    message = refused(spec)
    assert "'stat_CR' is the name of a normsys and of a staterror" in message
    assert "Only a histosys and a normsys can" in message


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_spec(specs.everything())


def test_data_of_a_wrong_length(model):
    bins, auxiliary = model.config.nmaindata, model.config.nauxdata
    said = f"The data have 3 entries; the model has {bins} bins and {auxiliary} auxiliary"
    for call in (model.data, lambda data: model.logpdf(model.config.suggested_init(), data)):
        with pytest.raises(InputError, match=said):
            call([1.0, 2.0, 3.0])


def test_parameters_of_a_wrong_length(model):
    for call in (model.logpdf, model.nll, model.expected, model.expected_by_sample, model.asimov):
        with pytest.raises(InputError, match=r"2 parameters, where the model has 21: .*par_names"):
            call([1.0, 1.0])


def test_other_numbers(model):
    with pytest.raises(InputError, match=r"'SR', 'signl'\).* Did you mean 'SR / signal'\?"):
        model.with_numbers({("SR", "signl"): [1.0, 2.0, 3.0]})
    with pytest.raises(InputError, match=r"\('SR', 'signal'\) has 2 numbers, the model 3"):
        model.with_numbers({("SR", "signal"): [1.0, 2.0]})
    with pytest.raises(InputError, match=r"no numbers \('SR', 'nothing'\)"):
        model.get("SR", "nothing")
    with pytest.raises(InputError, match=r"No parameter 'lum'\. Did you mean 'lumi'\?"):
        model.config.par_slice("lum")


def test_single_precision(model):
    point = np.array(model.config.suggested_init())
    for transformed in (
        jax.jit(model.logpdf),
        jax.grad(model.logpdf),
        lambda p: jax.vmap(model.expected)(p[None]),
        jax.jit(lambda p: model.with_numbers({("SR", "signal"): p[:3]}).numbers),
    ):
        with pytest.raises(InputError, match=r"needs float64 .* jax\.enable_x64\(True\)"):
            transformed(point.astype(np.float32))
