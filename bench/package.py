"""The package as its users meet it: how long an import takes beyond NumPy's, how large the wheel is and how long it takes to build."""

import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from timing import Time

ROOT = Path(__file__).resolve().parent.parent
REPEATS = 9


def imports(repeats: int = REPEATS) -> dict[str, Time]:
    """Seconds of importing each library where NumPy is loaded already, in fresh processes, in turns; the first turn only warms the disk."""
    code = "import numpy, time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
    taken: dict[str, list[float]] = {"gatecell": [], "torch": [], "onnxruntime": []}
    for _ in range(repeats + 1):
        for name, seconds in taken.items():
            out = subprocess.run([sys.executable, "-c", code.format(name)], check=True, capture_output=True, text=True).stdout
            seconds.append(float(out))
    return {name: Time(*map(float, np.percentile(s[1:], [25, 50, 75])), repeats) for name, s in taken.items()}


def wheel() -> tuple[float, int]:
    """(seconds, bytes): the package built from source, nothing kept from earlier builds, on all cores."""
    isolated = [] if importlib.util.find_spec("scikit_build_core") is None else ["--no-build-isolation"]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *isolated, "--wheel-dir", folder, ROOT]
        subprocess.run([*command, f"--config-settings=build-dir={folder}/build"], check=True)
        seconds = time.perf_counter() - start
        (made,) = Path(folder).glob("*.whl")
        return seconds, made.stat().st_size
