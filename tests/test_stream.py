"""Streaming: the numbers of forward and of the definitions, threads.

Not here: which models can stream (test_graph.py), what x and out may be (test_stream_arrays.py), states as bytes and by name
(test_stream_state.py), other Cython code (test_stream_cython.py).
"""

import gc as gc_module
import itertools
import threading

import numpy as np
import pytest

import gatecell as gc
from gatecell import _core, nn
from gatecell.deploy.graph import ARITHMETIC, INPUT, POINTWISE, Input, Output, Step, StepGraph, check, evaluate
from networks import NETWORKS, H, Of, seq


def by_steps(network, stream, x):
    """Outputs over time, stacked along the axis that time has in x."""
    axis = 0 if network.time_first else 1
    return np.stack([np.array(stream.step(xt)) for xt in np.moveaxis(x, axis, 0)])


def prefixes(network, model, x):
    """What forward gives for every beginning of the sequence, at its last step."""
    axis, outs = (0 if network.time_first else 1), []
    for t in range(x.shape[axis]):
        with gc.no_grad():
            y = model(gc.tensor(np.take(x, range(t + 1), axis)))
        y = np.asarray(y[0] if isinstance(y, tuple) else y)
        outs.append(y if network.last else y[:, :, -1] if y.ndim == 3 and network is NETWORKS["features first"] else np.take(y, -1, axis))
    return np.stack(outs)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_stream_gives_what_forward_gives_at_every_step(name, batch, rng):
    network = NETWORKS[name]
    model = network.make().eval()
    x = network.input(rng, batch, 5)
    want = prefixes(network, model, x)
    stream = gc.Stream(model, batch)
    got = by_steps(network, stream, x)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    np.testing.assert_array_equal(got, want)
    stream.reset()
    np.testing.assert_array_equal(by_steps(network, stream, x), got)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("batch", "inputs", "units"), [(1, 1, 1), (1, 5, 33), (3, 16, 15), (19, 7, 17)])
@pytest.mark.parametrize("cell", gc.cells)
def test_the_recurrence_streams_the_same_bits(cell, batch, inputs, units, dtype, rng):
    """Of every cell in two layers, from any state, to the last states."""
    layer = nn.Recurrent(cell, inputs, units, 2)
    layer = layer.double() if dtype == np.float64 else layer
    x = rng.normal(size=(9, batch, inputs)).astype(dtype)
    names = gc.cells[cell].states
    start = {s: rng.normal(size=(2, batch, units)).astype(dtype) for s in names}
    state = tuple(gc.tensor(a) for a in start.values())
    want, last = layer(gc.tensor(x), state if len(state) > 1 else state[0])
    stream = gc.Stream(layer, batch)
    assert not any(a.any() for a in stream.states.values())
    stream.states = {f"recurrence_{k}.{s}": start[s][k] for k in range(2) for s in names}
    np.testing.assert_array_equal(np.stack([stream.step(xt) for xt in x]), np.asarray(want))
    for s, a in zip(names, last if len(state) > 1 else (last,), strict=True):
        for k in range(2):
            np.testing.assert_array_equal(stream.states[f"recurrence_{k}.{s}"], np.asarray(a)[k])


HARD = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e30, -1e30, 88.0, -104.0, 0.5]


def graph_of(steps, parameters, inputs, size):
    axes = ("time", "batch", "feature")
    graph = StepGraph(Input("real", inputs, axes), Output(steps[-1].name, size, axes), tuple(steps), (), parameters)
    check(graph)
    return graph


