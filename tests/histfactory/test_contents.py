"""Parameters of a spec beside those that pyhf makes of it: names, order, values, and refusals."""

import numpy as np
import pyhf
import pytest

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.histfactory.contents import contents_of
from tests.histfactory import specs


def drawn(rng: np.random.Generator, *, clash: bool) -> dict:
    """Up to three channels of two samples, whose modifiers share their names at random."""
    single = {"histosys": "xy", "normsys": "xyz", "normfactor": "mk", "shapefactor": "g"}
    own = {"shapesys": "s", "staterror": "t"}
    channels, number = [], 0
    for channel in rng.permutation(list("CAB"))[: rng.integers(1, 4)]:
        bins, samples = int(rng.integers(1, 4)), []
        for sample in rng.permutation(["q", "p"])[: rng.integers(1, 3)]:
            data = rng.integers(0, 30, bins).astype(float).tolist()
            # Each sample of a channel has its staterror, unless there may be a clash.
            found = [specs.MU] if rng.random() < 0.5 else []
            for kind, letters in (single | own).items():
                if clash and rng.random() < 0.1:
                    letters = "xmkgst"
                name = str(rng.choice(list(letters)))
                if kind in own and not (clash and rng.random() < 0.2):
                    name += channel + (str(number := number + 1) if kind == "shapesys" else "")
                if kind != "staterror" and rng.random() < 0.5:
                    continue
                found.append(specs.modifier(kind, name, _content(kind, data, rng)))
            if rng.random() < 0.3:
                found.append(specs.modifier("lumi", "lumi"))
            order = rng.permutation(len(found)).tolist()
            samples.append(specs.sample(str(sample), data, *(found[k] for k in order)))
        channels.append(specs.channel(str(channel), *samples))
    return specs.workspace(channels, specs.LUMI)


def _content(kind: str, data: list[float], rng: np.random.Generator) -> object:
    if kind == "normsys":
        return {"hi": 1.1, "lo": 0.9}
    if kind == "histosys":
        return {"hi_data": [1.1 * y for y in data], "lo_data": [0.9 * y for y in data]}
    errors = rng.integers(0, 3, len(data)).astype(float).tolist()
    return errors if kind in ("shapesys", "staterror") else None


def of_pyhf(spec: dict) -> pyhf.Model | None:
    content = {
        "channels": spec["channels"],
        "parameters": spec["measurements"][0]["config"]["parameters"],
    }
    try:
        return pyhf.Model(content, poi_name=None)
    except (pyhf.exceptions.InvalidModel, pyhf.exceptions.InvalidNameReuse, AssertionError):
        return None


def assert_same(spec: dict, theirs: pyhf.Model) -> None:
    config = spec["measurements"][0]["config"]
    contents, his = contents_of(spec["channels"], config["parameters"]), theirs.config
    assert list(contents.parameter_sets) == his.par_order
    assert list(contents.bins.items()) == list(his.channel_nbins.items())
    assert contents.bin_slices == his.channel_slices
    assert list(contents.samples) == his.samples
    assert list(contents.modifiers) == his.modifiers
    constrained = []
    for name, group in contents.parameter_sets.items():
        other = his.param_set(name)
        assert contents.places(name) == his.par_slice(name)
        assert group.scalar == other.is_scalar
        kinds = {"normal": "gaussian", "poisson": "poisson"}
        assert group.constraint == (kinds[other.pdf_type] if other.constrained else "none")
        constrained += [name] if other.constrained else []
    assert constrained == his.auxdata_order
    np.testing.assert_array_equal(contents.init, his.suggested_init())
    np.testing.assert_array_equal(contents.bounds, his.suggested_bounds())


@pytest.mark.parametrize("name", specs.ALL)
def test_corners(name):
    spec = specs.ALL[name]()
    assert_same(spec, of_pyhf(spec))


def test_random_specs_and_those_that_pyhf_refuses():
    rng, counts = np.random.default_rng(1), [0, 0]
    with np.errstate(all="ignore"):
        for number in range(120):
            spec = drawn(rng, clash=number % 3 > 0)
            theirs = of_pyhf(spec)
            counts[theirs is not None] += 1
            if theirs is not None:
                assert_same(spec, theirs)
            else:
                with pytest.raises(InputError, match=r"rename one|with a name of its own"):
                    contents_of(spec["channels"], [specs.LUMI])
    assert min(counts) > 20


def test_no_parameters():
    spec = specs.workspace([specs.channel("A", specs.sample("s", [1.0]))], poi="")
    assert of_pyhf(spec) is None
    with pytest.raises(InputError, match=r"no parameters\. Give a sample"):
        Model.from_spec(spec)
