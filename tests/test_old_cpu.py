"""Python on older x86 CPUs: a short set of this suite, and the same numbers as here, on an emulated Nehalem of 2008 and a Haswell of 2013.

qemu's user mode runs this very Python with the CPU's own set of instructions: any other ends the process.  Nehalem is the oldest model that
NumPy's wheels start on (x86-64-v2); the core itself asks for no more than SSE2, which test_builds.py shows.
A program that an emulated one starts runs on the real CPU, so tests that start Python are not in the set.
"""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import builds
import gatecell
from conftest import ROOT, need
from replay import other_bits

pytestmark = builds.X86

EMULATED = {"Nehalem": "baseline", "Haswell": "avx2"}
"""CPU models, and what the core is to choose there: no AVX at all, no AVX-512."""

# The short set, in parts that run side by side; the first two take about a minute each on one core.  No integers on the Haswell: qemu 7.2
# gets the gathers of their tables wrong (test_builds.py); AVX2's are compared with the definition on this machine.
ENGINE = """
    test_core.py::test_core_is_the_reference[gru] test_numerics.py::test_functions_of_float32 test_numerics.py::test_the_ends
    test_core.py::test_a_row_is_the_same_alone_and_in_any_batch_and_chunk test_core.py::test_registered_cells_run_compiled
    test_core.py::test_backward_again_with_retain_graph
    test_options.py::test_all_at_once test_option_masks.py::test_masks_are_drawn_by_their_places"""
INTEGERS = """
    test_integer_core.py::test_core_is_the_definition[lstm-w8a8-8-calibrated]
    test_integer_core.py::test_core_is_the_definition[gru-w8a16-16-rails]
    test_integer_core.py::test_threads_change_no_bit"""
LIBRARY = """
    test_numerics.py test_tape.py --deselect=tests/test_tape.py::test_long_chains_neither_overflow_the_stack_nor_slow_down
    test_edges.py test_dropout.py test_textbook_integers.py
    test_integer.py::test_tanh_and_sigmoid_are_the_textbooks_everywhere test_integer.py::test_layouts_streams_and_last_steps_agree"""
TRAINING = """
    test_nn.py test_layers.py::test_layers_are_torchs test_fit.py::test_one_seed_is_one_run_bit_for_bit
    test_optim.py::test_steps_are_torchs[float64-adam] test_torch_parity.py::test_no_states_given_no_batch_and_one_step
    test_stream.py test_stream_state.py test_files.py::test_a_loaded_model_is_the_saved_one test_files.py::test_quantised_models
    --deselect=tests/test_stream_state.py::test_a_state_survives_the_process_and_the_file"""
PARTS = [("Nehalem", LIBRARY), ("Nehalem", ENGINE + INTEGERS + TRAINING), ("Haswell", ENGINE)]

RUN = """
import sys, pytest, gatecell
assert gatecell.cpu() == sys.argv[1], gatecell.cpu()
sys.exit(pytest.main(sys.argv[2:]))
"""

NUMBERS = """
import sys
import numpy as np
import gatecell, pages, test_integer_core
from gatecell.tensor import bptt, engine
from gatecell.tensor.integers import CoreLayer
made = {}
for cell in pages.EVERY:
    rng = np.random.default_rng(1)
    lengths = rng.integers(0, 9, 7)
    sizes = {"I": 5, "H": 35, "M": 9}
    drawn = pages.draw(cell, rng, 8, 7, sizes, scale=0.2)
    for dtype in (np.float32, np.float64):
        w, x, start = ({k: v.astype(dtype) for k, v in a.items()} if isinstance(a, dict) else a.astype(dtype) for a in drawn)
        y, last, saved = bptt.forward(engine.Layer(engine.form(cell, sizes), w), x, start, training=True, lengths=lengths)
        made |= {f"{cell.name} {y.dtype} {k}": v for k, v in ({"y": y} | saved.backward(x, y, last)).items()}
    if cell in pages.INTEGER:
        core = CoreLayer(test_integer_core.model(cell, rng, 5, 19, "w8a8").layers[0])
        made[f"{cell.name} integers"] = core.run(test_integer_core.drive(rng, 30, 9, 5), core.start(9))
np.savez(sys.argv[1], cpu=gatecell.cpu(), **made)
"""


