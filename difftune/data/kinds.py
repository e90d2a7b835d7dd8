"""Kinds of values: what a column has for each event, and so has each part of an expression.

One value per event is a "number", "bool" or "string". A pair of brackets behind it stands for a
list of any length, as in "number[]" for the momenta of the jets of each event, or "number[][]" for
those of the tracks of each jet. "other" is what cannot be used.
"""

Kind = str


def depth(kind: Kind) -> int:
    """How many lists lie around a value: 0 for one value per event."""
    return kind.count("[]")


def element(kind: Kind) -> Kind:
    """The kind of the values inside all lists."""
    return kind.removesuffix("[]" * depth(kind))


def within_lists(kind: Kind, deep: int) -> Kind:
    """The kind of values within so many lists."""
    return kind + "[]" * deep