def one_op(op, dtype, rng):
    """Graphs of a single operation on 17 values, with constants where it takes them."""
    n, p = 17, {"a": rng.normal(size=17).astype(dtype), "b": np.abs(rng.normal(size=1)).astype(dtype)}
    if op in ARITHMETIC:
        for pair in itertools.permutations((INPUT, "a", "b"), 2):
            if INPUT in pair:
                yield graph_of([Step("y", op, pair, n)], p, n, n)
        yield graph_of([Step("y", op, (INPUT, INPUT), n)], p, n, n)
        yield graph_of([Step("s", "slice", (INPUT,), 1, {"start": 3, "stop": 4}), Step("y", op, ("s", INPUT), n)], p, n, n)
    elif op == "clamp":
        for settings in ({"low": -0.5, "high": 0.25}, {"low": 0.0}, {"high": 0.0}):
            yield graph_of([Step("y", op, (INPUT,), n, settings)], p, n, n)
    elif op == "standardize":
        yield graph_of([Step("y", op, (INPUT,), n, weights={"mean": "a", "std": "c"})], p | {"c": np.exp(p["a"])}, n, n)
    else:
        yield graph_of([Step("y", op, (INPUT,), 1 if op == "argmax" else n)], p, n, 1 if op == "argmax" else n)
        yield graph_of([Step("y", op, (INPUT,), 1)], p, 1, 1)


def test_operations_on_constants_alone(rng):
    p = {"a": rng.normal(size=3).astype(np.float32), "b": rng.normal(size=1).astype(np.float32)}
    steps = [Step("c", "add", ("a", "b"), 3), Step("d", "tanh", ("c",), 3), Step("y", "mul", (INPUT, "d"), 3)]
    x = rng.normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_array_equal(gc.Stream(graph_of(steps, p, 3, 3), 4).step(x), x * gc.tensor(p["a"] + p["b"]).tanh().data)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("op", [*ARITHMETIC, *POINTWISE, "clamp", "standardize", "softmax", "log_softmax", "argmax"])
def test_an_operation_is_its_definition_to_the_bit(op, batch, dtype, rng):
    """The definitions in NumPy against the calls that were made of them; NaN, infinities, signed zeros and subnormal numbers too."""
    for graph in one_op(op, dtype, rng):
        stream = gc.Stream(graph, batch)
        for k in range(12):
            x = rng.normal(size=(batch, graph.input.size)).astype(dtype)
            if k > 5:
                x[rng.random(x.shape) < 0.3] = rng.choice(HARD)
            want, _ = evaluate(graph, x, {})
            got = stream.step(x)
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, np.broadcast_to(want, got.shape))
            if op != "clamp":  # the sign of a clamped zero is the compiler's
                np.testing.assert_array_equal(np.signbit(got) & (got == 0), np.signbit(np.broadcast_to(want, got.shape)) & (got == 0))


@pytest.mark.parametrize("outputs", [1, 17])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_linear_head_streams_the_same_bits(outputs, batch, rng):
    model = Of(lambda m, x: m.fc(m.rnn(x)[0]), rnn=nn.LSTM(3, 67, batch_first=True), fc=nn.Linear(67, outputs, bias=outputs > 1))
    x = rng.normal(size=(batch, 40, 3)).astype(np.float32)
    stream = gc.Stream(model, batch)
    got = np.stack([stream.step(x[:, t]) for t in range(40)], 1)
    np.testing.assert_array_equal(got, np.asarray(model(gc.tensor(x))))


def test_results_are_the_callers():
    stream = gc.Stream(nn.LSTM(2, 3, batch_first=True))
    first = stream.step([0.5, -1.0])
    copy = first.copy()
    stream.step([3.0, 3.0])
    np.testing.assert_array_equal(first, copy)
    stream.reset()
    first[:] = 9
    assert all(not a.any() for a in stream.states.values())


def test_results_stand_apart_from_the_state(rng):
    """A result that is a recurrence's output, or a part of it, is no view of the state."""
    for model in (nn.LSTM(3, 4, batch_first=True), seq(lambda m, x: m.rnn(x)[0][..., 1:3])()):
        stream, x = gc.Stream(model), rng.normal(size=(4, 1, 3))
        want = [stream.step(xt).copy() for xt in x]
        stream.reset()
        for xt, y in zip(x, want, strict=True):
            got = stream.step(xt)
            np.testing.assert_array_equal(got, y)
            got[:] = 9


