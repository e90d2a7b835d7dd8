"""What a run says of its result: the words follow the workspace."""

from types import SimpleNamespace

import numpy as np
import pytest

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
