"""What users of Python get wrong: taken as it is plainly meant, or refused before anything trains.

All of it runs in one process without the checks of signatures that pytest adds, as a user's does.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TAKEN = "taken"
# Call, and what is said of it.
CASES = {
    # ---- tune
    'dt.tune("file.root")': r"events = dt.read\('file.root', processes=",
    'dt.tune(Path("file.root"))': "is a path",
    'dt.tune("analysis.toml")': r"dt.job.run\(dt.job.load\('analysis.toml'\)",
    "dt.tune(np.zeros((3, 2)))": "dt.Events.from_arrays",
    "dt.tune(None)": "these are no events; give what dt.read",
    "dt.tune()": "missing a required argument: 'events'",
    "dt.tune(events, strategy=dt.search.PBT())": (
        r"tune\(strategy=...\): there is no such argument.*search"
    ),
    "dt.tune(events, serach='pbt')": "Did you mean 'search'",
    "dt.tune(events, dt.models.MLP())": "or its parts by name",
    'dt.tune(events, search="pbtt")': "search='pbtt' is unknown. Did you mean 'pbt'.*evolution",
    "dt.tune(events, search=16)": r"search=16 is no strategy; give one such as PBT\(population=16",
    "dt.tune(events, search=dt.search.FixedSchedule)": (
        r"class without brackets; write FixedSchedule\(schedule=...\)"
    ),
    "dt.tune(events, search=dt.search.Strategy)": "is a base class",
    "dt.tune(events, space={'dropout': 0.1})": r"hyperparameters=\{'dropout': 0.1\}",
    "dt.tune(events, space={'dropout': (0.0, 0.5)})": r"uniform\(0.0, 0.5\) for all between",
    "dt.tune(events, space=[dt.uniform(0, 1)])": "name what is searched",
    "dt.tune(events, space='dropout')": "name what is searched",
    "dt.tune(events, space={'droput': dt.uniform(0, 0.5)})": "Did you mean 'dropout'",
    "dt.tune(events, hyperparameters={'dropout': dt.uniform(0, 1)})": (
        "what is searched stands in space"
    ),
    "dt.tune(events, hyperparameters={'learning_rate': '0.1'})": "'0.1' is no number",
    "dt.tune(events, hyperparameters={'learning_rate': float('inf')})": "inf is not finite",
    "dt.tune(events, hyperparameters=[('dropout', 0.1)])": "give values by name",
    "dt.tune(events, model='mlp')": (
        r"model='mlp' makes no network; give a model such as MLP\(hidden"
    ),
    "dt.tune(events, model=(64, 64))": r"write MLP\(hidden=\(64, 64\)\)",
    "dt.tune(events, model=Made(3, 1, rngs=nnx.Rngs(0)))": "this is one network.*model=Made",
    "dt.tune(events, model=Short)": r"is called with \(inputs, outputs, \*, rngs\)",
    "dt.tune(events, model=Numpy)": r"the network cannot be compiled \(.*np.tanh\(.*jax.numpy",
    "dt.tune(events, model=dt.models.Alternatives)": r"write Alternatives\(models=...\)",
    "dt.tune(events, objective='cross_entropi')": "Did you mean 'cross_entropy'",
    "dt.tune(events, objective=3)": "objective=3 cannot be called",
    "dt.tune(events, objective=dt.objectives.Significance)": (
        "is a score, of which larger is better"
    ),
    "dt.tune(events, objective=two)": (
        r"takes \(scores, labels\), but is called with \(scores, batch,"
    ),
    "dt.tune(events, objective=numpy_loss)": r"cannot be compiled \(.*np.mean\(np.log.*jax.numpy",
    "dt.tune(events, objective=float_loss)": r"cannot be compiled \(.*float\(.*No float",
    "dt.tune(events, objective=if_loss)": r"cannot be compiled \(.*if jnp.sum.*jax.numpy.where",
    "dt.tune(events, objective=masked_loss)": "give those that do not count the weight 0",
    "dt.tune(events, objective=nothing)": "returned None; an objective is one number",
    "dt.tune(events, objective=many)": "returned an array .*take a mean or a sum",
    "dt.tune(events, metric='significanc')": "Did you mean 'significance'",
    "dt.tune(events, metric=dt.objectives.CrossEntropy())": (
        r"is a loss.*metric=-1.0 \* CrossEntropy"
    ),
    "dt.tune(events, metric=two)": "is called with",
    "dt.tune(events, metric=numpy_loss)": "cannot be compiled",
    "dt.tune(events, optimizer='adm')": "Did you mean 'adam'",
    "dt.tune(events, optimizer=optax.adam(1e-3))": (
        "give a function of them that makes an optimizer"
    ),
    "dt.tune(events, optimizer=optax.adam)": "give a function of them that makes an optimizer",
    "dt.tune(events, overtraining='none')": r"give one such as ScoreGap\(limit=0.1\)",
    "dt.tune(events, selection_rule=2)": r"give SelectionRule\(",
    'dt.tune(events, processes=dt.Process(name="a"))': "are given to dt.read",
    "dt.tune(events, processes=2)": "processes of a computing job",
    "dt.tune(events, seed='1')": "'1' is no whole number; give a whole number from 0",
    "dt.tune(events, seed=-1)": "must be at least 0",
    "dt.tune(events, seed=1.5)": "no whole number",
    "dt.tune(events, batch_size='256')": "batch_size='256': must be a whole number of events",
    "dt.tune(events, batch_size=-5)": "batch_size=-5: must be a whole number of events, 1 or more",
    "dt.tune(events, batch_size=256.5)": "must be a whole number of events",
    "dt.tune(events, patience=0)": "patience=0.*at least 1",
    "dt.tune(events, chunk=0)": "chunk=0.*at least 1",
    "dt.tune(events, test_folds='4')": r"give numbers of folds, as in test_folds=\(3,\)",
    "dt.tune(events, test_folds=9)": r"test_folds=\(9,\) must be different folds of 0 to 4",
    "dt.tune(events, checkpoints=3)": "no path of a folder",
    "dt.tune(events, on_round=1)": "cannot be called",
    "dt.tune(events, negative_weights='drop')": "choose .*absolute",
    "dt.tune(events, impute='zero')": "neither 'median', 'mean' nor a number",
    # ---- parts
    "dt.models.MLP(hiden=64)": "Did you mean 'hidden'",
    "dt.models.MLP(hidden='64')": "give widths of layers",
    "dt.models.MLP(hidden=(64, 0))": "every width must be at least 1",
    "dt.models.MLP(hidden=(64.5,))": "64.5 is no whole number",
    "dt.models.MLP(hidden=-3)": "every width must be at least 1",
    "dt.models.MLP(activation='rellu')": "Did you mean 'relu'",
    "dt.models.MLP(activation=3)": "activation=3",
    "dt.models.MLP(dropout='a')": "give a number, at least 0",
    "dt.models.MLP(normalisation=None)": "Did you mean 'none'",
    "dt.search.PBT(popluation=8)": "Did you mean 'population'",
    "dt.search.PBT(population='8')": r"PBT\(population='8'\): '8' is no whole number",
    "dt.search.PBT(population=0)": r"PBT\(population=0\): must be at least 1",
    "dt.search.PBT(16)": "all need a name",
    "dt.search.PBT(perturbation='0.1')": "'0.1' is no number",
    "dt.search.PBT(perturbation={'a': 'b'})": "'b' is no number",
    "dt.search.Replicated(strategy=3)": "no strategy",
    "dt.search.Grid(points='3')": "points",
    "dt.objectives.AsimovLLR(bins='10')": "give a whole number of bins",
    "dt.objectives.AsimovLLR(bins=dt.binning.LearnedEdges)": "give a whole number of bins",
    "dt.objectives.AsimovLLR(bins=[0.0, 0.5, 1.0])": "give a whole number of bins",
    "dt.objectives.AsimovLLR(bns=10)": "Did you mean 'bins'",
    "dt.objectives.Significance(bins='10')": "'10' is no whole number",
    "dt.objectives.MultiObjective([dt.objectives.Significance()])": "give scores by name",
    "dt.objectives.CrossEntropy() + 3": "cannot be called",
    "dt.training.ScoreGap(limit='10%')": "'10%' is no number",
    # ---- events and splits
    "dt.Process('signal')": "all need a name",
    "dt.Process(name='s', roel='signal')": "Did you mean 'role'",
    "dt.Process(name='s', role='Signal')": "role 'Signal' is none of signal",
    "dt.Process(name='s', role=1)": 'give "signal", "background" or "data"',
    "dt.Process(name='s', selection=['a > 1', 'b > 2'])": 'Join several with " and "',
    "dt.Process(name='s', files=3)": "give paths or globs",
    "dt.read('f.root', 'x')": "too many positional arguments: only files",
    "dt.read('f.root')": "missing a required argument: 'processes'",
    "dt.read('f.root', processes=['s', 'b'], features=['x'])": r"'s' is none; write Process\(name=",
    "dt.read('f.root', processes=[dt.Process], features=['x'])": "is a class and wants brackets",
    "dt.read('f.root', processes={'s': 1}, features=['x'])": r"give a list, as in \[Process",
    "dt.read('f.root', processes=PROCESSES, features=[1])": "1 is no name",
    "dt.read('f.root', processes=PROCESSES, features=['x'], weights='w')": "Did you mean 'weight'",
    "dt.read('f.root', processes=PROCESSES, features=['x'], weight=None)": "give an expression",
    "dt.read('f.root', processes=PROCESSES, features=['x'], selection=['a', 'b'])": "Join several",
    "dt.read('f.root', processes=PROCESSES, features=['x'], variations=['jes'])": (
        "'jes' is none; write"
    ),
    "dt.read('f.root', processes=PROCESSES, features=['x'], folds='5')": "folds = '5'",
    "dt.read([3], processes=PROCESSES, features=['x'])": "3 is no path",
    "dt.analysis.Split(events='f.root')": "is a path",
    "dt.analysis.Split(events, (3,))": "all need a name",
    "split.part('tset')": "no such part. Did you mean 'test'",
    "split.part(7)": "there are the folds 0 to 4",
    "split.part()": "give folds",
    # ---- measure and the network
    "dt.measure(split, network)": (
        r"The network comes first, then the events: measure\(network, split\)"
    ),
    "dt.measure(network)": "missing a required argument: 'split'",
    "dt.measure('network', split)": r"is a path: read it with dt.TrainedNetwork.load\('network'\)",
    "dt.measure(None, split)": "None is no trained network",
    "dt.measure(network, 'file.root')": "is a path",
    "dt.measure(network, split, bins='ten')": "'ten' is no whole number",
    "dt.measure(network, split, bins=0)": "at least 1",
    "dt.measure(network, split, min_background='10')": "'10' is no number",
    "dt.measure(network, split, bins=3, binning='exact')": (
        r"bins is that of the default binning; give it to yours, as in binning=Exact\(bins=3\)"
    ),
    "dt.measure(network, split, binning='exat')": "Did you mean 'exact'",
    "dt.measure(network, split, binning=[1, 0])": "each larger than the one before",
    "dt.measure(network, split, binning=lambda scores: [0, 1])": "is called with",
    "dt.measure(network, split, binning='learned')": "no edges were trained with this network",
    "dt.measure(network, split, normalisation=['xsec'])": r"write NormalisationUncertainty\(",
    "dt.measure(network, split, luminosity='1%')": r"give Luminosity\(0.0083\), or 0.0083",
    "dt.measure(network, split, lumi=0.01)": "no such argument.*luminosity",
    # ---- selection and binning
    "dt.selection.Study(events='f.root')": "is a path",
    "dt.selection.Study(events, dt.Recipe(objective=two))": "is called with",
    "dt.selection.Study(events, dt.models.MLP)": "give Recipe",
    "dt.Recipe(modle=dt.models.MLP)": "Did you mean 'model'",
    "dt.train(events, hiden=3)": "train knows",
    "dt.selection.Study(events=events, groups={'a': 3})": "give names",
    "dt.selection.Study(events=events, epoch=3)": "Did you mean 'epochs'",
    "dt.selection.eliminate(events)": r"give Study\(events, recipe",
    "dt.selection.train(events)": r"give Study\(events, recipe",
    "dt.selection.importance(events)": r"give Study\(events, recipe",
    "dt.selection.importance(study, methods='gatee')": "Did you mean 'gate'",
    "dt.binning.choose_edges(SCORE, WEIGHT, np.array([3, 5]))": (
        "give for each event whether it is signal"
    ),
    "dt.binning.choose_edges(SCORE, WEIGHT[:3], SIGNAL)": "have 6, 3 and 6 entries",
    "dt.binning.choose_edges(SCORE, WEIGHT, SIGNAL, bins='3')": "'3' is no whole number",
    "dt.binning.choose_edges(SCORE, WEIGHT, SIGNAL, bin=3)": "Did you mean 'bins'",
    "dt.binning.optimise_edges(SCORE, WEIGHT, SIGNAL, bins='3')": "'3' is no whole number",
    # ---- taken
    "check(search='random', space={'dropout': dt.uniform(0, 0.5)}, model=dt.models.MLP,"
    " objective=dt.objectives.CrossEntropy, metric=dt.objectives.AUC, overtraining=0.2,"
    " selection_rule=dt.training.SelectionRule, seed=3.0, batch_size=16.0, test_folds=[4])": TAKEN,
    "check(search=dt.search.PBT, space={'dropout': {'uniform': [0.0, 0.5]}},"
    " model=dt.models.MLP(hidden=8, activation=jax.nn.relu), objective='asimov_llr',"
    " metric=['significance', 'roc_area'], overtraining=dt.training.ScoreGap,"
    " optimizer=['adam', 'sgd'], seed=np.int64(3), batch_size=np.int64(16),"
    " validation_folds=2)": TAKEN,
    "check(given=split, search='tpe', optimizer='sgd', metric=-1.0 * dt.objectives.CrossEntropy(),"
    " hyperparameters={'momentum': np.float32(0.5)})": TAKEN,
    "dt.search.Replicated(strategy='pbt')": TAKEN,
    "dt.Process(name='s', files=(f'{i}.root' for i in range(2)), weight=2)": TAKEN,
    "same(split.part('test').weight, split.test.weight)": TAKEN,
    "same(split.part('training').weight, split.train.weight)": TAKEN,
    "same(dt.analysis.fill_templates(network, split, EDGES).edges, EDGES)": TAKEN,
    "dt.selection.Study(split, dt.Recipe(model=dt.models.MLP, objective='focal'),"
    " test_folds=4)": TAKEN,
    "same(edges(SIGNAL.astype(int)), edges(SIGNAL))": TAKEN,
    "same(dt.WeightVariation('a', 'w', processes='tt').processes, ('tt',))": TAKEN,
}

PROGRAM = """
import json, sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np, optax
from flax import nnx
import difftune as dt
from difftune.analysis import tuned

