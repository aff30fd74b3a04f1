"""Emulated boards: small models written by hand, against Python's own arithmetic and against instructions counted on paper.

No exported model here: this is about the harness that runs them.
"""

import shutil

import numpy as np
import pytest

from conftest import need_board
from gatecell.deploy import boards
from gatecell.deploy.boards import BOARDS

pytestmark = pytest.mark.board
EMULATED = [name for name, board in BOARDS.items() if board.emulator is not None]

HEADER = """
#ifndef {caps}_H
#define {caps}_H
#include <stdint.h>
#define {caps}_INPUT_SIZE {inputs}
#define {caps}_OUTPUT_SIZE {outputs}
typedef {input} {name}_input_t;
typedef {output} {name}_output_t;
typedef struct {{ {state} }} {name}_state;
void {name}_init({name}_state *s);
void {name}_step({name}_state *s, const {name}_input_t *x, {name}_output_t *y);
int {name}_selftest(void);
#endif
"""


def ready(name):
    """The board's name, once its tools are there."""
    need_board(name)
    return name


def family(board):
    return "avr" if board.startswith("at") else "riscv" if board.startswith("rv") else "arm"


RETURN = {"atmega2560": 5, "atmega1284p": 4}
"""Cycles of AVR's ret, by its manual: three bytes of address come from the stack, or two."""


@pytest.fixture(params=list(BOARDS))
def board(request):
    return ready(request.param)


@pytest.fixture(params=EMULATED)
def emulated(request):
    return ready(request.param)


@pytest.fixture
def model(tmp_path):
    """Writes NAME.h and NAME.c and returns a function that runs them."""

    def write(code, *, name="small", input="int8_t", output="int16_t", inputs=1, outputs=1, state="int32_t a;", selftest=0):
        names = {"name": name, "caps": name.upper(), "state": state}
        names |= {"input": input, "output": output, "inputs": inputs, "outputs": outputs}
        (tmp_path / f"{name}.h").write_text(HEADER.format(**names))
        selftest = f"int {name}_selftest(void) {{ return {selftest}; }}\n"
        (tmp_path / f"{name}.c").write_text(f'#include "{name}.h"\n{code}\n{selftest}')
        return lambda board, x, **options: boards.run(tmp_path, name, board, x, **options)

    return write


INIT = "void small_init(small_state *s) { s->a = 0; }\n"
STEP = "void small_step(small_state *s, const int8_t *x, int16_t *y)"

ACCUMULATE = (
    INIT
    + """
static const int8_t small_w[2][3] = {{3, -5, 127}, {-127, 1, 2}};
void small_step(small_state *s, const int8_t *x, int16_t *y) {
    for (int j = 0; j < 2; j++) {
        int32_t sum = s->a;
        for (int k = 0; k < 3; k++) sum += small_w[j][k] * x[k];
        y[j] = (int16_t)(sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum);
    }
    s->a = y[0] / 2;
}
"""
)


def accumulate(x):
    weights = np.array([[3, -5, 127], [-127, 1, 2]])
    y, a = [], 0
    for row in x.astype(int):
        y.append(np.clip(a + weights @ row, -32768, 32767))
        a = int(y[-1][0] / 2)  # C rounds towards zero, as int does
    return np.array(y, np.int16)


@pytest.mark.parametrize("T", [1, 2, 3000])
def test_integers_are_pythons(model, board, T, rng):
    x = rng.integers(-128, 128, (T, 3)).astype(np.int8)
    x[::7] = np.where(x[::7] < 0, -128, 127)
    got = model(ACCUMULATE, inputs=3, outputs=2, selftest=7)(board, x, count=3)
    assert got.outputs.dtype == np.int16
    np.testing.assert_array_equal(got.outputs, accumulate(x))
    assert got.ram == 4
    assert got.selftest == 7
    assert got.counts.size == (min(T, 3) if BOARDS[board].emulator else 0)


def test_floats_are_numpys(model, board, rng):
    """float32 products and sums one by one, no contraction: the bits are NumPy's, with a floating-point unit and without."""
    code = """
    void small_init(small_state *s) { s->a[0] = 0.0f; s->a[1] = 1.0f; }
    void small_step(small_state *s, const float *x, float *y) {
        for (int k = 0; k < 2; k++) { s->a[k] = 0.97f * s->a[k] + x[k] / 3.0f; y[k] = s->a[k]; }
    }"""
    x = rng.normal(size=(300, 2)).astype(np.float32)
    x[3] = [np.inf, 1e-41]
    a, want = np.array([0, 1], np.float32), []
    for row in x:
        a = np.float32(0.97) * a + row / np.float32(3)
        want.append(a)
    run = model(code, input="float", output="float", inputs=2, outputs=2, state="float a[2];")
    got = run(board, x, count=2)
    assert got.outputs.tobytes() == np.array(want, np.float32).tobytes()
    assert got.ram == 8


