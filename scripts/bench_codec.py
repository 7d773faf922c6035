"""Time the steps of converting the images of a folder, in one thread, with both codecs.

    python scripts/bench_codec.py corpora/inat --limit 500
    python scripts/bench_codec.py corpora/eol --limit 100 --size 256 --resize shortest

Microseconds of processor time for one image (mean over the folder, best of --repeat passes), the images per second of
one core that the sum amounts to, and those of headers and of full checks as `map` and `verify` make them.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from shardforge.images.convert import CODECS, Conversion, check_image, convert_image, open_codec
from shardforge.images.geometry import RESIZE_MODES, plan_resize
from shardforge.images.header import read_file_header, read_whole_header

STEPS = ("read", "decode", "resize", "encode")


def time_steps(path: Path, conversion: Conversion) -> list[int]:
    """Return the nanoseconds of each of STEPS for one image; orientation is left out."""
    codec = open_codec(conversion.codec)
    marks = [time.process_time_ns()]
    data = path.read_bytes()
    marks.append(time.process_time_ns())
    header = read_whole_header(data)
    geometry = plan_resize((header.width, header.height), conversion.size, conversion.resize)
    frame = codec.decode(data, header, geometry.decoder_scale())
    marks.append(time.process_time_ns())
    image = codec.resize(frame, geometry)
    marks.append(time.process_time_ns())
    codec.encode(image, conversion.format, conversion.quality)
    marks.append(time.process_time_ns())
    return [after - before for before, after in pairwise(marks)]


def best_steps(paths: Sequence[Path], conversion: Conversion, repeat: int) -> list[float]:
    """Return the mean microseconds of each step in the fastest of `repeat` passes."""
    passes = [[time_steps(path, conversion) for path in paths] for _ in range(repeat)]
    totals = min(([sum(step) for step in zip(*each, strict=True)] for each in passes), key=sum)
    return [total / len(paths) / 1000 for total in totals]


def best_rate(work: Callable[[Any], object], items: Iterable[Any], repeat: int) -> float:
    """Return how many items one core works through in a second, in the fastest of `repeat` passes."""
    kept = list(items)
    seconds = []
    for _ in range(repeat):
        start = time.process_time()
        for item in kept:
            work(item)
        seconds.append(time.process_time() - start)
    return len(kept) / min(seconds)


def rate_headers(paths: Sequence[Path], repeat: int) -> float:
    """Return headers per second; opening the files is not counted."""
    opened = [(os.open(path, os.O_RDONLY), path.stat().st_size) for path in paths]
    try:
        return best_rate(lambda file: read_file_header(*file), opened * 20, repeat)
    finally:
        for fd, _ in opened:
            os.close(fd)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, default=200, help="images to use")
    parser.add_argument("--size", type=int, default=224, help="target width and height")
    parser.add_argument("--resize", choices=RESIZE_MODES, default="squash")
    parser.add_argument("--quality", type=int, default=90)
    parser.add_argument("--repeat", type=int, default=3, help="passes; the fastest counts")
    options = parser.parse_args()

    paths = sorted(path for path in options.folder.rglob("*") if path.is_file())[: options.limit]
    if not paths:
        raise SystemExit(f"{options.folder}: holds no files; make some with scripts/make_corpora.py")
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    print(f"{len(paths)} images, {1000 * megabytes / len(paths):.0f} KB each; microseconds for one image")
    print(f"{'codec':8}" + "".join(f"{step:>9}" for step in STEPS) + f"{'sum':>9}{'images/s':>10}{'checks/s':>10}")
    for codec in CODECS:
        conversion = Conversion(
            size=(options.size, options.size), resize=options.resize, quality=options.quality, codec=codec
        )
        steps = best_steps(paths, conversion, options.repeat)
        results = [convert_image(path.read_bytes(), conversion).data for path in paths]
        checks = best_rate(partial(check_image, codec=codec), results, options.repeat)
        columns = "".join(f"{step:9.0f}" for step in (*steps, sum(steps)))
        print(f"{codec:8}{columns}{1e6 / sum(steps):10.0f}{checks:10.0f}")
    print(f"headers read: {rate_headers(paths, options.repeat):,.0f} a second")


if __name__ == "__main__":
    main()
