"""Which step fits operands of which kinds: the rules of types of expressions."""

import ast
import functools
import operator
from collections.abc import Callable, Sequence

import numpy as np

from difftune.data import lists, momenta
from difftune.data.functions import OF_LISTS, P4, contains
from difftune.data.kinds import Kind, depth, element, within_lists
from difftune.data.lists import Part
from difftune.data.steps import Step, Unfit, source
from difftune.errors import nearest

Place = int | tuple[int | None, int | None] | ast.expr


"""A fixed place in a list, a range, or a value."""


def fitted(step: Step, operands: Sequence[tuple[ast.expr, Kind]]) -> tuple[Step, Kind]:
    """A step for operands of these kinds, and the kind of its result.

    Raises:
        Unfit: There is none.
    """
    step = step._replace(operands=tuple(node for node, _ in operands))
    node, kinds = step.node, [kind for _, kind in operands]
    for operand, kind in operands[: _conditions(node, kinds)]:
        check_condition(operand, kind)
    match node:
        case ast.Subscript():
            return _taking(step, node, kinds)
        case ast.Attribute(attr=name):
            return _of_momenta(step, name, kinds[0])
        case ast.List():
            return _listing(step, kinds)
        case ast.Call(func=ast.Name(id=name)) if name in OF_LISTS:
            return _reducing(step, name, kinds[0])
        case ast.Call(func=ast.Name(id="sort")):
            return _sorting(step, kinds)
        case ast.Call(func=ast.Name(id="delta_r" | "delta_phi" as name)):
            angles = name == "delta_phi"
            for operand, kind in operands:
                if element(kind) != P4 and not (angles and element(kind) == "number"):
                    raise Unfit(
                        f"`{source(operand)}` is no four-momentum{' and no angle' * angles}: "
                        f'write `{name}(p4("Jet")[0], p4("Muon")[0])`.'
                    )
            work = momenta.delta_phi if angles else momenta.delta_r
            return step._replace(of_parts=work), within_lists("number", max(map(depth, kinds)))
        case ast.BinOp(op=ast.Add() | ast.Sub() as op) if {element(kind) for kind in kinds} == {P4}:
            sign = np.add if isinstance(op, ast.Add) else np.subtract
            work = functools.partial(momenta.combined, sign)
            return step._replace(function=None, of_parts=work), within_lists(
                P4, max(map(depth, kinds))
            )
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr() as op) if "bool" in map(element, kinds):
            join = operator.and_ if isinstance(op, ast.BitAnd) else operator.or_
            step = step._replace(of_parts=functools.partial(lists.joined, join))
    return step, _kind_of_result(step, operands)


def _conditions(node: ast.expr, kinds: Sequence[Kind]) -> int:
    """How many of the operands, from the first one on, are needed as conditions."""
    match node:
        case ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
            return len(kinds)
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr()) if "bool" in map(element, kinds):
            return len(kinds)
        case ast.IfExp() | ast.Call(func=ast.Name(id="where" | "any" | "all")):
            return 1
    return 0


def check_condition(node: ast.expr, kind: Kind) -> None:
    """Refuses `~x` of a number where a condition is needed.

    Raises:
        Unfit: With what to write.
    """
    match node:
        case ast.UnaryOp(op=ast.Invert(), operand=operand) if element(kind) == "number":
            text = source(operand)
            raise Unfit(
                f"`~{text}` turns the bits of a number round, which is true for every number but "
                f"-1: write `not {text}`, or `{text} == 0`."
            )


