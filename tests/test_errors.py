"""Bad input, a table: the exception's type, what its message says was wanted and what came, and that nothing has changed after it.

Not here: damaged files (test_files.py), what cannot stream (test_graph.py), operations of tensors (test_tensor.py).
"""

import copy

import numpy as np
import pytest
import torch

import gatecell
from gatecell import nn, optim
from gatecell.data import Table
from gatecell.optim import lr_scheduler
from gatecell.tensor.tensor import Tensor


class World:
    """What the rows act on; all of it has to be the same after an error."""

    def __init__(self, folder):
        self.folder = folder
        gatecell.manual_seed(1)
        self.lstm = nn.LSTM(3, 4, 2, batch_first=True)
        self.gru = nn.GRU(3, 4)
        self.cell = nn.LSTMCell(3, 4)
        self.linear = nn.Linear(3, 2)
        self.embedding = nn.Embedding(5, 2)
        self.model = nn.Sequential(nn.Standardize(np.zeros(3), np.ones(3)), nn.Linear(3, 1))
        self.all = nn.ModuleList([self.lstm, self.gru, self.cell, self.linear, self.embedding, self.model])
        self.adam = optim.Adam(self.linear.parameters())
        self.linear(np.ones((2, 3))).sum().backward()
        self.adam.step()
        self.schedule = lr_scheduler.StepLR(self.adam, 3)
        self.table = Table({"heat": np.arange(4.0), "wind": np.array([1.0, np.nan, 2, 3])})
        self.x = f32(6, 3)

    def snapshot(self):
        modules = [(type(m).__name__, m.training, sorted(vars(m).keys() - {"training"})) for m in self.all.modules()]
        arrays = [v.data.tobytes() + str(v.dtype).encode() for v in self.all.state_dict().values()]
        gradients = [None if p.grad is None else p.grad.data.tobytes() for p in self.all.parameters()]
        files = sorted((str(p.relative_to(self.folder)), p.is_file() and p.read_bytes()) for p in self.folder.rglob("*"))
        plain = repr([self.adam.state_dict(), self.schedule.state_dict(), gatecell.get_rng_state()])
        return modules, arrays, gradients, files, plain


def f32(*shape):
    return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def with_nan(a):
    return np.where(np.arange(a.size).reshape(a.shape) == 5, np.nan, a)


def state(**changes):
    """A state_dict for Linear(3, 2), changed."""
    return {k: v for k, v in {"weight": f32(2, 3), "bias": f32(2), **changes}.items() if v is not None}


def changed(model, value, dtype=gatecell.float32):
    """A copy whose input weights have this value at (1, 2)."""
    model = copy.deepcopy(model).to(dtype)
    model.weight_ih_l0.data[1, 2] = value
    return model


def quantized(w):
    return gatecell.quantize(w.gru, f32(9, 1, 3))


def export(w, model):
    return gatecell.export_c(model, w.folder / "out", name="m")


def fit(w, x, y, **options):
    return gatecell.fit(w.model, (x, y), progress=False, epochs=1, **options)


