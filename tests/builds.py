"""The core built by other compilers and for other CPUs, in build/NAME, where a second build compiles only what changed.

Not here: what is asked of the builds (test_builds.py), what the objects may hold (test_objects.py).
"""

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from conftest import ROOT, missing, need

X86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="builds and emulators are those of an x86-64 machine")

OPTIONS = {
    # The first two are check-cpp's of the Makefile, which has built them before.
    "g++": ("-DCMAKE_CXX_COMPILER=g++",),
    "clang++": ("-DCMAKE_CXX_COMPILER=clang++",),
    "aarch64": (f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'cpp' / 'aarch64.cmake'}",),
}
TOOLS = {"g++": ("g++",), "clang++": ("clang++",), "aarch64": ("aarch64-linux-gnu-g++", "qemu-aarch64")}
RUN = {"g++": [], "clang++": [], "aarch64": ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]}
"""What runs a build's programs."""


def tool(name: str) -> str:
    """A program of this Python's environment, or of the machine."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    return found or missing(name)


@cache
def build(name: str) -> Path:
    """The folder of a build of the core and its tests; any warning ends it."""
    need(*TOOLS[name])
    folder = ROOT / "build" / name
    ninja = f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"
    shared = ("-DGATECELL_PYTHON=OFF", "-DGATECELL_TESTS=ON", "-DGATECELL_WERROR=ON")
    say([tool("cmake"), "-G", "Ninja", "-S", str(ROOT), "-B", str(folder), ninja, *OPTIONS[name], *shared])
    say([tool("cmake"), "--build", str(folder)])
    return folder


def check(name: str) -> None:
    """The C++ tests of a build."""
    say([tool("ctest"), "--test-dir", str(build(name)), "--output-on-failure", "--no-tests=error"])


def replayer(name: str) -> list[str]:
    """The command that replays a record with a build."""
    return [*RUN[name], str(build(name) / "tests" / "cpp" / "replay")]


def instruction_sets(name: str) -> list[str]:
    """Those of a build that this machine can run, as the core names them."""
    r = subprocess.run(replayer(name), env=os.environ | {"GATECELL_CPU": "?"}, capture_output=True, text=True, check=False)
    assert "wants one of " in r.stderr, r.stderr
    return r.stderr.split("wants one of ")[1].split(" on this machine")[0].split(", ")


def say(command: list[str]) -> None:
    """Run, and fail with all that was said."""
    r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert r.returncode == 0, f"{' '.join(command)}\n{r.stdout}"
