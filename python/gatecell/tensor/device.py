"""The one device there is, under torch's names, so that programs that ask for a GPU go on without one."""

from __future__ import annotations


class device(str):
    """`device("cpu")`; anything else is a ValueError."""

    def __new__(cls, name: object = "cpu") -> device:
        if str(name) not in ("cpu", "cpu:0"):
            raise ValueError(f"device: 'cpu' is all there is, got {name!r}")
        return super().__new__(cls, "cpu")

    @property
    def type(self) -> str:
        return "cpu"


class cuda:
    """`cuda.is_available()` is how programs choose a device."""

    @staticmethod
    def is_available() -> bool:
        return False
