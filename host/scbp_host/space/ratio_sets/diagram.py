"""A set of equally long tuples as a layered decision diagram: what counting and drawing without listing rests on.

A node stands at one position and holds an edge for each value that may come next; every path from the root to the end
is one tuple. Equal nodes are shared, so 10^12 tuples of a Cartesian product are one node for each position. This is the
minimal deterministic acyclic automaton of the set (Revuz, "Minimisation of acyclic deterministic automata in linear
time", 1992), known as a reduced ordered multi-valued decision diagram (Srinivasan et al., "Algorithms for discrete
function manipulation", ICCAD 1990). It is canonical: equal sets are equal diagrams.

Counts, ranks and the k-th tuple are dynamic programming over the nodes; union, intersection and difference walk two
diagrams at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from scbp_host.errors import UsageError

# About 200 MB and a few seconds while a set is compiled.
EDGE_LIMIT = 1_000_000

# A value, and the number of the node in the next layer that it leads to; the last layer's edges lead to 0, the end.
Edge = tuple[float, int]
Node = tuple[Edge, ...]
Layer = tuple[Node, ...]

State = TypeVar("State", bound=Hashable)
Step = Callable[[int, State], Iterable[tuple[float, State]]]
# Where two diagrams are while they are walked at once; None where one has no such prefix.
Pair = tuple[int | None, int | None]
Rule = Callable[[bool, bool], bool]


@dataclass(frozen=True)
class Diagram:
    """Tuples of one length, the largest values first.

    Attributes:
        layers: for each position its nodes, the root alone in the first; a node's edges are in descending order.
        counts: for each node the number of tuples that it begins.
    """

    layers: tuple[Layer, ...]
    counts: tuple[tuple[int, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Count from the end to the root."""
        below: tuple[int, ...] = (1,)
        counts = [below]
        for layer in reversed(self.layers):
            below = tuple(sum(below[child] for _, child in node) for node in layer)
            counts.append(below)
        object.__setattr__(self, "counts", tuple(reversed(counts)))

    @property
    def size(self) -> int:
        """The number of tuples."""
        return self.counts[0][0]

    def __iter__(self) -> Iterator[tuple[float, ...]]:
        """Yield every tuple in lexicographic order of descending values; only the path is held."""
        path: list[float] = []
        pending = [iter(self.layers[0][0])]
        while pending:
            edge = next(pending[-1], None)
            if edge is None:
                pending.pop()
                if path:
                    path.pop()
            elif len(pending) == len(self.layers):
                yield (*path, edge[0])
            else:
                path.append(edge[0])
                pending.append(iter(self.layers[len(path)][edge[1]]))

    def at(self, rank: int) -> tuple[float, ...]:
        """Return the tuple at 0-based ``rank`` of the iteration order; the rank must be in the range."""
        values, number = [], 0
        for layer, below in zip(self.layers, self.counts[1:], strict=True):
            for value, child in layer[number]:
                if rank < below[child]:
                    values.append(value)
                    number = child
                    break
                rank -= below[child]
        return tuple(values)

    def rank(self, values: Sequence[float]) -> int | None:
        """Return the 0-based rank of a tuple, :meth:`at`'s inverse; None where it is no member."""
        if len(values) != len(self.layers):
            return None
        rank, number = 0, 0
        for wanted, layer, below in zip(values, self.layers, self.counts[1:], strict=True):
            for value, child in layer[number]:
                if value == wanted:
                    number = child
                    break
                rank += below[child]
            else:
                return None
        return rank

    def least(self) -> tuple[float, ...]:
        """Return the tuple with the least sum, the first of equals; the set must not be empty."""
        below: list[tuple[float, ...]] = [()]
        for layer in reversed(self.layers):
            below = [min(((value, *below[child]) for value, child in node), key=sum) for node in layer]
        return below[0]

    def relabelled(self, names: Sequence[Mapping[float, float]]) -> Diagram:
        """Return the set of tuples with every value replaced by its name at that position, equal ones once.

        Two edges of a node may get one name, so nodes are followed in sets (the subset construction of Rabin and
        Scott, "Finite automata and their decision problems", 1959).
        """

        def step(position: int, nodes: frozenset[int]) -> Iterator[tuple[float, frozenset[int]]]:
            children: dict[float, set[int]] = {}
            for node in nodes:
                for value, child in self.layers[position][node]:
                    children.setdefault(names[position][value], set()).add(child)
            return ((name, frozenset(found)) for name, found in children.items())

        return compile_diagram(len(self.layers), frozenset([0]), step, lambda nodes: True)


