"""The gain of an antenna in all directions and frequencies, from the flights of a drone.

    python examples/antenna.py [--quick] [--output PICTURE]

A drone stops at some 70 places of the upper half of the sky and measures the gain at seven
frequencies, to half a decibel. The map of a field on S² × R has a value and an uncertainty
everywhere, also where nobody flew, and no seam at the zenith. It is compared with linear
interpolation between the places, on the sphere, and with the truth, since the antenna is simulated.
"""

# %% Set up
import argparse
from pathlib import Path

import matplotlib
import numpy as np
from scipy.spatial import ConvexHull

import difftune as dt

matplotlib.use("agg")
import matplotlib.pyplot as plt

FREQUENCIES = np.linspace(30, 80, 7)  # MHz
ERROR = 0.5  # dB


# %% The antenna and the flights
def direction(theta, phi):
    """Unit vectors of colatitude and azimuth."""
    return np.stack(
        [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1
    )


def gain(theta, phi, frequency):
    """In dB: a lobe that narrows with frequency, another one, ripples of the ground, three arms."""
    x = (frequency - 30) / 50
    main = direction(theta, phi) @ direction(0.5, 0.8)
    side = direction(theta, phi) @ direction(1.2, 3.6)
    lobes = 9 * np.exp((2 + 3 * x) * (main - 1)) + 5 * np.exp(6 * (side - 1))
    ripples = 1.5 * np.cos(2 * np.pi * (0.4 + 0.8 * x) * np.cos(theta))
    return lobes + ripples + 2 * np.sin(theta) ** 3 * np.cos(3 * phi)


def flights(rng):
    """Places [places, (theta, phi)]: over the zenith, around it, and back in a spiral."""
    over = [(abs(t), 0.3 if t > 0 else 0.3 + np.pi) for t in np.linspace(-1.45, 1.45, 15)]
    around = [(1.3, phi) for phi in np.linspace(0.2, 2 * np.pi, 20, endpoint=False)]
    steps = np.linspace(0.08, 1, 35)
    spiral = [(1.15 * s, 2 * np.pi * 3.3 * s**0.7) for s in steps]
    places = np.array([*over, *around, *spiral]) + rng.normal(0, 0.02, (70, 2))
    theta = abs(places[:, 0])
    return np.stack([theta, np.mod(places[:, 1], 2 * np.pi)], axis=1)


# %% What one would do otherwise
def interpolated(places, values, queries, frequencies=FREQUENCIES):
    """Linear interpolation on the sphere and along the frequency; NaN outside of the places.

    Args:
        places: Where was measured [places, 2].
        values: What was measured there [places, frequencies].
        queries: Directions and frequencies [queries, 3].
        frequencies: At which was measured.
    """
    corners = direction(*places.T)
    # The faces of the convex hull are the triangles of Delaunay; seen from the centre, those behind
    # which there is nothing more.
    faces = ConvexHull(corners).simplices
    shares = np.einsum("fij,qi->qfj", np.linalg.inv(corners[faces]), direction(*queries[:, :2].T))
    nearness = np.where(shares.min(axis=2) > -1e-9, shares.sum(axis=2), np.inf)
    face = nearness.argmin(axis=1)
    share = np.take_along_axis(shares, face[:, None, None], axis=1)[:, 0]
    along = np.array(
        [
            [np.interp(frequency, frequencies, values[corner]) for corner in faces[number]]
            for frequency, number in zip(queries[:, 2], face, strict=True)
        ]
    )
    found = (share * along).sum(axis=1) / share.sum(axis=1)
    return np.where(np.isfinite(nearness.min(axis=1)), found, np.nan)


# %% The map
def mapped(places, values, degree):
    """The posterior of the field, from all places at all frequencies."""
    points = np.concatenate(
        [np.column_stack([places, np.full(len(places), f)]) for f in FREQUENCIES]
    )
    measured = dt.fields.Measurements(values=values.T.ravel(), lower=points, errors=ERROR)
    frequency = dt.fields.Line(lower=30.0, upper=80.0, waves=24)
    return dt.fields.fit(measured, (dt.fields.Sphere(degree=degree), frequency))


# %% Pictures
def sky(count):
    """A grid of the whole sphere: longitudes, latitudes, and directions [grid, 2]."""
    longitude, latitude = np.meshgrid(
        np.linspace(-np.pi, np.pi, 2 * count), np.linspace(-np.pi / 2, np.pi / 2, count)
    )
    points = np.stack([np.pi / 2 - latitude, np.mod(longitude, 2 * np.pi)], axis=-1)
    return longitude, latitude, points.reshape(-1, 2)


def draw(posterior, places, values, output, count):
    figure = plt.figure(figsize=(11, 8.4), layout="constrained")
    grid = figure.add_gridspec(3, 2)
    longitude, latitude, points = sky(count)
    at = np.column_stack([points, np.full(len(points), 55.0)])
    found = {
        "Truth at 55 MHz [dB]": gain(*at.T),
        "Linear interpolation [dB]": interpolated(places, values, at),
        "Mean of the field [dB]": posterior.mean(at),
        "Standard deviation [dB]": posterior.std(at),
    }
    for number, (title, content) in enumerate(found.items()):
        place = figure.add_subplot(grid[number // 2, number % 2], projection="mollweide")
        limits = {"vmin": -3, "vmax": 12} if number < 3 else {"vmin": 0, "cmap": "magma"}
        image = place.pcolormesh(
            longitude, latitude, content.reshape(longitude.shape), rasterized=True, **limits
        )
        if number == 3:
            around = np.mod(places[:, 1] + np.pi, 2 * np.pi) - np.pi
            place.plot(around, np.pi / 2 - places[:, 0], ".", color="white", markersize=3)
        place.set_title(title, fontsize=11)
        place.set_xticklabels([])
        place.set_yticklabels([])
        place.grid(alpha=0.3)
        figure.colorbar(image, ax=place, shrink=0.8)
    tilt = np.linspace(-np.pi / 2, np.pi / 2, 181)
    meridian = np.column_stack(
        [abs(tilt), np.where(tilt > 0, 0.8, 0.8 + np.pi), np.full(181, 55.0)]
    )
    frequency = np.linspace(30, 80, 101)
    upwards = np.column_stack([np.full(101, 0.5), np.full(101, 0.8), frequency])
    cuts = (
        (tilt * 180 / np.pi, meridian, "Angle from the zenith, over it, at 55 MHz [°]"),
        (frequency, upwards, "Frequency, along the main lobe [MHz]"),
    )
    for number, (x, at, label) in enumerate(cuts):
        place = figure.add_subplot(grid[2, number])
        mean, std = posterior.mean(at), posterior.std(at)
        place.fill_between(x, mean - std, mean + std, alpha=0.3, label="field, 68 %")
        place.plot(x, mean, label="field")
        place.plot(x, interpolated(places, values, at), ":", color="tab:red", label="linear")
        place.plot(x, gain(*at.T), "--", color="black", linewidth=1, label="truth")
        place.set_xlabel(label)
        place.set_ylabel("Gain [dB]")
        place.legend(frameon=False, fontsize=9)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=80)


# %% All of it
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="coarse: shows that it works")
    parser.add_argument("--output", type=Path, default=Path("antenna.png"))
    given = parser.parse_args()
    rng = np.random.default_rng(1)
    places = flights(rng)
    values = gain(*places.T[:, :, None], FREQUENCIES) + rng.normal(0, ERROR, (len(places), 7))
    posterior = mapped(places, values, degree=8 if given.quick else 24)
    print(posterior)

    # Where linear interpolation has a value: within the flights.
    heights, turns = rng.uniform(0.2, 1, 2000), rng.uniform(0, 2 * np.pi, 2000)
    test = np.column_stack([np.arccos(heights), turns, rng.uniform(30, 80, 2000)])
    truth, linear = gain(*test.T), interpolated(places, values, test)
    there = np.isfinite(linear)
    mean, std = posterior.mean(test), posterior.std(test)
    for name, guess in (("linear interpolation", linear), ("field", mean)):
        print(f"{name}: error {np.sqrt(np.mean((guess - truth)[there] ** 2)):.3f} dB")
    inside = np.mean(abs(mean - truth) < std)
    print(f"within one standard deviation of the field: {100 * inside:.0f} % of directions")
    draw(posterior, places, values, given.output, 24 if given.quick else 64)
    print(f"picture in {given.output}")
