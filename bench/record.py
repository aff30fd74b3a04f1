"""What a run of the benches leaves behind: results as JSON, and back.  Seconds, FLOPs and bytes as measured; ratios are measures.py's.

{schema, made, machine, versions, settings, limits, profiles: [{mode, shape, threads, parts}],
 rows: [{mode, shape, threads, flops, times, how, distances, figures, missing}]}
"""

import datetime
import json
import os
import re
import subprocess
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from shapes import Shape
from timing import Time

SCHEMA = 1
FOLDER = Path(__file__).with_name("results")


@dataclass
class Record:
    """One row as measured.

    times: rival -> quartiles in seconds, and of how many turns.  how: the settings found fastest.  distances: from the judge's result.
    missing: why nothing was measured, where nothing was.
    """

    mode: str
    shape: Shape | None
    threads: int
    flops: float = 0.0
    times: dict[str, Time] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)
    distances: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    missing: str = ""

    @property
    def key(self) -> tuple[str, Shape | None, int]:
        return self.mode, self.shape, self.threads

    def seconds(self, rival: str) -> float:
        """Median of a rival's turns; KeyError: took no part."""
        return self.times[rival].median


@dataclass
class Profile:
    """Where the time of a row went: part -> fraction of the threads' time (where.py)."""

    mode: str
    shape: Shape
    threads: int
    parts: dict[str, float]


@dataclass
class Results:
    """One run."""

    machine: dict[str, Any]
    versions: dict[str, str]
    settings: dict[str, Any]
    limits: dict[str, dict[str, float]]
    rows: list[Record] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    made: str = field(default_factory=lambda: datetime.datetime.now(datetime.timezone.utc).date().isoformat())

    def find(self, mode: str, shape: Shape | None, threads: int) -> Record | None:
        """The row, or None where it was not measured."""
        return next((r for r in self.rows if r.key == (mode, shape, threads)), None)

    def save(self, path: Path) -> None:
        """As JSON, a row a line."""
        rest = body(self)
        rows = [json.dumps(row) for row in rest.pop("rows")]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rest, indent=1)[:-2] + ',\n "rows": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n")


def body(results: Results) -> dict[str, Any]:
    """What is written."""
    return short({"schema": SCHEMA, **asdict(results)})


def short(value: Any) -> Any:
    """Numbers to six digits: more than a clock has."""
    if isinstance(value, dict):
        return {k: short(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [short(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def load(path: Path) -> Results:
    """ValueError: what is no file of this schema, and where."""
    found = json.loads(path.read_text())
    if not isinstance(found, dict) or found.pop("schema", None) != SCHEMA:
        raise ValueError(f"{path}: results of schema {SCHEMA} wanted")
    try:
        rows = [read(row) for row in found.pop("rows")]
        profiles = [Profile(**p | {"shape": Shape(**p["shape"])}) for p in found.pop("profiles")]
        return Results(rows=rows, profiles=profiles, **found)
    except (KeyError, TypeError) as e:
        raise ValueError(f"{path}: {e}") from e


def read(row: dict[str, Any]) -> Record:
    """One row from JSON."""
    unknown = set(row) - {f.name for f in fields(Record)}
    if unknown:
        raise TypeError(f"unknown fields {', '.join(sorted(unknown))}")
    shape = Shape(**row["shape"]) if row["shape"] else None
    return Record(**row | {"shape": shape, "times": {name: Time(**t) for name, t in row["times"].items()}})


def commit() -> str:
    """The repository's state as git names it, "" without git."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
        return subprocess.run(command, cwd=FOLDER.parent, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def default_path(processor: str, cpu: str) -> Path:
    """One file for each kind of machine and instruction set, so that figures of several can stand side by side."""
    words = re.sub(r"\(.*", "", processor).lower()
    return FOLDER / f"{'-'.join(re.findall(r'[a-z0-9]+', words))}-{cpu}.json"


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
