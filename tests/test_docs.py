"""The documentation: its Python runs, its analysis files are read, its tables are complete."""

import ast
import importlib.util
import os
import re
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyhf
import pytest
from pydantic import BaseModel

import difftune as dt
from difftune import job
from tests.data.files import write_root
from tests.selection import samples
from tests.training import toy

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
FENCE = re.compile(
    r"^(?P<skip><!-- not run: .* -->\n)?```(?: \{ \.)?(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```$",
    re.M | re.S,
)
SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.M)
SIZES = {"population": 2, "rounds": 2, "epochs_per_round": 1, "toys": 12}


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a page that are to be run, included files and all."""
    return [
        SNIPPET.sub(lambda include: (ROOT / include[1]).read_text(), match["code"])
        for match in FENCE.finditer((DOCS / page).read_text())
        if match["language"] == language and not match["skip"]
    ]


def small(code: str) -> str:
    """The same with the smallest search that still has a second round, and few toys."""
    for name, size in SIZES.items():
        code = re.sub(rf"\b{name}( ?= ?)\d+", rf"{name}\g<1>{size}", code)
    return re.sub(r"\bminutes=\d+", "minutes=0.01", code)


def run(page: str, **names) -> dict:
    """Runs the Python of a page from top to bottom; what it defines, and `names` to begin with."""
    namespace = {"__name__": page, "dt": dt, **names}
    for code in blocks(page, "python"):
        exec(compile(small(code), page, "exec"), namespace)
    return namespace


def columns(signal: bool, seed: int, events: int = 1500) -> dict[str, np.ndarray]:
    """What the quickstart's trees hold."""
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 1.5, events) * (200 if signal else 5000) / events
    jet_pt = rng.exponential(60 if signal else 40, events) + 30
    return {
        "event_number": rng.permutation(events).astype(np.int64),
        "lepton_pt": rng.exponential(40, events) + 25,
        "met": rng.exponential(60 if signal else 30, events),
        "mtw": rng.normal(80, 20, events),
        "jet_pt": jet_pt,
        "jet_pt_jer_up": jet_pt * rng.normal(1, 0.1, events),
        "top_mass": np.where(rng.random(events) < 0.1, -999, rng.normal(172, 30, events)),
        "n_jets": rng.integers(1, 5, events, dtype=np.int32),
        "weight": weight,
        "weight_btag_up": 1.03 * weight,
        "weight_btag_down": 0.97 * weight,
    }


@pytest.fixture
def ntuples(tmp_path, monkeypatch):
    """A working directory with the files of the quickstart, and with the environment as it was."""
    (tmp_path / "ntuples").mkdir()
    for seed, name in enumerate(("signal", "ttbar", "wjets")):
        nominal = columns(name == "signal", seed)
        trees = {"nominal": nominal}
        for direction, factor in (("up", 1.02), ("down", 0.98)):
            trees[f"nominal_jes_{direction}"] = nominal | {"jet_pt": nominal["jet_pt"] * factor}
        write_root(tmp_path / "ntuples" / f"{name}.root", **trees)
    monkeypatch.chdir(tmp_path)
    # What use_cpu_cores sets is undone after the test.
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    return tmp_path


@pytest.mark.slow
def test_quickstart_python(ntuples):
    names = run("quickstart.md")
    assert names["measurement"].stat_only >= names["measurement"].expected > 0
    same = names["tuned"].network.score(names["events"])
    np.testing.assert_array_equal(names["network"].score(names["events"]), same)
    assert len(names["score"]) == 1500


@pytest.mark.slow
def test_readme_python(ntuples):
    names = run("../README.md")
    assert 0 < names["result"].expected <= names["result"].stat_only
    assert len(names["result"].templates.edges) <= 13
    score = names["network"].score(names["events"])
    assert score[names["events"].label == 1].mean() > score[names["events"].label == 0].mean()
    assert names["study"].units.names == names["events"].feature_names


@pytest.mark.slow
def test_quickstart_file_is_the_same_analysis(ntuples):
    Path("analysis.toml").write_text("\n".join(blocks("quickstart.md", "toml")))
    found = job.load(Path("analysis.toml"))
    text = dt.job.check(found)
    assert re.search(r"variations: btag, jes, jer$", text)
    assert {systematic.type for systematic in found.systematics} == {
        "weight",
        "tree",
        "features",
        "normalisation",
    }
    (reading, *_) = blocks("quickstart.md", "python")
    names = {"__name__": "quickstart.md"}
    exec(reading, names)
    again = dt.job.build.events(found)
    np.testing.assert_array_equal(again.features, names["events"].features)
    np.testing.assert_array_equal(again.weight, names["events"].weight)


