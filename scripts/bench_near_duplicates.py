"""Measure what a perceptual distance finds: the share of altered copies of real photos within it, and how many pairs of
different pictures in real folders. Prints the tables of docs/duplicates.md.

    python scripts/bench_near_duplicates.py --different /usr/share/tuxpaint/stamps
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from shardforge.duplicates import MAX_DISTANCE, MIN_QUALITY
from shardforge.duplicates.bands import WORDS, Hashes, measure_distances
from shardforge.duplicates.clusters import distinct_hashes
from shardforge.duplicates.hashing import hash_image
from shardforge.duplicates.search import link_hashes, list_pairs
from shardforge.errors import ImageError

PHOTOS = Path(__file__).resolve().parent.parent / "data" / "photos"
DISTANCES = (0, 6, 10, 14, 20, 26, MAX_DISTANCE)
SUFFIXES = (".jpg", ".png", ".webp")


def encode(image: Image.Image, quality: int = 90) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def crop(image: Image.Image, percent: float) -> Image.Image:
    across, down = round(image.width * percent / 100), round(image.height * percent / 100)
    return image.crop((across, down, image.width - across, image.height - down))


def letter(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", (image.width, image.height + image.height // 10))
    canvas.paste(image, (0, image.height // 20))
    return canvas


ALTERED: dict[str, Callable[[Image.Image], bytes]] = {
    "JPEG, quality 90": lambda image: encode(image),
    "JPEG, quality 50": lambda image: encode(image, 50),
    "JPEG, quality 20": lambda image: encode(image, 20),
    "half the size": lambda image: encode(image.resize((image.width // 2, image.height // 2))),
    "squashed to 224 x 224": lambda image: encode(image.resize((224, 224))),
    "squashed to 96 x 96": lambda image: encode(image.resize((96, 96))),
    "brightness x 0.7": lambda image: encode(ImageEnhance.Brightness(image).enhance(0.7)),
    "brightness x 1.2": lambda image: encode(ImageEnhance.Brightness(image).enhance(1.2)),
    "contrast x 1.3": lambda image: encode(ImageEnhance.Contrast(image).enhance(1.3)),
    "grey": lambda image: encode(image.convert("L")),
    "1% cut off each side": lambda image: encode(crop(image, 1)),
    "2% cut off each side": lambda image: encode(crop(image, 2)),
    "5% cut off each side": lambda image: encode(crop(image, 5)),
    "black bars, 5% each": lambda image: encode(letter(image)),
    "mirrored": lambda image: encode(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS)
    parser.add_argument("--different", type=Path, action="append", default=[], metavar="DIR")
    options = parser.parse_args()
    photos = find_images(options.photos)
    measure_recall(photos)
    for folder in [options.photos, *options.different]:
        count_pairs(folder)


def measure_recall(photos: list[Path]) -> None:
    originals = to_words([hash_image(path.read_bytes())[0] for path in photos])
    print(row(f"{len(photos)} photos", [f"<= {distance}" for distance in DISTANCES]))
    print(row("---", ["---"] * len(DISTANCES)))
    for name, alter in ALTERED.items():
        copies = to_words([hash_image(alter(Image.open(path).convert("RGB")))[0] for path in photos])
        apart = measure_distances(originals, copies)
        print(row(name, [f"{np.mean(apart <= distance):.0%}" for distance in DISTANCES]))


def count_pairs(folder: Path) -> None:
    found = []
    for path in find_images(folder):
        try:
            hashed, quality = hash_image(path.read_bytes())
        except ImageError:
            continue
        if quality >= MIN_QUALITY:
            found.append(hashed)
    hashes, _ = distinct_hashes(to_words(found))
    roots = link_hashes(hashes, MAX_DISTANCE)
    apart = np.concatenate([distance for _, _, distance in list_pairs(hashes, roots, MAX_DISTANCE)] or [np.empty(0)])
    print(row(f"{folder.name}: {len(hashes):,} hashes", [f"{np.sum(apart <= distance):,}" for distance in DISTANCES]))


def find_images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)


def to_words(texts: list[str]) -> Hashes:
    return np.frombuffer(bytes.fromhex("".join(texts)), ">u8").astype(np.uint64).reshape(len(texts), WORDS)


def row(name: str, cells: list[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
