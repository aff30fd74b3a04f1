"""What a pass of training holds at its peak, in a process of its own: `peak_floats`.  Not here: time.

    python bench/memory.py LIBRARY JSON      the process: prints bytes above what lay there before the pass

The kernel counts (VmHWM after a reset), so whatever allocates is counted: arrays, packed weights, scratch.  malloc is told to give large
blocks back at once, so that what earlier calls used and freed does not hide anything.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import astuple, replace
from pathlib import Path

from shapes import Shape

LARGE = {"MALLOC_MMAP_THRESHOLD_": str(64 << 10), "MALLOC_TRIM_THRESHOLD_": "0", "OMP_NUM_THREADS": "1", "GATECELL_NUM_THREADS": "1"}


def peak_floats(library: str, shape: Shape, options: Mapping[str, object]) -> float:
    """Floats per hidden unit, row and step that forward and backward hold at most beside inputs, weights and gradients.

    library: "gatecell" or "torch"; options: further arguments of the layer.  The machine must have /proc.
    """
    command = [sys.executable, "-W", "ignore", __file__, library, json.dumps({"shape": astuple(shape), "options": options})]
    out = subprocess.run(command, env=os.environ | LARGE, check=True, capture_output=True, text=True).stdout
    gradients = sum(shape.read_once()) + sum(shape.read_each_step()) + 2 * 4 * shape.D * shape.L * shape.gates * shape.H
    return (int(out) - gradients) / (4 * shape.D * shape.L * shape.H * shape.B * shape.T)


def status(field: str) -> int:
    """Bytes of a field of /proc/self/status."""
    found = re.search(rf"{field}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def main() -> int:
    library, text = sys.argv[1:]
    given = json.loads(text)
    shape = Shape(*given["shape"])

    from cases import Case

    if library == "gatecell":
        import own as side
    else:
        import peer_torch as side

    warm = side.training(Case(replace(shape, T=2)), 1, **given["options"])
    with warm.within():
        warm.call()
    rival = side.training(Case(shape), 1, **given["options"])  # measures nothing yet: its arrays lie there
    with rival.within():
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        rival.call()
        print(status("VmHWM") - before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
