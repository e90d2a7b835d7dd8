import json
import tomllib
from pathlib import Path

import pytest

from difftune.errors import InputError
from difftune.job import Config, from_dict, load

EXAMPLE = Path(__file__).parents[2] / "examples" / "single_top" / "single_top.toml"
MINIMAL = """
[data]
features = ["pt", "eta"]
[[samples]]
name = "higgs"
role = "signal"
[[samples]]
name = "ttbar"
"""
FULL = """
[general]
name = "search"
label = "Preliminary"
detail = "13 TeV"
output = "runs/search"
seed = 7
[data]
files = ["a.root", "sub/*.root", "root://host//b.root", "/absolute/c.root"]
features = ["pt", "ratio"]
weight = "w * 2"
event_number = "number"
selection = "pt > 20"
missing = [-999, nan]
impute = 0
missing_indicators = true
folds = 4
validation_folds = [0]
test_folds = [1, 2]
derived = { ratio = "pt / eta" }
[[samples]]
name = "higgs"
role = "signal"
files = "higgs.root"
tree = "t"
selection = "eta < 2"
weight = "w"
[[samples]]
name = "ttbar"
[[samples.parts]]
name = "slice"
files = "slice.root"
cross_section = 3.5
sum_of_weights = { tree = "Runs", branch = "genEventSumw" }
[[samples]]
name = "data"
role = "data"
[[systematics]]
name = "isr"
type = "weight"
up = "isr_up"
down = "isr_down"
samples = ["ttbar"]
[[systematics]]
name = "jes"
type = "tree"
up = "{tree}_up"
files_up = ["up.root", "/absolute/up.root"]
[[systematics]]
name = "jer"
type = "features"
up = { pt = "pt_up" }
[[systematics]]
name = "xsec"
type = "normalisation"
up = 0.06
down = -0.05
samples = ["ttbar"]
[[norm_factors]]
name = "k_ttbar"
samples = ["ttbar"]
bounds = [0, 5]
[fit]
region = "SR"
poi = "mu_H"
luminosity_uncertainty = 0.01
bins = 8
min_background = 0
max_mc_uncertainty = 0.3
[model]
module = "net.py:Net"
hidden = [32, 16]
activation = "silu"
normalisation = "layer"
dropout = 0.1
[[objective]]
name = "cross_entropy"
[[objective]]
name = "loss.py:loss"
scale = "weight"
bins = 5
bandwidth = [0.1, 0.02]
form = "linear"
[training]
batch_size = 128
patience = 3
negative_weights = "absolute"
max_overtraining = inf
score_bins = 5
[hyperparameters]
beta1 = 0.8
[search]
strategy = "pbt"
population = 4
rounds = 2
epochs_per_round = 1
quantile = 0.5
perturbation = 0.2
resample = { dropout = 0.3 }
[space]
learning_rate = { log_uniform = [1e-4, 1e-2] }
dropout = { uniform = [0, 0.5] }
batch_size = { choice = [64, 128] }
depth = { integer = [1, 3] }
activation = { category = ["relu", "tanh"] }
l1 = { uniform = [0, 0.5], when = { depth = [2, 3] } }
[comparison]
seeds = 3
"""


def write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    file = folder / "analysis.toml"
    file.write_text(text, encoding=encoding)
    return file


def said(found, given, *, skip=("files", "files_up", "files_down", "module", "name")):
    """Compares the configuration with what tomllib reads, key by key."""
    if isinstance(given, dict):
        for key, value in given.items():
            if key not in skip:
                said(found[key] if isinstance(found, dict) else getattr(found, key), value)
    elif isinstance(given, list):
        assert len(found) == len(given)
        for one, other in zip(found, given, strict=True):
            said(one, other)
    else:
        assert found == given or (found != found and given != given)


@pytest.mark.parametrize("text", [FULL, MINIMAL, EXAMPLE.read_text()])
def test_what_the_file_says_is_what_the_configuration_holds(tmp_path, text):
    said(load(write(tmp_path, text)), tomllib.loads(text))