@pytest.mark.slow
def test_populations_python(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    fold = np.arange(600, dtype=np.int32) % 3
    names = run("populations.md", train=toy.columns(600)._replace(fold=fold))
    # Without the first or the second of the toy's variables the rest is worse.
    mean = names["score"].mean(axis=(1, 2))
    assert mean.shape == (5,)
    assert mean[0] > max(mean[1], mean[2])


@pytest.mark.slow
def test_extending_python(ntuples):
    events = run_reading()
    names = run("extending.md", events=events)
    history = names["tuned"].result.history
    assert set(history.hyperparameters) == {"learning_rate", "dropout", "shortcut", "gamma"}
    winner, loser = np.argsort(-history.score[0])
    assert history.parents[1, loser] == winner
    assert np.all((history.score >= 0) & (history.score <= 1))


def run_reading() -> dt.Events:
    """The events of the quickstart."""
    names = {"__name__": "quickstart.md"}
    exec(blocks("quickstart.md", "python")[0], names)
    return names["events"]


@pytest.mark.slow
def test_the_cluster_page_runs_on_one_process(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tune.py", "--quick"])
    assert len(run("cluster.md", __name__="__main__")["tuned"].ranking) == SIZES["population"]


@pytest.mark.slow
def test_search_python(ntuples):
    names = run("search.md", events=run_reading())
    sizes = {strategy.population for strategy in names["searches"].values()}
    assert sizes == {16, SIZES["population"]}
    assert len(names["everything"]) == 13
    assert len(names["condition"].conditions) == 4
    together = names["together"]
    scores = [network.score(names["events"]) for network in together.networks]
    expected = np.average(scores, axis=0, weights=together.weights)
    np.testing.assert_allclose(names["score"], expected, rtol=1e-6)
    assert len(names["tuned"].networks) == SIZES["population"] * 4


@pytest.mark.slow
def test_fields_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run("fields.md")
    pulls = (names["field"].mean(names["where"]) - [0.945, 0.963, 0.943]) / 0.015
    assert np.all(abs(pulls) < 1)
    again = dt.fields.FieldMap.read("btag.json")
    np.testing.assert_allclose(again(names["where"]), names["modes"](names["where"]))


@pytest.mark.slow
def test_objectives_python():
    excess = run("objectives.md")["excess"]
    sizes = sorted(excess)
    assert all(excess[a] > excess[b] > 0 for a, b in pairwise(sizes))


@pytest.mark.slow
def test_likelihoods_python():
    names = run("likelihoods.md")
    workspace = pyhf.Workspace(names["spec"])
    model = workspace.model()
    observed, expected = pyhf.infer.hypotest(
        1.0, workspace.data(model), model, return_expected_set=True
    )
    np.testing.assert_allclose(names["test"].observed, observed, rtol=1e-3)
    np.testing.assert_allclose(names["test"].expected, expected, rtol=1e-3)
    entry = names["model"].structure.entry["region", "background"]
    changed = names["model"].numbers.copy()
    changed[entry.start] += 0.01
    limits = [names["median_limit"](numbers) for numbers in (names["model"].numbers, changed)]
    slope = names["slope"][entry.start]
    np.testing.assert_allclose((limits[1] - limits[0]) / 0.01, slope, rtol=1e-2)


def test_other_tools_python():
    names = run("other_tools.md")
    best = dt.inference.fit(names["model"])
    minuit = names["minuit"]
    assert minuit.valid
    np.testing.assert_allclose(minuit.values, best.values, atol=2e-3)
    np.testing.assert_allclose(minuit.errors, best.uncertainties, rtol=1e-2)
    assert names["value"] == pytest.approx(names["model"].nll(names["start"]))


@pytest.mark.slow
def test_automatic_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = samples.known(1200)
    events = dt.Events.from_arrays(
        known.features,
        known.process,
        known.weight,
        feature_names=known.feature_names,
        processes=known.processes,
    )
    names = run("auto.md", events=events)
    assert Path("runs/auto/report.html").is_file()
    again = dt.BoostedTrees.load("runs/trees")
    np.testing.assert_array_equal(
        again.score(names["events"]), names["trees"].score(names["events"])
    )


@pytest.mark.slow
def test_selection_python():
    names = run("selection.md", events=samples.known(1200))
    assert names["study"].units.names == names["importance"].names
    # Those that matter are there, whatever the few epochs made of the rest.
    assert {"xor_1", "xor_2"} <= set(names["chosen"].variables)
    assert np.all(np.isfinite(names["by_significance"].methods["slope"].value))


@pytest.mark.slow
def test_binning_python():
    search = dt.search.Random(population=1, rounds=1, epochs_per_round=1)
    tuned = dt.tune(samples.known(1200), search=search, overtraining=9.0, test_folds=2)
    names = run("binning.md", tuned=tuned)
    assert 2 <= len(names["result"].templates.edges) <= 13
    background = names["binning"].yields.background
    assert (background >= 10).all()
    assert len(background) == 6
    assert names["profiled"].method == "gradient"
    assert names["parameters"]["log_widths"].shape == (8,)


def test_every_example_of_the_analysis_file_is_understood():
    whole: dict = {}
    for block in blocks("analysis-file.md", "toml"):
        whole |= tomllib.loads(block)
    found = job.from_dict(whole)
    assert found.model_dump().keys() == job.Config.model_fields.keys()
    assert len(whole) >= 7
    dt.job.build.objective(found)
    dt.job.build.space(found)
    dt.job.build.nuisances(found)


def test_defaults_of_hyperparameters_are_those_of_the_training():
    text = (DOCS / "analysis-file.md").read_text()
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([-\d., e]+) \|", text, re.M)
    found = {}
    for names, values in rows:
        found |= dict(zip(re.findall(r"\w+", names), map(float, values.split(",")), strict=True))
    none = dict.fromkeys(("l1", "l2", "schedule", "optimizer", "activation"), 0.0)
    assert found == dt.training.DEFAULTS | dt.training.optimizers.COEFFICIENTS | none


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sections() -> dict[str, type]:
    """All sections that an analysis file may have; `Varied` is the base of some."""
    return {
        name: cls
        for module in (job.config, job.measured_sections)
        for name, cls in vars(module).items()
        if isinstance(cls, type)
        and issubclass(cls, BaseModel)
        and cls.__module__ == module.__name__
        and name != "Varied"
    }


@pytest.mark.slow
def test_every_key_is_described(hooks):
    text = (DOCS / "analysis-file.md").read_text()
    shown = set(re.findall(r"^<!-- keys: (\w+) -->$", text, re.M))
    assert shown == {name for name in sections() if name != "Config"}
    filled = hooks.on_page_markdown(text)
    for name, cls in sections().items():
        for key, field in cls.model_fields.items():
            assert field.description, f"{name}.{key} has no description"
            if name != "Config":
                assert f"| `{key}` | " in filled
    assert "<!-- keys" not in filled
    assert "<!-- choices" not in filled


def test_types_are_told_in_words(hooks):
    assert hooks.kind(str | list[str] | None) == "string or list of strings"
    assert hooks.kind(job.schema.Fraction) == "number ≥ 0, ≤ 1"
    assert '| `role` | `signal` or `background` or `data` | `"background"` |' in hooks.table(
        "Sample"
    )
    assert "| `bounds` | list of numbers (2) | `[0.0, 10.0]` |" in hooks.table("NormFactor")


@pytest.mark.parametrize("module", dt._MODULES)
def test_api_pages_hold_every_public_name(module):
    page = (DOCS / "api" / f"{module}.md").read_text()
    assert f"::: difftune.{module}\n" in page
    # A function of the name of its module is hidden by it, and must be named itself.
    folder = ROOT / "difftune" / module
    listed = re.search(r"^__all__ = (\[.*?\])", (folder / "__init__.py").read_text(), re.M | re.S)
    names = ast.literal_eval(listed[1])
    hidden = [name for name in names if (folder / f"{name}.py").exists()]
    for name in hidden:
        assert f"::: difftune.{module}.{name}.{name}\n" in page


PAGES = sorted(
    [
        *DOCS.rglob("*.md"),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "examples").rglob("*.md"),
        *(ROOT / "examples" / "tutorials").glob("*.py"),
    ]
)
NAME = re.compile(r"(?<![\w./\"'-])(?:dt|difftune)((?:\.[A-Za-z_]\w*)+)")
PLACE = re.compile(r"`(\.?[\w-]+(?:/[\w.*-]+)+/?)`")


def exists(name: str) -> bool:
    """Whether a dotted name below the package is a module, or something in one."""
    found, path = dt, "difftune"
    for part in name.split("."):
        # A function hides the module of its name.
        holders = [found, *filter(None, [sys.modules.get(path)])]
        path = f"{path}.{part}"
        for holder in holders:
            if hasattr(holder, part):
                found = getattr(holder, part)
                break
        else:
            # A field of a dataclass without a default is no attribute of the class.
            if part in getattr(found, "__dataclass_fields__", {}):
                return True
            if importlib.util.find_spec(path.rpartition(".")[0]) is None:
                return False
            try:
                found = importlib.import_module(path)
            except ModuleNotFoundError:
                return False
    return True


def test_what_exists_is_told_from_what_does_not():
    for name in ("tune", "data.read.read", "training.member", "Recipe.model", "Tuned.ranking"):
        assert exists(name), name
    for name in ("tuned", "data.write", "training.members", "Recipe.nothing", "tune.x"):
        assert not exists(name), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_and_places_exist(page):
    text = page.read_text()
    missing = {name for name in NAME.findall(text) if not exists(name.removeprefix("."))}
    assert missing == set()
    tops = {path.name for path in ROOT.iterdir()} | {p.name for p in (ROOT / "difftune").iterdir()}
    # What the documentation's own commands leave.
    tops -= {"runs"}
    for place in PLACE.findall(text):
        if place.split("/")[0] in tops:
            found = [*ROOT.glob(place), *(ROOT / "difftune").glob(place)]
            assert found, f"there is no {place}"
    for name in re.findall(r"python -m benchmarks ([a-z]\w*)", text):
        assert (ROOT / "benchmarks" / f"{name}.py").exists(), f"no benchmark {name}"


def test_api_index_has_every_public_name(shown):
    index = (DOCS / "api" / "index.md").read_text()
    for name in dt.__all__:
        assert f"`dt.{name}`" in index, name
    filled = shown.on_page_markdown(index)
    for folder in dt._MODULES:
        for name in importlib.import_module(f"difftune.{folder}").__all__:
            row = rf"\[`{name}`\]\({folder}\.md#difftune\.{folder}\.[\w.]+\) \| \S"
            assert re.search(row, filled), f"{folder}.{name} is not in the list, or nothing is said"


@pytest.fixture
def shown(monkeypatch):
    """What fills in the pages."""
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module("shown")


def test_pages_show_the_readme(shown):
    home = shown.on_page_markdown((DOCS / "index.md").read_text())
    assert "dt.Recipe(" in home
    assert "](objectives.md#through-the-fit)" in home
    with pytest.raises(ValueError, match="no part 'nothing'"):
        shown.readme("nothing")


def test_architecture_has_every_folder():
    text = (DOCS / "architecture.md").read_text()
    (listed,) = re.findall(r"^```text\n(cli\.py .*?)^```", text, re.M | re.S)
    found = {line.split()[0].rstrip("/") for line in listed.splitlines()}
    there = {path.name for path in (ROOT / "difftune").iterdir() if not path.name.startswith("_")}
    assert found == there - {"py.typed"}


def test_cells_run_one_after_the_other(shown, tmp_path):
    import cells

    script = tmp_path / "small.py"
    script.write_text(
        "# %% [markdown]\n# # Title\n#\n# Words\n\n# %%\nimport logging, sys\nx = 1\n"
        "print('seen')\n\n# %%\nfrom matplotlib.figure import Figure\nx + 1\n\n# %%\nFigure()\n"
    )
    title, first, second, third = cells.run(script)
    assert title.source == "# Title\n\nWords"
    assert (first.output, second.output, third.output) == ("seen", "2", "")
    assert len(third.figures) == 1
    page = cells.markdown([title, first, second, third], "small")
    assert page.count("```python") == 3
    assert page.count("```text") == 2
    assert "![small](data:image/png;base64," in page
    with pytest.raises(ValueError, match="begins with"):
        cells.cells("x = 1\n")


def test_every_tutorial_has_its_page(shown):
    scripts = {path.stem for path in (ROOT / "examples" / "tutorials").glob("*.py")}
    shown_ones = {
        re.search(r"<!-- tutorial: (\w+) -->", page.read_text())[1]
        for page in (DOCS / "tutorials").glob("*.md")
    }
    assert scripts == shown_ones
    assert len(scripts) == 3


def test_the_picture_of_imports_has_no_arrow_up(shown, tmp_path, monkeypatch):
    import imports as script

    found = script.imports()
    assert {"training", "objectives", "data", "errors"} <= set(found)
    names = script.order(found)
    assert names.index("job") < names.index("training") < names.index("data")
    assert "#d32f2f" not in script.svg(found)
    assert str(found["training"]["objectives"]) in script.text(found)
    with pytest.raises(ValueError, match="circle"):
        script.order({"a": script.Counter(b=1), "b": script.Counter(a=1)})
