import math
import operator

import numpy as np
import pytest

from difftune.data.expressions import column, parse
from difftune.data.lists import Part
from difftune.data.names import parse_derived
from difftune.errors import InputError

KINDS = {"f": "number", "d": "number", "i": "number", "u": "number", "b": "bool", "c": "bool"}
KINDS |= {"s": "string", "jet.pt[0]": "number", "jets": "number[]", "lambda": "number"}
KINDS |= {"objects": "other", "objects.pt": "number[]", "labels": "string[]"}
KINDS |= dict.fromkeys(["mu_pt", "mu_eta", "mu_phi"], "number[]")


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
    code = expression.typed(lambda name: KINDS.get(name, "number"))
    rows = len(next(iter(data.values())))
    return expression.values(code, lambda name: Part(data[name]), rows).filled()


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
        ("d // 0.3 + d % 0.3", lambda v: v["d"] // 0.3 + v["d"] % 0.3),
        ("i // 2 * 10 + i % -2", lambda v: v["i"] // 2 * 10 + v["i"] % -2),
        ("u - 5", lambda v: v["u"].astype(int) - 5),
        ("-u", lambda v: -v["u"].astype(int)),
        ("u * 200", lambda v: v["u"].astype(int) * 200),
        ("i ** 2", lambda v: v["i"].astype(int) ** 2),
        ("2 ** i", lambda v: 2.0 ** v["i"]),
        ("pow(d, 2) + pow(i, 2)", lambda v: v["d"] ** 2 + v["i"].astype(int) ** 2),
        ("fmod(d, 0.3)", lambda v: np.fmod(v["d"], 0.3)),
        ("pi * d < inf", lambda v: np.ones(50, bool)),
        ("where(d > 0, d, nan)", lambda v: np.where(v["d"] > 0, v["d"], np.nan)),
        ("round(d) + floor(f) - trunc(i)", lambda v: np.rint(v["d"]) + np.floor(v["f"]) - v["i"]),
        ("(u << 2) | 1", lambda v: v["u"].astype(int) << 2 | 1),
        ("~u & 3", lambda v: ~v["u"].astype(int) & 3),
        ("(1.0 * u & 4) != 4", lambda v: (v["u"] & 4) != 4),
        ("f > 0\n  and d < 0", lambda v: (v["f"] > 0) & (v["d"] < 0)),
        ("s != 'a && b ^ c ? d :: !'", lambda v: np.ones(50, bool)),
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
        ("!b", "write `not` for `!`"),
        ("i^2", "write `\\*\\*` for a power"),
        ("(i ^ 2) > 4 and b", "write `\\*\\*` for a power"),
        ("b ^ c", "`!=` where just one"),
        ("b ? f : d", "`where\\(a, b, c\\)`, for `a \\? b : c`"),
        ("f > 0  # above\n and b", "leave comments out"),
        ("TMath::Abs(f)", "without a namespace"),
        ("f > 0 &\n d > 0", "bind closer than comparisons"),
        ("s > d", "a string and a number cannot be compared"),
        ("i in (1, 's')", "a string and a number cannot be compared"),
        ("f > 1e999", "larger than 1.8e308"),
        ("f > 1" + 400 * "0", "larger than 1.8e308"),
        ("2j * f", "is not understood here"),
        ("f > 0 & d > 0", "bind closer than comparisons"),
        ("f > 0 & b", "bind closer than comparisons"),
        ("sqr(f)", "no function 'sqr'. Did you mean 'sqrt'"),
        ("max(f, d)", "maximum\\(a, b\\)"),
        ("min(f)", "one number for each event, and `min` takes a list.*minimum\\(a, b\\)"),
        ("sqrt(f, d)", "sqrt takes 1 argument"),
        ("__import__('os').system('true')", "no function"),
        ("f[0] > 20", "one number for each event, not a list. A column whose name has brackets"),
        ("objects > 20", "holds objects.*members: objects.pt"),
        ("max(labels) > 20", "a list of strings"),
        ("jets[0, 1]", "write `x\\[0\\]`, or `x\\[0\\]\\[1\\]` for lists in lists"),
        ("jets[::2]", "no third number"),
        ("jets[f > 0]", "one condition for each event"),
        ("jets[1.5]", "a place, or a condition"),
        ("jets[:i]", "ends of a range are written numbers"),
        ("sort(f)", "`sort` takes a list"),
        ("sort(jets, by=f)", "a number for each element"),
        ("sort(jets, key=jets)", "no argument 'key'. It takes by="),
        ("argsort(jets)", "write `sort\\(x, by=key\\)"),
        ("max(jets, by=jets)", "max has no argument 'by'"),
        ("ak.sum(jets, axis=1)", "write `sum\\(x\\)` for `ak.sum\\(x\\)`"),
        ("ak.firsts(jets)", "write `x\\[0\\]` for the first"),
        ("ak.num(jets)", "write `count\\(x\\)`"),
        ("np.sqrt(f)", "write `sqrt\\(x\\)` for `np.sqrt\\(x\\)`"),
        ("jets.max()", "write `max\\(jets\\)` for `jets.max\\(\\)`"),
        ("sum(jets, axis=1)", "no argument 'axis'. Write `sum\\(x\\)`"),
        ("Sum$(jets)", "write `sum\\(x\\)`"),
        ("p4(jets)", "as a string: `p4"),
        ("p4('jets')", "nothing like `jets_pt`"),
        ("p4('mu').pt", "lacks mass: say it, as in `p4\\('mu', mass=0.106\\)`"),
        ("p4('mu', mass=0.1) > 3", "is a four-momentum: say what of it"),
        ("p4('mu', mass=0.1).mas", "no `mas` Did you mean 'mass'"),
        ("max(p4('mu', mass=0.1))", "takes numbers: say which"),
        ("delta_r(p4('mu', mass=0.1), f)", "`f` is no four-momentum"),
        ("delta_phi(p4('mu', mass=0.1), b)", "`b` is no four-momentum and no angle"),
        ("f.pt", "no column `f.pt`, and `f` has one number"),
        ("s > 5", "a string and a number cannot be compared"),
        ("s + 1", "it can only be compared with a string"),
        ("s and b", "it can only be compared with a string"),
        ("f is 1", "for `is`"),
        ("i in f", "followed by a list"),
        ("max([jets, f])", "`jets` has a list of numbers for each event; brackets make a list of"),
        (
            "max([f, s])",
            "`s` has one string for each event; brackets make a list of single numbers",
        ),
        ("max([])", "is not understood here"),
        ("max([f, p4(pt=f, eta=f, phi=f, mass=0.1)])", "four-momenta and numbers"),
        ("[f for f in d]", "is not understood here"),
        ("lambda: f", "is not understood here"),
    ],
)
def test_bad_expressions_say_what_is_wrong(text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse(text, "selection of 'ttbar'").typed(KINDS.__getitem__, KINDS)
    assert "selection of 'ttbar'" in str(caught.value)


def test_a_text_is_needed():
    with pytest.raises(InputError, match="weight: 3 is not an expression"):
        parse(3, "weight")


def test_columns_are_named_once_in_order_and_functions_are_none():
    assert parse("sqrt(b) + `a.c` * b", "test").columns == ("b", "a.c")
    assert column("a b", "test").columns == ("a b",)


LARGE = 2**63 + 5
INTEGERS = {
    "a": np.array([2**62, -(2**63), 2**60 + 1, -7, 3, 0], np.int64),
    "b": np.array([3, 1, 2**30, 2, -2, 5], np.int64),
    "u": np.array([LARGE, 0, 2**63 - 1, 1, 2**64 - 1, 2**53 + 1], np.uint64),
    "f": np.array([2.0**62, -(2.0**63), 2.0**60, 0.5, 2.0**63, 2.0**53]),
}
EXACT = {"+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv}
EXACT |= {"%": operator.mod, ">": operator.gt, "==": operator.eq, "<=": operator.le}
EXACT |= {"!=": operator.ne, "<": operator.lt, ">=": operator.ge}


@pytest.mark.parametrize("symbol", EXACT)
@pytest.mark.parametrize("right", ["a", "b", "u", "f", str(LARGE), str(2**63), "5", "-1"])
@pytest.mark.parametrize("left", ["a", "b", "u"])
def test_large_integers_are_those_of_python_or_refused(left, symbol, right):
    """Row by row with Python's integers, which have no largest one."""
    wanted = []
    columns = {name: [v.item() for v in values] for name, values in INTEGERS.items()}
    for x, y in zip(columns[left], columns.get(right, [right] * 6), strict=True):
        y = int(y) if isinstance(y, str) else y
        if symbol in ("//", "%") and y == 0:
            wanted.append(math.nan if symbol == "%" or x == 0 else math.copysign(math.inf, x))
        else:
            wanted.append(EXACT[symbol](x, y))
    whole = [w for w in wanted if isinstance(w, int)]
    fits = min(whole, default=0) >= -(2**63) and max(whole, default=0) < 2**63
    fits |= min(whole, default=0) >= 0 and max(whole, default=0) < 2**64
    if not fits:
        with pytest.raises(InputError, match=f"`{left} .*beyond"):
            values_of(f"{left} {symbol} {right}", INTEGERS)
        return
    result = values_of(f"{left} {symbol} {right}", INTEGERS)
    if len(whole) == 6:
        assert result.tolist() == wanted
    else:
        np.testing.assert_allclose(result, np.array(wanted, float), rtol=1e-15)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("abs(a)", [2**62, 2**63, 2**60 + 1, 7, 3, 0]),
        ("where(a > 0, u, 1)", [LARGE, 1, 2**63 - 1, 1, 2**64 - 1, 1]),
        ("maximum(u, 7)", [LARGE, 7, 2**63 - 1, 7, 2**64 - 1, 2**53 + 1]),
        ("u in (9223372036854775813, 9007199254740992)", [True] + 5 * [False]),
        ("0 < u < 18446744073709551615", [True, False, True, True, False, True]),
        ("u >> 1", [v >> 1 for v in INTEGERS["u"].tolist()]),
        ("floor(u)", INTEGERS["u"].tolist()),
        ("u == f", [False] * 6),
        ("a % 0", [math.nan] * 6),
        ("u > 1" + 30 * "0", [False] * 6),
    ],
)
def test_functions_of_large_integers(text, wanted):
    result = values_of(text, INTEGERS)
    if any(w != w for w in wanted):
        assert np.isnan(result).all()
    else:
        assert result.tolist() == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-u", "beyond 64 bits"),
        ("a ** 3", "beyond 64 bits; if its last digits do not matter"),
        ("a << 2", "beyond 64 bits"),
        ("b << -1", "less than 0 or more than 63"),
        ("maximum(u, a)", "integers beyond 2\\^63 and negative ones"),
        ("f & 1", "bits of numbers that are not whole"),
        ("9**9**9**9 > a", "beyond 64 bits"),
        ("1 << 2**62", "less than 0 or more than 63"),
        ("10**20 * f", "beyond 64 bits"),
    ],
)
def test_what_no_integer_holds_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        values_of(text, INTEGERS)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (" & ".join(f"(f > {-i})" for i in range(800)), lambda v: v["f"] > 0),
        (" and ".join(f"f > {-i}" for i in range(1000)), lambda v: v["f"] > 0),
        (" or ".join(f"i == {i}" for i in range(1000)), lambda v: v["i"] >= 0),
        (" + ".join(["d"] * 1500), lambda v: 1500 * v["d"]),
        ("-(" * 60 + "d" + ")" * 60, lambda v: v["d"]),
        ("(0 < " * 60 + "b" + " < 2)" * 60, lambda v: v["b"]),
        ("i in (" + ", ".join(map(str, range(3000))) + ")", lambda v: v["i"] >= 0),
        ("f < " + " < ".join(map(str, range(5, 3000))), lambda v: v["f"] < 5),
    ],
    ids=lambda text: text[:12] if isinstance(text, str) else "",
)
def test_thousands_of_terms(text, wanted, data):
    np.testing.assert_allclose(values_of(text, data), wanted(data), rtol=1e-9)


@pytest.mark.parametrize("text", ["d" + " + d" * 50_000, "not " * 50_000 + "b", "(" * 300 + "d"])
def test_what_python_cannot_read_is_an_error_of_ours(text):
    with pytest.raises(InputError, match=r"too long or too deep|too many nested|was never closed"):
        parse(text, "selection")


def test_derived_features_that_use_each_other_twice_take_no_time():
    derived = {"d1": "x", "d2": "x"}
    derived |= {f"d{i}": f"d{i - 1} + d{i - 2}" for i in range(3, 90)}
    assert list(parse_derived(derived)) == list(derived)
    with pytest.raises(InputError, match="more than 100 steps"):
        parse_derived(derived | {f"d{i}": f"d{i - 1} + 1" for i in range(90, 300)})
    with pytest.raises(InputError, match=r"derived '[ab]' needs itself \((a -> b|b -> a) -> "):
        parse_derived({"a": "b + 1", "b": "a + 1"})
