"""What libraries say about a file becomes its notes: nothing on standard error, in any thread, under any filter."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from image_files import PICTURE, chunk, deep_png, encode, exif_block, jpeg, png
from PIL import Image

from shardforge.errors import ImageError
from shardforge.images.convert import Conversion, check_image, convert_image
from shardforge.images.header import read_whole_header
from shardforge.images.notes import MOST_LETTERS, MOST_NOTES, add_note, collecting_notes

DARK = deep_png(np.full((8, 8, 1), 4095, np.uint16), 0)
DARK_NOTE = "16-bit samples up to 4095 taken for 12 bits"
NO_EXIF = jpeg((0xE1, b"Exif\0\0garbage"))


def torn_tiff() -> bytes:
    data = bytearray(encode(PICTURE.resize((300, 300)), "TIFF", compression="tiff_lzw"))
    data[40:400] = b"\xff" * 360
    return bytes(data)


def test_notes_come_with_the_header_and_with_the_image() -> None:
    assert read_whole_header(NO_EXIF).notes == ("the EXIF block is damaged",)
    assert convert_image(NO_EXIF, Conversion()).notes == ("the EXIF block is damaged",)
    assert convert_image(DARK, Conversion()).notes == (DARK_NOTE,)
    assert convert_image(png(), Conversion()).notes == ()


def test_a_check_gives_its_notes_to_whoever_collects() -> None:
    with collecting_notes() as notes:
        check_image(NO_EXIF, "fast")
        check_image(DARK, "fast")
        check_image(DARK, "pillow")
    assert notes.texts == ("the EXIF block is damaged", DARK_NOTE)
    check_image(DARK, "fast")  # and to nobody otherwise


def test_notes_are_few_short_and_each_there_once() -> None:
    with collecting_notes() as notes:
        add_note("long " * 1000)
        for number in range(100):
            add_note("one\ntext\0\x1b[31m")
            add_note(f"number {number}")
    assert len(notes.texts) == MOST_NOTES
    assert notes.texts[1] == "one text [31m"
    assert max(map(len, notes.texts)) <= MOST_LETTERS
    assert all(text.isprintable() for text in notes.texts)


def test_an_inner_collector_keeps_what_it_gets() -> None:
    with collecting_notes() as outer:
        with collecting_notes() as inner:
            add_note("inside")
        add_note("outside")
    assert (inner.texts, outer.texts) == (("inside",), ("outside",))


def test_what_libtiff_says_of_a_torn_file_is_its_error(capfd: pytest.CaptureFixture[str]) -> None:
    for codec in ("fast", "pillow"):
        with pytest.raises(ImageError, match="libtiff: ") as caught:
            convert_image(torn_tiff(), Conversion(codec=codec))
        assert caught.value.reason == "corrupt"
    assert capfd.readouterr() == ("", "")


def test_threads_have_notes_of_their_own(capfd: pytest.CaptureFixture[str]) -> None:
    files = [NO_EXIF, DARK, png(), torn_tiff(), png(chunk(b"acTL", bytes(8)) * 2)] * 8

    def convert(data: bytes) -> object:
        try:
            return convert_image(data, Conversion(format="png")).notes
        except ImageError as error:
            return str(error)

    alone = [convert(data) for data in files]
    with ThreadPoolExecutor(8) as pool, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(pool.map(convert, files)) == alone
    assert capfd.readouterr() == ("", "")


def test_pillow_warns_as_ever_where_nobody_collects() -> None:
    odd = png(chunk(b"acTL", bytes(8)))
    with pytest.warns(UserWarning, match="Invalid APNG"), Image.open(io.BytesIO(odd)):
        pass


def test_libtiff_speaks_as_ever_where_nobody_collects() -> None:
    program = (
        "import io, sys\n"
        "from PIL import Image\n"
        "from shardforge.errors import ImageError\n"
        "from shardforge.images.convert import Conversion, convert_image\n"
        "data = sys.stdin.buffer.read()\n"
        "try:\n    convert_image(data, Conversion())\nexcept ImageError:\n    print('refused')\n"
        "try:\n    Image.open(io.BytesIO(data)).load()\nexcept OSError:\n    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=torn_tiff(), capture_output=True, check=True)
    assert done.stdout.split() == [b"refused"] * 2
    assert len(done.stderr.splitlines()) == 1


def test_a_turned_picture_without_faults_has_no_notes() -> None:
    assert convert_image(jpeg((0xE1, b"Exif\0\0" + exif_block(6))), Conversion()).notes == ()