rng = np.random.default_rng(0)
PROCESSES = [dt.Process(name="s", role="signal"), dt.Process(name="b")]
index = np.arange(400) % 2
x = rng.normal(size=(400, 3)) + (index == 0)[:, None]
events = dt.Events.from_arrays(
    x, index, np.full(400, 2.0), feature_names=["a", "b", "c"], processes=PROCESSES
)
split = dt.analysis.Split(events=events)
study = dt.selection.Study(events=events, epochs=1)
SCORE = np.array([0.1, 0.3, 0.5, 0.6, 0.8, 0.9])
WEIGHT = np.full(6, 20.0)
SIGNAL = np.array([False, False, True, False, True, True])
EDGES = np.array([0.0, 0.5, 1.0])

class Made(nnx.Module):
    def __init__(self, inputs, outputs, *, rngs):
        self.layer = nnx.Linear(inputs, outputs, rngs=rngs)
    def __call__(self, x):
        return self.layer(x)

class Short(nnx.Module):
    def __init__(self, inputs):
        pass

class Numpy(Made):
    def __call__(self, x):
        return np.tanh(np.asarray(self.layer(x)))

def two(scores, labels):
    return jnp.mean(scores * labels)
def numpy_loss(scores, batch, hyperparameters, parameters):
    return np.mean(np.log(scores))
