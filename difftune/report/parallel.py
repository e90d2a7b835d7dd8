"""Parallel coordinates of a search, as part of the page: drag on an axis to choose a range."""

import html
import json
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps

from difftune.report.lineage import best_network, round_scores
from difftune.report.style import spans_decades
from difftune.training import History

_LEFT, _TOP, _HEIGHT, _APART = 62, 34, 260, 120

# Ranges are kept as fractions of the axes. A line that leaves one of them fades, and the count of
# those that stay is written below. A click on an axis takes its range away.
_SCRIPT = """
(function () {
  const svg = document.currentScript.previousElementSibling, top = %(top)d, height = %(height)d;
  const lines = [...svg.querySelectorAll('polyline')], ranges = {};
  const places = lines.map(line => JSON.parse(line.dataset.at));
  const count = svg.querySelector('.count');
  function show() {
    let left = 0;
    lines.forEach((line, i) => {
      const inside = Object.entries(ranges).every(
        ([axis, [low, high]]) => places[i][axis] >= low && places[i][axis] <= high);
      line.style.opacity = inside ? '' : 0.04;
      left += inside;
    });
    count.textContent = left + ' of ' + lines.length;
  }
  svg.querySelectorAll('.axis').forEach(axis => {
    const name = axis.dataset.axis, brush = axis.querySelector('.brush');
    let from = null;
    const at = event => {
      const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
      const y = (event.clientY - box.top) * view.height / box.height;
      return Math.min(1, Math.max(0, 1 - (y - top) / height));
    };
    axis.addEventListener('pointerdown', event => {
      from = at(event); axis.setPointerCapture(event.pointerId);
    });
    axis.addEventListener('pointermove', event => {
      if (from === null) return;
      const to = at(event), low = Math.min(from, to), high = Math.max(from, to);
      ranges[name] = [low, high];
      brush.setAttribute('y', top + height * (1 - high));
      brush.setAttribute('height', height * (high - low));
      show();
    });
    axis.addEventListener('pointerup', event => {
      if (Math.abs(at(event) - from) < 0.01) {
        delete ranges[name]; brush.setAttribute('height', 0);
      }
      from = null; show();
    });
  });
})();
"""


@dataclass(frozen=True)
class ParallelCoordinates:
    """Every member in every round as a line through its hyperparameters to its score.

    The picture is there without a script; with it, ranges can be chosen on the axes, and a line
    tells its round, member and values when it is pointed at.

    Attributes:
        history: The record of the search.
        best: Epoch and member of the chosen network; by default that of the largest selection
            score.
        score_name: Title of the last axis.
        most: Largest number of lines; those of the best scores.
        log: Names of hyperparameters whose axes are logarithmic, whatever they span.
    """

    history: History
    best: tuple[int, int] | None = None
    score_name: str = "Validation score"
    most: int = 1500
    log: Collection[str] = ()

    def html(self) -> str:
        """The picture, and the script that lets one choose."""
        history = self.history
        scores = round_scores(history).ravel()
        known = np.flatnonzero(np.isfinite(scores))
        if not len(known) or not history.hyperparameters:
            return ""
        # The best are drawn last, on top.
        drawn = known[np.argsort(scores[known], kind="stable")][-self.most :]
        columns = {
            name: np.asarray(values, float).ravel()[drawn]
            for name, values in history.hyperparameters.items()
        } | {self.score_name: scores[drawn]}
        axes = [_Axis(name, values, log=name in self.log) for name, values in columns.items()]
        places = np.stack(
            [axis.places(values) for axis, values in zip(axes, columns.values(), strict=True)]
        )
        epoch, member = best_network(history) if self.best is None else self.best
        row = int(np.max(history.round[history.epoch == epoch], initial=0))
        members = history.parents.shape[1]
        chosen = row * members + member
        ranks = np.argsort(np.argsort(columns[self.score_name])) / max(len(drawn) - 1, 1)
        lines = [
            _line(places[:, i], ranks[i], int(trial) == chosen, _told(trial, members, columns, i))
            for i, trial in enumerate(drawn.tolist())
        ]
        width = 2 * _LEFT + _APART * (len(axes) - 1)
        parts = "".join(axis.svg(i) for i, axis in enumerate(axes))
        script = _SCRIPT % {"top": _TOP, "height": _HEIGHT}
        return (
            f'<figure><svg viewBox="0 0 {width} {_TOP + _HEIGHT + 40}" width="100%" '
            'style="touch-action:none" font-family="inherit" font-size="11" '
            f'role="img" aria-label="Parallel coordinates">{"".join(lines)}{parts}'
            f'<text class="count" x="{width - 4}" y="{_TOP + _HEIGHT + 34}" text-anchor="end" '
            f'fill="#5b6470">{len(drawn)} of {len(drawn)}</text></svg>'
            f"<script>{script}</script><figcaption>Members of all rounds; the chosen network in "
            "red, others from the worst (dark) to the best (bright). Drag along an axis to choose "
            "a range, click on it to take the range away.</figcaption></figure>"
        )


