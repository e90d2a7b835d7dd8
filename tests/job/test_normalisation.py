"""Cross-sections and luminosities in the analysis file."""

import json
from dataclasses import replace

import numpy as np
import pytest

from difftune.analysis import Split
from difftune.errors import InputError
from difftune.job import again, build, check, load
from difftune.job.outcome import at_scale
from tests.job.small import changed, write_small


@pytest.fixture
def config(tmp_path):
    path = write_small(tmp_path, events=300)
    changed(
        path,
        ('weight = "weight"', 'weight = "1"\nluminosity = 2.0'),
        ('tree = "tchannel"', 'tree = "tchannel"\ncross_section = 3.5\nsum_of_weights = 1000'),
        (
            'tree = "ttbar"',
            'tree = "ttbar"\ncross_section = 30.0\n'
            'sum_of_weights = { tree = "ttbar", branch = "weight" }',
        ),
    )
    return path


def test_luminosity_of_the_file_is_that_of_the_events(config, tmp_path):
    events = build.events(load(config))
    names = [p.name for p in events.processes]
    assert [each.process for each in events.normalisations] == ["tchannel", "ttbar"]
    # 300 events of 1000 that were generated, at 3.5 pb and 2 / fb.
    assert events.yields()[names.index("tchannel")] == pytest.approx(300 * 7000 / 1000)
    table = check(load(config))
    (line,) = [
        line for line in table.splitlines() if line.startswith("tchannel  ") and "3.5" in line
    ]
    assert line.split() == ["tchannel", "1", "300", "1000", "3.5", "2", "0.2857"]


def test_another_luminosity_is_that_of_a_file_that_says_it(config):
    settings = load(config)
    split = Split(events=build.events(settings))
    scaled = at_scale(split, again._scale(settings, 6.0)).events
    read = build.events(load(config, ["data.luminosity=6.0"]))
    normalised = [i for i, p in enumerate(read.processes) if p.cross_section is not None]
    own = np.isin(read.process, normalised)
    np.testing.assert_allclose(scaled.weight[own], read.weight[own], rtol=1e-6)
    # Events that are expected ones are taken for those of the same luminosity.
    np.testing.assert_allclose(scaled.weight[~own], 3 * read.weight[~own], rtol=1e-6)
    np.testing.assert_allclose(
        scaled.variations["jes"].up.yields()[:2], read.variations["jes"].up.yields()[:2], rtol=1e-5
    )
    for one, other in zip(scaled.normalisations, read.normalisations, strict=True):
        assert one.luminosity == other.luminosity == 6.0
        assert one.effective_luminosity == pytest.approx(other.effective_luminosity)


def test_observed_events_are_what_they_are(config):
    events = build.events(load(config))
    wjets = replace(events.processes[2], role="data")
    observed = replace(events, processes=(*events.processes[:2], wjets), variations={})
    scaled = at_scale(Split(events=observed), 3.0).events
    np.testing.assert_allclose(scaled.yields() / observed.yields(), [3, 3, 1], rtol=1e-6)


def test_a_luminosity_that_is_not_known(config, tmp_path):
    plain = load(config, ["data.luminosity=2.0"]).model_dump()
    for sample in plain["samples"]:
        sample |= {"cross_section": None, "sum_of_weights": None}
    plain["data"]["luminosity"] = None
    other = tmp_path / "plain.json"
    other.write_text(json.dumps(plain))
    with pytest.raises(InputError, match=r"no luminosity.*fit.luminosity_scale=2"):
        again._scale(load(other), 300.0)
    with pytest.raises(InputError, match="luminosity = -1: give a number above 0"):
        again._scale(load(config), -1.0)