def _taking(step: Step, node: ast.Subscript, kinds: Sequence[Kind]) -> tuple[Step, Kind]:
    """Takes elements of a list: in a place, in a range, by a condition or by numbers."""
    kind, level = kinds[0], 0
    text = source(node)
    work: list[Callable[..., Part]] = []
    for place in places_of(node):
        if depth(kind) <= level:
            raise Unfit(
                f"`{text}`: `{source(node.value)}` has {said(kinds[0])} for each event"
                + (
                    ", not a list. A column whose name has brackets stands in backquotes."
                    if not depth(kinds[0])
                    else "."
                )
            )
        fewer = within_lists(element(kind), depth(kind) - 1)
        if isinstance(place, int):
            take = functools.partial(_element, place)
            work.append(functools.partial(lists.within, level, take))
            kind = fewer
        elif isinstance(place, tuple):
            if place != (None, None):
                cut = functools.partial(_slice, *place)
                work.append(functools.partial(lists.within, level, cut))
            level += 1
        else:
            by = kinds[1]
            check_condition(place, by)
            if element(by) == "bool" and 0 < depth(by) <= depth(kind):
                work.append(lists.kept)
            elif element(by) == "number" and depth(by) <= 1:
                work.append(lists.taken)
                kind = kind if depth(by) else fewer
            else:
                raise Unfit(
                    f"`{text}`: `{source(place)}` is {said(by)} for each event; in brackets "
                    "there is a place, or a condition for each element, as in `x[x > 30]`."
                )

    def taking(part: Part, *by: Part) -> Part:
        for each in work:
            part = each(part, *by)
        return part

    return step._replace(of_parts=taking), kind


def _element(place: int, part: Part) -> Part:
    return lists.element(part, place)


def _slice(begin: int | None, end: int | None, part: Part) -> Part:
    return lists.sliced(part, begin, end)


def _reducing(step: Step, name: str, kind: Kind) -> tuple[Step, Kind]:
    """Makes one value of a list, of the innermost where there are lists in lists."""
    work, of_result = OF_LISTS[name]
    if depth(kind) == 0:
        other = f"; for two numbers there is `{name}imum(a, b)`" if name in ("max", "min") else ""
        raise Unfit(
            f"`{source(step.operands[0])}` has {said(kind)} for each event, and `{name}` takes a "
            f"list, such as the momenta of all jets{other}."
        )
    if element(kind) == P4:
        if name not in ("sum", "count"):
            raise Unfit(
                f"`{name}` takes numbers: say which, as in `{source(step.operands[0])}.pt`."
            )
        work, of_result = (momenta.added, P4) if name == "sum" else (work, of_result)
    inside = functools.partial(lists.within, depth(kind) - 1, work)
    return step._replace(of_parts=inside), within_lists(of_result, depth(kind) - 1)


def _listing(step: Step, kinds: Sequence[Kind]) -> tuple[Step, Kind]:
    """Makes a list of single values, such as those of the first, second and third jet."""
    text = source(step.node)
    for operand, kind in zip(step.operands, kinds, strict=True):
        if depth(kind) or kind == "string":
            raise Unfit(
                f"`{text}`: `{source(operand)}` has {said(kind)} for each event; brackets make a "
                "list of single numbers, as in `[jet1_pt, jet2_pt]`."
            )
    if P4 in kinds and set(kinds) != {P4}:
        raise Unfit(f"`{text}` has four-momenta and numbers: make a list of each.")
    step = step._replace(of_parts=lists.listed)
    return step, within_lists(kinds[0] if len(set(kinds)) == 1 else "number", 1)


def _sorting(step: Step, kinds: Sequence[Kind]) -> tuple[Step, Kind]:
    """Orders a list by its elements or by other ones."""
    text = source(step.operands[0])
    if depth(kinds[0]) == 0:
        raise Unfit(f"`{text}` has {said(kinds[0])} for each event, and `sort` takes a list.")
    by = kinds[-1]
    if element(by) not in ("number", "bool") or depth(by) != 1:
        raise Unfit(
            f"`{source(step.operands[-1])}` has {said(by)} for each event: `sort` needs a number "
            f"for each element, as in `sort({text}, by=-Jet_btag)`."
        )
    work = lists.ordered if len(kinds) == 2 else lambda part: lists.ordered(part, part)
    return step._replace(of_parts=work), kinds[0]


