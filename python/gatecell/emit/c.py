"""C99 of whole models: NAME.h and NAME.c.  Not here: what stands inside a layer's function (c_integer.py, c_float.py).

The interface is the same for every model; docs/arithmetic.md says what integer models compute.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..algebra.model import IntegerModel
from ..errors import Unsupported
from .c_integer import LayerText, Member, Writer, dot_texts, local
from .c_text import KEYWORDS, LICENCE, array, helpers, kernel, real

Array = NDArray[Any]
TARGETS = {"generic": False, "cortex-m4": True}
"""Target -> whether its products are laid out for the DSP extension."""
PLANNED = (
    *("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m7", "cortex-m33", "cortex-m55"),
    *("rv32imc", "rv32imac", "rv32imafc", "atmega2560", "atmega1284p"),
)


@dataclass(frozen=True)
class Files:
    """The two texts of a model."""

    header: str
    source: str


@dataclass(frozen=True)
class Golden:
    """What the selftest compares: integer inputs (T, I) from a fresh state, and the outputs (T, O)."""

    x: Array
    y: Array


def check_name(name: str) -> str:
    """The name, if C and C++ can use it.  TypeError, ValueError."""
    if not isinstance(name, str):
        raise TypeError(f"name: wanted a string, got {type(name).__name__}")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name, re.ASCII) or "__" in name or name.lower() in KEYWORDS or len(name) > 40:
        raise ValueError(f"name: wanted a C identifier of at most 40 letters, digits and single _, no keyword, a letter first, got {name!r}")
    return name


def check_target(target: str) -> bool:
    """Whether the target takes the DSP forms.  ValueError for a name that is none, Unsupported for one to come."""
    if not isinstance(target, str):
        raise TypeError(f"target: wanted a string, got {type(target).__name__}")
    if target in PLANNED:
        raise Unsupported(f"target {target}: there is no form of its own yet; 'generic' is portable C and runs there")
    if target not in TARGETS:
        raise ValueError(f"target: wanted one of {', '.join((*TARGETS, *PLANNED))}, got {target!r}")
    return TARGETS[target]


def integer_c(model: IntegerModel, name: str, target: str, golden: Golden) -> Files:
    """ValueError: a bad name or target; Unsupported: a target to come."""
    check_name(name)
    dsp = check_target(target)
    layers: list[LayerText] = []
    for k, layer in enumerate(model.layers):
        bits = model.input_bits if k == 0 else 16
        layers.append(Writer(layer, name, k, dsp, bits, k == len(model.layers) - 1).text())
    members = [m for text in layers for m in text.members]
    used = {h for text in layers for h in text.helpers}
    dots = {d for text in layers for d in text.dots}
    prelude = helpers(used) + dot_texts(dots) + ([kernel("dot_dsp.h")] if dsp else [])
    step, locals_ = chain(model, layers, dsp)
    model_id = zlib.crc32("\n".join([*(c for text in layers for c in text.constants), *(text.function for text in layers)]).encode())
    ctype = f"int{model.input_bits}_t"
    about = f"{' -> '.join(str(n) for n in (model.inputs, *(layer.width for layer in model.layers)))}, {model.scheme}, arithmetic version {model.rule}"
    header = header_text(name, about, ctype, "int16_t", model.inputs, model.outputs, members, model_id, dsp)
    parts = [
        f'/* {name}: {about}. The inputs, outputs and states of a step are in {name}.h.\n * {LICENCE} */\n#include "{name}.h"',
        *prelude,
        *(c for text in layers for c in (*text.constants, text.function)),
        init_text(name, members, dsp),
        f"void {name}_step({name}_state *s, const {name}_input_t *x, {name}_output_t *y) {{\n"
        + "\n".join("  " + line for line in [*locals_, *([] if members else ["(void)s;"]), *step])
        + "\n}",
        conversions(model, name),
        selftest(name, golden, ctype, model.outputs),
    ]
    return Files(header, "\n\n".join(parts) + "\n")


def chain(model: IntegerModel, layers: list[LayerText], dsp: bool) -> tuple[list[str], list[str]]:
    """The calls of a step, and its local arrays."""
    x, calls, arrays = "x", [], []
    for k, (layer, text) in enumerate(zip(model.layers, layers, strict=True)):
        last = k == len(layers) - 1
        y = "y" if last else "" if text.output else f"y{k}"
        if y and not last:
            arrays += local(y, layer.width, dsp)
            y += ".v" if dsp else ""
        calls.append(text.call(x, y))
        x = text.output or y
    return calls, arrays


def header_text(
    name: str, about: str, x: str, y: str, inputs: int, outputs: int, members: list[Member], model_id: int, dsp: bool
) -> str:
    caps = name.upper()
    fields = [m.declaration(dsp) for m in members] or ["uint8_t nothing; /* no step depends on another */"]
    fields_text = "\n".join("  " + line for line in fields)
    return f"""/* {name}: {about}.
 * {LICENCE}
 *
 *   {name}_state s;
 *   {name}_init(&s);
 *   for each time step:
 *     {name}_quantize_input(values, x);      float -> what a step reads; not needed where the values are such already
 *     {name}_step(&s, x, y);
 *     {name}_dequantize_output(y, results);  what a step gives -> float
 *
 * The caller owns the state; copying it copies the model's memory. No heap, no libm, nothing global. */
