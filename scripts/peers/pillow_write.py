"""Write 224-pixel shards the straight way: Pillow and webdataset.ShardWriter in a pool of processes.

    python scripts/peers/pillow_write.py images.csv OUT

`images.csv` has the columns url (file:///...) and label.
"""

from __future__ import annotations

import argparse
import csv
import io
from functools import partial
from multiprocessing import Pool
from pathlib import Path
from urllib.parse import unquote, urlsplit

from PIL import Image
from webdataset import ShardWriter  # type: ignore[import-untyped]

SIZE = (224, 224)
Sample = tuple[int, str, int]


def read_list(path: str) -> list[Sample]:
    """Return number, path and class index of each image."""
    with open(path, newline="") as file:
        rows = [(unquote(urlsplit(row["url"]).path), row["label"]) for row in csv.DictReader(file)]
    classes = {label: index for index, label in enumerate(sorted({label for _, label in rows}))}
    return [(number, image, classes[label]) for number, (image, label) in enumerate(rows)]


def convert(path: str) -> bytes:
    """Return an image squashed to 224 x 224 as JPEG."""
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def write_part(rank: int, *, samples: list[Sample], workers: int, out: str, shard_samples: int) -> None:
    """Write each `workers`-th sample, beginning at `rank`, into shards of this process' own."""
    with ShardWriter(f"{out}/{rank}-%06d.tar", maxcount=shard_samples, verbose=0) as writer:
        for number, path, label in samples[rank::workers]:
            metadata = {"path": path, "label": label}
            writer.write({"__key__": f"{number:09d}", "jpg": convert(path), "cls": label, "json": metadata})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("out")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shard-samples", type=int, default=1000)
    args = parser.parse_args()
    Path(args.out).mkdir(parents=True, exist_ok=True)
    write = partial(
        write_part,
        samples=read_list(args.images),
        workers=args.workers,
        out=args.out,
        shard_samples=args.shard_samples,
    )
    with Pool(args.workers) as pool:
        pool.map(write, range(args.workers), chunksize=1)


if __name__ == "__main__":
    main()
