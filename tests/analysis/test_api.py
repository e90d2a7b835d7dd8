"""The chain from a script, with the parts that the small analysis file does not use."""

from dataclasses import replace

import numpy as np
import pytest
from flax import nnx

import difftune as dt
from difftune.errors import InputError
from tests.job.small import PROCESSES, write_small


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    folder = write_small(tmp_path_factory.mktemp("api"), events=1000).parent
    return dt.read(
        folder / "small.root",
        processes=[
            dt.Process(name=n, role="signal" if n == "tchannel" else "background", tree=n)
            for n in PROCESSES
        ],
        features=["lightjet_abs_eta", "top_mass", "mtw"],
        weight="weight",
        event_number="event_number",
        variations=[
            dt.WeightVariation("btag", "weight_btag_up"),  # one-sided
            dt.TreeVariation("jes", "{tree}_jes_up", "{tree}_jes_down"),
        ],
    )


class Own(nnx.Module):
    def __init__(self, inputs, outputs, *, rngs):
        self.first = nnx.Linear(inputs, 6, rngs=rngs)
        self.second = nnx.Linear(6, outputs, rngs=rngs)

    def __call__(self, x):
        return self.second(nnx.tanh(self.first(x)))


@pytest.fixture(scope="module")
def tuned(events):
    return dt.tune(
        events,
        model=Own,
        objective=dt.objectives.CategoricalCrossEntropy(),
        space=dt.Space(learning_rate=dt.log_uniform(3e-3, 3e-2)),
        search=dt.search.Random(population=2, rounds=2, epochs_per_round=2),
        overtraining=dt.training.ScoreGap(limit=np.inf),
        batch_size=128,
        seed=3,
    )


@pytest.mark.slow
def test_multiclass_network_of_ones_own_is_tuned_and_measured(tuned):
    best = tuned.ranking[0]
    assert best.score > best.selection_score == max(rank.selection_score for rank in tuned.ranking)
    # What it was compared by is what the history says of its best allowed epoch.
    history = tuned.result.history
    allowed = np.where(history.overtraining <= 1.0, history.selection_score, -np.inf)
    row, member = np.unravel_index(np.argmax(allowed), allowed.shape)
    assert (best.epoch, best.selection_score) == (history.epoch[row], allowed[row, member])
    assert best.score == history.score[row, member]
    result = dt.measure(
        tuned.network,
        tuned.split,
        bins=4,
        luminosity=dt.histfactory.Luminosity(0.01),
        normalisation=[dt.histfactory.NormalisationUncertainty("xsec", 0.1, processes=("ttbar",))],
    )
    # The templates stand for the full yields, whatever share of the events is tested.
    total = sum(template.nominal.sumw.sum() for template in result.templates.processes.values())
    np.testing.assert_allclose(total, tuned.split.full_yields.sum(), rtol=1e-5)
    up, down = result.templates.processes["wjets"].variations["btag"]
    nominal = result.templates.processes["wjets"].nominal.sumw.sum()
    np.testing.assert_allclose(up.sumw.sum() + down.sumw.sum(), 2 * nominal, rtol=1e-6)
    assert 0 < result.expected < result.stat_only


def test_stat_only_significance_is_that_of_the_templates(tuned):
    result = dt.measure(tuned.network, tuned.split, bins=3)
    s = result.templates.total("signal").sumw
    b = result.templates.total("background").sumw
    expected = np.sqrt(2 * np.sum((s + b) * np.log1p(s / b) - s))
    np.testing.assert_allclose(result.stat_only, expected, rtol=1e-5)


@pytest.mark.slow
def test_measure_takes_any_way_of_choosing_edges(tuned):
    """It sees training and validation events, with the yields of all, and nothing of the test."""
    network, split = tuned.network, tuned.split
    events = split.part("train", "validation")
    columns = network.score(events), events.weight, events.label == 1

    def edges(**options):
        return dt.measure(network, split, **options).templates.edges

    np.testing.assert_array_equal(edges(bins=4), dt.binning.choose_edges(*columns, bins=4))
    np.testing.assert_array_equal(edges(), edges(binning="equal_signal"))
    np.testing.assert_array_equal(edges(binning=[0, 0.25, 1]), [0, 0.25, 1])
    seen = []

    def own(scores, weight, signal):
        seen.append((scores, weight, signal))
        return [0, 0.5, 1]

    np.testing.assert_array_equal(edges(binning=own), [0, 0.5, 1])
    for given, expected in zip(seen[0], columns, strict=True):
        np.testing.assert_array_equal(given, expected)


