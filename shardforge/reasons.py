"""Reason codes: what became of a record, one word for each thing that can happen to an image.

The codes stand in `images.reason` (found while mapping; NULL means usable) and in `outcomes.reason` (found while
writing). They are a contract with users' queries: codes are added, never renamed. A reason is passing or lasting: a
file that is away may be back tomorrow, a torn one stays torn.
"""

from __future__ import annotations

import signal

from shardforge.errors import TaskError, WorkerLostError

OK = "ok"

# Found while listing or scanning a source.
EMPTY_FILE = "empty_file"
NOT_AN_IMAGE = "not_an_image"
UNREADABLE = "unreadable"
UNREADABLE_DIRECTORY = "unreadable_directory"
BROKEN_LINK = "broken_link"
VANISHED = "vanished"
COMPRESSED = "compressed"
MISNAMED = "misnamed"
NO_METADATA = "no_metadata"
BAD_SAMPLE = "bad_sample"
LINK = "link"
TWICE = "twice"

# Found while reading and converting pixels.
CHANGED = "changed"
TRUNCATED = "truncated"
CORRUPT = "corrupt"
UNSUPPORTED = "unsupported"
TOO_MANY_PIXELS = "too_many_pixels"
TOO_COSTLY = "too_costly"

# Found about whoever reads it.
TIMED_OUT = "timed_out"
TOO_SLOW = "too_slow"
OUT_OF_MEMORY = "out_of_memory"
READER_KILLED = "reader_killed"
INTERNAL_ERROR = "internal_error"

# Decided, not damaged.
EXCLUDED = "excluded"
NO_LABEL = "no_label"
AMBIGUOUS_LABEL = "ambiguous_label"
NO_SPLIT = "no_split"
OTHER_SPLIT = "other_split"

MEANING: dict[str, str] = {
    OK: "written",
    EMPTY_FILE: "the file has zero bytes",
    NOT_AN_IMAGE: "the bytes are not those of a known image format",
    UNREADABLE: "the file cannot be opened or read (permission, I/O error)",
    UNREADABLE_DIRECTORY: "the directory cannot be listed, so its files are unknown",
    BROKEN_LINK: "a symbolic link whose target does not exist",
    VANISHED: "the file was listed or mapped, and is not there",
    COMPRESSED: "must be unpacked to be read (.tar.gz, chunked HDF5, encrypted zip)",
    MISNAMED: "the name of the file, or of its folder, is not as its kind of source has it",
    NO_METADATA: "the file has no row in the table of its source",
    BAD_SAMPLE: "the .json, .cls or .txt that belongs to it is not what its suffix says",
    LINK: "a link inside an archive; what it leads to has a row of its own",
    TWICE: "stands there several times, with different contents or descriptions",
    CHANGED: "the file's size, time or content changed after it was mapped",
    TRUNCATED: "the image data ends too early",
    CORRUPT: "the image data cannot be decoded",
    UNSUPPORTED: "the pixels are of a kind that has no stated conversion to 8-bit RGB",
    TOO_MANY_PIXELS: "more pixels than --max-pixels allows",
    TOO_COSTLY: "to read it would take more time or memory than an image may, by its bytes",
    TIMED_OUT: "reading it took longer than an image may; it is tried once more",
    TOO_SLOW: "reading it took longer than an image may, twice",
    OUT_OF_MEMORY: "there was not enough memory to read it",
    READER_KILLED: "the process that read it was killed by it",
    INTERNAL_ERROR: "a fault of shardforge itself, which met something unforeseen",
    EXCLUDED: "on an exclusion list",
    NO_LABEL: "no value in the label column that was asked for",
    AMBIGUOUS_LABEL: "its name stands for several classes; its other ranks do not tell which",
    NO_SPLIT: "not assigned to a split (mapped after the split was made)",
    OTHER_SPLIT: "in a split that was not asked for",
}

#: Reasons that count against `--max-bad`: the image was meant to be written and could not be.
BAD = frozenset(
    {EMPTY_FILE, NOT_AN_IMAGE, UNREADABLE, VANISHED, CHANGED, TRUNCATED, CORRUPT, UNSUPPORTED, TOO_MANY_PIXELS}
    | {TOO_COSTLY, TIMED_OUT, TOO_SLOW, OUT_OF_MEMORY, READER_KILLED, INTERNAL_ERROR}
)

#: Reasons that may be gone the next time: what has one is tried again by the next run of the same command.
PASSING = frozenset({VANISHED, UNREADABLE, CHANGED, TIMED_OUT})

#: Passing reason -> what to do about images that `write` left out for it.
ADVICE = {
    **dict.fromkeys((VANISHED, UNREADABLE), "the same `shardforge write` writes them once they are back"),
    CHANGED: "the same `shardforge write` writes them once the former files are back; to take those that are there "
    "now, run map, split and write --replace",
    TIMED_OUT: "the same `shardforge write` tries them again",
}


def explain_failure(error: TaskError, before: str | None = None) -> tuple[str, str]:
    """Return the reason and the words for the one image that makes a task fail; `before` was its reason so far."""
    if not isinstance(error, WorkerLostError):
        return INTERNAL_ERROR, error.why
    if error.signal == signal.SIGALRM:
        return TOO_SLOW if before == TIMED_OUT else TIMED_OUT, error.why
    return READER_KILLED, error.why
