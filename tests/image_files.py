"""Image files made byte by byte, for what no encoder writes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

#: A plain picture of 40 x 24 pixels, all of whose corners differ.
PICTURE = Image.fromarray(
    np.stack(np.broadcast_arrays(np.arange(40) * 6, np.arange(24)[:, None] * 10, 90), -1).astype(np.uint8)
)


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    output = io.BytesIO()
    image.save(output, format, **options)
    return output.getvalue()


def decode(data: bytes) -> npt.NDArray[np.int16]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image).astype(np.int16)


def exif_block(orientation: int, order: str = "<", field_type: int = 3) -> bytes:
    value = struct.pack(order + {1: "B3x", 3: "H2x", 4: "I", 8: "h2x", 11: "f"}[field_type], orientation)
    return (
        {"<": b"II*\0", ">": b"MM\0*"}[order]
        + struct.pack(order + "IH", 8, 2)
        + struct.pack(order + "HHIHH", 0x0100, 3, 1, 7, 0)
        + struct.pack(order + "HHI", 0x0112, field_type, 1)
        + value
        + b"\0\0\0\0"
    )


def xmp_packet(orientation: int) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        b'tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>' % orientation
    )


def jpeg(*segments: tuple[int, bytes], image: Image.Image = PICTURE, **options: Any) -> bytes:
    """Return a JPEG with segments (marker, content) behind its first two bytes."""
    data = encode(image, "JPEG", **options)
    inserted = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return data[:2] + inserted + data[2:]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*before: bytes, after: Sequence[bytes] = (), image: Image.Image = PICTURE, **options: Any) -> bytes:
    """Return a PNG with chunks before and behind its image data."""
    data = encode(image, "PNG", **options)
    end = data.rindex(b"IEND") - 4
    return data[:33] + b"".join(before) + data[33:end] + b"".join(after) + data[end:]


def deep_png(samples: npt.NDArray[np.uint16], colours: int, *before: bytes) -> bytes:
    """Return a PNG of 16-bit samples, shape [height, width, channels]; `colours` is the kind of colours of IHDR."""
    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def empty_png(width: int, height: int, data: bytes = b"") -> bytes:
    """Return a PNG that says a size and has other image data."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


Tag = tuple[int, int, int, bytes]  # tag, field type, number of values, value


def tiff(tags: Sequence[Tag], content: bytes = b"", order: str = "<", *, big: bool = False) -> bytes:
    """Return a TIFF whose directory stands first, its longer values next and `content` last, whose place is tag 273."""
    entry_bytes, room = (20, 8) if big else (12, 4)
    head = {"<": b"II", ">": b"MM"}[order] + (
        struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8)
    )
    count = struct.pack(order + ("Q" if big else "H"), len(tags))
    values_at = len(head) + len(count) + entry_bytes * len(tags) + room
    values = b""
    values_bytes = sum(len(value) for _, _, _, value in tags if len(value) > room)
    entries = b""
    for tag, field_type, number, value in tags:
        if tag == 273 and not value:
            value = struct.pack(order + "I", values_at + values_bytes)
        if len(value) > room:
            place = struct.pack(order + ("Q" if big else "I"), values_at + len(values))
            values += value
            value = place
        entries += struct.pack(order + ("HHQ" if big else "HHI"), tag, field_type, number) + value.ljust(room, b"\0")
    return head + count + entries + b"\0" * room + values + content


