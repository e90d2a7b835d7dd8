"""Saving a figure: the picture as pdf and png, and the numbers behind it as JSON."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from difftune.files import writing
from difftune.report.style import styled


@styled
def save(
    figure: Figure,
    folder: str | Path,
    name: str,
    numbers: Mapping[str, Any] | None = None,
    *,
    dpi: int = 150,
) -> list[Path]:
    """Writes `name.pdf`, `name.png` and `name.json`.

    Args:
        figure: Any matplotlib figure.
        folder: Where to; made if absent.
        name: Stem of the files.
        numbers: What the figure shows; by default `figure.numbers`, which our figures carry.
        dpi: Resolution of the PNG.

    Returns:
        The files.

    Raises:
        InputError: When they cannot be written there.
    """
    folder = Path(folder)
    files = [folder / f"{name}.{kind}" for kind in ("pdf", "png", "json")]
    with writing(files[0], binary=True) as stream:
        # Without the date, the same figure is the same file.
        figure.savefig(stream, format="pdf", metadata={"CreationDate": None})
    # The layout does not depend on the format, and takes as long as the drawing.
    figure.set_layout_engine("none")
    with writing(files[1], binary=True) as stream:
        figure.savefig(stream, format="png", dpi=dpi)
    content = getattr(figure, "numbers", {}) if numbers is None else numbers
    with writing(files[2]) as stream:
        stream.write(to_json(content) + "\n")
    return files


@styled
def png(figure: Figure, *, dpi: int = 130) -> bytes:
    """A figure as the content of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def to_json(content: Any) -> str:
    """JSON of nested mappings, sequences, arrays and scalars; what is not finite becomes null."""
    return json.dumps(_plain(content), indent=1, allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """What JSON has a word for."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return value if np.isfinite(value) else None
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case Path():
            return str(value)
    return _plain(np.asarray(value).tolist())
