"""Uncertainties of the type `field`: from a file of measured factors to varied weights."""

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator
from scipy.linalg import eigh

import difftune as dt
from difftune.analysis import CrossFit
from difftune.errors import InputError
from difftune.fields import Line, Measurements, fit
from difftune.job import build, load
from tests.job.small import write_small

MASS = np.array([100.0, 140, 165, 190, 240, 320, 450, 800])
FACTORS = np.array([0.92, 0.95, 0.965, 0.97, 0.965, 0.955, 0.94])
ERRORS = np.array([0.02, 0.012, 0.01, 0.01, 0.012, 0.02, 0.03]) / 4
FIELD = """
[[systematics]]
name = "sf"
type = "field"
file = "sf.csv"
modes = 6
nominal = true
domains = [{ kind = "line", at = { mass = "top_mass" }, log = true }]
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small analysis with a field; its other weights are relative to the nominal one."""
    path = write_small(tmp_path_factory.mktemp("small"), events=300)
    rows = zip(MASS, MASS[1:], FACTORS, ERRORS, strict=False)
    lines = ["mass_low,mass_high,value,error", *(",".join(map(str, row)) for row in rows)]
    path.with_name("sf.csv").write_text("\n".join(lines))
    text = path.read_text()
    for way in ("up", "down"):
        text = text.replace(f'"weight_btag_{way}"', f'"{{weight}} * weight_btag_{way} / weight"')
    path.write_text(text + FIELD)
    return path


@pytest.fixture(scope="module")
def both(small):
    """The events with the field, and without it."""
    config = load(small)
    without = [each for each in config.systematics if each.name != "sf"]
    return [
        build.events(each) for each in (config, config.model_copy(update={"systematics": without}))
    ]


@pytest.mark.slow
def test_the_map_weights_events_and_its_modes_vary_them(both):
    events, without = both
    mass = events.features[:, events.feature_names.index("top_mass")]
    ratio = events.weight / without.weight
    # A curve through the middles of the bins, in ln m; one beyond the last has the value there.
    middles = np.log(MASS[:-1] * MASS[1:]) / 2
    ln = np.clip(np.log(mass), middles[0], middles[-1])
    np.testing.assert_allclose(ratio, PchipInterpolator(middles, FACTORS)(ln), atol=0.012)
    names = [f"sf_mode{number}" for number in range(1, 7)]
    assert set(names) <= set(events.variations)
    changes = []
    for name in names:
        up, down = (getattr(events.variations[name], way) for way in ("up", "down"))
        np.testing.assert_allclose(up * down, events.weight**2, rtol=1e-5)
        changes.append(np.log(up / events.weight))
    total = np.sqrt(np.square(changes).sum(axis=0))
    inside = (mass > 145) & (mass < 230)
    # Neighbouring bins help each other; within a bin there is somewhat more than its error.
    assert 0.0008 < np.median(total[inside]) < 0.004
    assert np.median(total[mass > 500]) > 1.2 * np.median(total[inside])
    # Those of b-tagging are relative, so the factor is in them.
    np.testing.assert_allclose(
        events.variations["btag"].up / events.weight,
        without.variations["btag"].up / without.weight,
        rtol=1e-5,
    )


@pytest.mark.slow
def test_yields_of_the_workspace_vary_as_those_of_the_posterior(both):
    """Nuisance parameters of six modes, against samples of a field that is fitted here."""
    events, without = both
    place = events.feature_names.index("top_mass")
    edges = np.array([0.0, 160.0, 200.0, 1000.0]) / 1000.0
    found = dt.measure(
        lambda some: np.clip(some.features[:, place] / 1000.0, 0.0, 1.0),
        CrossFit(events=events),
        binning=edges,
        figure="precision",
    )
    factors = Measurements(values=FACTORS, lower=MASS[:-1], upper=MASS[1:], errors=ERRORS)
    field = fit(factors, Line(log=True), positive=True)
    mass = events.features[:, place]
    drawn = field.samples(mass, 2000, seed=1) * without.weight
    (channel,) = found.workspace["channels"]
    for sample in channel["samples"]:
        mine = events.process == [p.name for p in events.processes].index(sample["name"])
        bins = np.digitize(np.clip(mass[mine] / 1000.0, 0.0, 1.0 - 1e-6), edges) - 1
        yields = drawn[:, mine] @ np.eye(3)[bins]
        nominal, total = np.asarray(sample["data"]), np.zeros((3, 3))
        np.testing.assert_allclose(nominal, yields.mean(axis=0), rtol=0.003)
        for number in range(1, 7):
            shapes, sizes = np.stack([nominal, nominal]), np.ones((2, 1))
            for modifier in sample["modifiers"]:
                if modifier["name"] == f"sf_mode{number}":
                    data = modifier["data"]
                    if modifier["type"] == "histosys":
                        shapes = np.array([data["hi_data"], data["lo_data"]])
                    else:
                        sizes = np.array([[data["hi"]], [data["lo"]]])
            up, down = shapes * sizes
            shift = (up - down) / 2
            total += np.outer(shift, shift)
        # Six modes hold what neighbouring bins have in common; what they leave out is missing here.
        wanted = np.cov(yields.T)
        ratios = eigh(total, wanted, eigvals_only=True)
        assert 0.9 < ratios[-1] < 1.15
        assert 0.75 < np.trace(total) / np.trace(wanted) < 1.05


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("{weight} * weight_btag_up / weight", "weight_btag_up", "Write up = .*weight_btag_up"),
        ('"sf.csv"', '"none.csv"', "systematics 'sf': file = .*none.csv"),
        ('mass = "top_mass"', 'm = "top_mass"', "systematics 'sf': .*no column 'm'"),
        ('kind = "line"', 'kind = "sphere"', "unknown key .*log"),
        ("log = true", "log = true, waves = 0", "waves"),
        ("modes = 6", "modes = 0", "modes"),
        (', log = true', ', length = -1.0', "length"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(small, old, new, says):
    text = small.read_text()
    assert old in text
    path = small.with_name("wrong.toml")
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=says):
        build.events(load(path))
