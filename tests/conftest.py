"""Real images that all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

#: Four photos for each class of `image_tree`.
_CLASSES = {
    "birds": ("Anas_platyrhynchos_1", "Ara_macao_1", "Gallus_gallus_1", "Anas_platyrhynchos_1"),
    "fish": ("Capros_aper_1", "Carassius_auratus_1", "Perca_flavescens_1", "Salmo_salar_1"),
    "mammals": ("Felis_catus_1", "Equus_caballus_1", "Canis_lupus_1", "Bos_taurus_1"),
}
_SIZE = (96, 72)


@pytest.fixture(scope="session")
def photos() -> Path:
    """Return the folder of real photographs, with `photos.csv`."""
    return Path(__file__).resolve().parent.parent / "data" / "photos"


@pytest.fixture(scope="session")
def _thumbnails(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return relative path -> bytes of twelve small images: nine JPEGs and three PNGs, no two of them alike."""
    folder = tmp_path_factory.mktemp("thumbnails")
    images = {}
    for label, names in _CLASSES.items():
        for i, name in enumerate(names):
            with Image.open(photos / f"{name}.webp") as photo:
                small = photo.convert("RGB").resize(_SIZE)
            if name in names[:i]:
                small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            path = folder / f"{i}.{'png' if i == 3 else 'jpg'}"
            small.save(path)
            images[f"{label}/{path.name}"] = path.read_bytes()
    return images


@pytest.fixture
def image_tree(tmp_path: Path, _thumbnails: dict[str, bytes]) -> Path:
    """Return `tmp_path`/images: twelve images in the folders birds, fish and mammals, four in each."""
    root = tmp_path / "images"
    for name, data in _thumbnails.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, which is faster for small models."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
