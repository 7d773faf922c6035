"""Make two seeded corpora of JPEG files to measure with: many small photos, and fewer large ones.

Every file is a crop of a real photo with its own scale, place, flip, colour, brightness and sensor noise, so no two
files hold the same pixels. The same seed, photos and Pillow give the same bytes.

    python scripts/make_corpora.py corpora                            # corpora/inat and corpora/eol
    python scripts/make_corpora.py corpora --kind inat --count 20000
    python scripts/make_corpora.py corpora --links 1000000            # corpora/links as well, to measure scans
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

# The Debian package mate-backgrounds, and the photos that come with the repository.
PHOTOS = [Path("/usr/share/backgrounds/mate"), Path(__file__).resolve().parent.parent / "data" / "photos"]
ASPECTS = [(4, 3), (4, 3), (3, 2), (3, 4), (2, 3), (1, 1)]
LINKS_PER_FOLDER = 1000


@dataclass(frozen=True)
class Kind:
    """What the files of one corpus look like; pixels, and the noise's standard deviation in grey levels."""

    name: str
    count: int
    classes: int
    long_side: tuple[int, int]
    noise: tuple[float, float]
    progressive: float
    smallest_photo: int


KINDS = {
    "inat": Kind("inat", 4000, 100, (500, 500), (2.5, 6.5), 0.0, smallest_photo=640),
    "eol": Kind("eol", 600, 20, (1000, 3000), (2.0, 6.5), 0.15, smallest_photo=1200),
}


@cache
def load_photo(path: Path) -> Image.Image:
    """Return a photo as 8-bit RGB; each worker decodes it once."""
    with Image.open(path) as image:
        return image.convert("RGB")


def find_photos(folders: list[Path], smallest: int) -> list[Path]:
    """Return the photos under the folders whose long side has at least `smallest` pixels, ordered by file name."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.suffix in (".jpg", ".webp"):
                with Image.open(path) as image:
                    if max(image.size) >= smallest:
                        found[path.name] = path
    if not found:
        searched = ", ".join(map(str, folders))
        raise SystemExit(f"no photo of {smallest} pixels or more under {searched}: name a folder with --photos")
    return [found[name] for name in sorted(found)]


def crop_photo(photo: Image.Image, long_side: int, random: np.random.Generator) -> Image.Image:
    """Return a crop of random place and scale, resized so that its long side has `long_side` pixels."""
    across, down = ASPECTS[random.integers(len(ASPECTS))]
    largest = min(photo.width / across, photo.height / down)
    smallest = min(largest, 0.7 * long_side / max(across, down))
    unit = random.uniform(smallest, largest)
    width, height = unit * across, unit * down
    left, top = random.uniform(0, photo.width - width), random.uniform(0, photo.height - height)
    scale = long_side / max(across, down)
    size = round(across * scale), round(down * scale)
    image = photo.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height), reducing_gap=2)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = ImageEnhance.Color(image).enhance(random.uniform(0.8, 1.25))
    return ImageEnhance.Brightness(image).enhance(random.uniform(0.85, 1.15))


def add_noise(image: Image.Image, deviation: float, random: np.random.Generator) -> Image.Image:
    """Return the image as YCbCr with Gaussian noise on its luma: a clean resized crop makes files too small."""
    luma, blue, red = image.convert("YCbCr").split()
    noise = random.standard_normal((image.height, image.width), dtype=np.float32) * np.float32(deviation)
    noisy = Image.fromarray(np.clip(np.asarray(luma) + noise, 0, 255).astype(np.uint8))
    return Image.merge("YCbCr", (noisy, blue, red))


def make_image(index: int, *, kind: Kind, photos: list[Path], seed: int, folder: Path) -> Path:
    """Write the corpus' file number `index` and return its path."""
    random = np.random.default_rng([seed, list(KINDS).index(kind.name), index])
    photo = load_photo(photos[random.integers(len(photos))])
    long_side = int(random.integers(kind.long_side[0], kind.long_side[1], endpoint=True))
    image = add_noise(crop_photo(photo, long_side, random), random.uniform(*kind.noise), random)
    path = folder / f"class_{index % kind.classes:03d}" / f"{index:06d}.jpg"
    progressive = bool(random.random() < kind.progressive)
    image.save(path, quality=int(random.integers(88, 95, endpoint=True)), subsampling="4:2:0", progressive=progressive)
    return path


def make_corpus(kind: Kind, out: Path, photos: list[Path], seed: int, count: int) -> list[Path]:
    """Write one corpus below `out` and return its files, in order."""
    folder = out / kind.name
    for number in range(min(kind.classes, count)):
        (folder / f"class_{number:03d}").mkdir(parents=True, exist_ok=True)
    make = partial(make_image, kind=kind, photos=photos, seed=seed, folder=folder)
    with Pool() as pool:
        paths = pool.map(make, range(count), chunksize=8)
    sizes = [path.stat().st_size for path in paths]
    low, high = np.percentile(sizes, [10, 90]) / 1000
    print(f"{kind.name}: {count:,} files, mean {np.mean(sizes):,.0f} bytes, 80% in {low:,.0f}-{high:,.0f} kB")
    return paths


def make_links(paths: list[Path], folder: Path, count: int) -> None:
    """Make a tree of hard links that cycle through the files: scans cost inodes and names, not bytes."""
    for index in range(count):
        target = folder / f"{index // LINKS_PER_FOLDER:06d}"
        if index % LINKS_PER_FOLDER == 0:
            target.mkdir(parents=True, exist_ok=True)
        os.link(paths[index % len(paths)], target / f"{index:09d}.jpg")
    print(f"links: {count:,} hard links")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to make the corpora in")
    parser.add_argument("--kind", choices=[*KINDS, "both"], default="both")
    parser.add_argument("--photos", type=Path, action="append", metavar="DIR", help="photos to crop (repeatable)")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--count", type=int, help="files in each corpus [default: 4000 inat, 600 eol]")
    parser.add_argument("--links", type=int, default=0, metavar="N", help="also make N hard links to the files")
    args = parser.parse_args()
    paths: list[Path] = []
    for kind in KINDS.values() if args.kind == "both" else [KINDS[args.kind]]:
        photos = find_photos(args.photos or PHOTOS, kind.smallest_photo)
        paths += make_corpus(kind, args.out, photos, args.seed, args.count or kind.count)
    if args.links:
        make_links(paths, args.out / "links", args.links)


if __name__ == "__main__":
    main()
