"""gatecell.export_c: a model as NAME.h and NAME.c, and a way to run them on this machine.

Not here: the text (emit/c*.py), emulated boards (boards.py).
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..emit.c import Files, Golden, check_name, float_c, integer_c
from ..emit.targets import find
from ..nn import Module
from ..tensor.dtypes import Array
from .calibration import observe
from .chain import float_model
from .door import numbers
from .graph import Input, Output, StepGraph
from .integer import Runner
from .layout import arranged, timed
from .quantized import QuantizedModel
from .trace import trace

GOLDEN = 4
"""Steps that NAME_selftest compares."""
RUNNER = """#include <stdio.h>
#include "{name}.h"

/* sequences of values on standard input, results on standard output; state starts anew with each sequence */
int main(void) {{
  static {name}_state s;
  static float values[{inputs}], results[{outputs}];
  static {name}_input_t x[{inputs}];
  static {name}_output_t y[{outputs}];
  unsigned int steps;
  if ({name}_selftest() != 0) return 2;
  while (fread(&steps, sizeof steps, 1, stdin) == 1) {{
    {name}_init(&s);
    for (; steps > 0; steps--) {{
      if (fread(values, sizeof values, 1, stdin) != 1) return 3;
      {name}_quantize_input(values, x);
      {name}_step(&s, x, y);
      {name}_dequantize_output(y, results);
      if (fwrite(results, sizeof results, 1, stdout) != 1) return 4;
    }}
  }}
  return 0;
}}
"""


@dataclass(frozen=True)
class ExportedC:
    """What export_c wrote."""

    name: str
    header: Path
    source: Path
    input: Input
    output: Output

    def run(self, x: Any) -> Array:
        """Compile the portable form with this machine's C compiler ($CC, cc, gcc or clang) and run it.

        x: as the model takes it -> its float32 output, for an integer model the bits of q(x).

        RuntimeError: no compiler, or one that fails; TypeError, ValueError: what the model would not take.
        """
        rows, bare = timed(self.input, numbers("x", x))
        steps, batch, _ = rows.shape
        sequences = rows.astype(np.float32).transpose(1, 0, 2)
        data = b"".join(np.uint32(steps).tobytes() + s.tobytes() for s in sequences)
        with tempfile.TemporaryDirectory(prefix="gatecell-") as folder:
            main, program = Path(folder) / "main.c", Path(folder) / "run"
            main.write_text(RUNNER.format(name=self.name, inputs=self.input.size, outputs=self.output.size))
            folders = ["-I", str(self.header.parent.resolve())]
            call([compiler(), "-std=c99", "-O2", *folders, str(self.source.resolve()), str(main), "-o", str(program)], b"")
            out = call([str(program)], data)
        y = np.frombuffer(out, np.float32).reshape(batch, steps, self.output.size).transpose(1, 0, 2)
        return arranged(self.output, y, bare)


def compiler() -> str:
    """RuntimeError: there is none."""
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        if name and (found := shutil.which(name)):
            return found
    raise RuntimeError("no C compiler: wanted one named by $CC, or cc, gcc, clang on the path")


def call(command: list[str], data: bytes) -> bytes:
    done = subprocess.run(command, input=data, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} ended with {done.returncode}: {done.stderr.decode(errors='replace').strip()[:2000]}")
    return done.stdout


def export_c(
    model: Module | StepGraph | QuantizedModel, folder: str | os.PathLike[str], *, name: str, target: str = "generic"
) -> ExportedC:
    """Write folder/NAME.h and folder/NAME.c: all that a C99 or C++17 program needs to run the model.

    model: a module (float C) or what `quantize` gave (integer C). target: "generic", or a core's name
    (emit/targets.py); all are portable C with the same bits.
    The folder is made if it is not there; files appear whole or not at all.
    TypeError, ValueError: another type, a name that C cannot use, a folder that cannot be written.
    Unsupported: a model without a C form, or too large for the target, and why.  All before anything is written.
    """
    check_name(name)
    find(target)
    if isinstance(model, QuantizedModel):
        spec, files = (model.input, model.output), integer_files(model, name, target)
    elif isinstance(model, (Module, StepGraph)):
        graph = model if isinstance(model, StepGraph) else trace(model)
        spec, files = (graph.input, graph.output), float_files(graph, name, target)
    else:
        raise TypeError(f"model: a Module or a quantised model wanted, got {type(model).__name__}")
    header, source = write(Path(folder), name, files)
    return ExportedC(name, header, source, *spec)


def integer_files(q: QuantizedModel, name: str, target: str) -> Files:
    """The golden steps are inputs at the rails and between, the same for the same model."""
    top = 2 ** (q.model.input_bits - 1) - 1
    rng = np.random.default_rng(q.model.inputs)
    x = rng.integers(-top, top + 1, (GOLDEN, q.model.inputs)).astype(q.input_type)
    x[0] //= 4
    x[-1] = rng.choice([-top, top], q.model.inputs)
    return integer_c(q.model, name, target, Golden(x, Runner(q.model).run(x[:, None])[:, 0]))


def float_files(graph: StepGraph, name: str, target: str) -> Files:
    model = float_model(graph)
    rng = np.random.default_rng(model.inputs)
    x = (model.mean + model.std * rng.normal(0, 1, (GOLDEN, model.inputs))).astype(np.float32)
    y = observe(model, x[:, None])[-1].output[:, 0]
    return float_c(model, name, target, Golden(x, y.astype(np.float32)))


def write(folder: Path, name: str, files: Files) -> tuple[Path, Path]:
    """Both files, each by a temporary one that takes its place.  ValueError: the folder cannot be made or written."""
    paths = folder / f"{name}.h", folder / f"{name}.c"
    made: list[tuple[str, Path]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if taken := next((path for path in paths if path.is_dir()), None):  # else one file would be new and the other not
            raise IsADirectoryError(errno.EISDIR, f"{taken.name} is a folder")
        for path, text in zip(paths, (files.header, files.source), strict=True):
            handle, temporary = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.")
            made.append((temporary, path))
            with os.fdopen(handle, "w", encoding="utf-8") as f:
                f.write(text)
                f.flush()
                os.fsync(f.fileno())
            os.chmod(temporary, 0o644)
        for temporary, path in made:
            os.replace(temporary, path)
    except OSError as e:
        for temporary, _ in made:
            Path(temporary).unlink(missing_ok=True)
        raise ValueError(f"folder: wanted one that can be written, got {str(folder)!r}: {e.strerror}") from e
    return paths
