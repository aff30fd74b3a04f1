"""firmware/kernels/dot_dsp.h against plain matrix products, on the core it is for and, as portable C, on others.

Not here: models that use it.
"""

import shutil
import subprocess

import numpy as np
import pytest

from conftest import ROOT, need, need_board
from gatecell.deploy import boards
from gatecell.deploy.boards import BOARDS

pytestmark = pytest.mark.board
KERNEL = ROOT / "firmware" / "kernels" / "dot_dsp.h"
COLUMNS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 31, 40, 64, 129)  # around the quad, and around the pass of four
ROWS = (1, 2, 3, 4)
CORES = [b for b in BOARDS if b not in ("cortex-m0", "rv32imac", "rv32imc", "atmega2560", "atmega1284p")]
"""Those that models of this layout are for, and one of each other kind for its portable form."""

MODEL = """
#ifndef DOT_H
#define DOT_H
#include <stdint.h>
#define DOT_INPUT_SIZE {inputs}
#define DOT_OUTPUT_SIZE {outputs}
typedef {input} dot_input_t;
typedef int32_t dot_output_t;
typedef struct {{ int32_t unused; }} dot_state;
#ifdef __cplusplus
extern "C" {{
#endif
void dot_init(dot_state *s);
void dot_step(dot_state *s, const dot_input_t *x, dot_output_t *y);
int dot_selftest(void);
#ifdef __cplusplus
}}
#endif
#endif
"""


