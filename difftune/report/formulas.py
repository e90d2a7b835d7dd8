"""Formulas in titles, between dollars as LaTeX has them, for a browser."""

import re
from html import escape, unescape
from html.entities import html5

from difftune.report.style import harmless_math

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.")
_TAG = re.compile(r"<[^>]+>")
# HTML calls most signs as LaTeX does; these it calls otherwise, or means something else by them.
_SIGNS = {
    "cdot": "·",
    "cdots": "⋯",
    "circ": "°",
    "dots": "…",
    "infty": "∞",
    "ldots": "…",
    "left": "",
    "neq": "≠",
    "partial": "∂",
    "quad": "\u2003",
    "right": "",
    "slash": "/",
    "to": "→",
}
_RELATIONS = set("=<>→≤≥≠≈∼≃≡≪≫∈")
_SPACES = {",": "\u2009", ":": "\u2009", ";": "\u2009", " ": " ", "!": ""}
_ACCENTS = {
    "bar": "\u0304",
    "dot": "\u0307",
    "hat": "\u0302",
    "overline": "\u0304",
    "tilde": "\u0303",
    "vec": "\u20d7",
    "widehat": "\u0302",
    "widetilde": "\u0303",
}
_UPRIGHT = {"mathrm", "mathbf", "mathsf", "mathtt", "text", "textrm", "operatorname"}
_AS_THEY_ARE = {"mathit", "mathcal", "mathdefault", "mathregular"}
_FUNCTIONS = {"cos", "cosh", "exp", "ln", "log", "max", "min", "sin", "sinh", "tan", "tanh"}


def pieces(text: str) -> list[str] | None:
    """What stands outside and between dollars, in turn; None where they mean no formulas.

    Args:
        text: A title.
    """
    found = text.split("$")
    # Before a dollar that is meant as such there is a backslash.
    whole = len(found) % 2 == 1 and all(map(harmless_math, found[1::2]))
    return found if whole else None


def as_html(text: str) -> str:
    """A title as HTML, escaped, with its formulas set; one that is not understood stays as it is.

    Args:
        text: A title.
    """
    parts = pieces(text)
    if parts is None:
        return escape(text)
    try:
        return "".join(_Formula(p).set() if i % 2 else escape(p) for i, p in enumerate(parts))
    except _NotUnderstood:
        return escape(text)


def without_tags(markup: str) -> str:
    """HTML of `as_html` as text, still escaped, such as an attribute takes."""
    return _TAG.sub("", markup)


def _sign(sign: str) -> str:
    """A sign, with air where it says how two sides compare."""
    return f" {escape(sign)} " if sign in _RELATIONS else escape(sign)


class _NotUnderstood(ValueError):
    """A command that has no counterpart here."""


class _Formula:
    """What stands between two dollars, read from left to right."""

    def __init__(self, source: str) -> None:
        self._tokens = _TOKEN.findall(source)[::-1]

    def set(self, *, upright: bool = False, end: str = "") -> str:
        """HTML of all up to the end, or to a brace that closes."""
        found = ""
        while self._tokens and self._tokens[-1] != end:
            found += self._atom(upright=upright)
        if end and not self._tokens:
            raise _NotUnderstood
        if end:
            self._tokens.pop()
        return found.replace("</i><i>", "")

    def _argument(self, *, upright: bool = False) -> str:
        while self._tokens and self._tokens[-1].isspace():
            self._tokens.pop()
        if not self._tokens:
            raise _NotUnderstood
        return self._atom(upright=upright)

    def _atom(self, *, upright: bool) -> str:
        token = self._tokens.pop()
        if token == "{":
            return self.set(upright=upright, end="}")
        if token in ("^", "_"):
            tag = "sup" if token == "^" else "sub"
            return f"<{tag}>{self._argument(upright=upright)}</{tag}>"
        if token.startswith("\\"):
            return self._command(token[1:], upright=upright)
        if token.isspace():
            return " " if upright else ""
        if token.isalpha():
            return token if upright else f"<i>{token}</i>"
        return _sign({"-": "−", "'": "′", ",": ", "}.get(token, token))

    def _command(self, name: str, *, upright: bool) -> str:
        if name in _SPACES:
            return _SPACES[name]
        if name in _UPRIGHT:
            return self._argument(upright=True)
        if name in _AS_THEY_ARE:
            return self._argument(upright=upright)
        if name in _FUNCTIONS:
            return f"{name}\u2009"
        if name in _ACCENTS:
            return self._accented(_ACCENTS[name], upright=upright)
        if name == "sqrt":
            inside = self._argument(upright=upright)
            return f"√{inside}" if len(without_tags(inside)) == 1 else f"√({inside})"
        if name == "frac":
            above = self._argument(upright=upright)
            return f"{above}/{self._argument(upright=upright)}"
        sign = _SIGNS.get(name, html5.get(f"{name};"))
        if sign is None and not name.isalpha():
            sign = name
        if sign is None:
            raise _NotUnderstood
        return _sign(sign) if upright or not sign.isalpha() else f"<i>{sign}</i>"

    def _accented(self, accent: str, *, upright: bool) -> str:
        """Something under an accent; under a wide one each letter has its own."""
        inside = self._argument(upright=upright)
        parts = re.split(r"(<[^>]+>)", inside)
        return "".join(
            part
            if part.startswith("<")
            else "".join(f"{escape(letter)}{accent}" for letter in unescape(part))
            for part in parts
        )