def grey_tags(width: int, height: int, bits: int, order: str = "<", photometric: int = 1) -> list[Tag]:
    """Return the tags of an uncompressed grey TIFF of one strip."""
    number = order + "I"
    return [
        (256, 4, 1, struct.pack(number, width)),
        (257, 4, 1, struct.pack(number, height)),
        (258, 3, 1, struct.pack(order + "H", bits)),
        (259, 3, 1, struct.pack(order + "H", 1)),
        (262, 3, 1, struct.pack(order + "H", photometric)),
        (273, 4, 1, b""),
        (277, 3, 1, struct.pack(order + "H", 1)),
        (278, 4, 1, struct.pack(number, height)),
        (279, 4, 1, struct.pack(number, min(width * height * bits // 8, 2**32 - 1))),
    ]


def with_tags(tags: Sequence[Tag], *others: Tag) -> list[Tag]:
    """Return tags of which others take the place or go between, in order."""
    merged = {tag[0]: tag for tag in (*tags, *others)}
    return [merged[tag] for tag in sorted(merged)]


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def matrix_profile(primaries: Sequence[tuple[float, float]], curve: bytes) -> bytes:
    """Return an ICC profile of RGB with white D65, by its primaries' chromaticities and curve (ICC.1, section 8.3)."""

    def tristimulus(x: float, y: float) -> npt.NDArray[np.float64]:
        return np.array([x / y, 1, (1 - x - y) / y])

    white, pcs = tristimulus(0.3127, 0.3290), np.array([0.9642, 1, 0.8249])
    colours = np.stack([tristimulus(*primary) for primary in primaries], 1)
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    adaptation = np.linalg.inv(bradford) @ np.diag((bradford @ pcs) / (bradford @ white)) @ bradford
    columns = (adaptation @ (colours * np.linalg.solve(colours, white))).T
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\2w\0" + b"\0" * 78, b"wtpt": _xyz(pcs)}
    tags |= dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, columns), strict=True))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _profile(b"RGB ", tags)


def grey_profile(curve: bytes) -> bytes:
    return _profile(b"GRAY", {b"wtpt": _xyz(np.array([0.9642, 1, 0.8249])), b"kTRC": curve})


def gamma_curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)


def srgb_table(entries: int) -> bytes:
    values = np.linspace(0, 1, entries)
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return b"curv\0\0\0\0" + struct.pack(f">I{entries}H", entries, *(linear * 65535).round().astype(int).tolist())


#: The curve of sRGB as parameters: function type 3 (ICC.1:2004, parametricCurveType).
SRGB_CURVE = b"para\0\0\0\0\0\3\0\0" + struct.pack(
    ">5i", *(round(value * 65536) for value in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
)


def _xyz(values: npt.NDArray[np.float64]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def _profile(
    colours: bytes, tags: dict[bytes, bytes], *, device: bytes = b"mntr", connection: bytes = b"XYZ "
) -> bytes:
    tags |= {b"cprt": b"text\0\0\0\0none\0"}
    table, data = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        padded = value + b"\0" * (-len(value) % 4)
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(padded))
        data += padded
    head = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(data), b"none", 0x02100000, device, colours, connection)
    head += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + data


ADOBE_RGB = matrix_profile([(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)], gamma_curve(563 / 256))
DISPLAY_P3 = matrix_profile([(0.68, 0.32), (0.265, 0.69), (0.15, 0.06)], SRGB_CURVE)
SRGB_PRIMARIES = [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)]
GREY_LINEAR = grey_profile(gamma_curve(1.0))


def cmyk_profile() -> bytes:
    """Return an ICC profile of CMYK: a table of the sixteen corners in Lab (ICC.1:2001, lut8Type)."""
    corners = np.stack(np.meshgrid(*[[0.0, 1.0]] * 4, indexing="ij"), -1).reshape(16, 4)
    light = 100 * (1 - corners[:, 3]) * (1 - corners[:, :3] @ [0.3, 0.4, 0.1])
    green_red = 60 * (corners[:, 1] - corners[:, 0]) * (1 - corners[:, 3])
    blue_yellow = 80 * (corners[:, 2] - 0.5 * corners[:, 0]) * (1 - corners[:, 3])
    lab = np.stack([light * 2.55, green_red + 128, blue_yellow + 128], -1).round().clip(0, 255).astype(np.uint8)
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity
    table += bytes(range(256)) * 4 + lab.tobytes() + bytes(range(256)) * 3
    tags = {b"wtpt": _xyz(np.array([0.9642, 1, 0.8249])), b"A2B0": table, b"A2B1": table}
    return _profile(b"CMYK", tags, device=b"prtr", connection=b"Lab ")


CMYK = cmyk_profile()
