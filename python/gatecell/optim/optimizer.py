"""Optimizer: parameter groups, state, their checks, and the walk over parameters in pieces. The update rules are in algorithms.py."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..nn.module import clear_gradients
from ..tensor.tensor import Tensor

Array = npt.NDArray[Any]
Group = dict[str, Any]
State = dict[str, Any]

# Elements updated at a time. A rule makes about 12 passes over its arrays; 32 Ki float32 of parameter, gradient, two moments and two
# temporaries are 768 KiB, which a second-level cache of 1 MiB holds, while a pass is still long beside the 0.5 us that NumPy takes to
# begin it. Measured for Adam on 4 Mi elements: 8 Ki 8.3 ms, 32 Ki 5.5 ms, 64 Ki 5.3 ms, all at once 6.3 ms.
PIECE = 1 << 15


class Optimizer:
    """Base of all: `param_groups` (lists of parameters with their options, torch's layout) and `state` {parameter: {name: array or int}}.

    `params`: Tensors, or dicts {"params": Tensors, option: value, ...} whose options replace the optimiser's defaults.
    TypeError: anything else among them. ValueError: no parameter, one twice, one that is a result and not a leaf, an option out of range.
    """

    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {}  # option -> lowest value allowed, first value no longer allowed

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        if isinstance(params, (Tensor, Mapping)) or not isinstance(params, Iterable):
            raise TypeError(f"an optimiser wants an iterable of Tensors or of dicts, got {type(params).__name__}")
        self.defaults = dict(defaults)
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, State] = {}
        self._work: dict[np.dtype[Any], Array] = {}
        groups = list(params)
        if not groups:
            raise ValueError("an optimiser wants at least one parameter, got an empty list")
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Train more parameters, with options of their own: {"params": Tensors, option: value, ...}."""
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise TypeError(f"a parameter group is a dict with 'params', got {type(param_group).__name__}")
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        for tensor in params:
            if not isinstance(tensor, Tensor):
                raise TypeError(f"an optimiser wants Tensors, got {type(tensor).__name__}")
            if not tensor.is_leaf:
                raise ValueError(f"an optimiser wants leaves, got the result of an operation, shape {tuple(tensor.shape)}")
        known = [id(t) for group in self.param_groups for t in group["params"]] + [id(t) for t in params]
        if len(known) != len(set(known)):
            raise ValueError("a parameter appears twice in the optimiser's groups")
        group: Group = {**self.defaults, **param_group, "params": params}
        self.check(group)
        self.param_groups.append(group)

    def check(self, group: Group) -> None:
        """TypeError when an option of the group is no number, ValueError when it is out of its bounds."""
        for name, (low, end) in self.bounds.items():
            for value in group[name] if isinstance(group[name], (tuple, list)) else (group[name],):
                if not isinstance(value, (int, float, np.number)):
                    raise TypeError(f"{name} wants a number, got {type(value).__name__}")
                if not low <= value < end:
                    raise ValueError(f"{name} wants {low:g} <= {name} < {end:g}, got {value}")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients; with set_to_none=False fill them with zeros."""
        for group in self.param_groups:
            clear_gradients(group["params"], set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient, in place. `closure` recomputes the loss first; its value is returned.

        ValueError, before anything is changed: a parameter that is read-only, or whose gradient is of another shape by now.
        """
        loss = None if closure is None else closure()
        todo = [(group, t, t.grad.data) for group in self.param_groups for t in group["params"] if t.grad is not None]
        for _, tensor, g in todo:
            if g.shape != tensor.data.shape or not tensor.data.flags.writeable:
                kind = "" if tensor.data.flags.writeable else "read-only "
                raise ValueError(
                    f"step wants parameters that can be written and gradients of their shapes, got a {kind}parameter of shape "
                    f"{tensor.data.shape} with a gradient of shape {g.shape}; nothing was changed"
                )
        for group, tensor, gradient in todo:
            state = self.state.get(tensor)
            first = state is None
            if state is None:
                state = self.state[tensor] = self.initial_state(group, tensor.data)
            if "step" in state:
                state["step"] += 1
            for p, g, arrays, work in self._pieces(tensor.data, gradient, state):
                self.update(group, p, self._descent(group, p, g, work[0]), arrays, work[1], first)
            tensor.changed()
        return loss

    def initial_state(self, group: Group, p: Array) -> State:
        """What update() keeps for one parameter: arrays of p's shape, and "step", the number of steps, when the rule needs it."""
        raise TypeError(f"{type(self).__name__} defines no initial_state()")

    def update(self, group: Group, p: Array, g: Array, state: State, work: Array, first: bool) -> None:
        """One step of p along the gradient g to descend, in place, `state` too; g stays. `work` is p's shape, for temporaries."""
        raise TypeError(f"{type(self).__name__} defines no update()")

    def _pieces(self, p: Array, g: Array, state: State) -> Iterator[tuple[Array, Array, State, Array]]:
        """(p, g, state, work (2, *p.shape)) over contiguous pieces of at most PIECE elements; whole where memory is not contiguous."""
        if p.size > PIECE and not (p.flags.c_contiguous and g.flags.c_contiguous):
            yield p, g, state, np.empty((2, *p.shape), p.dtype)
            return
        work = self._work.get(p.dtype)
        if work is None:
            work = self._work[p.dtype] = np.empty((2, PIECE), p.dtype)
        if p.size <= PIECE:
            yield p, g, state, work[:, : p.size].reshape(2, *p.shape)
            return
        p, g = p.reshape(-1), g.reshape(-1)
        flat = {name: value.reshape(-1) for name, value in state.items() if isinstance(value, np.ndarray)}
        for start in range(0, p.size, PIECE):
            piece = slice(start, start + PIECE)
            part = p[piece]
            yield part, g[piece], {**state, **{name: value[piece] for name, value in flat.items()}}, work[:, : part.size]

    def _descent(self, group: Group, p: Array, g: Array, work: Array) -> Array:
        """The gradient to descend: g with weight decay as an L2 penalty, turned round for `maximize`."""
        decay = 0 if group.get("decoupled_weight_decay") else group["weight_decay"]
        if decay:
            np.multiply(p, decay, out=work)
            return np.subtract(work, g, out=work) if group["maximize"] else np.add(work, g, out=work)
        return np.negative(g, out=work) if group["maximize"] else g

    def state_dict(self) -> dict[str, Any]:
        """{"state": {number: {name: array or int}}, "param_groups": [...]} as in torch: parameters are numbered through all groups.

        The arrays are the optimiser's own: copy what must not move.
        """
        numbers = {id(t): i for i, t in enumerate(t for group in self.param_groups for t in group["params"])}
        groups = [{**group, "params": [numbers[id(t)] for t in group["params"]]} for group in self.param_groups]
        return {"state": {numbers[id(t)]: dict(s) for t, s in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take options and state from a state_dict of the same kind of optimiser, torch's too. ValueError and no change if it does not."""
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            raise ValueError("an optimiser's state_dict is a mapping with 'state' and 'param_groups'")
        theirs, ours = state_dict["param_groups"], self.param_groups
        if not isinstance(theirs, (list, tuple)) or not all(isinstance(g, Mapping) and isinstance(g.get("params"), list) for g in theirs):
            raise TypeError("param_groups wants a list of mappings with a list 'params' each")
        if not isinstance(state_dict["state"], Mapping):
            raise TypeError(f"state wants a mapping of parameters' numbers, got {type(state_dict['state']).__name__}")
        got, want = [len(g["params"]) for g in theirs], [len(g["params"]) for g in ours]
        if got != want:
            raise ValueError(f"wanted parameter groups of sizes {want}, got {got}")
        options, by_number = [], {}
        for group, mine in zip(theirs, ours, strict=True):
            new = {**mine, **{k: copy.deepcopy(v) for k, v in group.items() if k != "params" and k in mine}}
            self.check(new)
            options.append(new)
            by_number.update({n: (t, new) for n, t in zip(group["params"], mine["params"], strict=True)})
        state = {}
        for number, given in state_dict["state"].items():
            if number not in by_number:
                raise ValueError(f"state of parameter {number}, wanted one of {sorted(by_number)}")
            tensor, new = by_number[number]
            state[tensor] = _fitted_state(number, self.initial_state(new, tensor.data), given)
        for mine, new in zip(ours, options, strict=True):
            mine.update(new)
        self.state = state

    def __repr__(self) -> str:
        rows = []
        for i, group in enumerate(self.param_groups):
            rows += [f"Parameter Group {i}", *(f"    {k}: {v}" for k, v in sorted(group.items()) if k != "params")]
        return f"{type(self).__name__} (\n" + "\n".join(rows) + "\n)"


def _fitted_state(number: Any, own: State, given: Mapping[str, Any]) -> State:
    """`given` in the names, shapes and dtypes of a fresh state `own`, copied. ValueError where they do not fit."""
    if not isinstance(given, Mapping):
        raise TypeError(f"state of parameter {number}: wanted a mapping of {', '.join(own)}, got {type(given).__name__}")
    state: State = {}
    for name, fresh in own.items():
        if given.get(name) is None:
            raise ValueError(f"state of parameter {number} lacks {name}, wanted {', '.join(own)}")
        value = np.asarray(given[name])
        if np.shape(value) != np.shape(fresh):
            raise ValueError(f"state {name} of parameter {number}: wanted shape {np.shape(fresh)}, got {np.shape(value)}")
        if value.dtype.kind not in "fiub" or (isinstance(fresh, int) and not 0 <= value < np.inf):
            raise ValueError(f"state {name} of parameter {number}: wanted real numbers, steps from 0 on, got {given[name]!r}")
        state[name] = int(value) if isinstance(fresh, int) else np.array(value, dtype=fresh.dtype)
    return state
