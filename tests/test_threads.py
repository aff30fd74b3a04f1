"""Threads: ours, that share a call's work, and the user's, that call at once; fork, exit, interrupts, idleness, limits.

Not here: that the number of threads changes no bit of one call (test_core.py).  No test measures how long something takes by the clock.
"""

import os
import resource
import subprocess
import sys
import threading

import numpy as np
import pytest

import gatecell
import pages
from conftest import missing
from gatecell import nn

WORK = """
import os, resource, signal, sys, threading, time
import numpy as np
import gatecell
from gatecell import nn
gatecell.set_num_threads(2)
model = nn.LSTM(16, 96, 2)
x = np.random.default_rng(0).normal(size=(40, 48, 16)).astype(np.float32)  # enough work for two
def work():
    given = gatecell.tensor(x, requires_grad=True)
    model.zero_grad()
    y = model(given)[0]
    y.sum().backward()
    return [np.array(a) for a in (y.data, given.grad, *(p.grad for p in model.parameters()))]
def same(a, b):
    return all(np.array_equal(p, q) for p, q in zip(a, b, strict=True))
def endless():
    other = nn.GRU(16, 96)
    while True:
        other(x)[0].sum().backward()
def started(target):
    threading.Thread(target=target, daemon=True).start()
    time.sleep(0.05)
"""


def run(program, *args, code=0, env=(), **options):
    """A process of its own, for what would end this one."""
    r = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WORK + program, *args], env={**os.environ, **dict(env)},
        capture_output=True, text=True, timeout=120, check=False, **options,
    )  # fmt: skip
    assert r.returncode == code, (r.returncode, r.stderr)
    return r.stdout


@pytest.fixture
def two_threads():
    before = gatecell.get_num_threads()
    gatecell.set_num_threads(2)
    yield
    gatecell.set_num_threads(before)


