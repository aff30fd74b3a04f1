"""Recipes of CONTRIBUTING.md, each followed to its end from outside the package: a cell, an operation of the algebra, an output language.

Nothing under python/, cpp/ or firmware/ changes: the cell is a user's file (own_cell.py), the language one file (emit_plain.py), and the
operation goes into a copy of the sources, whose core is built for one instruction set.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import budgets
import builds
import emit_plain
import gatecell
from conftest import ROOT, need, need_package
from gatecell import cells, nn
from gatecell.deploy.chain import float_model
from gatecell.deploy.trace import trace

SLOWER = 3
"""An interpreted cell's time in that of a built-in one with as many gates, at most; 1.1 to 1.3 is measured."""


def python(*arguments, **environment):
    done = subprocess.run([sys.executable, *map(str, arguments)], env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_cell_of_ones_own(tmp_path):
    need("cc")
    found = json.loads(python(ROOT / "tests" / "own_cell.py", tmp_path))
    gradient, forward = found["gradient"]
    assert gradient <= budgets.CORE_DOUBLE and forward <= budgets.CORE_DOUBLE
    assert found["fell"] < 0.2 and found["streams"] and found["loads"] and found["float C"] <= 4 * budgets.FLOAT_C
    for scheme in ("w8a8", "w8a16"):
        assert found[scheme]["error"] <= budgets.QUANTISED[scheme] and found[scheme]["c"] and found[scheme]["loads"]
    assert found["sees"] == ["r", "o", "a", "n", "h", "c"]
    assert max(found["times"]) <= SLOWER, found["times"]
    assert "leaky" not in cells  # here nobody has registered it
    with pytest.raises(ValueError, match="cell: one of .* wanted, got 'leaky with zoneout"):
        gatecell.load(tmp_path / "net")
    assert gatecell.load(tmp_path / "w8a8")(np.zeros((2, 1, 3), np.float32)).shape == (2, 1, 1)  # integers need no page


@pytest.mark.parametrize("name", cells)
def test_an_output_language_in_one_file(name, rng, tmp_path):
    """Two layers of every cell that has the primitives, after a standardisation, before a linear layer."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.units = nn.Standardize([1.0, -1.0, 0.5], [2.0, 0.5, 1.0])
            self.rnn = nn.Recurrent(name, 3, 5, 2, proj_size=0 if cells[name].axis(cells[name].states[0]) == "H" else 4)
            self.head = nn.Linear(self.rnn.proj_size or 5, 2)

        def forward(self, x):
            return self.head(self.rnn(self.units(x))[0])

    net, x = Net(), rng.normal(size=(12, 1, 3)).astype(np.float32)
    model = float_model(trace(net))
    if not emit_plain.spelled(model):
        with pytest.raises(NotImplementedError, match="has no spelling in plain Python yet"):
            emit_plain.text(model, name)
        return
    (tmp_path / "model.py").write_text(emit_plain.text(model, name))
    states = [layer.sizes[n.axis] for layer in model.layers for n in layer.program.states.values()]
    run = f"import json, model\ns = [[0.0] * n for n in {states}]\nprint(json.dumps([model.step(s, x) for x in {x[:, 0].tolist()}]))"
    y = np.array(json.loads(python("-c", run, PYTHONPATH=str(tmp_path))))
    assert abs(y - net(x).data[:, 0]).max() <= budgets.FLOAT_C * max(1, abs(y).max())


# The operation's own lines, as the recipe asks for them: its row, its function in C++, its helper in float C, and a page that wants it.
ROW = """    "softsign": Op(
        lambda a: a / (1 + a * np.sign(np.real(a))),
        lambda g, y, a: (g * (1 - maximum(y, -y)) * (1 - maximum(y, -y)),),
        _growing(lambda v: v / (1 + abs(v)) if abs(v) < INF else math.copysign(1.0, v)),
        "softsign({0})",
        dear=True,
    ),
"""
VECTOR = "template <class V> INLINE V softsign(V x) { return x / (1 + magnitude(x)); }  // 1.5 ULP, finite numbers\n"
HELPER = '    "softsign": ("static inline float softsign_(float x) { return x / (1.0f + (x < 0.0f ? -x : x)); }", ()),\n'
USE = """
import sys
import numpy as np, gatecell
from gatecell import nn
from gatecell.algebra.ops import softsign
from gatecell.algebra.ranges import ranges

@gatecell.cell()
def soft(W, R, x, h):
    return softsign(W.a(x) + R.a(h))

rng = np.random.default_rng(0)
m, x, dy = nn.Recurrent("soft", 3, 21, dtype=np.float64), rng.normal(size=(5, 2, 3)) * 3, rng.normal(size=(5, 2, 21))
w = {k: t.data for k, t in m.parts()[0].items()}

def by_hand(w):
    h, out = np.zeros((2, 21)), []
    for x_t in x:
        a = x_t @ w["W"].T + w["W+"] + h @ w["R"].T + w["R+"]
        h = a / (1 + np.where(a.real < 0, -a, a))
        out.append(h)
    return np.stack(out)

y = m(x)[0]
(y * gatecell.tensor(dy)).sum().backward()
assert abs(y.data - by_hand(w)).max() < 1e-12
for k, t in m.parts()[0].items():
    for i in [tuple(rng.integers(0, t.shape)) for _ in range(9)]:
        q = {n: a.astype(complex) for n, a in w.items()}
        q[k][i] += 1e-30j
        assert abs((dy * by_hand(q)).sum().imag / 1e-30 - t.grad.data[i]) < 1e-12 * max(1, abs(t.grad.data).max()), k
p = gatecell.cells["soft"].program
assert ranges(p)[p.states["h"]] == (-1.0, 1.0)
small = nn.Recurrent("soft", 3, 21)
v = x.astype(np.float32)[:, :1]
assert abs(gatecell.export_c(small, sys.argv[1], name="soft").run(v) - small(v)[0].data).max() < 1e-6
try:
    gatecell.quantize(small, v)
except gatecell.Unsupported as e:
    assert "softsign has no integer meaning yet" in str(e)
else:
    raise AssertionError("integers without a rule")
print(gatecell.cpu())
"""


def test_an_operation_of_the_algebra(tmp_path):
    """About half a minute: the core is built for the smallest instruction set alone."""
    need("cc")
    need_package("pybind11")
    for name in ("cpp", "python"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "isa_avx*"))
    for name in ("CMakeLists.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    package, installed = tmp_path / "python" / "gatecell", Path(gatecell.__file__).parent
    for compiled in installed.rglob("*.so"):  # the generator and the tape want what is compiled, of whatever sources
        shutil.copy(compiled, package / compiled.relative_to(installed))
    put(package / "algebra" / "ops.py", "    # Reductions over units.", ROW)
    put(package / "algebra" / "ops.py", "def norm(", 'softsign = _primitive("softsign")\n\n\n')
    put(tmp_path / "cpp" / "src" / "functions.inl", "template <class V> INLINE V relu(", VECTOR)
    put(package / "emit" / "c_float.py", '    "relu": ("static', HELPER)
    own = str(tmp_path / "python")
    python("-m", "gatecell.emit", "--root", tmp_path, PYTHONPATH=own)
    build = tmp_path / "build"
    options = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={builds.tool('ninja')}", f"-DPython_EXECUTABLE={sys.executable}"]
    for step in ([*options, "-S", tmp_path, "-B", build], ["--build", build, "--target", "_core"]):
        subprocess.run([builds.tool("cmake"), *step], check=True, capture_output=True)
    for old in package.glob("_core.*.so"):
        old.unlink()
    shutil.copy(next(build.glob("_core.*.so")), package)
    (tmp_path / "use.py").write_text(USE)
    assert python(tmp_path / "use.py", tmp_path / "c", PYTHONPATH=own).strip() in ("baseline", "neon")


def put(path, before, text):
    """Into a file, before the one place where these words stand."""
    old = path.read_text()
    assert old.count(before) == 1, (path, before)
    path.write_text(old.replace(before, text + before))