def test_int16_inputs(model, board, rng):
    code = INIT + "void small_step(small_state *s, const int16_t *x, int16_t *y) { s->a ^= *x; *y = (int16_t)s->a; }"
    x = rng.integers(-32768, 32768, (5000, 1)).astype(np.int16)
    got = model(code, input="int16_t")(board, x, count=0)
    np.testing.assert_array_equal(got.outputs, np.bitwise_xor.accumulate(x))
    assert got.instructions is None


@pytest.mark.parametrize("name", ["model", "state", "input", "board", "clock", "x"])
def test_names_that_the_runner_might_use_itself(model, emulated, name):
    code = (INIT + STEP + " { s->a -= *x; *y = (int16_t)s->a; }").replace("small", name)
    got = model(code, name=name)(emulated, np.ones((3, 1), np.int8), count=0)
    assert got.outputs.ravel().tolist() == [-1, -2, -3]


# x[0] passes of a loop of two instructions (three cycles on AVR, one fewer in the last), and what stands around it.
COUNTED_LOOP = (
    INIT
    + """
#if defined(__AVR__) /* in no function: this compiler knows no stack of naked ones */
__asm__(".section .text.small_step, \\"ax\\", @progbits\\n .global small_step\\n small_step: movw r30, r22\\n ld r18, Z\\n"
        "LONG 1: dec r18\\n brne 1b\\n movw r30, r20\\n std Z+1, r18\\n st Z, r18\\n ret\\n .text\\n");
#else
void small_step(small_state *s, const int8_t *x, int16_t *y);
__attribute__((naked)) void small_step(small_state *s __attribute__((unused)), const int8_t *x __attribute__((unused)),
                                       int16_t *y __attribute__((unused))) {
#if defined(__arm__)
    __asm__ volatile(".syntax unified\\n movs r3, #0\\n ldrsb r3, [r1, r3]\\n LONG 1: subs r3, #1\\n bne 1b\\n strh r3, [r2]\\n bx lr\\n");
#else
    __asm__ volatile("lb t0, 0(a1)\\n LONG 1: addi t0, t0, -1\\n bnez t0, 1b\\n sh t0, 0(a2)\\n ret\\n");
#endif
}
#endif
"""
)
LONG = {"arm": "lsls r3, #16\\n", "riscv": "slli t0, t0, 16\\n", "avr": "clr r19\\n clr r23\\n 2: subi r19, 1\\n sbci r23, 0\\n brne 2b\\n"}
"""Makes the loop 65,536 times as long; on AVR, which counts to 256, a loop of 65,536 passes goes before it."""


def loop_count(board, n, factor=1):
    """By the manuals: movs, ldrsb, strh, bx; lb, sh, ret; movw 1, ld 2, movw 1, std 2, st 2, ret."""
    if family(board) == "avr":
        return 8 + RETURN[board] + 3 * n - 1 + (0 if factor == 1 else 2 + 4 * 65536 - 1)
    return {"arm": 4, "riscv": 3}[family(board)] + 2 * n * factor + (factor > 1)


def test_counts_are_exact_and_repeatable(model, emulated):
    """All lengths up to 127 passes: every phase of the clock's tick, to the instruction."""
    x = np.arange(1, 128, dtype=np.int8)[:, None]
    run = model(COUNTED_LOOP.replace("LONG", ""))
    got = run(emulated, x)
    np.testing.assert_array_equal(got.counts, loop_count(emulated, np.arange(1, 128)))
    assert got.instructions == loop_count(emulated, 64)
    assert got.unit == ("cycles" if family(emulated) == "avr" else "instructions")
    assert run(emulated, x).counts.tobytes() == got.counts.tobytes()
    assert not got.outputs.any()


def test_counts_of_a_long_step(model, emulated):
    """Ten million instructions in one step: the clock neither drifts nor wraps."""
    got = model(COUNTED_LOOP.replace("LONG", LONG[family(emulated)]))(emulated, np.array([[80], [1]], np.int8))
    np.testing.assert_array_equal(got.counts, [loop_count(emulated, 80, 1 << 16), loop_count(emulated, 1, 1 << 16)])


