"""A program as sums of products and what is made of them, loop by loop: the form that code for small machines has.

Not here: numbers of any kind, any language.  Every maximal sum of products is one accumulator; it is taken, like every other
value, in the last loop that still serves its first reader.  A reduction over units stands before the loops of its place.
"""

from __future__ import annotations

from .graph import Node, is_leaf
from .ops import joins
from .program import Program


class Sums:
    """The analysis of a program.

    terms    root of a sum -> its products; a product alone is a sum
    nodes    what is left to compute: roots and pointwise values, arguments first
    place    node -> number of its loop
    readers  node -> its readers outside the sum it belongs to
    kept     values that a product or a later loop reads: each needs a vector
    names    root -> the name of its accumulator: by its gate where it has all products of that gate, else by its products
    keeps    kept value -> the name of its vector
    """

    def __init__(self, p: Program) -> None:
        self.p = p
        self.outs = set(p.outs.values())
        self.all_readers: dict[Node, list[Node]] = {n: [r for r in p.nodes for a in r.args if a is n] for n in p.nodes}
        self.terms = self._terms()
        inner = {a for root, products in self.terms.items() for a in self._between(root, products)}
        self.nodes = [n for n in p.nodes if n not in inner and not is_leaf(n)]
        self.readers = {n: [r for r in self.all_readers[n] if r not in inner] for n in p.nodes if n not in inner}
        self.place = self._places()
        last = {product: root for root, products in self.terms.items() for product in products}
        reads = {n: [(r, last.get(r, r)) for r in self.all_readers[n]] for n in self.nodes}
        self.kept = {n for n in self.nodes if any(r in last or self.place[end] > self.place[n] for r, end in reads[n])}
        self.names, self.keeps = self._names()

    @property
    def loops(self) -> int:
        return max(self.place.values(), default=0) + 1

    def _terms(self) -> dict[Node, list[Node]]:
        """A product or inner sum with a second reader, or that is a state, stands alone."""
        sums: dict[Node, list[Node]] = {}
        for n in self.p.nodes:
            if n.op == "product":
                sums[n] = [n]
            elif n.op == "add" and all(a in sums and len(self.all_readers[a]) == 1 and a not in self.outs for a in n.args):
                sums[n] = [product for a in n.args for product in sums[a]]
                for a in n.args:
                    del sums[a]
        return sums

    def _between(self, root: Node, products: list[Node]) -> set[Node]:
        """The sum's products and inner sums, without its root."""
        todo, inner = [root], set()
        while todo:
            n = todo.pop()
            if n not in products:
                todo += n.args
                inner |= set(n.args)
        return inner

    def _places(self) -> dict[Node, int]:
        place = {n: k for k, s in enumerate(self.p.stages) for n in (*s.joins, *s.points)}
        for root in self.terms:
            readers = [place[r] - joins(r) for r in self.all_readers[root]]
            place[root] = max(place[root], min(readers)) if readers else place[root]
        return place

    def _names(self) -> tuple[dict[Node, str], dict[Node, str]]:
        taken = {*self.p.states, *self.p.params, "x"}
        gates: dict[str, set[Node]] = {}
        for root, products in self.terms.items():
            for n in products:
                gates.setdefault(n.attr[0].split(".")[1], set()).add(root)

        def fresh(want: str) -> str:
            while want in taken:
                want += "_"
            taken.add(want)
            return want

        names: dict[Node, str] = {}
        for root, products in self.terms.items():
            weights = [n.attr[0] for n in products]
            own = {w.split(".")[1] for w in weights}
            alone = len(own) == 1 and all(gates[g] == {root} for g in own)
            names[root] = fresh(own.pop() if alone else "_".join(w.replace(".", "_") for w in weights))
        keeps: dict[Node, str] = {}
        for n in self.nodes:
            if n in self.kept:
                reader = next((r.attr[0].replace(".", "_") + "_of" for r in self.all_readers[n] if r.op == "product"), "kept")
                keeps[n] = fresh(self.p.names.get(n) or (f"{names[n]}_units" if n in names else reader))
        return names, keeps
