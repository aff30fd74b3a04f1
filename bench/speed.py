"""The tables of speed, as Markdown, from results: every row beside its goals.  No clock, no library: records and rows.py alone.

A cell of a measure that has a goal says it, and MISSED where it is missed; a row that was not measured says so.
"""

from collections.abc import Iterator

import record
from measures import MEASURES, digits, megabytes, rate, seconds
from record import Record, Results
from rows import GROUPS, QUOTED, ROOF, Group, Row

SHOWN = record.FOLDER / "amd-epyc-avx512vbmi.json"
"""The results that the READMEs and the plot show."""
PEERS = ("gatecell", "torch", "onnxruntime")


def amount(r: Record, rival: str) -> str:
    """What a rival reached: GFLOP/s (GF) of batches, else time; half the distance of the quartiles where it is 3 % or more."""
    if r.mode == "wheel" and rival == "gatecell":
        return f"{megabytes(r.figures['bytes'])}, built in {seconds(r.seconds(rival))}"
    if r.mode.startswith("memory"):
        floats = r.figures.get({"gatecell": "floats", "torch": "torch floats"}.get(rival, ""))
        return MEASURES["floats"].text(floats) if floats is not None else ""
    if rival not in r.times:
        return ""
    time = r.times[rival]
    text = f"{digits(rate(r, rival) / 1e9)} GF" if r.shape and r.shape.B > 1 else seconds(time.median)
    return text + (f" ±{time.spread * 100:.0f} %" if time.spread >= 0.03 else "")


def measured(r: Record, row: Row, name: str, results: Results) -> float | None:
    """A measure of a row, None where it has not what it takes."""
    try:
        return MEASURES[name].of(r, results, row.beside)
    except KeyError:
        return None


def cell(r: Record, row: Row, name: str, results: Results) -> str:
    """A measure with its goal."""
    goal, value, m = row.goals_on(r.threads).get(name), measured(r, row, name, results), MEASURES[name]
    if value is None:
        return "" if goal is None else f"not measured (goal {m.text(goal)})"
    if goal is None:
        return "" if m.plain else m.text(value)
    return f"{m.text(value)} (goal {m.text(goal)}{'' if m.met(value, goal) else ', **MISSED**'})"


def name_of(row: Row, group: Group) -> str:
    """A row's first cell: its mode, too, where a group has several."""
    return str(row) if len({r.mode for r in group.rows}) > 1 else str(row.shape)


def columns(group: Group, threads: int, results: Results | None = None) -> list[str]:
    """The group's measures that a row on so many threads has a goal for, or, once there are results, shows."""

    def needed(row: Row, name: str) -> bool:
        if name in row.goals_on(threads):
            return True
        r = results.find(row.mode, row.shape, threads) if results else None
        return not MEASURES[name].plain and (results is None or (r is not None and measured(r, row, name, results) is not None))

    return [name for name in group.measures if any(needed(row, name) for row in group.rows if threads in row.threads)]


