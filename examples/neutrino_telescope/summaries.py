"""Summaries of an event, as analyses without a network on hits have them."""

import light
import numpy as np

SPEED = light.LIGHT / light.GROUP


class _Sums:
    """Sums over the hits of each event."""

    def __init__(self, event, events):
        self.event, self.events = event, events

    def __call__(self, values):
        flat = values.reshape(len(values), -1)
        columns = [np.bincount(self.event, column, minlength=self.events) for column in flat.T]
        return np.stack(columns, axis=1).reshape(self.events, *values.shape[1:])


def point_fit(where, time, weight, event, sums, start, *, steps=8):
    """Point and time of a flash that fit the times of hits, by a robust method of Gauss-Newton."""
    found = start.copy()
    for _ in range(steps):
        away = where - found[event, :3]
        distance = np.maximum(np.linalg.norm(away, axis=1), 1.0)
        residual = time - found[event, 3] - distance / SPEED
        slope = np.concatenate([-away / distance[:, None] / SPEED, np.ones((len(time), 1))], axis=1)
        each = weight / (1 + (residual / 8) ** 2)
        matrix = sums(each[:, None, None] * slope[:, :, None] * slope[:, None, :])
        right = sums(each[:, None] * slope * residual[:, None])
        matrix = matrix + np.diag([0.02, 0.02, 0.02, 0.002])
        step = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
        found = found + np.clip(step, -15.0, 15.0)
        found[:, :2] = np.clip(found[:, :2], -90, 90)
        found[:, 2] = np.clip(found[:, 2], -110, 110)
    return found


def summaries(hits, events):
    """By name a number for each event."""
    everywhere = light.modules()
    where, time, charge = everywhere[hits.module], hits.time, hits.charge.astype(float)
    event, sums = hits.event, _Sums(hits.event, events)
    number = np.maximum(sums(np.ones(len(time))), 1.0)
    total = np.maximum(sums(charge), 1.0)
    first = np.flatnonzero(np.diff(event, prepend=-1))

    centre = sums(charge[:, None] * where) / total[:, None]
    mean_time = sums(charge * time) / total
    away, late = where - centre[event], time - mean_time[event]
    inertia = sums(charge[:, None, None] * away[:, :, None] * away[:, None, :])
    moments = np.linalg.eigvalsh(inertia / total[:, None, None])
    # The line that a point of constant velocity would draw.
    plain = sums(where) / number[:, None], sums(time) / number
    apart, after = where - plain[0][event], time - plain[1][event]
    spread = sums(after**2) + 1.0
    velocity = sums(apart * after[:, None]) / spread[:, None]
    speed = np.linalg.norm(velocity, axis=1)
    missed = apart - velocity[event] * after[:, None]

    start = np.zeros((events, 4))
    start[event[first], :3] = where[first]
    vertex = point_fit(where, time, np.sqrt(charge), event, sums, start)
    out = where - vertex[event, :3]
    distance = np.maximum(np.linalg.norm(out, axis=1), 1.0)
    unit = out / distance[:, None]
    residual = time - vertex[event, 3] - distance / SPEED
    # What a flash of the same light in all directions would give.
    flash = everywhere[None] - vertex[:, None, :3]
    length = np.maximum(np.linalg.norm(flash, axis=2), 2.0)
    reached = np.exp(-length / light.ABSORPTION) / length**2 * (length < 90)
    seen = reached.sum(axis=1)
    even = np.einsum("em,emi->ei", reached / length, flash) / seen[:, None]
    towards = sums(charge[:, None] * unit) / total[:, None] - even
    strength = np.maximum(np.linalg.norm(towards, axis=1), 1e-6)
    axis = towards / strength[:, None]
    cosine = np.einsum("hi,hi->h", unit, axis[event])

    # Hits as a muon from the point would make them.
    forward = np.einsum("hi,hi->h", out, axis[event])
    aside = np.sqrt(np.maximum(distance**2 - forward**2, 1.0))
    emitted = forward - aside / light.SLANT[0]
    expected = emitted / light.LIGHT + aside / light.SLANT[1] / SPEED
    cone = time - vertex[event, 3] - expected
    on_cone = (np.abs(cone) < 6) & (emitted > 10) & (emitted < 120)
    tube = sums(charge[:, None] * hits.direction) / total[:, None]

    def share(condition):
        return sums(charge * condition) / total

    return {
        # For the places of hits, not for cuts: they tell where in the detector, and no more.
        **dict(zip(("fitted_x", "fitted_y", "fitted_z"), vertex.T[:3], strict=True)),
        "hits": number,
        "coincidences": sums(charge >= 2.0),
        "log_charge": np.log10(total),
        "largest_charge": charge[first] / total,
        "energy_estimate": np.log10(total / seen) - 2,
        "time_spread": np.sqrt(sums(charge * late**2) / total),
        "centre_radius": np.hypot(centre[:, 0], centre[:, 1]),
        "centre_z": centre[:, 2],
        "vertex_radius": np.hypot(vertex[:, 0], vertex[:, 1]),
        "vertex_z": vertex[:, 2],
        "size": np.sqrt(moments.sum(axis=1)),
        "flatness": moments[:, 0] / moments.sum(axis=1).clip(1e-6),
        "elongation": moments[:, 2] / moments.sum(axis=1).clip(1e-6),
        "line_speed": speed,
        "line_cos_zenith": -velocity[:, 2] / np.maximum(speed, 1e-6),
        "line_miss": np.sqrt(sums((missed**2).sum(axis=1)) / number),
        "point_miss": np.sqrt(sums(charge * np.minimum(residual**2, 900.0)) / total),
        "early": share(residual < -6.0),
        "late": share(residual > 12.0),
        "early_hits": sums((residual < -6.0) * 1.0) / number,
        "cos_zenith_estimate": -axis[:, 2],
        "anisotropy": strength,
        "forward": sums(charge * cosine) / total,
        "on_ring": share(np.abs(cosine - np.cos(light.CHERENKOV)) < 0.12),
        "backward": share(cosine < 0.0),
        "near": share(distance < 25.0),
        "cone_hits": sums(on_cone * 1.0) / number,
        "cone_length": _largest(np.where(on_cone, emitted, 0.0), event, events),
        "tube_z": tube[:, 2],
        "tube_length": np.linalg.norm(tube, axis=1),
    }


def _largest(values, event, events):
    found = np.zeros(events)
    np.maximum.at(found, event, values)
    return found
