"""firmware/kernels/point_dsp.h against the rule in docs/arithmetic.md, computed with Python's own integers: every argument of the tables,
rails and random values of the rest, on the cores it is for and, as portable C, on others.

Not here: models that use it.
"""

import numpy as np
import pytest

from conftest import ROOT, need_board
from gatecell.deploy import boards
from gatecell.deploy.boards import BOARDS
from test_dot_kernel import compile_quietly

pytestmark = pytest.mark.board
KERNEL = ROOT / "firmware" / "kernels" / "point_dsp.h"
SHIFTS = (1, 2, 9, 16, 23, 30)

HEADER = """
#include <stdint.h>
#define POINT_INPUT_SIZE 3
#define POINT_OUTPUT_SIZE {outputs}
typedef int32_t point_input_t;
typedef int32_t point_output_t;
typedef struct {{ int32_t unused; }} point_state;
void point_init(point_state *s);
void point_step(point_state *s, const point_input_t *x, point_output_t *y);
int point_selftest(void);
"""


def table():
    """Section 6 of the rule."""
    t = np.tanh(np.arange(514) / 64)
    entries = np.minimum(32767, np.floor(32768 * (t + t * (1 - t * t) / 32768) + 0.5)).astype(np.int64)
    assert entries.sum() == 15372591
    return entries


def write(folder):
    """x: an argument in Q3.12, an accumulator, a multiplier.  y: tanh, sigmoid, sat16, and the requantisation for each shift."""
    lines = ['#include "point.h"', f"static const int16_t tanh_table[514] = {{{','.join(map(str, table()))}}};", KERNEL.read_text()]
    lines += ["void point_init(point_state *s) { s->unused = 0; }", "int point_selftest(void) { return 0; }"]
    lines += ["void point_step(point_state *s, const point_input_t *x, point_output_t *y) { (void)s;"]
    lines += ["*y++ = tanh_q(x[0]); *y++ = sigmoid_q(x[0]); *y++ = sat16(x[1]);"]
    lines += [f"*y++ = requantize(x[1], x[2], {n});" for n in SHIFTS]
    (folder / "point.c").write_text("\n".join([*lines, "}"]) + "\n")
    (folder / "point.h").write_text(HEADER.format(outputs=3 + len(SHIFTS)))


def rule(x):
    """The same by the rule, in Python's integers."""
    entries, y = [int(v) for v in table()], []

    def chord(n, k, s):
        i, f = n >> k, n & ((1 << k) - 1)
        return (entries[i] * 2**k + (entries[i + 1] - entries[i]) * f + 2 ** (s - 1)) >> s

    for a, acc, m in x.tolist():
        sign = -1 if a < 0 else 1
        row = [sign * chord(abs(a), 6, 6), 16384 + sign * chord(abs(a), 7, 8), min(max(acc, -32768), 32767)]
        row += [min(max((acc * m + 2 ** (15 + n)) >> (16 + n), -32768), 32767) for n in SHIFTS]
        y.append(row)
    return np.array(y)


def inputs(rng):
    a = np.arange(-32768, 32768)
    acc = rng.integers(-(2**31), 2**31, a.size) >> rng.integers(0, 31, a.size)  # of all sizes
    rails = np.array([-(2**31), 2**31 - 1, 0, -1, 1, 65535, 65536, -65536, -65537])
    acc[: 9 * 9] = np.repeat(rails, 9)
    m = rng.integers(1, 32768, a.size)
    m[: 9 * 9] = np.tile([1, 2, 3, 127, 128, 16384, 32766, 32767, 255], 9)
    return np.stack([a, acc, m], axis=1).astype(np.int32)


LIKE_ANOTHER = ("rv32imac", "rv32imc", "atmega1284p")
"""Boards that run the same instructions as one that is there."""
BUILDS = [(board, "-O3") for board in BOARDS if board not in LIKE_ANOTHER]
BUILDS += [("cortex-m4", "-O0"), ("cortex-m4", "-Os"), ("cortex-m3", "-O0")]


@pytest.mark.parametrize(("board", "optimise"), BUILDS)
def test_every_form_is_the_rule(tmp_path, rng, board, optimise):
    need_board(board)
    write(tmp_path)
    x = inputs(rng)
    if board.startswith("at"):  # simavr takes minutes for all of them
        x = np.concatenate([x[:256], x[256::16]])
    got = boards.run(tmp_path, "point", board, x, optimise=optimise, count=0)
    np.testing.assert_array_equal(got.outputs, rule(x))


def test_compilers_have_nothing_to_say(tmp_path):
    write(tmp_path)
    compile_quietly(tmp_path, "point")