def at_once(n, job):
    """job(k) on n threads that begin together; their results."""
    results, barrier = [None] * n, threading.Barrier(n)

    def run_one(k):
        barrier.wait()
        try:
            results[k] = job(k)
        except BaseException as e:
            results[k] = e

    threads = [threading.Thread(target=run_one, args=(k,)) for k in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for r in results:
        if isinstance(r, BaseException):
            raise r
    return results


# -- eight threads over one model ---------------------------------------------------------------------------------------------------------


MODELS = {
    "stack": lambda: nn.LSTM(16, 60, 2),
    "both ways": lambda: nn.GRU(16, 60, bidirectional=True, recompute=True),
    "page": lambda: nn.Recurrent(pages.three, 16, 60, checkpoint_every=7),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_eight_threads_over_one_model_compute_what_one_does(make, two_threads, rng):
    """Forward and back, each thread its own input and calls of other sizes in between; weights are shared, gradients are each its own."""
    model = make()
    inputs = [rng.normal(size=(20, int(rng.integers(1, 50)), 16)).astype(np.float32) for _ in range(8)]

    def work(k):
        x = gatecell.tensor(inputs[k], requires_grad=True)
        # A view of the model whose gradients are this thread's own: the same arrays under other leaves.
        own = make()
        for p, q in zip(own.parameters(), model.parameters(), strict=True):
            p.data = q.data
        y = own(x)[0]
        (y * y).sum().backward()
        return [np.array(a) for a in (model(x)[0].data, y.data, x.grad, *(p.grad for p in own.parameters()))]

    gatecell.set_num_threads(1)
    want = [work(k) for k in range(8)]
    gatecell.set_num_threads(2)
    for _ in range(3):
        for got, expected in zip(at_once(8, work), want, strict=True):
            assert all(np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def test_eight_streams_over_one_model(two_threads, rng):
    model = nn.GRU(5, 40, 2)
    x = rng.normal(size=(300, 1, 5)).astype(np.float32)
    with gatecell.no_grad():
        want = model(x)[0].data[:, 0]

    def work(_):
        stream = gatecell.Stream(model)
        return np.stack([stream.step(xt) for xt in x[:, 0]])

    assert all(np.array_equal(got, want) for got in at_once(8, work))


def test_gradients_that_threads_add_into_one_model_are_all_there(rng):
    """backward() on four threads at once, one after the other by a lock around the shared leaves: sums of the same terms."""
    model, lock = nn.GRU(3, 20), threading.Lock()
    inputs = [rng.normal(size=(9, 4, 3)).astype(np.float32) for _ in range(4)]

    def work(k):
        loss = model(inputs[k])[0].sum()
        with lock:
            loss.backward()

    at_once(4, work)
    got = [np.array(p.grad, np.float64) for p in model.parameters()]
    model.zero_grad()
    for k in range(4):
        work(k)
    for g, p in zip(got, model.parameters(), strict=True):
        np.testing.assert_allclose(g, np.asarray(p.grad), rtol=1e-5, atol=1e-5)


# -- fork ---------------------------------------------------------------------------------------------------------------------------------

FORKS = """
want = work()
sibling = sys.argv[1] == "sibling"
if sibling:
    started(endless)
for k in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        sys.exit(0 if same(work(), want) else 7)  # through the interpreter's whole exit
    assert os.waitpid(child, 0)[1] == 0
    time.sleep(k % 5 * 1e-3)
assert same(work(), want)
"""


@pytest.mark.parametrize("sibling", ["sibling", "alone"])
def test_fork_after_use(sibling):
    """A child runs forward and back on two threads, and ends; also one that was forked while another thread was in the core."""
    run(FORKS, sibling, "12")


STEPS = """
model = nn.LSTM(16, 150)  # worth a release of the GIL
for made in (model, gatecell.quantize(model, x)):
    stream = gatecell.Stream(made)
    steps = [stream.step(xt).copy() for xt in x[:, 0]]
    stream.reset()
    def stepping():
        while not calm:
            stream.step(x[0, 0])
    calm, thread = False, threading.Thread(target=stepping, daemon=True)
    thread.start()
    for _ in range(10):
        time.sleep(1e-3)
        child = os.fork()
        if child == 0:
            stream.step(x[0, 0])
            stream.reset()
            os._exit(0 if same([stream.step(xt) for xt in x[:, 0]], steps) else 7)
        assert os.waitpid(child, 0)[1] == 0
    calm = True
    thread.join()
"""


def test_fork_during_a_step():
    """The child goes on with the stream that another thread of its parent was stepping."""
    run(STEPS, env={"OPENBLAS_NUM_THREADS": "1"})  # calibration's products are NumPy's


def test_fork_of_a_child():
    run("""
want = work()
for generation in range(3):
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        sys.exit(os.waitstatus_to_exitcode(status))
    assert same(work(), want)
""")


def test_multiprocessing_by_fork():
    run("""
import multiprocessing
def task(k):
    return work()
want = work()
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert all(same(got, want) for got in pool.map(task, range(6)))
""")


# -- the end, and interrupts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0.0, 0.013, 0.05])
def test_exit_while_threads_are_in_the_core(delay):
    """Daemon threads in forward, backward and a stream do not keep the process from ending, and do not end it in their own way."""
    run("""
def streams():
    stream = gatecell.Stream(nn.GRU(16, 40))
    while True:
        stream.step(x[0, 0])
work()
for target in (endless, endless, streams):
    started(target)
time.sleep(float(sys.argv[1]))
""", str(delay))  # fmt: skip


def test_an_exception_in_a_call_leaves_the_pool_usable(rng):
    run("""
want = work()
for k in range(3):
    try:
        model(x[:, :, :3])
    except ValueError:
        pass
    assert same(work(), want)
""")


def test_an_interrupt_leaves_the_model_usable():
    """Ctrl-C at random moments of calls on two threads, taken by the main thread when its call returns."""
    out = run("""
signal.signal(signal.SIGINT, signal.default_int_handler)
want, caught = work(), 0
def interrupt():
    for _ in range(15):
        time.sleep(0.03)
        if not calm:
            os.kill(os.getpid(), signal.SIGINT)
calm = False
killer = threading.Thread(target=interrupt, daemon=True)
killer.start()
while killer.is_alive():
    try:
        while killer.is_alive():
            work()
    except KeyboardInterrupt:
        caught += 1
calm = True
assert same(work(), want)
print(caught)
""")
    assert int(out) > 0


def test_signals_are_for_the_programs_own_threads():
    """A signal that may go to any thread goes to the main one, whatever the pool does."""
    run("""
work()
mask = [open(f"/proc/self/task/{t}/status").read() for t in os.listdir("/proc/self/task")]
blocked = sorted(int(next(l for l in m.splitlines() if l.startswith("SigBlk")).split()[1], 16) != 0 for m in mask)
assert blocked.count(True) >= 1 and blocked.count(False) >= 1, mask
""")


# -- rest and limits ----------------------------------------------------------------------------------------------------------------------


def test_nothing_spins_when_idle():
    """A second of rest after work on two threads costs a fiftieth of a second of CPU time at the most."""
    out = run("""
for _ in range(5):
    work()
before = time.process_time()
time.sleep(1)
print(time.process_time() - before)
""")
    assert float(out) < 0.02


def threads_after(n, env=()):
    """How many threads a process has after work with a limit."""
    return int(run("""
if sys.argv[1] != "as it is":
    gatecell.set_num_threads(int(sys.argv[1]))
else:
    import importlib
    from gatecell.tensor import engine
    gatecell.set_num_threads(engine._first_threads())
work()
print(len(os.listdir("/proc/self/task")))
""", str(n), env=env))  # fmt: skip


def test_limits():
    """No thread is made for one, and no more than are allowed: by a call, or by the environment."""
    one = threads_after(1)
    assert threads_after(2) == one + 1
    assert one + 1 <= threads_after(64) < one + 64, "a call makes as many as its work is worth"
    assert threads_after("as it is", {"GATECELL_NUM_THREADS": "1"}) == one
    assert threads_after("as it is", {"GATECELL_NUM_THREADS": "2"}) == one + 1


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", " ", "\u00b2", "2147483648"])
def test_the_environment_is_checked(value):
    r = subprocess.run([sys.executable, "-c", "import gatecell"], env=os.environ | {"GATECELL_NUM_THREADS": value},
                       capture_output=True, text=True, check=False)  # fmt: skip
    assert r.returncode == 1 and f"GATECELL_NUM_THREADS wants a whole number of at least 1 and less than 2**31, got {value!r}" in r.stderr


def test_threads_that_cannot_be_had_are_done_without():
    """No address space for a thread's stack, as large as the limit that a process began with: a call does all its shares itself."""
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    if hard not in (-1, resource.RLIM_INFINITY) and hard < 1 << 30:
        missing("a higher limit of stacks")
    run("""
gatecell.set_num_threads(1)
want = work()
gatecell.set_num_threads(4)
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 28), resource.getrlimit(resource.RLIMIT_AS)[1]))
before = len(os.listdir("/proc/self/task"))
assert same(work(), want)
assert len(os.listdir("/proc/self/task")) == before
""", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_STACK, (1 << 30, hard)))  # fmt: skip
