"""Files of likelihoods, told apart by what is in them."""

import json
import xml.etree.ElementTree as ElementTree
from os import PathLike
from pathlib import Path
from typing import Any

from difftune.errors import InputError
from difftune.later import pyhf
from difftune.workspaces.card import looks_like_card
from difftune.workspaces.datacard import from_datacard
from difftune.workspaces.hs3_import import from_hs3, is_hs3
from difftune.workspaces.spec import Content, known
from difftune.workspaces.trexfitter import from_trexfitter
from difftune.workspaces.trexfitter_config import looks_like_config


def read_file(path: str | PathLike[str], *, mass: str | float | int | None = None) -> Content:
    """What a file of a likelihood says, in pyhf's format, for `Model.from_spec`.

    Args:
        path: JSON of pyhf or HS3, a datacard of Combine, a configuration of TRExFitter, or XML of
            HistFactory.
        mass: What `$MASS` of a datacard stands for.

    Raises:
        InputError: It is none of these, or not right.
    """
    content = opened(path, mass=mass)
    return known(content) if "measurements" in content else content


def opened(path: str | PathLike[str], *, mass: str | float | int | None = None) -> Content:
    """The same with keys that pyhf does not know.

    Args:
        path: As in `read_file`.
        mass: What `$MASS` of a datacard stands for.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{file} cannot be read: {reason}.") from error
    start = text.lstrip()[:1]
    if start in ("{", "["):
        return _from_json(file, text)
    if start == "<":
        return from_xml(file)
    if looks_like_card(text):
        return from_datacard(file, mass=mass, poi="r", pois=None)
    if looks_like_config(text):
        return from_trexfitter(file, folder=None)
    raise InputError(
        f"{file} is no JSON file, no datacard, no configuration of TRExFitter and no XML. What is "
        "read: JSON of pyhf and HS3, datacards of Combine, configurations of TRExFitter, and XML "
        "of HistFactory."
    )


def _from_json(file: Path, text: str) -> Content:
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is no JSON file: {error}.") from error
    if not isinstance(document, dict):
        raise InputError(
            f"{file} holds no workspace, but a {type(document).__name__}. A patch goes with its "
            "background-only workspace."
        )
    return from_hs3(document) if is_hs3(document) else document


def from_xml(path: str | PathLike[str], *, folder: str | PathLike[str] | None = None) -> Content:
    """The workspace of HistFactory's XML and ROOT files, as pyhf reads them.

    Args:
        path: The file with the tag Combination.
        folder: From where its paths go; by default that of the file, or the one above.

    Raises:
        InputError: Something is missing, or pyhf refuses it.
    """
    from pyhf import readxml  # with uproot

    file = Path(path)
    try:
        top = ElementTree.parse(file).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"{file} cannot be read as XML: {error}.") from error
    if top.tag != "Combination":
        raise InputError(
            f"{file} begins with the tag {top.tag!r}. Give the file with the tag Combination, "
            "which names those of the channels."
        )
    inputs = [each.text for each in top.findall("Input") if each.text]
    tried = [Path(folder)] if folder is not None else [file.parent, file.parent.parent]
    fitting = [each for each in tried if all((each / name).exists() for name in inputs)]
    if not inputs or not fitting:
        raise InputError(
            f"{file}: there is no {inputs[0] if inputs else 'Input'} in "
            f"{' or '.join(map(str, tried))}. Say from where the paths go, folder=..."
        )
    # Files of another run of the same name would be taken for those that were read before.
    readxml.clear_filecache()
    try:
        return dict(readxml.parse(file, fitting[0]))
    except (
        pyhf.exceptions.InvalidSpecification,
        ElementTree.ParseError,
        OSError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        raise InputError(f"{file}: pyhf cannot read it: {type(error).__name__}: {error}") from error
    finally:
        readxml.clear_filecache()