def head(group: Group, threads: int, names: list[str]) -> list[str]:
    """The table's title and first lines."""
    several = any(len(row.threads) > 1 for row in group.rows)
    quoted = ["not measured here"] * any((row.mode, row.shape) in QUOTED for row in group.rows)
    heads = ["work", *PEERS, *quoted, *(MEASURES[m].title for m in names)]
    title = f"{group.title}, {threads} thread{'s' * (threads > 1)}" if several else group.title
    return [f"**{title}**", "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]


def line(row: Row, group: Group, r: Record, names: list[str], results: Results) -> str:
    """A row of a table."""
    if r.missing:
        return f"| {name_of(row, group)} | not measured: {r.missing} |"
    quoted = [", ".join(f"{who} {seconds(s)}" for who, s in QUOTED.get((row.mode, row.shape), {}).items())]
    quoted *= any((other.mode, other.shape) in QUOTED for other in group.rows)
    cells = [name_of(row, group), *(amount(r, p) for p in PEERS), *quoted, *(cell(r, row, m, results) for m in names)]
    return f"| {' | '.join(cells)} |"


def tables(results: Results) -> str:
    """Every group on every number of threads."""
    found = []
    for group in GROUPS:
        for threads in results.settings["threads"]:
            rows = [row for row in group.rows if threads in row.threads]
            if not rows or group.rows is ROOF:
                continue
            names = columns(group, threads, results)
            none = lambda row, n=threads: Record(row.mode, row.shape, n, missing="not in this run")
            lines = [line(row, group, results.find(row.mode, row.shape, threads) or none(row), names, results) for row in rows]
            found.append("\n".join([*head(group, threads, names), *lines]))
    return "\n\n".join(found)


def goals(results: Results) -> Iterator[tuple[Row, int, str, float | None, float]]:
    """(row, threads, measure, value or None, bound) of every goal."""
    for group in GROUPS:
        for row in group.rows:
            for threads in row.threads:
                r = results.find(row.mode, row.shape, threads)
                for name, bound in row.goals_on(threads).items():
                    yield row, threads, name, measured(r, row, name, results) if r and not r.missing else None, bound


def summary(results: Results, measured_only: bool = False) -> str:
    """How many goals are met: of all, where what was not measured is not met, or of what was measured."""
    found = [(name, value, bound) for _, _, name, value, bound in goals(results) if value is not None or not measured_only]
    verdicts = [value is not None and MEASURES[name].met(value, bound) for name, value, bound in found]
    return f"{sum(verdicts)} of {len(verdicts)} goals met."


def machine(results: Results) -> str:
    """What was measured, where, with what."""
    m, s = results.machine, results.settings
    caches = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in m["caches"].items())
    fma = ", ".join(f"{rate / 1e9:.0f} on {n} thread{'s' * (n != '1')}" for n, rate in results.limits["fma"].items())
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"{m['processor']}, {m['cores']} cores; multiply-adds in float32, GFLOP/s: {fma}; reads, GB/s: {caches}.  \n"
        f"{versions}; gatecell's kernels: {m['kernels']}. {s['turns']} turns, measured on {results.made}."
    )


def front(results: Results) -> str:
    """The table of README.md: the rows of short runs and the package, on one thread."""
    group = Group("", [row for g in GROUPS for row in g.rows if row.quick or row.mode == "wheel"])
    lines = ["| one thread | gatecell | torch | onnxruntime | over torch | of peak |", "|---|---|---|---|---|---|"]
    for row in group.rows:
        r = results.find(row.mode, row.shape, 1)
        if r and not r.missing:
            values = [(MEASURES[m], measured(r, row, m, results)) for m in ("torch", "peak")]
            cells = [name_of(row, group), *(amount(r, p) for p in PEERS), *(m.text(v) if v is not None else "" for m, v in values)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", machine(results)])


def profiles(results: Results) -> str:
    """Where the rest of the peak goes: fractions of the time of a row's threads."""
    parts = [part for part in dict.fromkeys(part for p in results.profiles for part in p.parts) if part != "products"]
    heads = ["work", "threads", "multiply-adds at the peak's rate", "products, beyond that", *parts]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for p in results.profiles:
        r = results.find(p.mode, p.shape, p.threads)
        if r is None or r.missing:
            continue
        peak = MEASURES["peak"].of(r, results, None)
        shares = [peak, p.parts["products"] - peak, *(p.parts.get(part, 0.0) for part in parts)]
        lines.append(f"| {' | '.join([f'{p.mode}: {p.shape}', str(p.threads), *(f'{share:.3f}' for share in shares)])} |")
    return "\n".join(lines)


def everything(results: Results) -> str:
    """What bench/README.md shows."""
    found = [machine(results), summary(results), tables(results)]
    if results.profiles:
        found += ["**Where the rest of the peak goes** (fractions of the time)", profiles(results)]
    return "\n\n".join(found)
