"""What a run says of its result: the words follow the workspace."""

from types import SimpleNamespace

import numpy as np
import pytest

from difftune import job
from difftune.analysis import FIGURES, Measurement
from difftune.histfactory import (
    FreeNormalisation,
    Luminosity,
    NormalisationUncertainty,
    build_workspace,
)
from difftune.job.run import Outcome
from difftune.report import yields_table
from tests.histfactory import samples
from tests.job.small import write_small


def measured(systematics: int = 0, **options) -> Measurement:
    templates = samples.large(bins=3, processes=2, systematics=systematics)
    workspace = build_workspace([templates], **options)
    return of(templates, workspace)


def of(templates, workspace) -> Measurement:
    return Measurement(
        templates=templates,
        workspace=workspace,
        stat_only=3.0,
        expected=2.0,
        figure=FIGURES["discovery"],
        value=2.0,
        score=lambda events: np.zeros(len(events)),
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "with simulation statistics"),
        ({"mc_statistics": False}, "without uncertainties"),
        ({"systematics": 1}, "with systematics"),
        ({"normalisation": [NormalisationUncertainty("xs", 0.1)]}, "with systematics"),
        ({"luminosity": Luminosity(0.02)}, "with systematics"),
        ({"free": [FreeNormalisation("k", ("background1",))]}, "with systematics"),
    ],
)
def test_systematics_are_named_where_there_are_some(given, said):
    assert measured(**given).uncertainties == said


def test_the_caption_of_the_yields_names_what_they_have():
    with_some, without = measured(systematics=1).templates, measured().templates
    assert "± simulation statistics ± systematics." in yields_table([with_some]).caption
    assert yields_table([without]).caption.endswith("± simulation statistics.")


@pytest.mark.parametrize(
    ("value", "uncertainty", "said"),
    [
        (0.99972, 0.00031, "0.99972 ± 0.00031"),
        (1.02, 0.31, "1.02 ± 0.31"),
        (30000.4, 6300.2, "30\u2009000 ± 6\u2009300"),
        (-0.5, np.nan, "−0.50 ± n/a"),
    ],
)
def test_a_fitted_strength_has_digits_that_fit_its_uncertainty(value, uncertainty, said):
    fit = SimpleNamespace(parameter={"mu": (value, uncertainty)}.get)
    outcome = SimpleNamespace(fit=fit, config=SimpleNamespace(fit=SimpleNamespace(poi="mu")))
    assert Outcome.poi_text.fget(outcome) == said


def test_observed_data_are_not_called_asimov():
    toy = samples.toy()
    workspace = build_workspace([toy], poi="Signal_norm")
    found = of(toy, workspace)
    assert found.data == "observed data"
    assert measured().data == "Asimov data"


def test_another_luminosity_is_a_factor_on_all_simulated_weights(tmp_path):
    file = write_small(tmp_path, events=300)
    by_weight = file.read_text().replace('\nweight = "', '\nweight = "0.1 * ')
    by_weight = by_weight.replace('"weight_btag', '"0.1 * weight_btag')
    data = '\n[[samples]]\nname = "data"\nrole = "data"\ntree = "ttbar"\n'
    file.write_text(file.read_text() + data)
    found = job.build.events(job.load(file, ["data.scale=0.1"]))
    file.write_text(by_weight + data)
    expected = job.build.events(job.load(file))
    # Observed events are what they are.
    assert found.yields()[-1] == expected.yields()[-1] == len(found.observed)
    np.testing.assert_allclose(found.weight, expected.weight, rtol=1e-6)
    for name in ("btag", "jes"):
        for side in ("up", "down"):
            varied = found.varied(name, side).weight
            np.testing.assert_allclose(varied, expected.varied(name, side).weight, rtol=1e-6)