def words(w, kind):
    """Blocks of weights, (rows, columns) -> uint32 in the kernel's layout."""
    rows, columns = w.shape
    quads = np.zeros((rows, -(-columns // 4) * 4), np.int64)
    quads[:, :columns] = w
    w0, w1, w2, w3 = quads.reshape(rows, -1, 4).transpose(2, 1, 0)  # each (quads, rows)
    if kind == "wide":
        return (w0 & 255 | (w2 & 255) << 8 | (w1 & 255) << 16 | (w3 & 255) << 24).ravel()
    return ((w1 * 256 + w0) & 0xFFFF | ((w3 * 256 + w2) & 0xFFFF) << 16).ravel()


def write(folder, kind, blocks, repeats="1"):
    """dot.h and dot.c: one step prepares its input and multiplies it by each block, all from one stream of words."""
    columns = max(w.shape[1] for w in blocks)
    n = -(-columns // 4)
    stream = np.concatenate([words(w, kind) for w in blocks])
    listed = ",".join(f"{word}u" for word in stream)
    lines = ['#include "dot.h"', KERNEL.read_text(), f"static const uint32_t dot_w[{len(stream)}] = {{{listed}}};"]
    lines += ["void dot_init(dot_state *s) { s->unused = 0; }", "int dot_selftest(void) { return 0; }"]
    lines += ["void dot_step(dot_state *s, const dot_input_t *x, dot_output_t *y) {", "(void)s; const uint32_t *w = dot_w;"]
    if kind == "packed":
        lines += [f"uint32_t v[{2 * n}]; dot_pack_bytes(x, {columns}, v);"]
    elif kind == "views":
        lines += [f"uint32_t v[{2 * n}]; dot_pack_views(x, {columns}, v);"]
    else:
        # Behind the last column stand values that must not matter.
        lines += [f"int16_t v[{4 * n}] __attribute__((aligned(4)));"]
        lines += [f"for (int k = 0; k < {4 * n}; k++) v[k] = k < {columns} ? x[k] : (int16_t)-32768;"]
    for w in blocks:
        rows, quads = w.shape[0], -(-w.shape[1] // 4)
        call = f"w = dot_{'wide' if kind == 'wide' else 'packed'}(w, v, {quads}, {rows}, a);"
        lines += [f"for (int i = 0; i < {repeats}; i++) {{", "int32_t a[4] = {1, -2, 3, -4};", call]
        lines += [f"for (int r = 0; r < {rows}; r++) *y++ = a[r];" if repeats == "1" else "*y = a[0] + a[3]; w = dot_w;", "}"]
    (folder / "dot.c").write_text("\n".join([*lines, "}"]) + "\n")
    outputs = sum(w.shape[0] for w in blocks) if repeats == "1" else 1
    (folder / "dot.h").write_text(MODEL.format(input="int8_t" if kind == "packed" else "int16_t", inputs=columns, outputs=outputs))


def weights(rng, kind):
    """Every number of rows by every number of columns; random, with a block of rails among them."""
    low = -128 if kind == "wide" else -127
    blocks = [rng.integers(low, 128, (rows, columns)) for columns in COLUMNS for rows in ROWS]
    return [np.where(rng.random(w.shape) < 0.5, low, 127) if k % 5 == 3 else w for k, w in enumerate(blocks)]


def vectors(rng, kind):
    """Inputs (T, columns): random, then rails alone."""
    low, high = (-127, 127) if kind == "packed" else (-32768, 32767)
    x = rng.integers(low, high + 1, (40, max(COLUMNS)))
    x[30:] = np.where(rng.random((10, x.shape[1])) < 0.5, low, high)
    x[38], x[39] = low, high
    return x.astype(np.int8 if kind == "packed" else np.int16)


@pytest.mark.parametrize("kind", ["packed", "views", "wide"])
@pytest.mark.parametrize(("board", "optimise"), [*((b, "-O3") for b in CORES), *(("cortex-m4", o) for o in ("-O0", "-O1", "-O2", "-Os"))])
def test_sums_are_exact(tmp_path, rng, kind, board, optimise):
    need_board(board)
    blocks, x = weights(rng, kind), vectors(rng, kind)
    write(tmp_path, kind, blocks)
    got = boards.run(tmp_path, "dot", board, x, optimise=optimise, count=0)
    seen = (x.astype(np.int64) * 127 + 16384) >> 15 if kind == "views" else x.astype(np.int64)
    scale = 1 if kind == "wide" else 256
    start = np.array([1, -2, 3, -4])
    want = np.concatenate([scale * (seen[:, : w.shape[1]] @ w.T) + start[: w.shape[0]] for w in blocks], axis=1)
    assert np.abs(want).max() < 2**31, "the test's own condition"
    np.testing.assert_array_equal(got.outputs, want)


@pytest.mark.parametrize(("kind", "rows", "quad", "loop"), [
    ("packed", 4, 14, 2), ("packed", 3, 11, 2), ("packed", 2, 8, 2), ("packed", 1, 5, 2),
    ("wide", 4, 18, 3), ("wide", 3, 14, 3), ("wide", 2, 10, 3), ("wide", 1, 6, 3),
])  # fmt: skip
def test_instructions_are_those_of_its_first_lines(tmp_path, rng, kind, rows, quad, loop):
    """One more multiplication by a block of n quads costs n quads and n / 4 passes, and a constant that is the same for every n."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    cost = {}
    for n in (16, 32):
        folder = tmp_path / str(n)
        folder.mkdir()
        write(folder, kind, [rng.integers(-127, 128, (rows, 4 * n))], repeats="x[0]")
        x = np.zeros((3, 4 * n), np.int8 if kind == "packed" else np.int16)
        x[:, 0] = [1, 2, 3]
        counts = boards.run(folder, "dot", "cortex-m4", x).counts.astype(int)
        assert counts[2] - counts[1] == counts[1] - counts[0]
        cost[n] = counts[1] - counts[0]
    assert cost[32] - cost[16] == 16 * quad + 4 * loop


def compile_quietly(folder, name):
    """NAME.c as C99 and C++17, with gcc and clang, for the core and for this machine, with and without a frame pointer: no warning."""
    need("arm-none-eabi-gcc", "clang", "gcc")
    shutil.copy(folder / f"{name}.c", folder / f"{name}.cpp")
    warnings = ["-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Wshadow", "-Werror"]
    arm = ["-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"]
    compilers = [["arm-none-eabi-gcc", *arm], ["clang", "--target=thumbv7em-none-eabihf", "-ffreestanding", *arm], ["clang"], ["gcc"]]
    for compiler in compilers:
        for source, standard in ((f"{name}.c", "-std=c99"), (f"{name}.cpp", "-std=c++17")):
            for level in (["-O0"], ["-O2"], ["-Os"], ["-O2", "-fno-omit-frame-pointer"]):
                command = [*compiler, *warnings, standard, *level, "-c", source, "-o", "object.o"]
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
                assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"


@pytest.mark.parametrize("kind", ["packed", "wide"])
def test_compilers_have_nothing_to_say(tmp_path, rng, kind):
    write(tmp_path, kind, weights(rng, kind)[::7])
    compile_quietly(tmp_path, "dot")