class _Axis:
    """One vertical axis, logarithmic where the values span decades."""

    def __init__(self, name: str, values: Float[np.ndarray, " lines"], *, log: bool):
        positive = bool(np.min(values, initial=1.0) > 0)
        self.name, self.log = name, spans_decades(values) or (log and positive)
        scaled = np.log10(values) if self.log else values
        self.low, self.high = float(scaled.min()), float(scaled.max())

    def places(self, values: Float[np.ndarray, " lines"]) -> Float[np.ndarray, " lines"]:
        """From 0 at the bottom to 1 at the top; the middle if all are the same."""
        scaled = np.log10(values) if self.log else values
        if self.high == self.low:
            return np.full(len(values), 0.5)
        return (scaled - self.low) / (self.high - self.low)

    def svg(self, number: int) -> str:
        """Line, ends and title, with a strip to drag on."""
        x, bottom = _LEFT + number * _APART, _TOP + _HEIGHT
        ends = [10**end if self.log else end for end in (self.low, self.high)]
        name = html.escape(self.name)
        short = html.escape(self.name if len(self.name) <= 19 else self.name[:18] + "…")
        return (
            f'<g class="axis" data-axis="{number}" style="cursor:ns-resize">'
            f'<rect x="{x - 12}" y="{_TOP}" width="24" height="{_HEIGHT}" fill="transparent"/>'
            f'<line x1="{x}" x2="{x}" y1="{_TOP}" y2="{bottom}" stroke="currentColor"/>'
            f'<rect class="brush" x="{x - 6}" y="{_TOP}" width="12" height="0" fill="#bd1f01" '
            f'fill-opacity=".25"/><text x="{x}" y="{_TOP - 20}" text-anchor="middle" '
            f'fill="currentColor">{short}'
            f"<title>{name}</title></text>"
            f'<text x="{x}" y="{_TOP - 6}" text-anchor="middle" fill="#5b6470">{ends[1]:.3g}</text>'
            f'<text x="{x}" y="{bottom + 14}" text-anchor="middle" fill="#5b6470">{ends[0]:.3g}'
            "</text></g>"
        )


def _told(trial: int, members: int, columns: dict[str, np.ndarray], line: int) -> str:
    """What a line says when it is pointed at."""
    values = ", ".join(f"{name} {values[line]:.4g}" for name, values in columns.items())
    return f"round {trial // members}, member {trial % members}: {values}"


def _line(places: Float[np.ndarray, " axes"], rank: float, chosen: bool, told: str) -> str:
    points = " ".join(
        f"{_LEFT + i * _APART},{_TOP + _HEIGHT * (1 - place):.1f}"
        for i, place in enumerate(places.tolist())
    )
    red, green, blue = (round(255 * part) for part in colormaps["viridis"](rank)[:3])
    color = "#bd1f01" if chosen else f"#{red:02x}{green:02x}{blue:02x}"
    width, opacity = (2.5, 1.0) if chosen else (1.0, round(0.25 + 0.6 * rank, 2))
    at = json.dumps([round(place, 4) for place in places.tolist()])
    return (
        f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{width}" '
        f'stroke-opacity="{opacity}" data-at="{at}"><title>{html.escape(told)}</title></polyline>'
    )