def compile_diagram(length: int, start: State, step: Step[State], accepts: Callable[[State], bool]) -> Diagram:
    """Build the minimal diagram of all tuples that lead from ``start`` to an accepted state.

    Args:
        length: positions, at least 1.
        start: the state before the first position.
        step: (position, state) -> the values that may stand there, each once, and the state that follows.
        accepts: tells of a state after the last position whether the tuple belongs.

    Raises:
        UsageError: it takes more than EDGE_LIMIT edges.
    """
    raw, ends = _explore(length, start, step)
    merged: list[int | None] = [0 if accepts(state) else None for state in ends]
    layers: list[Layer] = []
    for raw_layer in reversed(raw):
        layer, merged = _merge(raw_layer, merged)
        layers.append(layer)
    layers.reverse()
    if not layers[0]:
        empty_root: Layer = ((),)
        no_nodes: Layer = ()
        return Diagram((empty_root, *[no_nodes] * (length - 1)))
    return Diagram(_numbered(layers))


def combine(left: Diagram, right: Diagram, lives: Rule, accepts: Rule) -> Diagram:
    """Combine two diagrams of one length by walking both at once.

    Args:
        left: one set.
        right: the other.
        lives: whether a tuple may still belong, of (a prefix of a member of left, a prefix of a member of right).
        accepts: whether a tuple belongs, of (in left, in right).

    Raises:
        UsageError: it takes more than EDGE_LIMIT edges.
    """

    def step(position: int, pair: Pair) -> Iterator[tuple[float, Pair]]:
        here, there = _children(left, position, pair[0]), _children(right, position, pair[1])
        for value in {**here, **there}:
            child = here.get(value), there.get(value)
            if lives(child[0] is not None, child[1] is not None):
                yield value, child

    def ends(pair: Pair) -> bool:
        return accepts(pair[0] is not None, pair[1] is not None)

    start: Pair = (0, 0)
    return compile_diagram(len(left.layers), start, step, ends)


def _children(diagram: Diagram, position: int, node: int | None) -> dict[float, int]:
    return {} if node is None else dict(diagram.layers[position][node])


def _explore(length: int, start: State, step: Step[State]) -> tuple[list[list[list[Edge]]], Collection[State]]:
    """Return every layer's edges by the states' numbers, and the states after the last position."""
    layers, edges = [], 0
    states: dict[State, int] = {start: 0}
    for position in range(length):
        following: dict[State, int] = {}
        layer = []
        for state in states:
            node = [(value, following.setdefault(child, len(following))) for value, child in step(position, state)]
            edges += len(node)
            if edges > EDGE_LIMIT:
                raise UsageError(
                    f"ratios: this set needs a decision diagram of more than {EDGE_LIMIT:,} edges",
                    "take fewer distinct ratios, fewer superblocks, or a shorter explicit list",
                )
            layer.append(node)
        layers.append(layer)
        states = following
    return layers, states


def _merge(raw: Sequence[Sequence[Edge]], below: Sequence[int | None]) -> tuple[Layer, list[int | None]]:
    """Drop what leads nowhere and number equal nodes alike; also return each raw node's new number."""
    numbers: dict[Node, int] = {}
    merged: list[int | None] = []
    for edges in raw:
        alive = ((value, below[child]) for value, child in edges)
        node = tuple(sorted(((value, child) for value, child in alive if child is not None), reverse=True))
        merged.append(numbers.setdefault(node, len(numbers)) if node else None)
    return tuple(numbers), merged


def _numbered(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Number each layer's nodes in the order in which the layer above names them, which makes the form canonical."""
    numbered, order = [], [0]
    for position, layer in enumerate(layers):
        if position + 1 == len(layers):
            numbered.append(tuple(layer[number] for number in order))
            break
        following: dict[int, int] = {}
        numbered.append(
            tuple(
                tuple((value, following.setdefault(child, len(following))) for value, child in layer[number])
                for number in order
            )
        )
        order = list(following)
    return tuple(numbered)
