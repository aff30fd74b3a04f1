"""`python -m gatecell.emit` writes the generated text of a source tree anew; `--check` says what is stale, exit code 1."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..cells import cells, scans
from . import cpp, cpp_integer, cpp_scan, minimax


def generated() -> dict[str, str]:
    """Path in the source tree -> text."""
    steps = cpp.files(cells.values()) | cpp_integer.files(cells.values()) | cpp_scan.files(scans.values())
    return {f"cpp/src/{name}": text for name, text in steps.items()} | minimax.files()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m gatecell.emit", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if a file is stale")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="the source tree (default: here)")
    args = parser.parse_args()
    if not (args.root / "cpp" / "src").is_dir():
        parser.error(f"{args.root} is no source tree of gatecell: it has no cpp/src")
    texts = generated()
    stale = [path for path, text in texts.items() if not (args.root / path).exists() or (args.root / path).read_text() != text]
    for path in stale:
        if not args.check:
            (args.root / path).write_text(texts[path])
        print(("stale: " if args.check else "written: ") + path)
    return int(args.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