def deep(bytes_):
    return (
        INIT
        + f"""
static __attribute__((noinline)) int fill(int value) {{
    volatile int8_t a[{bytes_}];
    for (int i = 0; i < {bytes_}; i++) a[i] = (int8_t)value;
    return a[value & 63];
}}
void small_step(small_state *s, const int8_t *x, int16_t *y) {{ *y = (int16_t)(*x > 100 ? fill(*x) : s->a); }}
"""
    )


def test_stack_is_the_deepest_of_all_steps(model, board):
    """One row in the middle takes 600 bytes."""
    x = np.zeros((1500, 1), np.int8)
    run = model(deep(600))
    flat = run(board, x, count=0)
    x[777] = 101
    got = run(board, x, count=0)
    assert flat.stack_used < 100
    assert 600 <= got.stack_used <= 700
    assert got.outputs[777] == 101
    assert flat.stack_bound == got.stack_bound
    assert 600 <= got.stack_bound <= 700
    assert flat.stack == got.stack_bound
    assert got.stack == max(got.stack_used, got.stack_bound)


def test_no_bound_of_the_stack_where_there_is_none(model, board):
    code = INIT + (
        "static int down(int n) { volatile int a = n; return n > 0 ? down(n - 1) + a : 0; }\n"
        + STEP
        + " { *y = (int16_t)(s->a + down(*x)); }"
    )
    got = model(code)(board, np.array([[100]], np.int8), count=0, optimise="-O1")
    assert got.stack_bound is None
    assert got.stack == got.stack_used > 400
    assert got.outputs == 5050


def test_a_stack_that_overflows_is_an_error(model, emulated):
    with pytest.raises(boards.BoardError, match="status"):
        model(deep(17000 if family(emulated) == "avr" else 66000))(emulated, np.array([[101]], np.int8))


def test_flash_is_counted_by_the_byte(model, board):
    """A thousand weights more are a thousand bytes of flash and not one of code; what step does not reach costs nothing."""

    def table(n):
        values = ",".join(str((i * 37) % 251 - 125) for i in range(n))
        return (
            INIT
            + f"static const int8_t small_w_gates[{n}] = {{{values}}};\n"
            + "int unused(int v);\nint unused(int v) { return v / 3 + small_w_gates[v]; }\n"
            + STEP
            + f" {{ *y = small_w_gates[(s->a + *x * 8) % {n}]; }}"
        )

    x = np.arange(100, dtype=np.int8)[:, None]
    a, b = (model(table(n))(board, x, count=0) for n in (1024, 2048))
    assert a.flash - a.code == 1024
    assert b.flash - b.code == 2048
    assert a.code == b.code
    assert 10 < a.code < 200
    want = [((i * 8) % 1024 * 37) % 251 - 125 for i in range(100)]
    np.testing.assert_array_equal(a.outputs[:, 0], want)


def test_library_routines_are_named(model, emulated):
    """Those that a step reaches, not those of functions beside it."""
    code = "extern long labs(long);\nlong beside(long v);\nlong beside(long v) { return labs(v); }\n" + INIT
    x = np.ones((1, 1), np.int8)
    flat = model(code + STEP + " { *y = (int16_t)(s->a + *x); }")(emulated, x, count=0)
    got = model(code + "long strtol(const char *, char **, int);\n" + STEP + ' { *y = (int16_t)(strtol("9", 0, 10) + s->a + *x); }')(
        emulated, x, count=0
    )
    assert flat.library == ()
    assert got.library == ("strtol",)
    assert got.outputs == 10
    assert got.code > flat.code + 100
    if family(emulated) == "avr":  # its bound is read off the linked program
        assert got.stack_used <= got.stack_bound <= got.stack_used + 16
    else:
        assert got.stack_bound is None


def test_variables_beside_the_state_count_as_ram(model, emulated):
    code = INIT + "static int32_t more[25];\n" + STEP + " { *y = (int16_t)(more[*x]++ + s->a); }"
    got = model(code)(emulated, np.arange(25, dtype=np.int8)[:, None], count=0)
    assert got.ram == 104


def test_wrong_requests(model, tmp_path):
    run = model(ACCUMULATE, inputs=3, outputs=2)
    x = np.zeros((4, 3), np.int8)
    with pytest.raises(TypeError, match=r"want int8.*got float64"):
        run("host", x * 1.0)
    for shape in ((4, 2), (0, 3), (3,), (1, 4, 3)):
        with pytest.raises(ValueError, match=r"want shape \(T, 3\)"):
            run("host", np.zeros(shape, np.int8))
    with pytest.raises(ValueError, match=r"want one of cortex-m4.*got 'cortex-m9'"):
        run("cortex-m9", x)
    with pytest.raises(ValueError, match="optimise"):
        run("host", x, optimise="-O3 -march=native")
    with pytest.raises(ValueError, match="count"):
        run("host", x, count=-1)
    with pytest.raises(ValueError, match="C identifier"):
        boards.run(tmp_path, "no name", "host", x)
    with pytest.raises(ValueError, match=r"other\.h"):
        boards.run(tmp_path, "other", "host", x)


