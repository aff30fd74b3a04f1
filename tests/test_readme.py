"""What README.md shows: its Python runs as it stands, its C compiles, its generated table and picture are fresh."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import budgets
import gatecell
from conftest import ROOT, need, need_package

README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run(code, folder):
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_torch_state_dict_becomes_c(tmp_path):
    """The first example, then the C beside it around what it wrote, against the network."""
    need("gcc")
    code = blocks("python")[0]
    run(code + "import numpy as np\nnp.savez('model.npz', **model.state_dict())\n", tmp_path)
    body = blocks("c")[0].replace('#include "gesture.h"', "")
    body = body.replace("for (;;)", "while (read_sensor(x))").replace("    read_sensor(x);", "")
    body = re.sub(r"(gesture_step\(.*?;)", r"\1 fwrite(y, sizeof y, 1, stdout);", body)
    main = f"""#include <stdio.h>
    #include "gesture.h"
    static int read_sensor(float *x) {{ return (int)fread(x, sizeof(float), GESTURE_INPUT_SIZE, stdin); }}
    int main(void) {{ float x[GESTURE_INPUT_SIZE], y[GESTURE_OUTPUT_SIZE]; {body} return gesture_selftest(); }}"""
    (tmp_path / "main.c").write_text(main)
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-Iout"]
    subprocess.run(["gcc", *flags, "main.c", "out/gesture.c", "-o", "gesture"], cwd=tmp_path, check=True)
    x = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    out = subprocess.run([tmp_path / "gesture"], input=x.tobytes(), capture_output=True, check=True).stdout
    model = gatecell.nn.LSTM(6, 32)
    model.load_state_dict(dict(np.load(tmp_path / "model.npz")))
    np.testing.assert_allclose(np.frombuffer(out, np.float32).reshape(50, 32), model(x)[0].numpy(), rtol=0, atol=budgets.README_C)


def test_from_data_to_integers(tmp_path):
    """The second example, which compares the C with the integer model itself; it has learnt something; the third streams it."""
    need("cc")
    check = """
error = net(x[-5000:-1]).numpy() - change[-4999:]
assert (error**2).mean() < 0.25 * (change[-4999:] ** 2).mean(), (error**2).mean()
assert out[0] == net(x[-5:])[-1].numpy()
other = gatecell.Stream(net)
other.state = kept
assert (other.step(x[:1]) == stream.step(x[:1])).all()
"""
    run("import gatecell\ngatecell.manual_seed(0)\n" + blocks("python")[1] + blocks("python")[2] + check, tmp_path)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["weather.c", "weather.h"]


def test_what_layers_can_do_and_show(tmp_path):
    need_package("matplotlib")
    begin = "import numpy as np, gatecell\nx = np.random.default_rng(0).normal(size=(9, 2, 6)).astype(np.float32)\n"
    options, seeing = (next(b for b in blocks("python") if word in b) for word in ("zoneout", "gatecell.inspect"))
    check = "\nassert slow(x)[0].shape == (9, 2, 32) and seen['l1']['f'].shape == seen['l1']['c'].shape == (9, 2, 32)\n"
    run(begin + options + seeing + check, tmp_path)
    assert (tmp_path / "gates.png").read_bytes().startswith(b"\x89PNG")


def test_the_cython_is_cython(tmp_path):
    need_package("Cython")
    (tmp_path / "user.pyx").write_text(blocks("cython")[0])
    package = Path(gatecell.__file__).parent.parent
    subprocess.run([sys.executable, "-m", "cython", "-3", "-Werror", "-I", package, "user.pyx"], cwd=tmp_path, check=True)


@pytest.mark.parametrize("script", ["tables.py", "picture.py"])
def test_what_scripts_wrote_is_fresh(script):
    done = subprocess.run([sys.executable, ROOT / "docs" / script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"stale: python docs/{script} ({done.stderr})"
