import numpy as np
import pytest

from difftune.data.expressions import column, evaluate, parse
from difftune.errors import InputError

KINDS = {"f": "number", "d": "number", "i": "number", "u": "number", "b": "bool", "c": "bool"}
KINDS |= {"s": "string", "jet.pt[0]": "number", "jets": "array", "lambda": "number"}


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    return {
        "f": rng.normal(size=50).astype(np.float32),
        "d": rng.normal(size=50),
        "i": rng.integers(-3, 4, 50, dtype=np.int32),
        "u": rng.integers(0, 9, 50, dtype=np.uint8),
        "b": rng.random(50) < 0.5,
        "c": rng.random(50) < 0.5,
        "s": rng.choice(np.array([b"s", b"b", b"sig", "Zττ".encode()]), 50),
        "jet.pt[0]": rng.exponential(size=50),
        "lambda": rng.normal(size=50),
    }


def values_of(text, data):
    expression = parse(text, "test")
    code, _ = expression.typed(lambda name: KINDS[name])
    return evaluate(code, expression.columns, data.__getitem__, 50)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("f + 2 * d", lambda v: v["f"] + 2 * v["d"]),
        ("-i ** 2", lambda v: -(v["i"] ** 2)),
        ("i / 2", lambda v: v["i"] / 2),
        ("1 / 2", lambda v: np.full(50, 0.5)),
        ("i % 2", lambda v: v["i"] % 2),
        ("i * 100000000 * 100", lambda v: v["i"].astype(np.int64) * 100000000 * 100),
        ("b + c", lambda v: v["b"].astype(int) + v["c"]),
        ("b * d - c", lambda v: v["b"] * v["d"] - v["c"].astype(int)),
        ("(f > 0) * 2.5", lambda v: (v["f"] > 0) * 2.5),
        (
            "sqrt(abs(d)) + arctan2(f, d)",
            lambda v: np.sqrt(abs(v["d"])) + np.arctan2(v["f"], v["d"]),
        ),
        ("where(i > 0, d, -1)", lambda v: np.where(v["i"] > 0, v["d"], -1)),
        ("d if b else 0", lambda v: np.where(v["b"], v["d"], 0)),
        ("maximum(d, minimum(f, 0))", lambda v: np.maximum(v["d"], np.minimum(v["f"], 0))),
        ("`jet.pt[0]` * 2", lambda v: v["jet.pt[0]"] * 2),
        ("`lambda` + f", lambda v: v["lambda"] + v["f"]),
        ("isnan(log(d))", lambda v: v["d"] < 0),
        ("f > 0", lambda v: v["f"] > 0),
        ("-1 < f <= 1", lambda v: (v["f"] > -1) & (v["f"] <= 1)),
        ("f > 0 and d < 0 or not b", lambda v: (v["f"] > 0) & (v["d"] < 0) | ~v["b"]),
        ("(f > 0) & (d < 0) | ~b", lambda v: (v["f"] > 0) & (v["d"] < 0) | ~v["b"]),
        ("(u & 4) > 0", lambda v: (v["u"] & 4) > 0),
        ("u & (f > 0)", lambda v: (v["u"] != 0) & (v["f"] > 0)),
        ("b == c", lambda v: v["b"] == v["c"]),
        ("b == 1", lambda v: v["b"]),
        ("i in (1, 2)", lambda v: np.isin(v["i"], (1, 2))),
        ("i not in (1, 2)", lambda v: ~np.isin(v["i"], (1, 2))),
        ("s == 's'", lambda v: v["s"] == b"s"),
        ('"s" != s', lambda v: v["s"] != b"s"),
        ("s == 'Zττ'", lambda v: v["s"] == "Zττ".encode()),
        ("s in ('b', 'sig') and f > 0", lambda v: np.isin(v["s"], [b"b", b"sig"]) & (v["f"] > 0)),
        ("contains(s, 'si')", lambda v: v["s"] == b"sig"),
        ("True", lambda v: np.ones(50, bool)),
    ],
)
def test_values_are_those_of_numpy(text, expected, data):
    with np.errstate(invalid="ignore"):
        result = values_of(text, data)
    reference = expected(data)
    assert result.shape == reference.shape
    assert (result.dtype == bool) == (reference.dtype == bool)
    np.testing.assert_allclose(result, reference, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f >", "is not an expression"),
        ("", "is not an expression"),
        ("f = 1", "written `==`"),
        ("f > 0 && d > 0", "write `and` for `&&`"),
        ("f > 0 || d > 0", "write `or` for `\\|\\|`"),
        ("!b", "Write `not` for `!`"),
        ("f > 0 & d > 0", "bind closer than comparisons"),
        ("f > 0 & b", "bind closer than comparisons"),
        ("jet.pt > 20", "written in backquotes: `jet.pt`"),
        ("sqr(f)", "no function 'sqr'. Did you mean 'sqrt'"),
        ("max(f, d)", "maximum\\(a, b\\)"),
        ("min(f)", "minimum\\(a, b\\)"),
        ("sqrt(f, d)", "sqrt takes 1 argument"),
        ("__import__('os').system('true')", "no function"),
        ("jets[0] > 20", "elements of arrays"),
        ("jets > 20", "an array for each event"),
        ("s > 5", "a text and a number cannot be compared"),
        ("s + 1", "it can only be compared with a text"),
        ("s and b", "it can only be compared with a text"),
        ("f is 1", "for `is`"),
        ("i in f", "followed by a list"),
        ("[f for f in d]", "is not understood here"),
        ("lambda: f", "is not understood here"),
    ],
)
def test_bad_expressions_say_what_is_wrong(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse(text, "selection of 'ttbar'").typed(lambda name: KINDS[name])
    assert "selection of 'ttbar'" in str(caught.value)


def test_a_text_is_needed():
    with pytest.raises(InputError, match="weight: 3 is not an expression"):
        parse(3, "weight")


def test_columns_are_named_once_in_order_and_functions_are_none():
    assert parse("sqrt(b) + `a.c` * b", "test").columns == ("b", "a.c")
    assert column("a b", "test").columns == ("a b",)