def test_paths_are_seen_from_the_file(tmp_path):
    config = load(write(tmp_path, FULL))
    assert config.data.files == [
        str(tmp_path / "a.root"),
        str(tmp_path / "sub/*.root"),
        "root://host//b.root",
        "/absolute/c.root",
    ]
    assert config.samples[0].files == str(tmp_path / "higgs.root")
    assert config.samples[1].parts[0].files == str(tmp_path / "slice.root")
    assert config.samples[1].files is None
    assert config.systematics[1].files_up == [str(tmp_path / "up.root"), "/absolute/up.root"]
    assert config.model.module == f"{tmp_path}/net.py:Net"
    assert [term.name for term in config.objective] == ["cross_entropy", f"{tmp_path}/loss.py:loss"]
    assert config.general.output == "runs/search"
    assert config.data.train_folds == [3]


def test_round_trip_through_the_json_that_a_run_leaves(tmp_path):
    config = load(write(tmp_path, FULL.replace(", nan", "")))
    stored = tmp_path / "elsewhere" / "config.json"
    stored.parent.mkdir()
    stored.write_text(json.dumps(config.model_dump(mode="json")))
    assert load(stored) == config
    assert load(stored).training.max_overtraining == float("inf")


def test_overrides_take_precedence_with_the_types_of_toml(tmp_path):
    config = load(
        write(tmp_path, MINIMAL),
        [
            "general.name=my run",
            "general.label = 'Internal'",
            "search.population=3",
            "search.resample = 0.5",
            "data.test_folds=[1, 2]",
            "data.missing_indicators=true",
            "data.selection=pt > 20 & eta == 1",
            "hyperparameters.beta1=0.5",
            "space.dropout={uniform = [0.0, 0.2]}",
            "general.seed=1",
            "general.seed=2",
        ],
    )
    assert config.general.name == "my run"
    assert config.general.label == "Internal"
    assert config.search.population == 3
    assert config.search.resample == 0.5
    assert config.data.test_folds == [1, 2]
    assert config.data.missing_indicators is True
    assert config.data.selection == "pt > 20 & eta == 1"
    assert config.hyperparameters == {"beta1": 0.5}
    assert config.space["dropout"].uniform == [0.0, 0.2]
    assert config.general.seed == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.population", r"'search.population': write section.key=value"),
        ("=3", r"'=3': write section.key=value"),
        ("samples.0.name=x", r"'samples' is a list or value, not a section"),
        ("general.seed.x=1", r"'seed' is a list or value, not a section"),
        ("search.populatoin=3", r"unknown key 'search.populatoin'. Did you mean 'population'\?"),
        ("search.population=many", r"search.population = 'many': .* valid integer"),
        ("sarch.population=3", r"unknown key 'sarch'. Did you mean 'search'\?"),
    ],
)
def test_a_bad_override_is_refused(tmp_path, override, message):
    text = MINIMAL + "[general]\nseed = 1\n"
    with pytest.raises(InputError, match=message):
        load(write(tmp_path, text), [override])


def minimal(**sections) -> dict:
    return tomllib.loads(MINIMAL) | sections


def data(**keys) -> dict:
    return minimal(data={"features": ["pt"]} | keys)


def samples(**keys) -> dict:
    return minimal(samples=[{"name": "higgs", "role": "signal"} | keys, {"name": "ttbar"}])


def systematic(**keys) -> dict:
    return minimal(systematics=[{"name": "isr", "type": "weight", "up": "w"} | keys])


