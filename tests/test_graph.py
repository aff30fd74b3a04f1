"""The step graph of a module: found, equal to forward, refused where there is none, checked.  Not here: streaming, files, integers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import budgets
import gatecell as gc
from gatecell import nn
from gatecell.deploy.graph import INPUT, Input, Output, State, Step, StepGraph, check
from gatecell.deploy.trace import forward, trace
from networks import NETWORKS, H, Of, gru, seq


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (4, 9)])
def test_graph_computes_forward(name, batch, steps, rng):
    network = NETWORKS[name]
    model = network.make()
    graph = trace(model)
    check(graph)
    assert [s.op for s in graph.steps] == network.ops.split()
    assert graph.output.every_step != network.last
    x = network.input(rng, batch, steps)
    model.eval()
    with gc.no_grad():
        y = model(gc.tensor(x))
    y = np.asarray(y[0] if isinstance(y, tuple) else y)
    got = forward(graph, x)
    assert (got.shape, got.dtype) == (y.shape, y.dtype)
    np.testing.assert_allclose(got, y, rtol=0, atol=budgets.STEP_GRAPH * max(1, np.abs(y).max()))


@pytest.mark.parametrize("cell", gc.cells)
@pytest.mark.parametrize("batch_first", [False, True])
def test_every_cell(cell, batch_first, rng):
    layer = nn.Recurrent(cell, 3, 5, 2, batch_first=batch_first)
    graph = trace(layer)
    assert graph.input == Input("real", 3, ("batch", "time", "feature") if batch_first else ("time", "batch", "feature"))
    assert [s.settings["cell"] for s in graph.steps] == [cell] * 2
    assert [s.state for s in graph.states] == gc.cells[cell].states * 2
    x = rng.normal(size=(4, 7, 3)).astype(np.float32)
    y = np.asarray(layer(gc.tensor(x))[0])
    np.testing.assert_allclose(forward(graph, x), y, rtol=0, atol=budgets.STEP_GRAPH * max(1, np.abs(y).max()))


@st.composite
def stacks(draw):
    """A random Sequential-like model, what it reads, whether every step or the last is wanted, and where its batch is."""
    size = features = draw(st.integers(1, 5))
    batch_first, last, layers = draw(st.booleans()), draw(st.booleans()), []
    for _ in range(draw(st.integers(1, 4))):
        new = draw(st.integers(1, 5))
        kind = draw(st.sampled_from(["cell", "linear", "tanh", "standardize", "dropout"]))
        if kind == "cell":
            layers.append(nn.Recurrent(draw(st.sampled_from(list(gc.cells))), size, new, bias=draw(st.booleans()), batch_first=batch_first))
            size = new
        elif kind == "linear":
            layers.append(nn.Linear(size, new))
            size = new
        else:
            scale = np.linspace(0.5, 2, size)
            layers.append(nn.Tanh() if kind == "tanh" else nn.Dropout() if kind == "dropout" else nn.Standardize(scale - 1, scale))

    def run(m, x):
        x = x * 1.0
        for layer in layers:
            y = layer(x)
            x = y[0] if isinstance(y, tuple) else y
        return (x[:, -1] if batch_first else x[-1]) if last and any(isinstance(layer, nn.Recurrent) for layer in layers) else x

    model = Of(run, **{f"layer{i}": layer for i, layer in enumerate(layers)})
    model.input_size = features
    return model, features, batch_first


@settings(max_examples=60)
@given(case=stacks(), batch=st.integers(1, 4), steps=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_random_stacks(case, batch, steps, seed):
    model, features, batch_first = case
    x = np.random.default_rng(seed).normal(size=(batch, steps, features) if batch_first else (steps, batch, features)).astype(np.float32)
    graph = trace(model)
    if any(s.op == "recurrence" for s in graph.steps):
        y = model.eval()(gc.tensor(x)).detach().numpy()
        np.testing.assert_allclose(forward(graph, x), y, rtol=0, atol=budgets.STEP_GRAPH * max(1, np.abs(y).max()))


def test_a_weight_that_is_no_number_changes_no_graph():
    """A run that diverged can still be saved and looked at."""
    net = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    want = trace(net)
    net[0].weight.data[0, 1] = np.nan
    assert [(s.op, s.inputs) for s in trace(net).steps] == [(s.op, s.inputs) for s in want.steps]
    y = gc.Stream(net).step(np.ones(3))
    np.testing.assert_array_equal(np.isnan(y), [True, False])


def test_parameters_have_the_names_of_the_state_dict_and_are_copies():
    model = NETWORKS["forecaster"].make()
    graph = trace(model)
    state = model.state_dict()
    assert set(graph.parameters) == set(state)
    for name, p in graph.parameters.items():
        np.testing.assert_array_equal(p, state[name].numpy())
        assert not np.shares_memory(p, state[name].numpy())
    assert graph.steps[1].weights["W"] == "rnn.weight_ih_l0"


def test_tracing_leaves_no_trace():
    model = NETWORKS["forecaster"].make()
    model.rnn.eval()
    state = gc.get_rng_state()
    modes = [m.training for m in model.modules()]
    trace(model)
    assert [m.training for m in model.modules()] == modes
    assert gc.get_rng_state() == state
    assert all(p.grad is None and p.node is None for p in model.parameters())
    assert model(gc.randn(2, 5, 3)).requires_grad


def test_lines_are_the_users():
    graph = trace(NETWORKS["forecaster"].make())
    assert all("networks.py:" in s.line for s in graph.steps)


def test_a_model_in_other_units_is_traced_in_them():
    """A pressure in Pa: random numbers around 0 would saturate every gate and compare nothing."""
    model = Of(lambda m, x: m.rnn(m.norm(x))[0], norm=nn.Standardize([101325.0], [700.0]), rnn=nn.LSTM(1, H, batch_first=True))
    graph = trace(model)
    x = (101325 + 700 * np.random.default_rng(0).normal(size=(2, 9, 1))).astype(np.float32)
    np.testing.assert_allclose(forward(graph, x), model(gc.tensor(x))[:].numpy(), atol=budgets.STEP_GRAPH)


# What cannot run step by step: the operation, the reason, the line.


class Keeps(nn.Module):
    """Goes on from its last call, as if that were one sequence."""

    def __init__(self):
        super().__init__()
        self.rnn, self.scale = gru(), 1.0

    def forward(self, x):
        self.scale += 1
        return self.rnn(x)[0] * self.scale


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, H)

    def forward(self, x):
        h, out = None, []
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
            out.append(h)
        return gc.stack(out, 1)


def written(m, x):
    y = gc.zeros(*x.shape[:2], H)
    y[:] = m.rnn(x)[0]
    return y


REFUSED = {
    "mean over time": (seq(lambda m, x: m.fc(m.rnn(x)[0].mean(1))), "mean at .*mixes time"),
    "maximum over time": (seq(lambda m, x: m.fc(m.rnn(x)[0].max(1).values)), "pick at .*mixes time"),
    "sum of all": (seq(lambda m, x: m.rnn(x)[0].sum() + x), "sum at .*mixes time"),
    "softmax over time": (seq(lambda m, x: m.rnn(x)[0].softmax(1)), "softmax at .*mixes time"),
    "over the batch": (seq(lambda m, x: m.rnn(x - x.mean(0, keepdim=True))[0]), "mean at"),
    "softmax over the batch": (seq(lambda m, x: m.rnn(x)[0].softmax(0)), "softmax at .*another axis"),
    "first step": (seq(lambda m, x: m.fc(m.rnn(x)[0][:, 0])), "getitem at .*other steps"),
    "last but one": (seq(lambda m, x: m.fc(m.rnn(x)[0][:, -2])), "getitem at .*other steps"),
    "a fixed step": (seq(lambda m, x: m.fc(m.rnn(x)[0][:, 2])), "getitem at .*other steps"),
    "without the first": (seq(lambda m, x: m.rnn(x[:, 1:])[0]), "getitem at .*other steps"),
    "differences": (seq(lambda m, x: m.rnn(x[:, 1:] - x[:, :-1])[0]), "getitem at"),
    "one row": (seq(lambda m, x: m.rnn(x)[0][:1]), "getitem at .*not the features"),
    "steps by a list": (seq(lambda m, x: m.rnn(x)[0][:, [0, 1]]), "getitem at .*list"),
    "backwards": (seq(lambda m, x: m.rnn(x.flip(1))[0]), "flip at"),
    "bidirectional": (lambda: gru(bidirectional=True), "recurrence at .*from its end"),
    "attention": (seq(lambda m, x: m.rnn(x)[0] @ m.rnn(x)[0].transpose(1, 2)), "matmul at"),
    "joined in time": (seq(lambda m, x: m.rnn(gc.cat([x, x], 1))[0]), "cat at .*mixes time"),
    "last joined to all": (seq(lambda m, x: m.rnn(x)[0] + m.rnn(x)[0][:, -1:]), "add at .*last step"),
    "last repeated": (seq(lambda m, x: m.rnn(x)[0][:, -1:].expand(-1, x.shape[1], -1)), "expand at .*repeats"),
    "step by row": (seq(lambda m, x: x[:, :, 0].unsqueeze(2) * x[:, :, 1].unsqueeze(1)), "mul at .*every other"),
    "features of all steps": (seq(lambda m, x: m.rnn(x)[0].reshape(x.shape[0], -1)), "the axes batch"),
    "cut through": (seq(lambda m, x: m.rnn(x)[0].reshape(x.shape[0], -1, 2)), "reshape at .*cuts"),
    "along the batch": (lambda: Of(lambda m, x: m.b(m.a(x)[0])[0], a=gru(), b=nn.GRU(H, 2)), "recurrence at"),
    "start from the input": (seq(lambda m, x: m.rnn(x, m.rnn(x)[1])[0]), "recurrence at .*starts from"),
    "condition": (seq(lambda m, x: gc.where(x > 0, x, -x) + m.rnn(x)[0][:, :, :1]), "(gt|where) at .*no such operation"),
    "a loop": (Loop, "getitem at .*other steps"),
    "written into": (seq(written), "a write into a tensor at .*cannot run"),
    "numpy inside": (seq(lambda m, x: gc.tensor(np.asarray(m.rnn(x)[0])) * x[:, :, :1]), "mul at .*differs between rows"),
    "a position": (seq(lambda m, x: m.rnn(x)[0] + gc.arange(x.shape[1]).unsqueeze(-1).float()), "add at .*differs between rows or steps"),
    "random": (seq(lambda m, x: m.rnn(x)[0] * gc.rand(1)), "values of constant.0, which mul at .* reads"),
    "kept from call to call": (Keeps, "values of constant.0, which mul at .* reads"),
    "by the length": (seq(lambda m, x: m.rnn(x)[0] * 2 if x.shape[1] > 6 else m.rnn(x)[0]), "rows and steps are other"),
    "a fixed length": (seq(lambda m, x: m.rnn(x.reshape(-1, 11, 3))[0]), "runs once, but not again on"),
    "no output": (seq(lambda m, x: None), "return a Tensor"),
    "a mapping": (seq(lambda m, x: {"y": m.rnn(x)[0]}), "return a Tensor"),
    "the input": (seq(lambda m, x: x), "the input itself"),
    "a constant": (seq(lambda m, x: gc.ones(3)), "does not depend"),
    "all final states": (lambda: Of(lambda m, x: m.rnn(x)[1], rnn=gru(num_layers=2)), "final states of several"),
    "sum of final states": (lambda: Of(lambda m, x: m.rnn(x)[1] * 2, rnn=gru(num_layers=2)), "select one"),
    "no input fits": (seq(lambda m, x: m.fc(m.rnn(x)[0].reshape(7, 7))), "none of the inputs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_stream_is_refused_with_its_reason(name):
    make, reason = REFUSED[name]
    with pytest.raises(gc.Unsupported, match=reason) as caught:
        trace(make())
    if " at " in reason:
        assert __file__ in str(caught.value) or "bidirectional" in name


def test_only_modules():
    with pytest.raises(TypeError, match="a Module wanted, got str"):
        trace("model")


# Graphs that do not fit are refused.

GRAPH = StepGraph(
    Input("real", 2, ("batch", "time", "feature")),
    Output("y", 3, ("batch", "time", "feature")),
    (
        Step("z", "standardize", (INPUT,), 2, weights={"mean": "mean", "std": "std"}),
        Step("h", "recurrence", ("z",), 4, {"cell": "gru", "axes": {"H": 4}}, {"W": "W", "R": "R"}),
        Step("y", "linear", ("h",), 3, weights={"weight": "weight", "bias": "bias"}),
    ),
    (State("h", "h", 4, None),),
    {
        name: np.zeros(shape, np.float32)
        for name, shape in {"mean": 2, "std": 2, "W": (12, 2), "R": (12, 4), "weight": (3, 4), "bias": 3, "h0": 4}.items()
    },
)


def changed(step=None, to=None, **other):
    """GRAPH with one step's fields, or fields of the graph, replaced."""
    steps = tuple(replace(s, **to) if s.name == step else s for s in GRAPH.steps)
    return replace(GRAPH, **{"steps": steps, **other})


