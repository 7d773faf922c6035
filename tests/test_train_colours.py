"""What trainers and inference read has the colours and turns of what `write` makes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import ADOBE_RGB, CMYK, GREY_LINEAR, PICTURE, decode, deep_png, encode, exif_block
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from shardforge.errors import ImageError  # noqa: E402
from shardforge.images.convert import Conversion, convert_image  # noqa: E402
from shardforge.loader.loader import ShardLoader  # noqa: E402
from shardforge.loader.transforms import Squash  # noqa: E402
from shardforge.train.data.files import FileDataset  # noqa: E402
from shardforge.train.use.pixels import read_pictures  # noqa: E402

pytestmark = pytest.mark.readers

LARGE = PICTURE.resize((40, 40))
TURNED = b"Exif\0\0" + exif_block(6)
FILES = {
    "adobe.jpg": encode(LARGE, "JPEG", quality=95, icc_profile=ADOBE_RGB, exif=TURNED),
    "grey.png": encode(LARGE.convert("L"), "PNG", icc_profile=GREY_LINEAR),
    "cmyk.jpg": encode(LARGE.convert("CMYK"), "JPEG", quality=95, icc_profile=CMYK),
    "dark.png": deep_png(np.arange(1600, dtype=np.uint16).reshape(40, 40, 1) * 2, 0),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / "all" / name).write_bytes(data)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_pictures_in_any_form_have_the_pixels_that_are_written(name: str, folder: Path) -> None:
    written = decode(convert_image(FILES[name], Conversion(format="png")).data).transpose(2, 0, 1)
    with Image.open(io.BytesIO(FILES[name])) as image:
        forms: list[Any] = [FILES[name], folder / "all" / name, image]
        (batch,) = read_pictures(forms, Squash(40, 40), 3)
    for pixels in batch.images.numpy().astype(int):
        assert np.abs(pixels - written).max() <= 3


def test_files_are_loaded_with_the_pixels_that_are_written(folder: Path) -> None:
    data = FileDataset([str(folder)], transform=Squash(40, 40))
    for images, labels in ShardLoader(data, global_batch_size=4, shuffle=False, num_workers=0, last="exact"):
        names = [Path(data.index.key(number)).name for number in range(4)]
        assert len(labels) == 4
        for name, pixels in zip(names, np.asarray(images).astype(int), strict=True):
            written = decode(convert_image(FILES[name], Conversion(format="png")).data).transpose(2, 0, 1)
            assert np.abs(pixels - written).max() <= 3


def test_a_file_that_is_too_large_is_not_read(folder: Path) -> None:
    with open(folder / "all" / "huge.jpg", "wb") as file:
        file.truncate(2**31 + 1)
    data = FileDataset([str(folder)])
    (huge,) = (number for number in range(5) if data.index.key(number).endswith("huge.jpg"))
    with pytest.raises(ImageError, match=r"huge\.jpg: is too large") as caught:
        data[huge]
    assert caught.value.reason == "too_costly"