def test_later_training_does_not_change_a_stream():
    model = nn.GRU(2, 3, batch_first=True)
    stream = gc.Stream(model)
    before = stream.step([1.0, 2.0])
    with gc.no_grad():
        for p in model.parameters():
            p.zero_()
    stream.reset()
    np.testing.assert_array_equal(stream.step([1.0, 2.0]), before)


def test_parameters_are_of_one_type():
    steps = [Step("y", "add", (INPUT, "a"), 2), Step("z", "add", ("y", "b"), 2)]
    with pytest.raises(ValueError, match="one type wanted, got float32, float64"):
        gc.Stream(graph_of(steps, {"a": np.ones(2, np.float32), "b": np.ones(2)}, 2, 2))


def test_a_long_stream_equals_one_pass(rng):
    model = seq(lambda m, x: m.fc(m.rnn(x)[0]))()
    x = rng.normal(size=(1, 2000, 3)).astype(np.float32)
    stream = gc.Stream(model)
    got = np.stack([stream.step(xt) for xt in x[0]])
    np.testing.assert_array_equal(got, np.asarray(model(gc.tensor(x)))[0])
    assert stream.states["recurrence_0.h"].shape == (1, H)


def test_a_stream_that_nobody_holds_is_gone_at_once():
    """Without the garbage collector: nothing of it goes round in a circle."""
    gc_module.collect()
    before = _core.memory()[0]
    gc_module.disable()
    try:
        stream = gc.Stream(nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 8)), 4000)
        assert _core.memory()[0] >= before + 2 * 4000 * 64 * 4
        del stream
        assert _core.memory()[0] == before
    finally:
        gc_module.enable()


# --- threads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [9, 300], ids=["short steps", "long steps"])
def test_streams_of_one_model_in_threads_of_their_own(units, rng):
    model = nn.LSTM(4, units)
    x = rng.normal(size=(4, 200, 1, 4)).astype(np.float32)
    want = np.asarray(model(gc.tensor(x[:, :, 0].transpose(1, 0, 2)))[0])
    got = np.empty((4, 200, 1, units), np.float32)

    def run(k):
        stream = gc.Stream(model)
        for t in range(200):
            stream.step(x[k, t], out=got[k, t])

    threads = [threading.Thread(target=run, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(got[:, :, 0].transpose(1, 0, 2), want)


@pytest.mark.parametrize("quantized", [False, True], ids=["float", "integers"])
def test_a_wide_step_is_shared_by_threads_or_not(quantized, rng):
    """Steps of some million multiply-adds, each on another number of threads, and a state from outside in their midst."""
    model, x = nn.LSTM(40, 128), rng.normal(size=(6, 400, 40)).astype(np.float32)
    made = gc.quantize(model, x) if quantized else model
    alone, shared = gc.Stream(made, 400), gc.Stream(made, 400)
    before, state = gc.get_num_threads(), shared.state
    try:
        for t, threads in enumerate((1, 2, 3, 1, 2, 1)):
            gc.set_num_threads(1)
            want = alone.step(x[t])
            if t == 4:
                shared.reset()
                shared.state = state
            gc.set_num_threads(threads)
            np.testing.assert_array_equal(shared.step(x[t]), want)
            state = shared.state
            assert state == alone.state
    finally:
        gc.set_num_threads(before)


def test_a_stream_that_is_stepped_by_two_threads_refuses_or_waits(rng):
    """Never both at once: what came through are the steps of one stream in some order."""
    stream, x = gc.Stream(nn.LSTM(8, 512)), np.ones((1, 8), np.float32)
    done, refused = [], []

    def run():
        for _ in range(150):
            try:
                done.append(stream.step(x))
            except RuntimeError as e:
                refused.append(str(e))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("one thread at a time" in text for text in refused)
    stream.reset()
    want = {stream.step(x).tobytes() for _ in done}
    assert {y.tobytes() for y in done} == want
