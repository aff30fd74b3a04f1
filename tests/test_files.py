"""save, load, load_state: what comes back, what is refused, what a failure leaves behind.  Not here: step graphs (test_graph.py)."""

import copy
import os
import pickle
import stat

import numpy as np
import pytest
import safetensors.numpy
import torch

import gatecell as gc
from gatecell import nn
from gatecell.deploy.trace import trace
from gatecell.exchange import container
from networks import NETWORKS, seq


def output(model, x):
    with gc.no_grad():
        y = model(gc.tensor(x))
    return np.asarray(y[0] if isinstance(y, tuple) else y)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_loaded_model_is_the_saved_one(name, rng, tmp_path):
    network = NETWORKS[name]
    model = network.make().eval()
    first, second = tmp_path / "a.gatecell", tmp_path / "b.gatecell"
    gc.save(model, first)
    loaded = gc.load(first).eval()
    for batch, steps in ((1, 1), (3, 8)):
        x = network.input(rng, batch, steps)
        got, want = output(loaded, x), output(model, x)
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_array_equal(got, want)
    assert trace(loaded).same_as(trace(model)) == ""
    x = network.input(rng, 1, 8)
    bare = output(loaded, x.squeeze(trace(loaded).input.axes.index("batch")))
    np.testing.assert_array_equal(bare, output(loaded, x).squeeze(trace(loaded).output.axes.index("batch")))
    step = network.input(rng, 1, 1)[0, 0]
    np.testing.assert_array_equal(gc.Stream(loaded).step(step), gc.Stream(model).step(step))
    gc.save(loaded, second)
    assert first.read_bytes() == second.read_bytes()


def test_parameters_come_back_in_order_and_trainable(tmp_path):
    model = NETWORKS["forecaster"].make()
    gc.save(model, tmp_path / "m")
    loaded = gc.load(tmp_path / "m")
    assert [n for n, _ in loaded.named_parameters()] == [n for n, _ in model.named_parameters()]
    assert {n for n, _ in loaded.named_buffers()} == {"norm.mean", "norm.std"}
    x, y = gc.randn(4, 7, 3), gc.randn(4, 2)
    for m in (model, loaded):
        m.eval()
        nn.functional.mse_loss(m(x), y).backward()
    for (name, p), q in zip(model.named_parameters(), loaded.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy(), err_msg=name)
    before = loaded.fc.weight.numpy().copy()
    gc.optim.SGD(loaded.parameters(), lr=0.1).step()
    gc.save(loaded, tmp_path / "m")
    assert not np.array_equal(gc.load(tmp_path / "m").fc.weight.numpy(), before)


def test_weights_that_forward_does_not_use_are_kept(tmp_path):
    model = seq(lambda m, x: m.rnn(x)[0])()
    gc.save(model, tmp_path / "m")
    assert set(gc.load_state(tmp_path / "m")) == set(gc.load(tmp_path / "m").state_dict()) == set(model.state_dict())


def test_load_state_fits_load_state_dict_and_torchs_files(tmp_path):
    model = nn.LSTM(3, 5, 2, bidirectional=True)
    gc.save(model, tmp_path / "m")
    with pytest.raises(ValueError, match=r"weights without a step graph, because recurrence at .* load_state"):
        gc.load(tmp_path / "m")
    other = nn.LSTM(3, 5, 2, bidirectional=True)
    other.load_state_dict(gc.load_state(tmp_path / "m"))
    assert gc.equal(other.weight_hh_l1_reverse, model.weight_hh_l1_reverse)
    from safetensors.torch import save_file

    theirs = torch.nn.LSTM(3, 5, 2, bidirectional=True)
    save_file(theirs.state_dict(), tmp_path / "t")
    other.load_state_dict(gc.load_state(tmp_path / "t"))
    np.testing.assert_array_equal(other.weight_ih_l0.numpy(), theirs.weight_ih_l0.detach().numpy())
    with pytest.raises(ValueError, match="no model of gatecell's"):
        gc.load(tmp_path / "t")


