"""gatecell in the benches: each kind of work as a Rival.  Not here: peers, time, what is compared with what (work.py)."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import gatecell
from cases import Case
from timing import Arrays, Rival


@contextmanager
def threads(count: int) -> Iterator[None]:
    """gatecell on so many threads, and then on as many as before."""
    before = gatecell.get_num_threads()
    gatecell.set_num_threads(count)
    try:
        yield
    finally:
        gatecell.set_num_threads(before)


def model(case: Case, **options: Any) -> Any:
    """The layers with the case's weights."""
    s = case.shape
    if s.kind == "GRU before":
        options["reset_after"] = False
    made = getattr(gatecell.nn, s.kind.split()[0])(s.I, s.H, s.L, bidirectional=s.D == 2, **options)
    made.load_state_dict(case.weights)
    return made


def forward(case: Case, count: int, lengths: bool = False) -> Rival:
    """Inference of whole sequences: the output of every step."""
    net, x, given = model(case), gatecell.from_numpy(case.x), case.lengths if lengths else None

    @contextmanager
    def within() -> Iterator[None]:
        with threads(count), gatecell.no_grad():
            yield

    call = lambda: net(x, lengths=given)[0]
    return Rival(call, lambda: {"y": call().numpy()}, within)


def training(case: Case, count: int, dx: bool = False, lengths: bool = False, **options: Any) -> Rival:
    """Forward and backward from a gradient for every output to every weight, as an epoch does it, and to the input with `dx`."""
    net, given = model(case, **options), case.lengths if lengths else None
    x, dy = gatecell.tensor(case.x, requires_grad=dx), gatecell.from_numpy(case.dy)

    def call() -> None:
        net.zero_grad()
        x.grad = None
        net(x, lengths=given)[0].backward(dy)

    def result() -> Arrays:
        call()
        found = {name: np.asarray(p.grad) for name, p in net.named_parameters()}
        return found | ({"x": np.asarray(x.grad)} if dx else {})

    return Rival(call, result, lambda: threads(count))


def step(case: Case, count: int, net: Any = None) -> Rival:
    """One step a call from Python, the state carried along; `result` is the output of the last of the case's T steps.

    net: instead of the case's network in float32.
    """
    s = case.shape
    stream, out = gatecell.Stream(net or model(case), batch=s.B), np.empty((s.B, s.H), np.float32)
    frame = case.x[0].copy()

    def result() -> Arrays:
        stream.reset()
        for x in case.x:
            stream.step(x, out=out)
        return {"y": out.copy()}

    return Rival(lambda: stream.step(frame, out=out), result, lambda: threads(count))


@cache
def stepping() -> ModuleType:
    """stepping.pyx, compiled against the package's .pxd files as somebody else's extension would be."""
    source = Path(__file__).with_name("stepping.pyx")
    with tempfile.TemporaryDirectory() as folder:
        target, library = Path(folder) / "stepping.c", Path(folder) / ("stepping" + sysconfig.get_config_var("EXT_SUFFIX"))
        package = Path(gatecell.__file__).parent.parent
        subprocess.run([sys.executable, "-m", "cython", "-3", "-I", package, "-o", target, source], check=True)
        flags = ["-O2", "-shared", "-fPIC", "-I", sysconfig.get_path("include")]
        subprocess.run([*os.environ.get("CC", "cc").split(), *flags, target, "-o", library], check=True)
        spec = importlib.util.spec_from_file_location("stepping", library)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def steps_without_python(case: Case, at: int = -1, net: Any = None) -> Rival:
    """The case's T steps in one call of compiled code without the GIL: seconds of a step as other compiled code sees it.

    `result` is the output of step `at`; net: instead of the case's network in float32.
    """
    stream = gatecell.Stream(net or model(case))
    x, y = case.x[:, 0], np.empty((case.shape.T, case.shape.H), np.float32)
    run = stepping().run

    def result() -> Arrays:
        stream.reset()
        run(stream, x, y)
        return {"y": y[at][None].copy()}

    def within() -> AbstractContextManager[None]:
        stream.threads = 1
        return threads(1)

    return Rival(lambda: run(stream, x, y), result, within, steps=case.shape.T)