UNSOUND = {
    "operation": changed("y", {"op": "conv"}),
    "reads nothing": changed("y", {"inputs": ("q",)}),
    "reads a later one": replace(GRAPH, steps=GRAPH.steps[::-1]),
    "reads a parameter": changed("y", {"inputs": ("mean",)}),
    "no parameter": changed("y", {"weights": {"weight": "q"}}),
    "too many inputs": changed("y", {"inputs": ("h", "h")}),
    "no inputs": changed("y", {"inputs": ()}),
    "size": changed("y", {"size": 4}),
    "setting": changed("y", {"settings": {"slope": 1}}),
    "weight's shape": changed("y", {"weights": {"weight": "R"}}),
    "weight's role": changed("y", {"weights": {"matrix": "weight"}}),
    "bias alone": changed("y", {"weights": {"bias": "bias"}}),
    "name taken": changed("y", {"name": "h"}),
    "name of a parameter": changed("y", {"name": "mean"}),
    "name of the input": changed("y", {"name": INPUT}),
    "name": changed("y", {"name": "*/ int main"}),
    "cell": changed("h", {"settings": {"cell": "none", "axes": {"H": 4}}}),
    "cell's kind": changed("h", {"settings": {"cell": 3, "axes": {"H": 4}}}),
    "axes": changed("h", {"settings": {"cell": "gru", "axes": {"H": 5}}}),
    "axes' kind": changed("h", {"settings": {"cell": "gru", "axes": {"H": "4"}}}),
    "no axes": changed("h", {"settings": {"cell": "gru", "axes": {}}}),
    "negative axis": changed("h", {"settings": {"cell": "gru", "axes": {"H": -4}}}),
    "weights": changed("h", {"weights": {"W": "W"}}),
    "no state": changed(states=()),
    "state twice": changed(states=GRAPH.states * 2),
    "state's size": changed(states=(State("h", "h", 5),)),
    "state's name": changed(states=(State("h", "c", 4),)),
    "state of nothing": changed(states=(*GRAPH.states, State("y", "h", 4))),
    "start": changed(states=(State("h", "h", 4, "mean"),)),
    "start that is none": changed(states=(State("h", "h", 4, "q"),)),
    "output": changed(output=Output("q", 3, GRAPH.output.axes)),
    "output's size": changed(output=Output("y", 2, GRAPH.output.axes)),
    "output's axes": changed(output=Output("y", 3, ("batch", "batch", "feature"))),
    "output without features": changed(output=Output("y", 3, ("batch",))),
    "input's kind": changed(input=Input("words", 2, GRAPH.input.axes)),
    "input's size": changed(input=Input("real", 0, GRAPH.input.axes)),
    "input's axes": changed(input=Input("real", 2, ("batch", "feature", "time"))),
    "input without features": changed(input=Input("real", 2, ("batch", "time"))),
    "tokens standardised": changed(input=Input("tokens", 2, ("batch", "time"))),
    "slice": changed("y", {"op": "slice", "weights": {}, "settings": {"start": 2, "stop": 5}}),
    "slice's kind": changed("y", {"op": "slice", "weights": {}, "settings": {"start": 0.0, "stop": 3}}),
    "embedding of numbers": changed("y", {"op": "embedding", "weights": {"weight": "weight"}}),
    "cat of nothing": changed("y", {"op": "cat", "inputs": (), "weights": {}, "size": 0}),
    "sizes": changed("y", {"op": "add", "inputs": ("z", "h"), "weights": {}, "size": 4}),
    "state of a linear layer": changed("y", {"op": "state", "inputs": ("z",), "weights": {}, "settings": {"state": "h"}}),
}


def test_the_sound_graph_is_sound():
    check(GRAPH)
    check(changed(states=(State("h", "h", 4, "h0"),)))


@pytest.mark.parametrize("name", UNSOUND)
def test_unsound_graphs_are_refused(name):
    with pytest.raises(ValueError, match="."):
        check(UNSOUND[name])


def test_differences_are_named():
    assert GRAPH.same_as(GRAPH) == ""
    for other, word in (
        (changed("y", {"op": "relu"}), "linear of y and relu"),
        (changed(parameters={**GRAPH.parameters, "bias": np.ones(3, np.float32)}), "bias"),
        (changed(steps=GRAPH.steps[:2]), "3 and 2"),
        (changed(states=()), "states"),
    ):
        assert word in GRAPH.same_as(other)