def test_quantised_models(tmp_path, rng):
    x = rng.normal(size=(4, 300, 3)).astype(np.float32)
    q = gc.quantize(seq(lambda m, x: m.fc(m.rnn(x)[0]), 2)(), x)
    gc.save(q, tmp_path / "q")
    loaded = gc.load(tmp_path / "q")
    np.testing.assert_array_equal(loaded(x), q(x))
    gc.save(loaded, tmp_path / "r")
    assert (tmp_path / "q").read_bytes() == (tmp_path / "r").read_bytes()
    np.testing.assert_array_equal(gc.Stream(loaded, 4).step(x[:, 0]), q(x)[:, 0])


@pytest.mark.parametrize("model", [3, "m", None, {}, [1.0]], ids=repr)
def test_only_models_are_saved(model, tmp_path):
    with pytest.raises(TypeError, match="a Module or a quantised model wanted"):
        gc.save(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())


# Files that are not what they should be.


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The bytes of a small file."""
    path = tmp_path_factory.mktemp("files") / "m"
    gc.save(nn.GRU(1, 1, batch_first=True), path)
    return path.read_bytes()


def refused(path, data):
    """Load `data`; the ValueError that comes, anything else is a failure.  The file is named in it."""
    path.write_bytes(data)
    with pytest.raises(ValueError, match=".") as caught:
        gc.load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_truncated_at_every_byte(small, tmp_path):
    for n in range(len(small)):
        refused(tmp_path / "m", small[:n])
    refused(tmp_path / "m", small + b"\0")


def test_a_flipped_bit_is_noticed(small, tmp_path):
    for bit in range(0, 8 * len(small), 7):  # a bit of every byte, each of the eight in turn
        data = bytearray(small)
        data[bit // 8] ^= 1 << bit % 8
        refused(tmp_path / "m", bytes(data))


def test_random_damage_is_noticed(small, tmp_path, rng):
    for _ in range(500):
        data = bytearray(small)
        for i in rng.integers(0, len(data), rng.integers(1, 20)):
            data[i] = rng.integers(256)
        if bytes(data) != small:
            refused(tmp_path / "m", bytes(data))


FOREIGN = {
    "empty": b"",
    "short": b"\x01",
    "zeros": bytes(100),
    "text": b"a line of text, and another one\n" * 10,
    "pickle": pickle.dumps({"a": np.ones(3)}),
    "zip": b"PK\x03\x04" + bytes(60),
    "huge header": (2**63).to_bytes(8, "little") + b"{}",
    "header of the rest": (92).to_bytes(8, "little") + b"{" * 92,
    "deep header": (200_000).to_bytes(8, "little") + b'{"a":' + b"[" * 199_995,
    "no JSON object": (8).to_bytes(8, "little") + b"[1,2,3] ",
    "offsets beyond": (61).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,99999999]}}',
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files(name, tmp_path):
    refused(tmp_path / "m", FOREIGN[name])


def test_a_header_beyond_the_limit(tmp_path):
    n = container.HEADER_LIMIT + 8
    assert "header of at most" in refused(tmp_path / "m", n.to_bytes(8, "little") + b" " * n)


def test_tensors_that_numpy_lacks(tmp_path):
    from safetensors.torch import save

    (tmp_path / "t").write_bytes(save({"a": torch.ones(2, dtype=torch.bfloat16)}))
    with pytest.raises(ValueError, match="BF16"):
        gc.load_state(tmp_path / "t")


def rewritten(path, change):
    """A file with sound checksums whose arrays and description `change` has changed: what only a forger writes."""
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    model.add_module("2", nn.GRU(3, 4, batch_first=True))
    gc.save(model, path)
    arrays, info = container.read(path)
    change(arrays, info)
    container.write(path, arrays, info)


def step(k, **to):
    return lambda arrays, info: info["graph"]["steps"][k].update(to)


def field(*path, to):
    def change(arrays, info):
        *inside, last = path
        for name in inside:
            info = info[name]
        info[last] = to

    return change


def array(name, to):
    return lambda arrays, info: arrays.update({name: to})


FORGED = {
    "version": (field("version", to=2), "version 1 wanted, got 2"),
    "version's kind": (field("version", to="1"), "version 1 wanted, got '1'"),
    "no version": (lambda a, i: i.pop("version"), "got None"),
    "kind": (field("kind", to="picture"), "got 'picture'"),
    "kind that needs more": (field("kind", to="integer model"), "not an integer model"),
    "no graph": (lambda a, i: i.pop("graph"), "graph: a dict wanted"),
    "graph's kind": (field("graph", to=[]), "graph: a dict wanted"),
    "unknown field": (field("graph", "more", to=1), "an object with"),
    "missing field": (lambda a, i: i["graph"].pop("states"), "an object with"),
    "steps' kind": (field("graph", "steps", to={}), "a list wanted"),
    "step's kind": (field("graph", "steps", to=[1]), "an object with"),
    "size's kind": (step(0, size="3"), "int wanted, got str"),
    "size's kind, bool": (step(0, size=True), "int wanted, got bool"),
    "huge number": (step(0, size=10**30), "int wanted"),
    "operation": (step(0, op="system"), "an operation of"),
    "cell": (step(2, settings={"cell": "os.system", "axes": {"H": 4}}), "cell: one of"),
    "axes": (step(2, settings={"cell": "gru", "axes": {"H": 10**9}}), "whole numbers from 1"),
    "setting": (step(1, settings={"slope": 0.1}), "settings"),
    "size": (step(0, size=4), "size: 3 wanted, got 4"),
    "input": (step(1, inputs=["recurrence_0"]), "nothing that it may read"),
    "weights": (step(0, weights={"weight": "2.weight_ih_l0"}), "wanted"),
    "missing array": (lambda a, i: a.pop("0.weight"), "names of arrays wanted, got '0.weight'"),
    "array's shape": (array("0.weight", np.ones((3, 5), np.float32)), "linear"),
    "array's shape inside": (array("2.weight_hh_l0", np.ones((12, 5), np.float32)), "recurrence"),
    "array's dtype": (array("0.weight", np.ones((3, 2), np.int8)), "parameters of one type"),
    "mixed dtypes": (array("0.weight", np.ones((3, 2))), "parameters of one type"),
    "half": (array("0.weight", np.ones((3, 2), np.float16)), "float16"),
    "used": (field("used", to=["0.weight"]), "parameter"),
    "used's kind": (field("used", to=[["0.weight"]]), "names of arrays"),
    "buffers": (field("buffers", to=["none"]), "names of arrays"),
    "state": (field("graph", "states", to=[]), "states"),
    "name that is no path": (array("a..b", np.ones(1, np.float32)), "name"),
    "name of a method": (array("forward", np.ones(1, np.float32)), "attribute"),
    "name of Python's": (array("__class__.x", np.ones(1, np.float32)), "attribute"),
    "name within a parameter": (array("0.weight.x", np.ones(1, np.float32)), "cannot hold others"),
    "input's size": (field("graph", "input", "size", to=1 << 40), "inputs"),
    "too many steps": (lambda a, i: i["graph"]["steps"].extend(i["graph"]["steps"][1:2] * 10_000), "at most 10000 steps"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_files(name, tmp_path):
    change, reason = FORGED[name]
    path = tmp_path / "m"
    rewritten(path, change)
    assert reason in refused(path, path.read_bytes())


VALUES = [None, True, 0, -1, 3, 1 << 40, 0.5, "", "x", "input", "recurrence_0", "0.weight", [], ["x"], [0], {}, {"x": 1}, {"H": 4}]


def places(value, path=()):
    """Every path into a JSON value."""
    yield path
    for k, v in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(v, (*path, k))


@pytest.mark.parametrize("part", range(4))
def test_any_forgery_is_refused_or_runs(part, tmp_path, rng):
    """One to three values of the description, or an array, become others: a ValueError, or a model that takes its input."""
    for _ in range(150):

        def change(arrays, info):
            for _ in range(rng.integers(1, 4)):
                path = [p for p in places(info) if p][rng.integers(len([p for p in places(info) if p]))]
                inside = info
                for k in path[:-1]:
                    inside = inside[k]
                inside[path[-1]] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
            if rng.random() < 0.3:
                name = list(arrays)[rng.integers(len(arrays))]
                arrays[name] = rng.normal(size=rng.integers(0, 6, rng.integers(0, 4))).astype(rng.choice(["f4", "f8", "i1", "f2"]))

        rewritten(tmp_path / "m", change)
        try:
            model = gc.load(tmp_path / "m")
        except ValueError:
            continue
        stream = gc.Stream(model)
        stream.step(np.zeros(stream.inputs, stream.dtype))
        gc.save(model, tmp_path / "n")


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[]", "1", "nothing", '{"version": NaN}'], ids=lambda t: t[:20])
def test_forged_descriptions(text, tmp_path):
    import zlib

    data = safetensors.numpy.save({"a": np.ones(1, np.float32)}, {container.KEY: f"{zlib.crc32(text.encode()):08x}{text}"})
    refused(tmp_path / "m", data)


def test_a_description_of_another_files_tensors(tmp_path):
    gc.save(nn.GRU(1, 1), tmp_path / "a")
    gc.save(nn.GRU(1, 1), tmp_path / "b")
    a, b = ((tmp_path / n).read_bytes() for n in "ab")
    cut = 8 + int.from_bytes(a[:8], "little")
    assert "checksums" in refused(tmp_path / "m", a[:cut] + b[cut:])


# What a failure leaves behind.


@pytest.mark.parametrize("call", ["fsync", "replace", "write"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(call, tmp_path, monkeypatch):
    path = tmp_path / "m"
    gc.save(nn.GRU(1, 2), path)
    before = path.read_bytes()

    def fails(*_):
        raise OSError(28, "No space left on device")

    if call == "write":
        monkeypatch.setattr(container.safetensors.numpy, "save", lambda *_: 3)  # what no file takes
    else:
        monkeypatch.setattr(container.os, call, fails)
    with pytest.raises((OSError, TypeError)):
        gc.save(nn.GRU(2, 3), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m"]


def test_the_order_of_a_save(tmp_path, monkeypatch):
    """The data reach the disk before the name points to them; the folder after."""
    calls = []
    for name in ("fsync", "replace"):
        original = getattr(os, name)

        def noted(*args, name=name, original=original):
            kind = "folder" if name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode) else "file"
            calls.append(f"{name} {kind}" if name == "fsync" else name)
            return original(*args)

        monkeypatch.setattr(container.os, name, noted)
    gc.save(nn.GRU(1, 2), tmp_path / "m")
    assert calls == ["fsync file", "replace", "fsync folder"]


def test_folders_links_and_rights(tmp_path):
    model = nn.GRU(1, 2)
    with pytest.raises(FileNotFoundError):
        gc.save(model, tmp_path / "none" / "m")
    with pytest.raises(FileNotFoundError):
        gc.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError, match="a file wanted, got a folder"):
        gc.save(model, tmp_path)
    with pytest.raises(IsADirectoryError):
        gc.load(tmp_path)
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    gc.save(model, str(tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == (tmp_path / "link").read_bytes() != b"old"
    umask = os.umask(0o027)
    try:
        gc.save(model, tmp_path / "new")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link", "new", "real"]


def test_nothing_of_a_file_is_run():
    """No pickle, no eval: the sources say so."""
    source = "".join(p.read_text() for p in container.Path(container.__file__).parent.glob("*.py"))
    assert not [word for word in ("import pickle", "eval(", "exec(", "importlib", "__import__") if word in source]
