"""Map many JPEG files with a warm page cache, headers alone and with hashes, and print files per second.

    python scripts/bench_map.py --files 200000 --workers 2

The files are hard links to a few real photos of about 75 KB, so that the page cache holds them all.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

_PHOTOS = 16
_IN_DIRECTORY = 500
_PIXELS = (440, 330)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--engine", choices=["duckdb", "sqlite"], default="duckdb")
    parser.add_argument("--folder", type=Path, default=None, help="where the files are made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder, "images")
        size = make_files(root, options.files)
        print(f"{options.files:,} files of {size / 1000:.0f} KB")
        for name, flags in (("header only", ["--no-hash"]), ("with hash", []), ("nothing new", [])):
            db = Path(folder, f"{'header' if flags else 'hash'}.{options.engine}")
            command = [sys.executable, "-m", "shardforge", "map", "--db", db, "--source", f"photos=folder:{root}"]
            seconds, cpu = run([*command, "--workers", str(options.workers), *flags])
            print(
                f"{name}: {seconds:.1f} s, {options.files / seconds:,.0f} files/s, "
                f"{cpu / options.files * 1e6:.0f} us of processor time a file",
                flush=True,
            )


def run(command: list[str | Path]) -> tuple[float, float]:
    """Run a command; return its seconds and those that processors worked for it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make_files(root: Path, files: int) -> float:
    """Make the links; return the mean size of a file in bytes."""
    root.mkdir()
    photos = [root.parent / f"{i}.jpg" for i in range(_PHOTOS)]
    for i, photo in enumerate(photos):
        make_photo(i, photo)
    for i in range(files):
        folder = root / f"class_{i // _IN_DIRECTORY:05d}"
        if i % _IN_DIRECTORY == 0:
            folder.mkdir()
        os.link(photos[i % _PHOTOS], folder / f"{i:08d}.jpg")
    return sum(photo.stat().st_size for photo in photos) / _PHOTOS


def make_photo(seed: int, path: Path) -> None:
    """Save a picture with as much detail as a photo has."""
    coarse = np.random.default_rng(seed).integers(0, 256, (75, 100, 3), dtype=np.uint8)
    noise = np.random.default_rng(seed).integers(0, 32, (*_PIXELS[::-1], 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize(_PIXELS, Image.Resampling.BICUBIC))
    Image.fromarray((smooth // 8 * 7 + noise).astype(np.uint8)).save(path, quality=90)


if __name__ == "__main__":
    main()
