"""Ratio sets written as text, the way they are composed in Python: ``non_increasing(1, 0.5) | uniform(0.75)``.

The text is parsed by Python's own grammar and never evaluated: only the calls and operators below mean anything.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence

from scbp_host.errors import UnknownNameError, UsageError
from scbp_host.space.ratio_sets import families
from scbp_host.space.ratio_sets.base import Ratios, RatioSet
from scbp_host.space.ratio_sets.filters import AnyRatioSet, Filter, where

# A figure of the network that a ratio tuple gives, e.g. its parameters.
Figure = Callable[[Ratios], float]

_OPERATORS: dict[type[ast.operator], Callable[[AnyRatioSet, AnyRatioSet], AnyRatioSet]] = {
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.Sub: operator.sub,
}
_OF_RATIOS: dict[str, Callable[[Sequence[float], int], RatioSet]] = {
    "uniform": families.uniform,
    "non_increasing": families.non_increasing,
    "non_decreasing": families.non_decreasing,
    "one_at_a_time": families.one_at_a_time,
    "permutations": lambda multiset, _: families.permutations(multiset),
}
_HINT = "docs/space.md shows how sets are composed"


def parse_ratio_set(text: str, superblocks: int, figures: Mapping[str, Figure]) -> AnyRatioSet:
    """Read a set.

    Args:
        text: e.g. ``where(product(1, 0.5), max_params=5e6) - uniform(0.5)``.
        superblocks: ratios in each tuple.
        figures: name -> what ``where`` may limit, by ``min_NAME`` and ``max_NAME``.

    Raises:
        UsageError: the text is no such set; names the part that is wrong.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _Reader(superblocks, figures).read(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two: nested beyond any sense
        raise UsageError(f"ratios: expected a set such as 'uniform(1, 0.5)', got {_short(text)!r}", _HINT) from error


class _Reader:
    def __init__(self, superblocks: int, figures: Mapping[str, Figure]) -> None:
        self._superblocks = superblocks
        self._figures = figures

    def read(self, node: ast.expr) -> AnyRatioSet:
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](self.read(node.left), self.read(node.right))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            ratio_set = self._call(node.func.id, node)
            if ratio_set.superblocks != self._superblocks:
                raise _wrong(node, f"{self._superblocks} ratios, one for each superblock")
            return ratio_set
        raise _wrong(node, "sets joined by |, & and -")

    def _call(self, name: str, node: ast.Call) -> AnyRatioSet:
        if name == "where":
            return self._where(node)
        if node.keywords:
            raise _wrong(node, "ratios alone")
        if name == "product":
            return families.product(self._product_sets(node))
        if name == "explicit":
            return families.explicit([_ratios(own) for own in node.args])
        if name in _OF_RATIOS:
            return _OF_RATIOS[name]([_ratio(own) for own in node.args], self._superblocks)
        raise UnknownNameError("ratio set", name, [*_OF_RATIOS, "product", "explicit", "where"], _HINT)

    def _product_sets(self, node: ast.Call) -> list[list[float]]:
        if node.args and all(isinstance(own, ast.List | ast.Tuple) for own in node.args):
            return [_ratios(own) for own in node.args]
        return [[_ratio(own) for own in node.args]] * self._superblocks

    def _where(self, node: ast.Call) -> AnyRatioSet:
        if len(node.args) != 1 or not node.keywords:
            raise _wrong(node, "where(SET, max_params=5e6)")
        filtered = self.read(node.args[0])
        for keyword in node.keywords:
            filtered = where(filtered, self._filter(keyword))
        return filtered

    def _filter(self, keyword: ast.keyword) -> Filter:
        limit, name = _number(keyword.value), keyword.arg or "**"
        side, _, figure = name.partition("_")
        if side not in ("min", "max") or figure not in self._figures:
            known = [f"{own}_{figure}" for figure in self._figures for own in ("min", "max")]
            raise UnknownNameError("filter", name, known, _HINT)
        of, compare = self._figures[figure], operator.le if side == "max" else operator.ge
        of((1.0,) * self._superblocks)  # a figure that cannot be had fails here, and not in the middle of a run
        return Filter(f"{name}={limit:g}", lambda ratios: compare(of(ratios), limit))


def _ratios(node: ast.expr) -> list[float]:
    if not isinstance(node, ast.List | ast.Tuple):
        raise _wrong(node, "a list such as [1, 0.5]")
    return [_ratio(own) for own in node.elts]


def _ratio(node: ast.expr) -> float:
    value = _number(node)
    if not 0.0 < value <= 1.0:
        raise _wrong(node, "a ratio in (0, 1]")
    return value


def _number(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    raise _wrong(node, "a number")


def _wrong(node: ast.expr, expected: str) -> UsageError:
    return UsageError(f"ratios: expected {expected}, got {_short(ast.unparse(node))!r}", _HINT)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else f"{line[:77]}..."
