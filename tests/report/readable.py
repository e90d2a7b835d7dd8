"""Can a figure be read? No text leaves it, no two texts overlap, no legend hides data."""

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from difftune.report.style import settings


def draw(figure: Figure) -> None:
    with matplotlib.rc_context(settings()):
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()


def texts(figure: Figure) -> list[str]:
    """Every text of a figure that is not empty."""
    return [text.get_text() for text in figure.findobj(Text) if text.get_text().strip()]


def assert_readable(figure: Figure) -> None:
    draw(figure)
    boxes = _boxes(figure)
    assert boxes
    canvas = figure.bbox.padded(1.0)
    for text, box in boxes:
        common = Bbox.intersection(box, canvas)
        assert common is not None, f"{text!r} is outside the figure"
        np.testing.assert_allclose(common.bounds, box.bounds, err_msg=f"{text!r} leaves the figure")
    for i, (text, box) in enumerate(boxes):
        for other, its in boxes[i + 1 :]:
            common = Bbox.intersection(box, its)
            overlap = common is not None and min(common.width, common.height) > 3
            assert not overlap, f"{text!r} overlaps {other!r}"


def _boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    """Text and place of every text that is drawn."""
    hidden = set()
    for axes in figure.axes:
        for name in ("x", "y"):
            hidden |= {id(label) for label in _outside(axes, name)}
    return [
        (text.get_text(), _ink(text))
        for text in figure.findobj(Text)
        if text.get_text().strip()
        and text.get_visible()
        and id(text) not in hidden
        and (text.axes is None or text.axes.get_visible())
    ]


def _ink(text: Text) -> Bbox:
    """The box of a text, without the room for descenders where there are none."""
    box = text.get_window_extent()
    if text.get_rotation() or set(text.get_text()) & set("gjpqy_,()|$"):
        return box
    return Bbox.from_extents(box.x0, box.y0 + 0.2 * text.get_fontsize(), box.x1, box.y1)


def _outside(axes: Axes, name: str) -> list[Text]:
    """Tick labels that matplotlib keeps but does not draw."""
    axis = getattr(axes, f"{name}axis")
    low, high = sorted(axis.get_view_interval())
    labels = []
    for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
        air = 1e-9 * abs(high - low)
        seen = axes.axison and low - air <= tick.get_loc() <= high + air
        labels += [
            label
            for label, on in ((tick.label1, True), (tick.label2, True))
            if not (seen and on and label.get_visible())
        ]
    return labels