T, V = TypeError, ValueError
# name -> (what is done, exception, what the message has to say: wanted ..., got ...)
ROWS = {
    # Layers: rank, size, dtype, kind of input.
    "rank 1 for a layer": (lambda w: w.lstm(f32(3)), V, "(B, T, I) or (T, I)", "(3,)"),
    "rank 4 for a layer": (lambda w: w.gru(f32(2, 2, 2, 3)), V, "(T, B, I) or (T, I)", "(2, 2, 2, 3)"),
    "too few features": (lambda w: w.lstm(f32(2, 5, 2)), V, "3 features", "(2, 5, 2)"),
    "no steps": (lambda w: w.gru(f32(0, 2, 3)), V, "no empty dimension", "(0, 2, 3)"),
    "a Tensor of float64": (lambda w: w.lstm(Tensor(np.ones((2, 5, 3)))), T, "float32", "float64"),
    "a Tensor of integers": (lambda w: w.linear(gatecell.arange(3)), T, "float32", "int64"),
    "complex input": (lambda w: w.lstm(np.ones((2, 5, 3), complex)), T, "real", "complex128"),
    "text": (lambda w: w.lstm(np.array([["a"] * 3])), T, "real", "<U1"),
    "a list": (lambda w: w.linear([1.0, 2.0, 3.0]), T, "NumPy array", "list"),
    "another library's tensor": (lambda w: w.gru(torch.ones(4, 3)), T, "NumPy array", "Tensor"),
    "a scalar for Linear": (lambda w: w.linear(np.ones(())), V, "3 features", "()"),
    "wrong size for Linear": (lambda w: w.linear(f32(2, 4)), V, "3 features", "(2, 4)"),
    "real tokens": (lambda w: w.embedding(f32(3)), T, "integers", "float32"),
    "a token too large": (lambda w: w.embedding(np.array([0, 5])), IndexError, "0 to 4", "5"),
    "a negative token": (lambda w: w.embedding(np.array([-1])), IndexError, "0 to 4", "-1"),
    "standardise other features": (lambda w: w.model(f32(2, 4)), V, "3 features", "(2, 4)"),
    "layer norm of another shape": (lambda w: nn.LayerNorm(5)(f32(2, 4)), V, "(5,)", "(2, 4)"),
    # Initial states and lengths.
    "one state of two": (lambda w: w.lstm(f32(2, 5, 3), f32(2, 2, 4)), V, "2 (h, c)", "1"),
    "two states of one": (lambda w: w.gru(f32(5, 2, 3), (f32(1, 2, 4),) * 2), V, "1 (h)", "2"),
    "states of another batch": (lambda w: w.lstm(f32(2, 5, 3), (f32(2, 2, 4), f32(2, 3, 4))), V, "c: wanted shape (2, 2, 4)", "(2, 3, 4)"),
    "a batch of states without one": (lambda w: w.gru(f32(5, 3), f32(1, 1, 4)), V, "(1, 4)", "(1, 1, 4)"),
    "a state of float64": (lambda w: w.gru(f32(5, 2, 3), Tensor(np.zeros((1, 2, 4)))), T, "float32", "float64"),
    "a state that is none": (lambda w: w.gru(f32(5, 2, 3), "zeros"), T, "wanted h", "str"),
    "cell states": (lambda w: w.cell(f32(2, 3), (f32(2, 4), f32(3, 4))), V, "(2, 4)", "(3, 4)"),
    "rank 3 for a cell": (lambda w: w.cell(f32(1, 2, 3)), V, "(B, I) or (I,)", "(1, 2, 3)"),
    "a length of 0": (lambda w: w.lstm(f32(2, 5, 3), lengths=[5, 0]), V, "1 to 5", "0"),
    "a length beyond": (lambda w: w.gru(f32(5, 2, 3), lengths=np.array([6, 1])), V, "1 to 5", "6"),
    "too few lengths": (lambda w: w.gru(f32(5, 2, 3), lengths=[5]), V, "(2,)", "(1,)"),
    "real lengths": (lambda w: w.gru(f32(5, 2, 3), lengths=[5.0, 2.0]), T, "integers", "float64"),
    "lengths without a batch": (lambda w: w.gru(f32(5, 3), lengths=[5]), V, "None", "without a batch"),
    # Constructors.
    "hidden size 0": (lambda w: nn.LSTM(3, 0), V, "hidden_size", "at least 1", "got 0"),
    "negative input size": (lambda w: nn.GRU(-3, 4), V, "input_size", "at least 1", "got -3"),
    "no layers": (lambda w: nn.RNN(3, 4, num_layers=0), V, "num_layers", "got 0"),
    "half a unit": (lambda w: nn.LSTM(3, 4.5), T, "hidden_size", "int", "4.5"),
    "a bool for a size": (lambda w: nn.LSTMCell(3, True), T, "hidden_size", "int", "True"),
    "dropout of 2": (lambda w: nn.LSTM(3, 4, 2, dropout=2), V, "0 <= dropout <= 1", "got 2"),
    "dropout as text": (lambda w: nn.Dropout("0.5"), T, "number", "str"),
    "unknown nonlinearity": (lambda w: nn.RNN(3, 4, nonlinearity="sin"), V, "'tanh' or 'relu'", "'sin'"),
    "unknown cell": (lambda w: nn.Recurrent("lsmt", 3, 4), V, "lstm", "'lsmt'"),
    "no name of a cell": (lambda w: nn.Recurrent(5, 3, 4), T, "name or a record", "int"),
    "a projection that it lacks": (lambda w: nn.Recurrent("gru", 3, 4, proj_size=2), gatecell.Unsupported, "proj_size=2", "projection"),
    "a projection of a negative size": (lambda w: nn.LSTM(3, 4, proj_size=-1), V, "proj_size", "at least 1", "got -1"),
    "a projection that is no smaller": (lambda w: nn.LSTM(3, 4, proj_size=4), V, "proj_size", "less than the 4", "got 4"),
    "heads that the cell lacks": (lambda w: nn.Recurrent("lstm", 3, 4, num_heads=2), gatecell.Unsupported, "num_heads=2", "block-diagonal"),
    "heads that do not divide": (lambda w: nn.Recurrent("slstm", 3, 4, num_heads=3), V, "num_heads", "4 hidden", "got 3"),
    "Linear of no outputs": (lambda w: nn.Linear(3, 0), V, "out_features", "got 0"),
    "an empty vocabulary": (lambda w: nn.Embedding(0, 3), V, "num_embeddings", "got 0"),
    "padding outside": (lambda w: nn.Embedding(4, 3, padding_idx=4), V, "row of 4", "got 4"),
    "std of 0": (lambda w: nn.Standardize([0.0, 0.0], [1.0, 0.0]), V, "positive", "got 0.0"),
    "mean and std of two lengths": (lambda w: nn.Standardize([0.0, 0.0], [1.0]), V, "one shape", "(2,)", "(1,)"),
    "a mean that is NaN": (lambda w: nn.Standardize(np.nan, 1.0), V, "mean", "finite", "nan"),
    "a table of means": (lambda w: nn.Standardize(np.ones((2, 2)), np.ones((2, 2))), V, "(I,)", "(2, 2)"),
    "unknown reduction": (lambda w: nn.MSELoss(reduction="avg"), V, "'mean', 'sum' or 'none'", "'avg'"),
    "no module in Sequential": (lambda w: nn.Sequential(nn.Tanh(), np.tanh), T, "Module", "ufunc"),
    # Modules.
    "no forward": (lambda w: w.all(f32(2, 3)), T, "ModuleList", "forward"),
    "an array for a parameter": (lambda w: setattr(w.linear, "weight", f32(2, 3)), T, "Parameter or None", "ndarray"),
    "a number for a buffer": (lambda w: setattr(w.model[0], "mean", 3.0), T, "Tensor or None", "float"),
    "a name with a dot": (lambda w: w.model.add_module("a.b", nn.Tanh()), V, "no dot", "'a.b'"),
    "a name that is taken": (lambda w: w.model.register_parameter("forward", nn.Parameter(f32(1))), V, "'forward'", "already"),
    "a list for a buffer": (lambda w: w.model.register_buffer("extra", [1, 2]), T, "Tensor", "list"),
    "another device": (lambda w: w.lstm.to("cuda"), V, "cpu", "cuda"),
    "integer weights": (lambda w: w.lstm.to(gatecell.int64), T, "float32 or float64", "int64"),
    "train with a number": (lambda w: w.lstm.train(0), T, "bool", "int"),
    # State dicts: all troubles at once.
    "a list of weights": (lambda w: w.linear.load_state_dict([f32(2, 3)]), T, "mapping", "list"),
    "a missing name": (lambda w: w.linear.load_state_dict(state(bias=None)), V, "missing: bias", "nothing was loaded"),
    "an unexpected name": (lambda w: w.linear.load_state_dict(state(extra=f32(1))), V, "unexpected: extra"),
    "a wrong shape": (lambda w: w.linear.load_state_dict(state(weight=f32(3, 2))), V, "weight wants (2, 3), got (3, 2)"),
    "a wrong shape, not strict": (lambda w: w.linear.load_state_dict({"bias": f32(3)}, strict=False), V, "bias wants (2,), got (3,)"),
    "everything wrong": (
        lambda w: w.linear.load_state_dict({"bias": f32(1), "b": 1}), V, "missing: weight", "unexpected: b", "bias wants (2,), got (1,)",
    ),
    "complex weights": (lambda w: w.linear.load_state_dict(state(bias=np.ones(2, complex))), T, "bias", "real", "complex128"),
    "weights of text": (lambda w: w.linear.load_state_dict(state(bias=["a", "b"])), T, "bias", "real", "<U1"),
    # Losses and clipping.
    "a target of another shape": (lambda w: nn.MSELoss()(w.linear(f32(4, 3)), f32(4)), V, "(4, 2)", "(4,)"),
    "a class too large": (lambda w: nn.CrossEntropyLoss()(w.linear(f32(2, 3)), np.array([0, 2])), V, "0 to 1", "2"),
    "real classes": (lambda w: nn.NLLLoss()(w.linear(f32(2, 3)), f32(2)), T, "integers", "float32"),
    "clip to nothing": (lambda w: nn.utils.clip_grad_norm_(w.linear.parameters(), 0), V, "positive", "got 0"),
    "clip values to nothing": (lambda w: nn.utils.clip_grad_value_(w.linear.parameters(), -1), V, "positive", "got -1"),
    "a vector too short": (lambda w: nn.utils.vector_to_parameters(Tensor(f32(3)), w.linear.parameters()), V, "(8,)", "(3,)"),
    # Optimisers and schedules.
    "no parameters": (lambda w: optim.SGD([]), V, "at least one", "empty"),
    "one Tensor": (lambda w: optim.SGD(w.linear.weight), T, "iterable of Tensors", "Parameter"),
    "arrays": (lambda w: optim.Adam([f32(2)]), T, "Tensors", "ndarray"),
    "a result": (lambda w: optim.Adam([w.linear(f32(2, 3))]), V, "leaves", "(2, 2)"),
    "a parameter twice": (lambda w: w.adam.add_param_group({"params": w.linear.weight}), V, "twice"),
    "negative rate": (lambda w: optim.AdamW(w.linear.parameters(), lr=-1), V, "0 <= lr", "got -1"),
    "a rate that is NaN": (lambda w: optim.AdamW(w.linear.parameters(), lr=float("nan")), V, "0 <= lr", "got nan"),
    "beta of 1": (lambda w: optim.Adam(w.linear.parameters(), betas=(0.9, 1.0)), V, "betas < 1", "got 1.0"),
    "nesterov alone": (lambda w: optim.SGD(w.linear.parameters(), lr=1, nesterov=True), V, "momentum > 0", "0"),
    "state of other groups": (lambda w: optim.Adam([*w.lstm.parameters()]).load_state_dict(w.adam.state_dict()), V, "[8]", "[2]"),
    "state of another shape": (
        lambda w: w.adam.load_state_dict(w.adam.state_dict() | {"state": {0: {"step": 1, "exp_avg": f32(3), "exp_avg_sq": f32(2, 3)}}}),
        V, "exp_avg of parameter 0", "(2, 3)", "(3,)",
    ),
    "state of another optimiser": (
        lambda w: w.adam.load_state_dict(w.adam.state_dict() | {"state": {1: {"square_avg": f32(2)}}}), V, "parameter 1 lacks step",
    ),
    "a schedule of nothing": (lambda w: lr_scheduler.ExponentialLR(w.linear, 0.9), T, "optimiser", "Linear"),
    "steps of 0": (lambda w: lr_scheduler.StepLR(w.adam, 0), V, "step_size", "at least 1", "got 0"),
    "a cycle without length": (lambda w: lr_scheduler.OneCycleLR(w.adam, 0.1), V, "total_steps"),
    "two rates for one group": (lambda w: lr_scheduler.ReduceLROnPlateau(w.adam, min_lr=[0.1, 0.2]), V, "one value or 1", "got 2"),
    "a schedule's state": (lambda w: w.schedule.load_state_dict({"last_epoch": 4}), V, "lacks", "base_lrs"),
    # Training.
    "NaN in training input": (lambda w: fit(w, with_nan(f32(6, 3)), f32(6, 1)), V, "x: wanted finite", "(1, 2)"),
    "infinity in a target": (lambda w: fit(w, f32(6, 3), np.full((6, 1), np.inf)), V, "y: wanted finite", "inf"),
    "NaN in validation": (lambda w: fit(w, f32(6, 3), f32(6, 1), val=(with_nan(f32(6, 3)), f32(6, 1))), V, "val", "finite"),
    "x and y of two lengths": (lambda w: fit(w, f32(6, 3), f32(5, 1)), V, "equally long", "(6, 3) and (5, 1)"),
    "training on text": (lambda w: fit(w, np.array([["a"] * 3]), f32(1, 1)), T, "numbers", "<U1"),
    "no data": (lambda w: gatecell.fit(w.model, f32(6, 3)), T, "(x, y)", "ndarray"),
    "no model to fit": (lambda w: gatecell.fit(lambda x: x, (f32(6, 3), f32(6, 1))), T, "Module", "function"),
    "no epochs": (lambda w: gatecell.fit(w.model, (f32(6, 3), f32(6, 1)), epochs=0), V, "epochs", "got 0"),
    # Tables.
    "a missing column": (lambda w: w.table["rain"], V, "'rain'", "heat, wind"),
    "missing columns": (lambda w: w.table.matrix(["heat", "rain", "snow"]), V, "'rain', 'snow'", "heat, wind"),
    "a column with holes": (lambda w: w.table.matrix(["heat", "wind"]), V, "'wind' lacks 1", "row 2"),
    # From here on: what a model becomes.
    "unknown scheme": (lambda w: gatecell.quantize(w.gru, f32(9, 1, 3), scheme="w7a9"), V, "w8a8", "w7a9"),
    "calibration of other features": (lambda w: gatecell.quantize(w.gru, f32(9, 1, 2)), V, "3", "2"),
    "NaN in calibration": (lambda w: gatecell.quantize(w.gru, with_nan(f32(9, 1, 3))), V, "finite", "got nan in feature 2 at step 1"),
    "infinity in calibration": (lambda w: gatecell.quantize(w.gru, np.full((9, 1, 3), -np.inf)), V, "finite", "-inf in feature 0"),
    "calibration beyond float32": (lambda w: gatecell.quantize(w.gru, np.full((9, 1, 3), 1e39)), V, "float32", "got 1e+39"),
    "calibration below float32": (lambda w: gatecell.quantize(w.gru, f32(9, 1, 3) * 1e-40), V, "feature 0 varies by", "float32"),
    "calibration that overflows": (
        lambda w: gatecell.quantize(changed(w.gru, 1e308, gatecell.float64), np.full((9, 1, 3), 9.0)), V, "computes inf", "in line",
    ),
    "a NaN to quantise": (lambda w: gatecell.quantize(changed(w.gru, np.nan), f32(9, 1, 3)), V, "weight_ih_l0: finite", "nan at (1, 2)"),
    "an infinity to export": (lambda w: export(w, changed(w.gru, np.inf)), V, "weight_ih_l0: finite", "got inf at (1, 2)"),
    "a weight beyond float32": (lambda w: export(w, changed(w.gru, 1e39, gatecell.float64)), V, "W of layer 0", "float32", "1e+39"),
    "a weight beyond integers": (
        lambda w: gatecell.quantize(changed(w.gru, 1e30), f32(9, 1, 3)), gatecell.Unsupported, "W.r up to 1e+30", "at most 1.31e+05",
    ),
    "NaN for an integer model": (lambda w: quantized(w)(with_nan(f32(9, 1, 3))), V, "numbers", "NaN at (1, 0, 2)"),
    "NaN for its integers": (lambda w: quantized(w).quantize_input(f32(1, 3) * np.nan), V, "numbers", "NaN at (0, 0)"),
    "NaN for its stream": (lambda w: gatecell.Stream(quantized(w)).step(f32(3) * np.nan), V, "numbers", "NaN at (0, 0)"),
    "text for calibration": (lambda w: gatecell.quantize(w.gru, np.array(["a"])), T, "real", "<U1"),
    "quantise no model": (lambda w: gatecell.quantize("gru", f32(9, 1, 3)), T, "Module", "str"),
    "a C name with a dash": (lambda w: gatecell.export_c(w.gru, w.folder / "out", name="my-model"), V, "my-model"),
    "a C keyword": (lambda w: gatecell.export_c(w.gru, w.folder / "out", name="int"), V, "int"),
    "no C name": (lambda w: gatecell.export_c(w.gru, w.folder / "out", name=""), V, "name"),
    "unknown target": (lambda w: gatecell.export_c(w.gru, w.folder / "out", name="m", target="pdp-11"), V, "cortex-m4", "pdp-11"),
    "export no model": (lambda w: gatecell.export_c(f32(3), w.folder / "out", name="m"), T, "Module", "ndarray"),
    "a folder that is a file": (lambda w: gatecell.export_c(w.gru, w.folder / "file", name="m"), V, "folder", "file"),
    "an unwritable folder": (lambda w: gatecell.export_c(w.gru, "/proc/out", name="m"), V, "folder", "/proc/out"),
    "save to an unwritable folder": (lambda w: gatecell.save(w.gru, "/proc/m"), OSError, "/proc/m: a folder", "written", "got /proc"),
    "save into no folder": (lambda w: gatecell.save(w.gru, "/proc/x/y"), OSError, "/proc/x/y: a folder that can be written", "got /proc/x"),
    "load what is not there": (lambda w: gatecell.load(w.folder / "none"), FileNotFoundError, "/none'"),
    "save no model": (lambda w: gatecell.save({"a": f32(3)}, w.folder / "m.safetensors"), T, "Module", "dict"),
    "save beside nothing": (lambda w: gatecell.save(w.gru, w.folder / "nowhere" / "m.safetensors"), OSError, "nowhere"),
    "load what is no model": (lambda w: gatecell.load(w.folder / "file"), V, "file"),
    "a stream of no rows": (lambda w: gatecell.Stream(w.gru, batch=0), V, "at least 1", "0"),
    "a stream's input": (lambda w: gatecell.Stream(w.gru).step(f32(2)), V, "3", "(2,)"),
    "threads": (lambda w: gatecell.set_num_threads(0), V, "at least 1", "0"),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_bad_input(row, tmp_path):
    act, kind, *said = row
    (tmp_path / "file").write_text("no model")
    world = World(tmp_path)
    before = world.snapshot()
    with pytest.raises(kind) as caught:
        act(world)
    assert type(caught.value) is kind or kind is OSError
    message = str(caught.value)
    assert not [s for s in said if s not in message], message
    assert world.snapshot() == before


def test_one_more_step_than_a_cycle_has():
    world = World(None)
    cycle = lr_scheduler.OneCycleLR(world.adam, 0.1, total_steps=3)
    for _ in range(3):
        cycle.step()
    before = repr((world.adam.state_dict(), cycle.state_dict()))
    with pytest.raises(ValueError, match="3 steps"):
        cycle.step()
    assert repr((world.adam.state_dict(), cycle.state_dict())) == before


def test_a_dropout_that_cannot_act_is_a_warning():
    with pytest.warns(UserWarning, match="only one") as caught:
        nn.GRU(3, 4, dropout=0.5)
    assert caught[0].filename == __file__
