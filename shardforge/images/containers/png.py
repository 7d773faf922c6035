"""PNG: the chunks of the third edition, sections 5 and 11."""

from __future__ import annotations

import re
import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.images.containers.base import Header, ImageBytes, refuse_truncated
from shardforge.images.exif import find_orientation
from shardforge.images.limits import (
    MAX_PNG_CHUNKS,
    MAX_PROFILE_BYTES,
    MAX_SEGMENTS,
    MAX_TEXT_BYTES,
    check_size,
    refuse_costly,
)
from shardforge.images.notes import add_note

MAGIC = b"\x89PNG\r\n\x1a\n"

_HEADER_END = 33  # of IHDR, with its checksum
_IHDR = struct.Struct(">IIBB").unpack_from  # width, height, bits per sample, kind of colours
_CHUNK = struct.Struct(">I4s").unpack_from  # length, kind
_AROUND = 12  # bytes of a chunk that are not its content: length, kind, checksum
_KIND = re.compile(rb"[A-Za-z]{4}")
_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_PALETTE = 3  # kind of colours that needs PLTE
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_TRANSPARENCY_BYTES = {0: 2, 2: 6}
_COLOURS = {0: 1, 2: 3, 3: 3, 4: 1, 6: 3}  # values of sBIT that speak of colours, not of alpha
_LAST_CHUNK = b"\0\0\0\0IEND\xae\x42\x60\x82"
_EXPANSION = 1032  # bytes that one of Deflate can become

_XMP = b"XML:com.adobe.xmp"
_RAW_EXIF = b"Raw profile type exif"
_EXIF = b"exif"  # as Pillow has it
_KEYWORDS = (_XMP, _RAW_EXIF, _EXIF)
_LONGEST_KEYWORD = 80  # with the zero behind it
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_WANTED = _TEXTS | {b"eXIf", b"iCCP", b"sBIT", b"cICP"}
_SRGB_CODES = frozenset({(1, 13), (2, 2), (1, 2), (2, 13)})  # primaries and transfer; 2 is unspecified


def read_png(file: ImageBytes) -> Header:
    """Read IHDR, and the chunks before and behind the image data that say how it is turned and coloured.

    Raises:
        ImageError: truncated, corrupt, unsupported, too_many_pixels or too_costly.
    """
    while len(file.start) < _HEADER_END:
        file.grow()
    if _CHUNK(file.start, len(MAGIC)) != (_HEADER_END - _AROUND - len(MAGIC), b"IHDR"):
        raise ImageError("a PNG that does not begin with IHDR", reason=reasons.CORRUPT)
    width, height, bits, colours = _IHDR(file.start, 16)
    check_size(width, height)
    metadata = _Metadata(bits, colours)
    for position, length, kind in _iter_chunks(file):
        if kind in _WANTED:
            metadata.take(kind, file, position + 8, length)
    return metadata.describe(width, height)


