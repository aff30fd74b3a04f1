"""What the compiled objects of the core may hold, read by binutils: nothing that a CPU without AVX would run by accident.

Every instruction set has an object of its own (cpp/src/isa_*.cpp), and the linker keeps one copy of an inline function: a weak symbol in
the AVX-512 object may become the one that every CPU runs.  So may a constructor of a global, which runs before anything is chosen.
Not here: whether older CPUs run what is chosen for them (test_builds.py, test_old_cpu.py).
"""

import re
import subprocess
from pathlib import Path

import pytest

import builds
from conftest import ROOT, missing, need

pytestmark = builds.X86

WEAK = re.compile(r" [WwVvu] (?!DW\.ref\.)")
"""nm's letters; DW.ref.* are pointers that exception tables share: data, the same in every object."""
CONSTRUCTORS = re.compile(r"\s\.(init_array|ctors)\b")
# What disassembly shows of an instruction: its address, its bytes, its name.
INSTRUCTION = re.compile(r"^\s*[0-9a-f]+:\t(?:(?:26|2e|36|3e|64|65|67) )*([0-9a-f]{2}) [^\t]*\t(\S+)", re.MULTILINE)
VEX = {"c4", "c5", "62"}
"""First bytes, but for prefixes of segment and address, of AVX, AVX2, FMA, BMI and AVX-512; in 64-bit code of nothing else."""


def said(*command: str | Path) -> list[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def weak(path: Path) -> list[str]:
    return [line for line in said("nm", "-C", "--defined-only", path) if WEAK.search(line)]


def constructors(path: Path) -> list[str]:
    return [line for line in said("objdump", "-h", path) if CONSTRUCTORS.search(line)]


def avx(path: Path) -> list[str]:
    seen = [m for m in map(INSTRUCTION.match, said("objdump", "-d", "-w", path)) if m]
    assert seen, f"{path} holds no code"
    return [m[2] for m in seen if m[1] in VEX]


def objects(name: str) -> dict[str, Path]:
    """The core's objects of a build, by source."""
    need("nm", "objdump")
    if name == "installed":
        made = [ROOT / "build" / folder for folder in ("wheel", "core") if (ROOT / "build" / folder).exists()]
        folder = made[0] if made else missing("build/wheel, which make test installs from,")
    else:
        folder = builds.build(name)
    return {p.name.removesuffix(".cpp.o"): p for p in (folder / "CMakeFiles" / "gatecell_core.dir").rglob("*.o")}


@pytest.mark.parametrize("name", ["installed", *builds.OPTIONS])
def test_kernels_hold_no_weak_symbol_and_no_constructor(name):
    kernels = {k: p for k, p in objects(name).items() if k.startswith("isa_")}
    sources = {p.stem for p in (ROOT / "cpp" / "src").glob("isa_*.cpp")}
    neon = {source for source in sources if source.startswith("isa_neon")}
    assert set(kernels) == (neon if name == "aarch64" else sources - neon)
    wrong = [f"{k}: {line}" for k, p in kernels.items() for line in weak(p) + constructors(p)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["installed", "g++", "clang++"])
def test_what_every_x86_runs_holds_no_avx(name):
    """All objects but those of a chosen instruction set."""
    every = objects(name)
    common = {k: p for k, p in every.items() if k == "isa_baseline" or not k.startswith("isa_")}
    assert {"isa_baseline", "dispatch", "api", "layer", "plan"} <= set(common) < set(every)
    wrong = {k: found[:5] for k, p in common.items() if (found := avx(p))}
    assert not wrong


def test_the_readers_of_objects_see(tmp_path):
    """An inline function, a global that is constructed, AVX, BMI and AVX-512 are found in files that have one of them."""
    need("nm", "objdump", "g++")

    def compiled(name, text, *flags):
        (tmp_path / f"{name}.cpp").write_text(text)
        subprocess.run(["g++", "-O2", *flags, "-c", f"{name}.cpp", "-o", f"{name}.o"], cwd=tmp_path, check=True)
        return tmp_path / f"{name}.o"

    plain = compiled("plain", "static float twice(float a) { return a + a; }\nfloat f(float a) { return twice(a); }")
    assert not weak(plain) and not constructors(plain) and not avx(plain)
    inline = "inline __attribute__((noinline)) float twice(float a) { return a + a; }\nfloat f(float a) { return twice(a); }"
    assert any("twice(float)" in line for line in weak(compiled("inline", inline)))
    assert constructors(compiled("global", "float f(float);\nfloat value = f(3);"))
    sum_ = "typedef float V __attribute__((vector_size({})));\nvoid f(V *a) {{ *a += *a; }}"
    assert "vaddps" in avx(compiled("avx", sum_.format(32), "-mavx"))
    assert "vaddps" in avx(compiled("avx512", sum_.format(64), "-mavx512f"))
    assert "andn" in avx(compiled("bmi", "unsigned f(unsigned a, unsigned b) { return ~a & b; }", "-mbmi"))