def emulator(model):
    need("qemu-x86_64")
    return ["qemu-x86_64", "-cpu", model]


def python(command, program, *args, cpu="", status=0):
    """What a Python prints that runs a program; what the environment says of this machine's CPU is none of the emulated one's."""
    kept = {k: v for k, v in os.environ.items() if k != "GATECELL_CPU" and not k.startswith(("OPENBLAS_", "NPY_", "PYTEST_"))}
    env = kept | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), *filter(None, sys.path)])} | ({"GATECELL_CPU": cpu} if cpu else {})
    r = subprocess.run(
        [*command, sys.executable, "-c", program, *args],
        cwd=ROOT / "tests", env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=1500,
    )  # fmt: skip
    assert r.returncode == status, f"exit status {r.returncode} (an illegal instruction is -4)\n{r.stdout[-5000:]}"
    return r.stdout


def test_emulated_cpus_end_programs_that_want_more(tmp_path):
    """Without it the others would show nothing."""
    need("gcc")
    text = "typedef float V __attribute__((vector_size({}))); volatile V v; int main(void) {{ v = v + v; }}"
    for name, size, flag in (("sse", 16, "-msse2"), ("avx", 32, "-mavx"), ("avx512", 64, "-mavx512f")):
        (tmp_path / f"{name}.c").write_text(text.format(size))
        subprocess.run(["gcc", "-O1", flag, "-o", name, f"{name}.c"], cwd=tmp_path, check=True)
    for model, runs in (("Nehalem", ["sse"]), ("Haswell", ["sse", "avx"])):
        for name in ("sse", "avx", "avx512"):
            status = subprocess.run([*emulator(model), tmp_path / name], check=False, stderr=subprocess.DEVNULL).returncode
            assert status == (0 if name in runs else -signal.SIGILL), (model, name)


@pytest.mark.slow
def test_the_short_set_of_the_suite_passes():
    """Side by side, since emulation takes one core each."""

    def part(model, tests):
        return python(emulator(model), RUN, EMULATED[model], "-p", "no:cacheprovider", "--durations=12", *tests.split())

    need("qemu-x86_64")
    with ThreadPoolExecutor(2) as pool:
        for out in pool.map(lambda p: part(*p), PARTS):
            print(out)
            assert re.search(r"\n\d{2,3} passed(, \d deselected)? in ", out), out[-2000:]  # and nothing skipped


@pytest.mark.parametrize("model", EMULATED)
def test_numbers_are_those_of_this_machine(model, tmp_path):
    """Integers bit for bit, but for the Haswell's; floats have the bits of the same set here (right: test_core.py)."""
    cpu = EMULATED[model]
    python(emulator(model), NUMBERS, str(tmp_path / "emulated.npz"))
    python([], NUMBERS, str(tmp_path / "same.npz"), cpu=cpu)
    python([], NUMBERS, str(tmp_path / "here.npz"))
    emulated, same, here = (np.load(tmp_path / f"{name}.npz") for name in ("emulated", "same", "here"))
    assert str(emulated["cpu"]) == str(same["cpu"]) == cpu and str(here["cpu"]) == gatecell.cpu()
    integers = [k for k in here.files if k.endswith(" integers")]
    assert len(integers) > 8
    assert cpu == "avx2" or not [k for k in integers if not np.array_equal(emulated[k], here[k])]
    floats = set(here.files) - set(integers) - {"cpu"}
    assert len(floats) > 100
    assert not [k for k in floats if other_bits(emulated[k], same[k]).any()]
    if (cpu == "baseline") == (gatecell.cpu() == "baseline"):
        assert not [k for k in floats if other_bits(emulated[k], here[k]).any()]


def test_a_set_that_the_cpu_lacks_is_refused():
    said = python(emulator("Nehalem"), "import gatecell; print(gatecell.cpu())", cpu="avx2", status=1)
    assert said.endswith("GATECELL_CPU wants one of baseline on this machine, got avx2\n"), said
    assert python(emulator("Haswell"), "import gatecell; print(gatecell.cpu())", cpu="baseline").endswith("baseline\n")
