"""Bad input through the command line: exit code 2, one message, no traceback, no training."""

import sys

import numpy as np
import pytest
import uproot

from difftune.cli import main
from tests.job.small import write_small


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("bad"), events=300)


def _refused(monkeypatch, capsys, *arguments) -> str:
    monkeypatch.setattr(sys, "argv", ["difftune", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def _edited(config, tmp_path, *changes: tuple[str, str]):
    text = config.read_text().replace('"small.root"', f'"{config.parent / "small.root"}"')
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = tmp_path / "edited.toml"
    path.write_text(text)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("small.root", "absent.root"), ("absent.root",)),
        (('tree = "ttbar"', 'tree = "ttbr"'), ("ttbr", "Did you mean 'ttbar'")),
        (('"mtw"', '"mtv"'), ("mtv", "Did you mean 'mtw'")),
        (('up = "weight_btag_up"', 'up = "weight_btag_op"'), ("weight_btag_op", "weight_btag_up")),
        (('tree = "wjets"', 'tree = "ttbar"'), ("ttbar", "wjets")),
        (("population = 4", "popluation = 4"), ("popluation", "Did you mean 'population'")),
        (("population = 4", 'population = "4"'), ("search.population", "'4'")),
        (("population = 4", "population = 0"), ("search.population", "greater than or equal to 1")),
        (("hidden = [8]", 'hidden = [8]\nactivation = "rleu"'), ("rleu", "Did you mean 'relu'")),
        (('name = "cross_entropy"', 'name = "cross_entropi"'), ("Did you mean 'cross_entropy'",)),
        (("learning_rate =", "learning_rat ="), ("learning_rat", "Did you mean 'learning_rate'")),
        (("[1e-3, 1e-2]", "[1e-2, 1e-3]"), ("log_uniform", "low must be")),
        (('samples = ["ttbar"]', 'samples = ["ttbra"]'), ("ttbra", "Did you mean 'ttbar'")),
        (('role = "signal"', 'role = "background"'), ("signal",)),
        (('log_mass = "log(top_mass)"', 'log_mass = "log(top_mas)"'), ("top_mas", "top_mass")),
        (("missing = -999", 'selection = "mtw > 1e9"'), ("mtw > 1e9",)),
        (("[general]", "[general"), ("cannot be read",)),
        (("uncertainty = 0.0083", "uncertainty = 1.7"), ("1.7", "between 0 and 1")),
        (("bins = 5", 'bins = 5\npoi = "btag"'), ("btag", "rename one")),
        (("bins = 5", 'bins = 5\nregion = "a/b"'), ("fit.region", "a/b")),
        (("dropout =", "batch_size = { uniform = [64, 512] }\ndropout ="), ("batch_size", "few")),
    ],
)
def test_configuration_and_data_are_checked_first(
    config, tmp_path, monkeypatch, capsys, change, said
):
    path = _edited(config, tmp_path, change)
    output = tmp_path / "run"
    message = _refused(monkeypatch, capsys, "run", path, "--output", output)
    for part in said:
        assert part in message
    assert not output.exists()


def _with_tree(config, tmp_path, change):
    """The sample with the tree `ttbar` changed by a function of its columns."""
    with uproot.open(config.parent / "small.root") as old:
        trees = {
            name: old[name].arrays(library="np") for name in old.keys(cycle=False, recursive=False)
        }
    trees["ttbar"] = change(trees["ttbar"])
    with uproot.recreate(tmp_path / "small.root") as new:
        for name, columns in trees.items():
            kinds = {key: values.dtype for key, values in columns.items()}
            new.mktree(name, kinds)
            if len(columns["weight"]):
                new[name].extend(columns)
    path = tmp_path / "changed.toml"
    path.write_text(config.read_text())
    return path


def _nan_feature(columns):
    values = columns["mtw"].copy()
    values[3] = np.nan
    return columns | {"mtw": values}


def _infinite_weight(columns):
    values = columns["weight"].copy()
    values[5] = np.inf
    return columns | {"weight": values}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_nan_feature, ("ttbar", "mtw")),
        (_infinite_weight, ("ttbar", "weight")),
        (lambda c: c | {"weight": -c["weight"]}, ("ttbar",)),
        (lambda c: {k: v[:0] for k, v in c.items()}, ("ttbar", "empty")),
    ],
)
def test_content_is_checked_before_training(config, tmp_path, monkeypatch, capsys, change, said):
    path = _with_tree(config, tmp_path, change)
    message = _refused(monkeypatch, capsys, "run", path, "--output", tmp_path / "run")
    for part in said:
        assert part in message


def test_foreign_directory_is_left_alone(config, tmp_path, monkeypatch, capsys):
    (tmp_path / "thesis.tex").write_text("precious")
    message = _refused(monkeypatch, capsys, "run", config, "--output", tmp_path)
    assert "not empty" in message
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_missing_analysis_file(tmp_path, monkeypatch, capsys):
    message = _refused(monkeypatch, capsys, "run", tmp_path / "no.toml")
    assert "there is no such analysis file" in message


def test_unknown_option_of_the_command(config, monkeypatch, capsys):
    message = _refused(monkeypatch, capsys, "run", config, "--outptu", "x")
    assert "--output" in message
