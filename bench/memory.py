"""What a pass of training holds at its peak, in a process of its own: `peak_floats`.  Not here: time.

    python bench/memory.py LIBRARY JSON      the process: prints bytes above what lay there before a pass, and before one of few steps

The kernel counts (VmHWM after a reset), so whatever allocates is counted.  What a pass over few steps takes, too, is taken off: gradients
and packed copies of the weights.  malloc is told to give large blocks back at once, so that what was used and freed hides nothing.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np

from shapes import Shape

FEW = 2
LARGE = {"MALLOC_MMAP_THRESHOLD_": str(64 << 10), "MALLOC_TRIM_THRESHOLD_": "0", "OMP_NUM_THREADS": "1", "GATECELL_NUM_THREADS": "1"}


def peak_floats(library: str, shape: Shape, options: Mapping[str, object]) -> float:
    """Floats per hidden unit, row and step that forward and backward hold at most beside inputs, weights and gradients.

    library: "gatecell" or "torch"; options: further arguments of the layer.  The machine must have /proc.
    """
    command = [sys.executable, "-W", "ignore", __file__, library, json.dumps({"shape": astuple(shape), "options": options})]
    out = subprocess.run(command, env=os.environ | LARGE, check=True, capture_output=True, text=True).stdout
    whole, few = map(int, out.split())
    return (whole - few) / (4 * shape.D * shape.L * shape.H * shape.B * (shape.T - FEW))


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
        import gatecell as module
        import own as side
    else:
        import torch as module

        import peer_torch as side

    def one_pass(net: Any, x: np.ndarray) -> None:
        """The sum as the loss: the gradient that arrives at every output is one number, and takes no room of its own."""
        net(module.from_numpy(x))[0].sum().backward()

    def peak(case: Case) -> int:
        net, x = side.model(case, **given["options"]), case.x
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        one_pass(net, x)
        return status("VmHWM") - before

    few, case = Case(replace(shape, T=FEW)), Case(shape)
    peak(few)  # threads, code, tables
    print(peak(case), peak(few))
    return 0


if __name__ == "__main__":
    sys.exit(main())