@pytest.mark.slow
def test_exact_bins_see_the_upward_side_of_each_variation(tuned):
    network, split = tuned.network, tuned.split
    events = split.part("train", "validation")
    score, signal = network.score(events), events.label == 1
    jes = events.varied("jes", "up")
    # All processes have a varied tree.
    assert set(np.unique(jes.process)) == {0, 1, 2}
    varied = {
        "btag": dt.binning.Scored(score, events.variations["btag"].up, signal),
        "jes": dt.binning.Scored(network.score(jes), jes.weight, jes.label == 1),
    }
    expected = dt.binning.optimise_edges(
        score, events.weight, signal, bins=4, variations=varied
    ).edges
    found = dt.measure(network, split, binning=dt.binning.Exact(bins=4)).templates.edges
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_learned_edges_come_with_the_network(events, tuned, tmp_path):
    learned = dt.binning.LearnedEdges(bins=4)
    objective = dt.objectives.CrossEntropy() + 0.1 * dt.objectives.AsimovLLR(bins=learned)
    trained = dt.tune(
        events,
        model=dt.models.MLP(hidden=(4,)),
        objective=objective,
        search=dt.search.Random(population=1, rounds=1, epochs_per_round=2),
        overtraining=dt.training.ScoreGap(limit=np.inf),
        batch_size=128,
    )
    best = trained.result.best.objective[1]["edges"]
    expected = learned({"log_widths": best["log_widths"][0]})
    result = dt.measure(trained.network, trained.split, binning=dt.binning.Learned())
    np.testing.assert_array_equal(result.templates.edges, expected)
    assert not np.array_equal(expected, np.linspace(0, 1, 5))
    trained.network.save(tmp_path / "network")
    again = dt.TrainedNetwork.load(tmp_path / "network")
    assert again.edges == trained.network.edges == tuple(expected.tolist())
    assert dt.Ensemble([again]).edges == again.edges
    for without in (tuned.network, dt.Ensemble([again, again])):
        with pytest.raises(InputError, match="no edges were trained with this network"):
            dt.measure(without, tuned.split, binning="learned")


def test_schedule_is_trained_again_from_other_start_values(tuned):
    again = tuned.retrain(2)
    schedule = tuned.result.schedule["learning_rate"]
    for row, values in enumerate(again.result.history.hyperparameters["learning_rate"]):
        np.testing.assert_allclose(values, schedule[min(row, len(schedule) - 1)])
    first, second = again.networks
    assert not np.allclose(first.score(tuned.split.test), second.score(tuned.split.test))


def test_a_retraining_can_learn_from_the_validation_events_too(tuned):
    """Scores stay those of the networks before, which the validation events had not taught."""
    plain, again = tuned.retrain(2), tuned.retrain(2, refit=True)
    np.testing.assert_array_equal(again.result.best.score, plain.result.best.score)
    events = tuned.split.validation
    for first, second in zip(plain.networks, again.networks, strict=True):
        assert not np.allclose(first.score(events), second.score(events))
    with pytest.raises(InputError, match="began from the networks of another one"):
        replace(tuned, before=tuned).retrain(2, refit=True)


@pytest.mark.slow
def test_a_population_without_a_result_is_an_error(events):
    with pytest.raises(dt.search.SearchError, match="overtraining condition"):
        dt.tune(
            events,
            model=dt.models.MLP(hidden=(4,)),
            search=dt.search.Random(population=1, rounds=1, epochs_per_round=1),
            hyperparameters={"learning_rate": 1e30},
            batch_size=128,
        )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"validation_folds": (3,), "test_folds": (3,)}, "different folds"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"hyperparameters": {"learning_rate": 1.0}}, "both searched and fixed"),
        ({"hyperparameters": {"lerning_rate": 1.0}}, "Did you mean 'learning_rate'"),
    ],
)
def test_wrong_arguments_are_refused_before_training(events, options, said):
    with pytest.raises(InputError, match=said):
        dt.tune(events, space=dt.Space(learning_rate=dt.log_uniform(1e-3, 1e-2)), **options)


@pytest.mark.slow
def test_training_sees_varied_trees_if_the_objective_wants_them(events):
    """In the search too: the strength of the adversary and both learning rates."""
    adversary = dt.objectives.Adversarial(
        strength="lambda", learning_rate="adversary_rate", hidden=(4,)
    )
    tuned = dt.tune(
        events,
        model=Own,
        objective=dt.objectives.CrossEntropy() + adversary,
        space=dt.Space(
            **{"lambda": dt.log_uniform(1, 100)},
            learning_rate=dt.log_uniform(3e-3, 3e-2),
            adversary_rate=dt.log_uniform(3e-3, 3e-2),
        ),
        search=dt.search.Random(population=2, rounds=1, epochs_per_round=1),
        overtraining=dt.training.ScoreGap(limit=np.inf),
        batch_size=256,
        seed=3,
    )
    assert set(tuned.ranking[0].hyperparameters) == {"lambda", "learning_rate", "adversary_rate"}
    population = tuned.preparation.population(dt.search.PBT(population=2), 3, tuned.space)
    assert set(population.train.variations) == {"btag", "jes"}
    assert population.train.variations["jes"].down.features is not None
    # The events that only enter are rows too, in training and validation events alike.
    for part, columns in (
        (tuned.split.train, population.train),
        (tuned.split.validation, population.validation),
    ):
        assert len(columns.weight) == len(dt.data.paired(part)) > len(part)
    plain = dt.analysis.Preparation(split=tuned.split).population(
        dt.search.PBT(population=2), 3, dt.Space()
    )
    assert len(plain.train.weight) == len(tuned.split.train)
    assert not plain.train.variations
