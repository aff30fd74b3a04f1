"""Containers: Sequential and ModuleList, modules whose children are numbered."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .module import Module


class _Numbered(Module):
    """Children under the attributes "0", "1", ... or under given names, in order."""

    def _modules(self) -> list[Module]:
        return [value for value in self.__dict__.values() if isinstance(value, Module)]

    def __len__(self) -> int:
        return len(self._modules())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules())

    def __getitem__(self, index: Any) -> Any:
        """The module at a position, or a container of the same class over a slice of them."""
        if isinstance(index, slice):
            part = type(self)()
            for module in self._modules()[index]:
                part.append(module)
            return part
        return self._modules()[operator.index(index)]

    def append(self, module: Module) -> _Numbered:
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> _Numbered:
        for module in modules:
            self.append(module)
        return self


class Sequential(_Numbered):
    """Calls its modules in order, each with what the one before returned.

    Sequential(a, b, ...) or Sequential({"name": module, ...}). TypeError for anything that is not a Module.
    """

    def __init__(self, *args: Module | Mapping[str, Module]) -> None:
        named: Mapping[str, Any] = args[0] if len(args) == 1 and isinstance(args[0], Mapping) else {str(i): m for i, m in enumerate(args)}
        for name, module in named.items():
            self.add_module(name, module)  # which says what it wanted

    def forward(self, input: Any) -> Any:
        for module in self._modules():
            input = module(input)
        return input


class ModuleList(_Numbered):
    """A list of modules whose parameters belong to the module that holds it. It has no forward()."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)
