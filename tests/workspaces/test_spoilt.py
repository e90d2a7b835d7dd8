"""Spoilt files of likelihoods: an `InputError`, or a model, and nothing else."""

import copy
import json
import random

import pytest

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.workspaces import Workspace, read_file
from tests.histfactory import specs

CARD = """imax 1 number of channels
jmax 1
kmax *
---------------
bin bin1
observation 12
------------
bin bin1 bin1
process sig bkg
process 0 1
rate 3.0 10.5
------------
lumi lnN 1.02 1.02
shape lnU - 1.5
stat gmN 40 - 0.2625
eff lnN 0.9/1.1 -
norm rateParam bin1 bkg 1 [0,5]
grp group = lumi eff
bin1 autoMCStats 10
"""
WORDS = [
    *("-1", "0", "nan", "inf", "1e400", "abc", "1/0", "0.9/", "*", "$", "[", "-", "=", "[0,"),
    *("99999999999999999999", "param", "lnN", "shape", "rateParam", "gmN", "é", "\x00", ""),
]
VALUES = [None, -1, 0, 1e308, "", "x", [], {}, True, 10**400, [1], {"a": 1}, float("nan"), 1.5]


def spoilt_card(rng: random.Random) -> str:
    """The card with one or two lines that are not there, there twice, or have other words."""
    lines = CARD.split("\n")
    for _ in range(rng.choice([1, 1, 2])):
        place = rng.randrange(len(lines))
        words = lines[place].split(" ")
        at = rng.randrange(len(words))
        match rng.randrange(5):
            case 0:
                del lines[place]
            case 1:
                lines.insert(place, rng.choice(lines))
            case 2:
                lines[place] = " ".join([*words[:at], rng.choice(WORDS), *words[at + 1 :]])
            case 3:
                lines[place] = " ".join([*words[:at], rng.choice(WORDS), *words[at:]])
            case _:
                lines[place] = " ".join(words[:at] + words[at + 1 :])
    return "\n".join(lines)


def places(value, before=()):
    """The ways to all parts of a document."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in parts:
        yield (*before, key)
        if isinstance(part, dict | list):
            yield from places(part, (*before, key))


def spoilt_document(rng: random.Random, document: dict) -> str:
    """The document with one part that is not there, or is something else."""
    made = copy.deepcopy(document)
    *way, last = rng.choice(list(places(document)))
    inside = made
    for key in way:
        inside = inside[key]
    match rng.randrange(3):
        case 0:
            del inside[last]
        case 1:
            inside[last] = rng.choice(VALUES)
        case _:
            inside[last] = [inside[last], rng.choice(VALUES)]
    return json.dumps(made)


def document_in(path) -> dict:
    """A document of HS3 with most types of modifiers, written there."""
    spec = specs.everything()
    for measurement in spec["measurements"]:
        for parameter in measurement["config"]["parameters"]:
            if parameter["name"] != "lumi":
                parameter.pop("auxdata", None)
    Workspace(spec).write_hs3(path)
    return json.loads(path.read_text())


def understood(path, text: str) -> bool:
    """Whether there is a model; anything but an InputError passes."""
    path.write_text(text, encoding="utf-8")
    try:
        Model.from_spec(read_file(path))
    except InputError:
        return False
    return True


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_cards(tmp_path):
    rng = random.Random(0)
    assert understood(tmp_path / "card.txt", CARD)
    found = [understood(tmp_path / "card.txt", spoilt_card(rng)) for _ in range(300)]
    assert 50 < sum(found) < 250


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_documents_of_hs3(tmp_path):
    rng = random.Random(0)
    path = tmp_path / "document.json"
    document = document_in(path)
    assert understood(path, json.dumps(document))
    found = [understood(path, spoilt_document(rng, document)) for _ in range(80)]
    assert 10 < sum(found) < 70


@pytest.mark.parametrize("count", ["nan", "1e400", "1.5", "x"])
def test_a_count_of_a_card_is_a_whole_number(tmp_path, count):
    (tmp_path / "card.txt").write_text(CARD.replace("imax 1", f"imax {count}"))
    with pytest.raises(InputError, match=f"imax is {count}: give a whole number"):
        read_file(tmp_path / "card.txt")


def test_a_likelihood_of_hs3_has_data_for_each_channel(tmp_path):
    path = tmp_path / "document.json"
    document = document_in(path)
    document["likelihoods"][0]["data"].pop()
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"distributions and \d data: there is one of each"):
        read_file(path)
