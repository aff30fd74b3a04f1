"""Conformance: so many random models, from a seed on, on every board, bit for bit.

By hand, half an hour for 200 models on two cores:  PYTHONPATH=python:tests python tests/campaigns/boards.py 200 0 [BOARD ...]
Ten models make one program, so that a board compiles once for them.  Exit code 1 if any output of any board differs.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

import conformance
from gatecell.deploy import boards
from gatecell.emit.targets import TARGETS

AT_ONCE = 10
"""Models in one program: some 40 KB of weights, which an AVR's loads reach."""


def main(count: int, first: int, names: list[str]) -> int:
    wrong: Counter[str] = Counter()
    done: Counter[str] = Counter()
    for start in range(first, first + count, AT_ONCE):
        cases = [conformance.draw(seed, 16) for seed in range(start, min(start + AT_ONCE, first + count))]
        for case in cases:
            case.check()
            print(f"{case.title}: {case.distinct} distinct outputs, {case.saturated:.0%} saturated, {case.at_rails:.0%} at the rails")
        x, want = conformance.rows(cases)
        for board in names:
            with tempfile.TemporaryDirectory() as folder:
                header, source = conformance.program(cases, board if board in TARGETS else "generic")
                Path(folder, "all.h").write_text(header)
                Path(folder, "all.c").write_text(source)
                got = boards.run(folder, "all", board, x, optimise="-Os" if board.startswith("at") else "-O2", count=0, timeout=600)
            at = 0
            for case in cases:
                end = at + case.y.shape[1]
                same = bool((got.outputs[:, at:end] == want[:, at:end]).all())
                wrong[board] += not same
                done[board] += 1
                at = end
                if not same:
                    print(f"DIFFERS on {board}: {case.title}")
            if got.selftest:
                wrong[board] += 1
                print(f"SELFTEST of model {got.selftest - 1} on {board} fails")
        print({board: f"{done[board] - wrong[board]} of {done[board]}" for board in names}, flush=True)
    return int(bool(wrong.total()))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or list(boards.BOARDS)))
