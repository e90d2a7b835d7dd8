"""Objectives by their names in the analysis file."""

import jax
import jax.numpy as jnp
import pytest

from difftune import objectives
from difftune.binning import LearnedEdges
from difftune.errors import InputError
from difftune.histfactory import Luminosity
from difftune.job import build, from_dict
from tests.objectives.samples import NONE, batch, logits

FEATURES = ["pt", "mass"]


def configuration(*terms, **training):
    return from_dict(
        {
            "training": training,
            "data": {"features": FEATURES},
            "samples": [{"name": "higgs", "role": "signal"}, {"name": "ttbar"}],
            "objective": list(terms),
        }
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"name": "focal", "gamma": 1.5}, objectives.Focal(gamma=1.5)),
        ({"name": "mean_squared_error"}, objectives.MeanSquaredError()),
        (
            {"name": "roc_auc", "temperature": [2.0, 0.1], "scale": "w"},
            objectives.AUCLoss(temperature=(2.0, 0.1)) * "w",
        ),
        (
            {"name": "separation_power", "bins": 7, "bandwidth": [0.1, 0.02]},
            objectives.SeparationLoss(bins=7, bandwidth=(0.1, 0.02)),
        ),
        (
            {"name": "asimov_llr", "background_uncertainty": 0.2, "regions": "cut", "cut": 0.7},
            objectives.AsimovLLR(background_uncertainty=0.2, regions="cut", cut=0.7),
        ),
        (
            {
                "name": "asimov_llr",
                "bins": 2,
                "background_uncertainty": [3, 5.0],
                "absolute_uncertainty": True,
            },
            objectives.AsimovLLR(
                bins=2, background_uncertainty=(3.0, 5.0), absolute_uncertainty=True
            ),
        ),
        (
            {"name": "s_over_root_b", "noise": "b", "regions": "probability", "form": "linear"},
            objectives.SOverRootB(noise="b", regions="probability", form="linear"),
        ),
        (
            {"name": "ams", "regularisation": 5.0, "train_cut": False},
            objectives.AMSLoss(regularisation=5.0, train_cut=False),
        ),
        (
            {"name": "distance_correlation", "feature": "mass", "rows": 256, "scale": 2.0},
            2.0 * objectives.DistanceCorrelation(feature=1, rows=256),
        ),
        (
            {
                "name": "adversarial",
                "strength": "lambda",
                "learning_rate": 1e-2,
                "variations": ["jes"],
                "hidden": [16, 8],
            },
            objectives.Adversarial(
                strength="lambda", learning_rate=1e-2, variations=("jes",), hidden=(16, 8)
            ),
        ),
        (
            {"name": "histogram_variation", "bins": 8, "among": "background", "scale": "w"},
            objectives.HistogramVariation(bins=8, among="background") * "w",
        ),
        (
            {"name": "nuisance_correlation", "variations": ["isr", "fsr"]},
            objectives.NuisanceCorrelation(variations=("isr", "fsr")),
        ),
    ],
)
def test_a_term_is_the_object_with_its_options(given, expected):
    assert build.objective(configuration(given)) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"score": "significance"}, objectives.Significance(bins=10)),
        ({"score": "significance", "score_bins": 5}, objectives.Significance(bins=5)),
        ({"score": "separation", "score_bins": 7}, objectives.Separation(bins=7)),
        ({"score": "roc_area"}, objectives.AUC()),
        ({"score": "cut_significance"}, objectives.CutSignificance()),
        ({"score": "cut_ams"}, objectives.CutAMS()),
    ],
)
def test_the_validation_score_has_a_name_too(given, expected):
    assert build.metric(configuration({"name": "focal"}, **given)) == expected


def test_a_sum_of_many_terms_trains_its_cut():
    terms = [{"name": "cross_entropy"}, {"name": "ams", "scale": 0.1}]
    objective = build.objective(configuration(*terms, {"name": "roc_auc"}))
    parameters = objective.init(jax.random.key(0))
    slope = jax.jit(jax.grad(objective, argnums=3))(logits(), batch(), NONE, parameters)
    (cut,) = jax.tree.leaves(slope)
    assert jnp.isfinite(cut)
    assert abs(float(cut)) > 1e-5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "roc_au"}, "Did you mean 'roc_auc'"),
        (
            {"name": "focal", "bins": 3},
            "objective.0.bins'. It belongs to separation_power, .* not to focal. .*: gamma, name",
        ),
        ({"name": "distance_correlation"}, "objective.0.feature is missing; it must be given"),
        (
            {"name": "distance_correlation", "feature": "mas"},
            "objective.0.feature = 'mas' is none of data.features. Did you mean 'mass'",
        ),
        ({"name": "ams", "cut": 1.0}, "objective.0.cut = 1.0: .*less than 1"),
        ({"name": "asimov_llr", "regions": "bin"}, "'bins', 'cut' or 'probability'"),
        ({"name": "roc_auc", "temperature": [1.0]}, "give two positive numbers"),
    ],
)
def test_what_is_wrong_is_said_with_value_and_remedy(given, message):
    with pytest.raises(InputError, match=message):
        build.objective(configuration(given))


def test_through_the_fit_with_the_uncertainties_of_the_measurement():
    made = build.objective(
        from_dict(
            {
                "data": {"features": FEATURES},
                "samples": [{"name": "higgs", "role": "signal"}, {"name": "ttbar"}],
                "fit": {"luminosity_uncertainty": 0.02},
                "systematics": [
                    {"name": "xsec", "type": "normalisation", "up": 0.1, "samples": ["ttbar"]}
                ],
                "objective": [
                    {"name": "cross_entropy"},
                    {"name": "expected_cls", "bins": 6, "learned_edges": True, "scale": "w"},
                ],
            }
        )
    )
    assert isinstance(made, objectives.Sum)
    term = made.terms[1].objective
    assert isinstance(term, objectives.ExpectedCLs)
    assert term.model.bins == LearnedEdges(bins=6)
    assert term.model.luminosity == Luminosity(0.02)
    assert [(one.name, one.up, one.processes) for one in term.model.normalisation] == [
        ("xsec", 0.1, ("ttbar",))
    ]
    assert made.varied


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"name": "poi_uncertainty", "form": "log"},
            "'objective.0.form'. It belongs to asimov_llr.* not to poi_uncertainty. .* bins",
        ),
        (
            {"name": "cross_entropy", "learned_edges": True},
            "learned_edges'. It belongs to separation_power, .* not to cross_entropy",
        ),
        ({"name": "poi_uncertainy"}, "objective.0.name = .* Did you mean 'poi_uncertainty'"),
    ],
)
def test_what_does_not_fit_through_the_fit_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        build.objective(configuration(given))
