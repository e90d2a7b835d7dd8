"""Maps of fields as weights of events, with their modes as variations."""

import numpy as np
import pytest
import uproot

import difftune as dt
from difftune.fields import Circle, FieldMap


@pytest.fixture
def files(tmp_path):
    """Events, and a map whose values have a closed form: 1 + 0.3 cos φ, and a mode 0.1 sin φ."""
    rng = np.random.default_rng(5)
    found = {}
    for name in ("signal", "background"):
        found[name] = rng.uniform(-3, 3, 200)
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            columns = {"phi": found[name], "pt": rng.uniform(20, 90, 200)}
            file.mktree("events", dict.fromkeys(columns, "f8"))
            file["events"].extend(columns)
    circle = Circle(waves=1)
    nominal = (1.0, np.array([0.0, 0.3 / 2**0.5, 0.0]))
    mode = (0.0, np.array([0.0, 0.0, 0.1 / 2**0.5]))
    made = FieldMap(domains=(circle,), positive=False, nominal=nominal, modes=(mode,), share=1.0)
    made.write(tmp_path / "map.json")
    return tmp_path, np.concatenate(list(found.values()))


def read(folder, weight, **more):
    return dt.read(
        processes=[
            dt.Process(name="s", role="signal", files=str(folder / "signal.root"), tree="events"),
            dt.Process(name="b", files=str(folder / "background.root"), tree="events"),
        ],
        features=["pt"],
        weight=weight,
        **more,
    )


def test_nominal_and_modes_are_weights(files):
    folder, phi = files
    field = f'field("{folder}/map.json", "{{}}", phi)'
    events = read(
        folder,
        field.format("nominal"),
        variations=[
            dt.WeightVariation(
                "sf",
                up="{weight} * " + field.format("mode1_up"),
                down="{weight} * " + field.format("mode1_down"),
            )
        ],
    )
    np.testing.assert_allclose(events.weight, 1 + 0.3 * np.cos(phi), rtol=1e-6)
    varied = events.variations["sf"]
    for weight, sign in ((varied.up, 1), (varied.down, -1)):
        expected = 1 + 0.3 * np.cos(phi) + sign * 0.1 * np.sin(phi)
        np.testing.assert_allclose(weight, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ('field("{}/map.json", "nominal", phi, pt)', "has 1 coordinates; 2 are given"),
        ('field("{}/map.json", "mode2_up", phi)', '"mode1_up", "mode1_down" of 1 modes'),
        ('field("{}/none.json", "nominal", phi)', "none.json"),
        ('field("{}/signal.root", "nominal", phi)', "Write it by FieldMap.write"),
        ("field(phi)", "takes a file"),
    ],
)
def test_what_cannot_be_asked_is_refused(files, call, says):
    folder, _ = files
    with pytest.raises(dt.InputError, match=says):
        read(folder, call.format(folder))