def float_loss(scores, batch, hyperparameters, parameters):
    return jnp.asarray(float(scores[0]))
def if_loss(scores, batch, hyperparameters, parameters):
    if jnp.sum(scores) > 0: return jnp.mean(scores)
    return jnp.mean(-scores)
def masked_loss(scores, batch, hyperparameters, parameters):
    return jnp.mean(scores[batch.label == 1])
def nothing(scores, batch, hyperparameters, parameters):
    jnp.mean(scores)
def many(scores, batch, hyperparameters, parameters):
    return scores

module_def = dt.training.ModuleDef(dt.models.MLP(hidden=2), inputs=3, outputs=1)
network = dt.TrainedNetwork(
    module_def=module_def,
    weights=module_def.init(jax.random.key(0)),
    hyperparameters={},
    transform=dt.data.FeatureTransform.fit(events.features, events.weight),
    feature_names=events.feature_names,
    signal_process=(1.0, 0.0),
)

class Stop(Exception):
    pass

def check(given=events, **options):
    # Everything that tune does before it trains.
    def no_training(*args, **kwargs):
        raise Stop
    kept, tuned.run_search = tuned.run_search, no_training
    try:
        dt.tune(given, **{"batch_size": 16} | options)
    except Stop:
        return
    finally:
        tuned.run_search = kept
    raise AssertionError("not reached")

def same(one, other):
    np.testing.assert_array_equal(one, other)

def edges(signal):
    return dt.binning.choose_edges(SCORE, WEIGHT, signal, bins=2)

found = {}
for case in json.load(sys.stdin):
    try:
        eval(case)
        found[case] = ["", "taken"]
    except Exception as error:
        found[case] = [type(error).__name__, str(error)]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    file = tmp_path_factory.mktemp("mistakes") / "mistakes.py"
    file.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(file)],
        cwd=file.parent,
        env=_environment(),
        input=json.dumps([*CASES]),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _environment():
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


@pytest.mark.parametrize("case", CASES)
def test_each_is_taken_or_answered_with_the_remedy(answers, case):
    kind, text = answers[case]
    expected = CASES[case]
    if expected == TAKEN:
        assert (kind, text) == ("", TAKEN)
    else:
        assert kind == "InputError", (kind, text)
        assert re.search(expected, text), text