def _of_momenta(step: Step, name: str, kind: Kind) -> tuple[Step, Kind]:
    """What a four-momentum has."""
    text = source(step.operands[0])
    if element(kind) != P4:
        raise Unfit(
            f"there is no column `{text}.{name}`, and `{text}` has {said(kind)} for each event, "
            "no four-momentum."
        )
    if name not in momenta.COORDINATES:
        raise Unfit(
            f"a four-momentum has no `{name}`{nearest(name, momenta.COORDINATES).rstrip('.')}; it "
            f"has {', '.join(momenta.COORDINATES)}."
        )
    work = functools.partial(momenta.member, name)
    return step._replace(of_parts=work), within_lists("number", depth(kind))


def said(kind: Kind) -> str:
    """A kind in words."""
    one = {"number": "a number", "bool": "a condition", "string": "a string"}
    inner = one.get(element(kind), "a four-momentum")
    if not depth(kind):
        return inner.replace("a ", "one ", 1)
    several = {"number": "numbers", "bool": "conditions", "string": "strings"}
    return "a list of " * depth(kind) + several.get(element(kind), "four-momenta")


def _kind_of_result(step: Step, operands: Sequence[tuple[ast.expr, Kind]]) -> Kind:
    """That of a function of elements."""
    for node, kind in operands:
        if element(kind) == P4:
            raise Unfit(
                f"`{source(node)}` is a four-momentum: say what of it, as in `{source(node)}.pt`."
            )
    deep = max(depth(kind) for _, kind in operands)
    texts = [element(kind) == "string" for _, kind in operands]
    if isinstance(step.node, ast.Compare):
        if any(texts) != all(texts):
            other = operands[texts.index(not texts[0])]
            names = f"`{source(operands[0][0])}` and `{source(other[0])}`"
            raise Unfit(f"{names}: a string and a number cannot be compared.")
    elif step.function is contains:
        if not all(texts):
            raise Unfit("contains takes two strings.")
    elif any(texts):
        raise Unfit(
            f"`{source(operands[texts.index(True)][0])}` is a string; it can only be compared with "
            "a string, as in `label == 's'`."
        )
    if step.kind is not None:
        return within_lists(step.kind, deep)
    conditions = any(element(kind) == "bool" for _, kind in operands)
    return within_lists("bool" if conditions else "number", deep)


def places_of(node: ast.Subscript) -> list[Place]:
    """What stands in brackets: fixed places, ranges, and values.

    Raises:
        Unfit: It is none of these.
    """
    several = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    places = [_place(each, node) for each in several]
    if len(places) == 1:
        return places
    if places[:1] != [(None, None)]:
        raise Unfit(
            f"`{source(node)}`: every event has a list of its own, so that one place takes one "
            "element of each: write `x[0]`, or `x[0][1]` for lists in lists."
        )
    if any(isinstance(place, ast.expr) for place in places):
        raise Unfit(f"`{source(node)}`: write what is in brackets one behind the other.")
    return places[1:]


def _place(node: ast.expr, where: ast.expr) -> Place:
    match node:
        case ast.Slice(lower=lower, upper=upper, step=None):
            bounds = [None if bound is None else _integer(bound) for bound in (lower, upper)]
            if (bounds[0] is None) == (lower is None) and (bounds[1] is None) == (upper is None):
                return bounds[0], bounds[1]
            raise Unfit(f"`{source(where)}`: the ends of a range are written numbers: `x[:3]`.")
        case ast.Slice():
            raise Unfit(f"`{source(where)}`: a range has no third number: `x[:3]`.")
        case ast.Constant(value=str() | bool() | float() | None) | ast.Tuple() | ast.List():
            raise Unfit(f"`{source(where)}`: in brackets there is a place, or a condition.")
    fixed = _integer(node)
    return node if fixed is None else fixed


def _integer(node: ast.expr) -> int | None:
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return min(value, lists.FARTHEST)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value))):
            return -min(value, lists.FARTHEST)
    return None