def test_the_compilers_own_words(model, board):
    x = np.zeros((1, 1), np.int8)
    with pytest.raises(boards.CompileError, match="Werror=conversion"):
        model(INIT + STEP + " { *y = *x + s->a; }")(board, x)
    with pytest.raises(boards.CompileError, match="elsewhere"):
        model(INIT + "int elsewhere(void);\n" + STEP + " { *y = *x; s->a = elsewhere(); }")(board, x)


def test_a_model_that_hangs_or_faults(model, emulated):
    x = np.ones((1, 1), np.int8)
    hang = INIT + STEP + " { *y = *x; while (s->a == 0) *(volatile int16_t *)y = 1; }"
    with pytest.raises(boards.BoardTimeout, match="1 s"):
        model(hang)(emulated, x, timeout=1.0)
    undefined = {"arm": "udf #0", "riscv": "unimp", "avr": ".word 1"}[family(emulated)]
    fault = INIT + STEP + f' {{ *y = *x; __asm__ volatile("{undefined}"); s->a = 0; }}'
    with pytest.raises(boards.BoardError, match="the core took a"):
        model(fault)(emulated, x)


def test_outputs_that_depend_on_time_are_refused(model, emulated):
    """The counting run must repeat the outputs of the plain one."""
    clock = """
#if defined(__arm__)
    for (volatile int i = 0; i < 50; i++) {} /* into the clock's second tick and beyond */
    s->a = (int32_t)*(volatile uint32_t *)(uintptr_t)0xE000E018u;
#elif defined(__AVR__)
    *(volatile uint8_t *)0x45 = 1; /* TCCR0B: timer 0 runs, a tick per cycle */
    s->a = *(volatile uint8_t *)0x46;
#else
    __asm__ volatile(".option arch, +zicsr\\n rdinstret %0" : "=r"(s->a));
#endif
"""
    code = INIT + STEP + f" {{ {clock} *y = (int16_t)(s->a + *x); }}"
    with pytest.raises(boards.BoardError, match="other outputs in its second run"):
        model(code)(emulated, np.zeros((9, 1), np.int8))


def test_a_missing_tool_names_its_package(model, monkeypatch, tmp_path):
    run, x = model(ACCUMULATE, inputs=3, outputs=2), np.zeros((1, 3), np.int8)
    monkeypatch.setenv("PATH", str(tmp_path))
    for board, package in (("cortex-m4", "gcc-arm-none-eabi"), ("rv32imafc", "gcc-riscv64-unknown-elf"), ("host", "gcc")):
        with pytest.raises(boards.ToolMissing, match=rf"Debian package {package}\)"):
            run(board, x)


def test_a_missing_library_names_its_package(model, monkeypatch, tmp_path):
    """A compiler alone, as Debian installs it without its library."""
    words = {"riscv64-unknown-elf-gcc": "fatal error: cannot read spec file 'picolibc.specs'", "arm-none-eabi-gcc": "ld: cannot find -lc"}
    for tool, word in words.items():
        (tmp_path / tool).write_text(f'#!/bin/sh\necho "{word}" >&2\nexit 1\n')
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    run, x = model(ACCUMULATE, inputs=3, outputs=2), np.zeros((1, 3), np.int8)
    for board in ("cortex-m4", "rv32imafc"):
        with pytest.raises(boards.ToolMissing, match=BOARDS[board].toolchain.library_package):
            run(board, x)


def test_a_missing_emulator_names_its_package(model, monkeypatch, tmp_path, emulated):
    run, x = model(ACCUMULATE, inputs=3, outputs=2), np.zeros((1, 3), np.int8)
    record = BOARDS[emulated]
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for program in ("gcc", "objcopy", "nm", "size"):
        tool = record.toolchain.prefix + program
        (bin_ / tool).symlink_to(shutil.which(tool))
    if record.emulator.source:  # compiled here: its header is what is missing
        (bin_ / "gcc").write_text('#!/bin/sh\necho "fatal error: simavr/sim_avr.h: No such file or directory" >&2\nexit 1\n')
        (bin_ / "gcc").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_))
    with pytest.raises(boards.ToolMissing, match=rf"Debian package {record.emulator.package}\)"):
        run(emulated, x)
