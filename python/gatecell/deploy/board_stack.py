"""A bound of a program's stack from what its tools print: the compiler's graph of calls, or a listing of the linked program.

Not here: the stack that a run used (firmware/boards/runner.c paints it).
"""

from __future__ import annotations

import re

AVR_RETURN = 3
"""Bytes of a return address on cores with more than 128 KB of flash; 2 on others."""


def by_graph(text: str, function: str) -> int | None:
    """Bytes of the deepest path of calls by gcc's -fcallgraph-info=su; None where it has no such bound: recursion, calls through
    pointers, frames of variable size, library routines."""
    frames: dict[str, int] = {}
    for title, size in re.findall(r'node: \{ title: "([^"]*)" label: "[^"]*?(\d+) bytes \((?:static|dynamic,bounded)\)', text):
        frames[title] = int(size)
    calls: dict[str, set[str]] = {}
    for caller, callee in re.findall(r'edge: \{ sourcename: "([^"]*)" targetname: "([^"]*)"', text):
        calls.setdefault(caller, set()).add(callee)
    return deepest(frames, calls, function, ())


def by_listing(listing: str, usage: str, function: str) -> int | None:
    """The same by AVR's `objdump -d` of a linked program and gcc's -fstack-usage of the model, return addresses included.  Routines of
    the library take what they push; those that move the stack pointer otherwise have no bound."""
    bodies: dict[str, list[str]] = {}
    for line in listing.splitlines():
        if match := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            body = bodies.setdefault(match[1], [])
        elif match := re.match(r" +[0-9a-f]+:\t(?:[0-9a-f]{2} )+ *\t(.*)", line):
            body.append(match[1])
    compiled = {name: int(size) for name, size in re.findall(r":(\w+)\t(\d+)\t(?:static|dynamic,bounded)$", usage, re.MULTILINE)}
    variable = set(re.findall(r":(\w+)\t\d+\tdynamic$", usage, re.MULTILINE))
    frames: dict[str, int] = {}
    calls: dict[str, set[str]] = {}
    for (name, body), following in zip(bodies.items(), [*list(bodies)[1:], ""], strict=True):
        text = "\n".join(body)
        if name in variable or re.search(r"^e?i(call|jmp)", text, re.MULTILINE):
            continue
        if name in compiled:
            frames[name] = compiled[name]
        elif not re.search(r"^out\t0x3[de]", text, re.MULTILINE):
            frames[name] = AVR_RETURN + len(re.findall(r"^push", text, re.MULTILINE))
        calls[name] = set(re.findall(r"^(?:r?call|r?jmp)\t.*<([^+>]+)>", text, re.MULTILINE)) - ({name} if name not in compiled else set())
        if following and not re.match(r"reti?\b|r?jmp\b", body[-1] if body else ""):
            calls[name].add(following)  # runs on into it, as routines written in assembly do
    return deepest(frames, calls, function, ())


def deepest(frames: dict[str, int], calls: dict[str, set[str]], function: str, callers: tuple[str, ...]) -> int | None:
    if function not in frames or function in callers:
        return None
    most = 0
    for callee in calls.get(function, ()):
        below = deepest(frames, calls, callee, (*callers, function))
        if below is None:
            return None
        most = max(most, below)
    return frames[function] + most