def _iter_chunks(file: ImageBytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield the position, the length and the kind of each chunk behind IHDR that is no image data."""
    position = _HEADER_END
    data = False
    for number in range(MAX_PNG_CHUNKS):
        begin = file.read(position, 8)
        if len(begin) < 8 or not _KIND.fullmatch(begin, 4):
            if data:  # what is wrong there is for the decoder to judge
                return
            if len(begin) < 8:
                refuse_truncated()
            raise ImageError(f"a PNG with the chunk {begin[4:]!r}, which is none", reason=reasons.CORRUPT)
        length, kind = _CHUNK(begin)
        if kind == b"IDAT" and not data:
            data, position = True, _last_of_data(file, position, length)
            continue
        if kind == b"IEND":
            return
        if kind[0] & 0x20 == 0 and kind not in _CRITICAL:
            raise ImageError(f"a PNG with {kind.decode()}, a chunk that is not known", reason=reasons.UNSUPPORTED)
        if number == MAX_SEGMENTS and not data:
            raise refuse_costly(f"a PNG with more than {MAX_SEGMENTS:,} chunks before its image data")
        if kind != b"IDAT":
            yield position, length, kind
        position += _AROUND + length
    raise refuse_costly(f"a PNG of more than {MAX_PNG_CHUNKS:,} chunks")


def _last_of_data(file: ImageBytes, position: int, length: int) -> int:
    """Return where a later piece of the image data lies, mostly its last: pieces are of one length but for that."""
    stride = _AROUND + length
    pieces = range(1, max(0, file.size - position - _AROUND) // stride + 1)
    last = bisect_left(pieces, True, key=lambda piece: file.read(position + piece * stride + 4, 4) != b"IDAT")
    return position + last * stride


class _Metadata:
    """What the chunks of a PNG say of its image."""

    def __init__(self, bits: int, colours: int) -> None:
        self._samples = bits
        self._colours = _COLOURS.get(colours, 1)
        self._chunks: dict[bytes, bytes] = {}
        self._texts: dict[bytes, bytes] = {}
        self._notes: list[str] = []

    def take(self, kind: bytes, file: ImageBytes, position: int, length: int) -> None:
        """Read the content of a chunk of `_WANTED`; the last one of a kind counts."""
        keyword = b""
        if kind in _TEXTS:
            keyword = file.read(position, min(length, _LONGEST_KEYWORD)).partition(b"\0")[0]
            if keyword not in _KEYWORDS:
                return
        if length > MAX_PROFILE_BYTES:
            self._notes.append("the colour profile is too long" if kind == b"iCCP" else f"{kind.decode()} is too long")
            return
        content = file.read(position, length)
        if kind not in _TEXTS:
            self._chunks[kind] = content
        elif (text := _read_text(kind, content[len(keyword) + 1 :])) is not None:
            if keyword == _EXIF:
                self._chunks[b"eXIf"] = text
            else:
                self._texts[keyword] = text
        else:
            self._notes.append(f"the text {keyword.decode()} is damaged or too long")

    def describe(self, width: int, height: int) -> Header:
        """Return the header of an image of this size."""
        orientation = find_orientation(self._find_exif(), self._texts.get(_XMP), self._notes)
        bits: tuple[int, ...] = ()
        if self._samples == 16 and (said := self._chunks.get(b"sBIT", b"")[: self._colours]):
            # Samples are to be scaled to 16 bits, but there are writers that leave them as they are.
            bits = (max(said), 16)
        codes = tuple(self._chunks.get(b"cICP", b""))
        if codes and codes[:2] not in _SRGB_CODES:
            self._notes.append(f"cICP says colours {'-'.join(map(str, codes[:4]))}, which are not applied")
        return Header(width, height, "png", orientation, self._chunks.get(b"iCCP"), bits, tuple(self._notes))

    def _find_exif(self) -> bytes | None:
        """Return the EXIF block of eXIf, or of a text that ImageMagick or others write."""
        if b"eXIf" in self._chunks:
            return self._chunks[b"eXIf"]
        if (text := self._texts.get(_RAW_EXIF)) is None:
            return None
        try:  # an empty line, the kind, the length, then hexadecimal digits
            return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
        except ValueError:
            self._notes.append("the EXIF block is damaged")
            return None


def _read_text(kind: bytes, content: bytes) -> bytes | None:
    """Return what a text chunk holds behind its keyword, or None when it is damaged or too long."""
    if kind == b"tEXt":
        return content
    compressed = kind == b"zTXt"
    if kind == b"iTXt":
        head, *rest = content[:2], *content[2:].split(b"\0", 2)
        if len(head) < 2 or len(rest) < 3:
            return None
        compressed, content = head[0] != 0, head[1:] + rest[2]
    if not compressed:
        return content[kind == b"iTXt" :]
    return inflate(content[1:], MAX_TEXT_BYTES) if content[:1] == b"\0" else None


def inflate(data: bytes, most: int) -> bytes | None:
    """Return unpacked data, or None when it is damaged or more than `most` bytes."""
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(data, most)
    except zlib.error:
        return None
    return None if unpacker.unconsumed_tail else unpacked


def read_profile(chunk: bytes) -> bytes | None:
    """Return the profile in the content of an iCCP chunk, or None when it is damaged or too long."""
    _, _, content = chunk.partition(b"\0")
    return inflate(content[1:], MAX_PROFILE_BYTES) if content[:1] == b"\0" else None


class PngPixels(NamedTuple):
    """A PNG of the chunks that make pixels.

    Attributes:
        data: the file.
        bits: of a sample.
        animated: whether there were more frames.
    """

    data: bytes
    bits: int
    animated: bool


def strip_png(data: bytes) -> PngPixels:
    """Return a file of IHDR, palette, transparency and the first image's data; all of it is checked.

    Raises:
        ImageError: truncated, corrupt or too_costly.
    """
    _, _, bits, colours = _IHDR(data, 16)
    kept = [data[:_HEADER_END]]
    animated = False
    position = _HEADER_END
    length, kind = _next_chunk(data, position)
    while kind != b"IDAT":
        chunk = data[position : position + _AROUND + length]
        animated |= kind == b"acTL"
        if kind == b"IEND":
            raise ImageError("a PNG without image data", reason=reasons.CORRUPT)
        if kind == b"PLTE" and colours == _PALETTE:
            kept.append(chunk)
        elif kind == b"tRNS":
            if length >= _TRANSPARENCY_BYTES.get(colours, 0) and _is_intact(data, position, length):
                kept.append(chunk)
            else:
                add_note("the transparency is damaged: left out")
        position += _AROUND + length
        length, kind = _next_chunk(data, position)
    end = _check_data(data, position, colours)
    return PngPixels(b"".join((*kept, data[position:end], _LAST_CHUNK)), bits, animated)


def _check_data(data: bytes, position: int, colours: int) -> int:
    """Return where the image data ends.

    Raises:
        ImageError: it is not whole, or there is no end to the file.
    """
    total = 0
    for _ in range(MAX_PNG_CHUNKS):
        length, kind = _next_chunk(data, position)
        if kind != b"IDAT":
            break
        if not _is_intact(data, position, length):
            raise ImageError("the checksum of the PNG's image data is not that of its bytes", reason=reasons.CORRUPT)
        total += length
        position += _AROUND + length
    else:
        raise refuse_costly(f"a PNG of more than {MAX_PNG_CHUNKS:,} chunks")
    width, height, bits, _ = _IHDR(data, 16)
    if width * height * bits * _CHANNELS.get(colours, 1) // 8 > _EXPANSION * (total + 64):
        refuse_early_end()
    _check_end(data, position)
    return position


def _check_end(data: bytes, position: int) -> None:
    """Refuse a PNG that has no last chunk, however damaged the chunks before that may be.

    Raises:
        ImageError: truncated.
    """
    for _ in range(MAX_SEGMENTS):
        if position + _AROUND > len(data):
            break
        length, kind = _CHUNK(data, position)
        if kind == b"IEND":
            return
        position += _AROUND + length
    if data.rfind(_LAST_CHUNK) < 0:
        refuse_early_end()
    add_note("chunks behind the image data are damaged")


def _next_chunk(data: bytes, position: int) -> tuple[int, bytes]:
    try:
        length, kind = _CHUNK(data, position)
    except struct.error:
        refuse_early_end()
    if position + _AROUND + length > len(data) and kind in _CRITICAL:
        refuse_early_end()
    return length, kind


def _is_intact(data: bytes, position: int, length: int) -> bool:
    """Whether a chunk has the checksum of its bytes."""
    end = position + 8 + length
    return zlib.crc32(memoryview(data)[position + 4 : end]) == int.from_bytes(data[end : end + 4])


def refuse_early_end() -> NoReturn:
    """Raise the error for a PNG that is not whole."""
    raise ImageError("the png ends too early", reason=reasons.TRUNCATED)
