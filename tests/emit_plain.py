"""A language that gatecell does not write: plain Python over lists, in one file, as a new file in emit/ would be.  No cell is known here.

The recipe of CONTRIBUTING.md for a target or output language, followed: a program's nodes in order, the table of primitives for what each
is called, nothing else of the package.
"""

from gatecell.algebra.gates import named
from gatecell.algebra.graph import is_leaf

HEAD = '''"""{name}: generated. step(states, x) -> output; states is a list of lists, zeros at first."""
from math import exp, tanh


def sigmoid(a):
    return 0.5 + 0.5 * tanh(0.5 * a)


def relu(a):
    return max(a, 0.0)


def maximum(a, b):
    return max(a, b)


def lerp(t, a, b):
    return a + t * (b - a)


def over(*vectors):  # what all units share is there once
    n = max(map(len, vectors))
    return zip(*(v * n if len(v) == 1 else v for v in vectors))


def product(rows, bias, v):
    return [b + sum(w * u for w, u in zip(row, v)) for row, b in zip(rows, bias)]

'''
SPELLING = {"add": "{0} + {1}", "sub": "{0} - {1}", "mul": "({0}) * ({1})", "div": "({0}) / ({1})", "neg": "-({0})"}
CALLS = ("sigmoid", "tanh", "relu", "exp", "lerp", "maximum")


def spelled(model):
    """Whether every primitive of the model has a spelling here."""
    plain = {*SPELLING, *CALLS, "product"}
    return all(is_leaf(n) or n.op in plain for layer in model.layers for n in layer.program.nodes)


def text(model, name):
    """model: an algebra.model.FloatModel.  NotImplementedError: a primitive without a spelling."""
    body, weights = [f"    x = [(v - m) / s for v, m, s in zip(x, {model.mean.tolist()}, {model.std.tolist()})]"], []
    count = 0
    for k, layer in enumerate(model.layers):
        lines, constants, count = _layer(layer, k, count)
        body += lines
        weights += constants
    return HEAD.format(name=name) + "\n".join([*weights, "", "", "def step(states, x):", *body, "    return x", ""])


def _layer(layer, k, count):
    p, lines, constants = layer.program, [], []
    called = {n: name for name, n in named(p).items()}
    at = {s: count + i for i, s in enumerate(p.states)}
    names = {}
    for n in p.nodes:
        own = f"l{k}_{n.index}"
        names[n] = own
        if n.op == "const":
            names[n] = repr(n.attr)
        elif is_leaf(n):
            value = {"x": "x", "state": f"states[{at.get(n.attr)}]"}.get(n.op) or f"{layer.weights[n.attr].tolist()}"
            lines.append(f"    {own} = {value}")
        elif n.op == "product":
            w, bias = layer.matrix(n.attr[0])
            constants.append(f"{own}_w, {own}_b = {w.tolist()}, {[0.0] * len(w) if bias is None else bias.tolist()}")
            lines.append(f"    {own} = product({own}_w, {own}_b, {names[n.args[0]]})")
        elif n.op in SPELLING or n.op in CALLS:
            vectors = list(dict.fromkeys(a for a in n.args if a.op != "const"))
            arguments = [repr(a.attr) if a.op == "const" else f"v{vectors.index(a)}" for a in n.args]
            spelled = SPELLING[n.op].format(*arguments) if n.op in SPELLING else f"{n.op}({', '.join(arguments)})"
            each = ", ".join(f"v{i}" for i in range(len(vectors)))
            lines.append(f"    {own} = [{spelled} for {each}, in over({', '.join(names[a] for a in vectors)})]")
        else:
            raise NotImplementedError(f"{n.op} has no spelling in plain Python yet")
        if n in called:
            lines[-1] += f"  # {called[n]}"
    new = [names[p.outs[s]] for s in p.states]
    lines += [f"    {', '.join(f'states[{at[s]}]' for s in at)} = {', '.join(new)}", f"    x = {new[0]}"]
    return lines, constants, count + len(at)
