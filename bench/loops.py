"""Which instructions of a compiled function lie in a loop, by objdump: what tells products from the step that shares a function with them.

In a register tile (cpp/src/tile.inl) the products are loops over their arguments, and the step is unrolled: straight on.
An instruction lies in a loop if it can come after itself, wherever the compiler has put its blocks.
"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache

LEAVES = re.compile(r"ret|jmp|br?\s|ud2|hlt")
"""Instructions that the next line does not follow."""
JUMPS = re.compile(r"(?:j|b|cb|tb)\w*\S*\s.*?\b([0-9a-f]+) <")


@cache
def functions(library: str, pattern: str) -> dict[str, frozenset[int]]:
    """Name -> offsets of the instructions in its loops, for the library's functions whose name, with arguments, contains `pattern`."""
    command = ["objdump", "--disassemble", "--no-show-raw-insn", "--demangle", library]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {}
    for block in listing.split("\n\n"):
        head = re.match(r"([0-9a-f]+) <(.*)>:\n", block)
        if head and pattern in head[2]:
            start = int(head[1], 16)
            found[head[2].removeprefix("void ")] = frozenset(at - start for at in in_cycles(graph(block)))
    return found


def graph(block: str) -> dict[int, list[int]]:
    """Address -> the addresses that may come next, of a function's listing."""
    lines = [(int(at, 16), text) for at, text in re.findall(r"^\s*([0-9a-f]+):\s+(.*)$", block, re.MULTILINE)]
    found: dict[int, list[int]] = {}
    for k, (at, text) in enumerate(lines):
        jump = JUMPS.match(text)
        found[at] = [int(jump[1], 16)] if jump else []
        if not LEAVES.match(text) and k + 1 < len(lines):
            found[at].append(lines[k + 1][0])
    return {at: [n for n in after if n in found] for at, after in found.items()}


def in_cycles(graph: Mapping[int, Sequence[int]]) -> set[int]:
    """The nodes that can be reached from themselves: those of strongly connected components (Kosaraju) that hold an edge."""
    turned: dict[int, list[int]] = {at: [] for at in graph}
    for at, after in graph.items():
        for n in after:
            turned[n].append(at)
    there: set[int] = set()
    back: set[int] = set()
    order = [at for root in graph for at in left(graph, root, there)]
    component: dict[int, int] = {}
    for root in reversed(order):
        component.update(dict.fromkeys(left(turned, root, back), root))
    return {at for at, after in graph.items() if any(component[n] == component[at] for n in after)}


def left(graph: Mapping[int, Sequence[int]], root: int, seen: set[int]) -> list[int]:
    """The nodes that are reached from `root` and were not seen yet, in the order in which a depth-first walk leaves them."""
    found: list[int] = []
    stack = [] if root in seen else [(root, iter(graph[root]))]
    seen.add(root)
    while stack:
        at, after = stack[-1]
        n = next((n for n in after if n not in seen), None)
        if n is None:
            found.append(at)
            stack.pop()
        else:
            seen.add(n)
            stack.append((n, iter(graph[n])))
    return found


def inside(library: str, pattern: str, name: str, offset: int) -> bool:
    """Whether an offset into the function, named without its arguments, lies in a loop; True where the function is not found."""
    return next((offset in loops for full, loops in functions(library, pattern).items() if full.startswith(name + "(")), True)