#ifndef {caps}_H
#define {caps}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define {caps}_MODEL_ID 0x{model_id:08X}u
#define {caps}_INPUT_SIZE {inputs}
#define {caps}_OUTPUT_SIZE {outputs}

typedef {x} {name}_input_t;
typedef {y} {name}_output_t;

typedef struct {{
{fields_text}
}} {name}_state;

/* The state before the first step. */
void {name}_init({name}_state *s);

/* One step: x[{caps}_INPUT_SIZE] in, y[{caps}_OUTPUT_SIZE] out. */
void {name}_step({name}_state *s, const {name}_input_t *x, {name}_output_t *y);

/* 0 when this device computes the bits that the desktop computed; else the number of the first step that differs. */
int {name}_selftest(void);

void {name}_quantize_input(const float *values, {name}_input_t *x);
void {name}_dequantize_output(const {name}_output_t *y, float *results);

#ifdef __cplusplus
}}
#endif
#endif
"""


def init_text(name: str, members: list[Member], dsp: bool) -> str:
    body = []
    for m in members:
        if m.form == "words":
            body.append(f"for (int k = 0; k < {2 * -(-m.length // 4)}; k++) s->{m.name}[k] = 0;")
        elif m.form == "int16" and dsp:
            body.append(f"for (int k = 0; k < {-(-m.length // 4) * 4}; k++) s->{m.name}.v[k] = 0;")
        else:
            body.append(f"for (int k = 0; k < {m.length}; k++) s->{m.name}[k] = 0;")
    lines = "\n".join("  " + line for line in body or ["s->nothing = 0;"])
    return f"void {name}_init({name}_state *s) {{\n{lines}\n}}"


def conversions(model: IntegerModel, name: str) -> str:
    top = 2 ** (model.input_bits - 1) - 1
    scales = np.exp2(-model.fraction.astype(np.float64)).astype(np.float32)
    return f"""{array("float", f"{name}_input_scale", [real(float(v)) for v in model.scale])}
{array("float", f"{name}_input_offset", [real(float(v)) for v in model.offset])}
{array("float", f"{name}_output_scale", [real(float(v)) for v in scales])}

/* Nearest integer, half away from 0, within [-{top}, {top}]; a NaN becomes -{top}. A division, so that no compiler
 * can fuse it with the sum that follows. */
void {name}_quantize_input(const float *values, {name}_input_t *x) {{
  for (int k = 0; k < {model.inputs}; k++) {{
    float t = (values[k] - {name}_input_offset[k]) / {name}_input_scale[k];
    t = t > -{top}.0f ? t : -{top}.0f;
    t = t < {top}.0f ? t : {top}.0f;
    x[k] = ({name}_input_t)(t < 0.0f ? t - 0.5f : t + 0.5f);
  }}
}}

void {name}_dequantize_output(const {name}_output_t *y, float *results) {{
  for (int k = 0; k < {model.outputs}; k++) results[k] = (float)y[k] * {name}_output_scale[k];
}}"""


def selftest(name: str, golden: Golden, ctype: str, outputs: int) -> str:
    steps = len(golden.x)
    return f"""{array(ctype, f"{name}_selftest_x", golden.x.ravel().tolist())}
{array("int16_t", f"{name}_selftest_y", golden.y.ravel().tolist())}

int {name}_selftest(void) {{
  {name}_state s;
  {name}_output_t y[{outputs}];
  {name}_init(&s);
  for (int t = 0; t < {steps}; t++) {{
    {name}_step(&s, {name}_selftest_x + t * {golden.x.shape[1]}, y);
    for (int k = 0; k < {outputs}; k++)
      if (y[k] != {name}_selftest_y[t * {outputs} + k]) return t + 1;
  }}
  return 0;
}}"""
