"""The bytes of files behind URLs: spans of them, or all of them piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shardforge.errors import DatasetError
from shardforge.loader.network import Retries, connect, hide_credentials, limit_time

#: Bytes asked for at a time, and how many such requests are under way for one file.
_PIECE = 8 << 20
_PIECES = 4
#: Spans with a gap below this are one request.
_GAP = 64 << 10


def read_ranges(url: str, offsets: Sequence[int], sizes: Sequence[int], retries: Retries) -> list[bytes]:
    """Return the bytes of each span of a file, offsets ascending; those near each other are one request.

    Raises:
        DatasetError: the file ends before one of them does, the server cannot read parts, or the network is gone.
    """
    starts, ends, parts = _merge(offsets, sizes)
    pieces = _request(url, starts, ends, retries)
    for piece, start, end in zip(pieces, starts, ends, strict=True):
        _check_length(url, piece, start, end)
    spans = zip(parts, offsets, sizes, strict=True)
    return [pieces[part][offset - starts[part] :][:size] if size else b"" for part, offset, size in spans]


def read_pieces(url: str, size: int, retries: Retries) -> Iterator[bytes]:
    """Yield the bytes of a file of `size` bytes, in order and some megabytes at a time.

    A server that cannot read parts sends the whole file, which is then held in memory.

    Raises:
        DatasetError: the file is shorter, or the network is gone.
    """
    first = _request(url, [0], [min(size, _PIECE)], retries)[0] if size else b""
    if len(first) == size:
        yield first
        return
    _check_length(url, first, 0, _PIECE)
    yield first
    for begin in range(_PIECE, size, _PIECE * _PIECES):
        starts = list(range(begin, min(size, begin + _PIECE * _PIECES), _PIECE))
        ends = [min(size, start + _PIECE) for start in starts]
        for piece, start, end in zip(_request(url, starts, ends, retries), starts, ends, strict=True):
            _check_length(url, piece, start, end)
            yield piece


def _merge(offsets: Sequence[int], sizes: Sequence[int]) -> tuple[list[int], list[int], list[int]]:
    """Return starts and ends of requests that cover all spans, and for each span the number of its request."""
    starts: list[int] = []
    ends: list[int] = []
    parts = []
    for offset, size in zip(offsets, sizes, strict=True):
        if size and (not ends or offset - ends[-1] > _GAP):
            starts.append(offset)
            ends.append(offset + size)
        elif size:
            ends[-1] = max(ends[-1], offset + size)
        parts.append(len(starts) - 1)
    return starts, ends, parts


def _request(url: str, starts: Sequence[int], ends: Sequence[int], retries: Retries) -> list[bytes]:
    """Return the bytes of several spans; what came is kept while the rest is asked for again."""
    done: dict[int, bytes] = {}

    def ask() -> None:
        files, path = connect(url)
        missing = [number for number in range(len(starts)) if number not in done]
        spans = [starts[number] for number in missing], [ends[number] for number in missing]
        answers = files.cat_ranges([path] * len(missing), *spans, on_error="return", **limit_time(files))
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        done.update(
            (number, answer)
            for number, answer in zip(missing, answers, strict=True)
            if not isinstance(answer, BaseException)
        )
        if failed:
            raise failed[0]

    if starts:
        retries.call(ask, url)
    return [done[number] for number in range(len(starts))]


def _check_length(url: str, piece: bytes, start: int, end: int) -> None:
    if len(piece) > end - start:
        raise DatasetError(
            f"{hide_credentials(url)}: the server cannot read parts of a file; read whole shards, through a cache"
        )
    if len(piece) < end - start:
        raise DatasetError(
            f"{hide_credentials(url)}: ends at byte {start + len(piece):,}, expected bytes up to {end:,}: it changed "
            "since it was indexed, or was cut; restore it, or open the dataset again"
        )