WRONG = {
    "unknown section": (
        minimal(trainin={}),
        r"analysis: unknown key 'trainin'. Did you mean 'training'\? Known here: comparison, data",
    ),
    "unknown key": (
        minimal(training={"batchsize": 3}),
        r"unknown key 'training.batchsize'. Did you mean 'batch_size'\? Known here: batch_size, ",
    ),
    "unknown key without a neighbour": (
        minimal(fit={"zzz": 3}),
        r"unknown key 'fit.zzz'. Known here: binning, bins, ",
    ),
    "unknown key in a list": (
        samples(rol="signal"),
        r"unknown key 'samples.0.rol'. Did you mean 'role'\? Known here: cross_section, files,",
    ),
    "unknown key of a sum of weights": (
        data(sum_of_weights={"tree": "Runs", "brnch": "x"}),
        r"unknown key 'data.sum_of_weights.brnch'. Did you mean 'branch'\?",
    ),
    "half a sum of weights": (
        data(sum_of_weights={"tree": "Runs"}),
        r"data.sum_of_weights: .* has tree: give tree and branch",
    ),
    "a sum of weights that is none": (
        data(sum_of_weights="Runs"),
        r"data.sum_of_weights = 'Runs': Input should be a valid number",
    ),
    "luminosity and scale": (
        data(luminosity=140.0, scale=2.0),
        r"data: luminosity = 140 and scale = 2 contradict each other",
    ),
    "unknown key of a part": (
        samples(parts=[{"name": "a", "file": "x"}]),
        r"unknown key 'samples.0.parts.0.file'. Did you mean 'files'\?",
    ),
    "unknown key of one kind of systematic": (
        systematic(files_up="x"),
        r"unknown key 'systematics.0.files_up'\..* Known here: down, name, samples, sum_of_",
    ),
    "unknown key in a range": (
        minimal(space={"l2": {"unifrom": [0, 1]}}),
        r"unknown key 'space.l2.unifrom'. Did you mean 'uniform'\?",
    ),
    "text for a number": (
        minimal(training={"batch_size": "3"}),
        r"training.batch_size = '3': .*valid integer",
    ),
    "a fraction for a number of things": (
        minimal(search={"rounds": 2.5}),
        r"search.rounds = 2.5: .*valid integer",
    ),
    "truth for a number": (minimal(fit={"bins": True}), r"fit.bins = True: .*valid integer"),
    "number for text": (data(features=[1]), r"data.features.0 = 1: .*valid string"),
    "flat branches of a collection": (
        data(objects={"jets": {"branches": {"pt": ["jet1_pt", "jet2_pt"]}, "max": 2}}),
        r"data.objects.jets.branches: .*\[jet1_pt, jet2_pt\]",
    ),
    "text for a list": (data(features="pt"), r"data.features = 'pt': .*valid list"),
    "value for a section": (minimal(training=3), r"training = 3: .*valid dictionary"),
    "list for a section": (minimal(samples=[3, 4]), r"samples.0 = 3: .*valid dictionary"),
    "one of two types": (
        data(missing="none"),
        r"data.missing: 'none' is neither a number, nor a list .* by column",
    ),
    "too small": (
        minimal(training={"batch_size": 0}),
        r"training.batch_size = 0: .*greater than or equal to 1",
    ),
    "too large": (
        minimal(search={"quantile": 0.7}),
        r"search.quantile = 0.7: .*less than or equal to 0.5",
    ),
    "not a number": (
        minimal(training={"max_overtraining": float("nan")}),
        r"training.max_overtraining = nan: .*greater than 0",
    ),
    "too few": (data(features=[]), "data: features is missing or empty: .* or objects"),
    "too few samples": (
        minimal(samples=[{"name": "s"}]),
        "samples has one sample: give a signal",
    ),
    "unknown word": (
        samples(role="sgnal"),
        r"samples.0.role = 'sgnal': .*'signal', 'background' or 'data'. Did you mean 'signal'\?",
    ),
    "unknown word or number": (
        data(impute="meen"),
        r"data.impute = 'meen': .*'median' or 'mean'. Did you mean 'mean'\?",
    ),
    "unknown type of systematic": (
        systematic(type="wight"),
        r"systematics.0.type = 'wight' is unknown. Did you mean 'weight'\? Choose .* weight, tree",
    ),
    "systematic without a type": (
        minimal(systematics=[{"name": "isr", "up": "w"}]),
        r"systematics.0.type is missing. Choose one of weight, tree, features, field, normal",
    ),
    "missing section": ({"samples": minimal()["samples"]}, r"data is missing; it must be given"),
    "missing key": (minimal(data={}), "data: features is missing or empty"),
    "missing key in a systematic": (
        minimal(systematics=[{"name": "isr", "type": "weight"}]),
        r"systematics.0.up is missing",
    ),
    "two ranges": (
        minimal(space={"l2": {"uniform": [0, 1], "choice": [1]}}),
        r"space.l2: give exactly one of uniform, log_uniform, integer, log_integer, choice, cat",
    ),
    "no range": (minimal(space={"l2": {}}), r"space.l2: give exactly one"),
    "searched and fixed": (
        minimal(space={"l2": {"uniform": [0, 1]}}, hyperparameters={"l2": 0.1}),
        r"'l2' stands in \[space\] and in \[hyperparameters\]\.",
    ),
    "missing of a column": (
        data(missing={"a": [1, "x"]}),
        r"data.missing: .* is neither a number, nor a list of numbers, nor a table",
    ),
    "missing is no number": (data(missing=True), r"data.missing: True is neither a number"),
    "event number": (
        data(event_number=["run", 2]),
        r"data.event_number: \['run', 2\] is neither the name of a column nor a list",
    ),
    "no event number": (data(event_number=[]), r"data.event_number: \[\] is neither"),
    "duplicates": (data(duplicates="refused"), r"'allow'. Did you mean 'refuse'\?"),
    "folds shared": (data(test_folds=[3]), r"data: validation_folds and test_folds must not share"),
    "no such fold": (data(test_folds=[7]), r"data: fold 7 does not exist: folds go from 0 to 4\."),
    "no fold left": (data(test_folds=[0, 1, 2, 4]), r"data: no fold is left to train on\."),
    "same name twice": (systematic() | {"samples": [{"name": "x"}] * 2}, r"samples: .*'x' is used"),
    "systematic of no sample": (
        systematic(samples=["tbar"]),
        r"systematics 'isr': there is no sample 'tbar'. Did you mean 'ttbar'\?",
    ),
    "factor of no sample": (
        minimal(norm_factors=[{"name": "k", "samples": ["higs"]}]),
        r"norm_factors 'k': there is no sample 'higs'. Did you mean 'higgs'\?",
    ),
    "colour of nothing": (
        minimal(general={"colors": {"pt": "red"}}),
        r"general.colors: there is no sample 'pt'",
    ),
    "no colour": (
        minimal(general={"colors": {"ttbar": "blu"}}),
        r"general.colors: ttbar = 'blu' is no colour",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_place_value_and_remedy(case):
    raw, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        from_dict(raw, source="analysis")


def test_everything_that_is_wrong_is_said_at_once():
    raw = minimal(training={"batchsize": 3, "patience": 0}, general={"seed": "x"})
    with pytest.raises(InputError) as caught:
        from_dict(raw, source="a.toml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("a.toml: ") for line in lines)
    assert {word for line in lines for word in line.split()} >= {
        "'training.batchsize'.",
        "training.patience",
        "general.seed",
    }


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none.toml: there is no such analysis file"):
        load(tmp_path / "none.toml")
    with pytest.raises(InputError, match=r"there is no such analysis file"):
        load(tmp_path)
    with pytest.raises(InputError, match=r"analysis.toml cannot be read: .*line 2"):
        load(write(tmp_path, "[data]\nfeatures = = 3\n"))
    with pytest.raises(InputError, match=r"analysis.toml cannot be read: .*Save it as UTF-8"):
        load(write(tmp_path, "x = 'é'\n", encoding="latin-1"))
    for text in ("x = " + "[" * 5000, "x = " + "1" * 5000):
        with pytest.raises(InputError, match=r"analysis.toml cannot be read: "):
            load(write(tmp_path, text))
    (tmp_path / "config.json").write_text('{"data": ')
    with pytest.raises(InputError, match=r"config.json cannot be read: .*line 1"):
        load(tmp_path / "config.json")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary.toml cannot be read"):
        load(tmp_path / "binary.toml")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(InputError, match=r"list.json cannot be read: it holds a list"):
        load(tmp_path / "list.json", ["general.seed=2"])


def test_a_configuration_does_not_change(tmp_path):
    config = load(write(tmp_path, MINIMAL))
    with pytest.raises(ValueError, match="frozen"):
        config.general.seed = 3
    assert Config.model_validate(config.model_dump()) == config
