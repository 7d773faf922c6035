"""What is odd about the samples of an index, by their keys, labels, and the extensions of their members."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shardforge.loader.index.shard_index import ShardIndex
from shardforge.loader.network import hide_credentials
from shardforge.samples import LABEL, Note, SampleNotes, find_oddities, is_image_extension

#: What `find_oddities` asks of a sample, a bit each: members with these extensions, or with others of their kind.
_ASKED = ("jpg", "left.jpg", LABEL, f"left.{LABEL}")
_NO_NUMBER = 1 << len(_ASKED)
#: Samples that are looked at together.
_SLICE = 1 << 22


def note_samples(index: ShardIndex) -> list[Note]:
    """Return what a user should know about the samples of an index."""
    notes = SampleNotes()
    notes.samples = index.samples
    for start in range(0, index.samples, _SLICE):
        numbers = np.arange(start, min(start + _SLICE, index.samples))
        patterns, first, counts = np.unique(_find_patterns(index, numbers), return_index=True, return_counts=True)
        for pattern, sample, count in zip(patterns.tolist(), first.tolist(), counts.tolist(), strict=True):
            codes = find_oddities(tuple(name for bit, name in enumerate(_ASKED) if pattern >> bit & 1))
            for code in (*codes, *(("no_number",) if pattern & _NO_NUMBER else ())):
                notes.add(code, notes.examples.get(code) or _name_sample(index, start + sample), count)
    repeated = index.find_repeated()
    if len(repeated):
        notes.add("scattered", _name_sample(index, int(repeated[0])), len(repeated))
    return notes.tell()


def _find_patterns(index: ShardIndex, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return which members of `_ASKED` each sample has, and whether its .cls is no number."""
    patterns = np.zeros(len(numbers), np.uint8)
    for extension in index.extensions:
        last = extension.rpartition(".")[2]
        if last == LABEL or is_image_extension(extension):
            bit = 2 * (last == LABEL) + ("." in extension)
            there = index.locate(numbers, extension)[1] > 0
            patterns |= there.astype(np.uint8) << bit
            if extension == LABEL:
                patterns |= (there & (index.labels[numbers] < 0)).astype(np.uint8) * np.uint8(_NO_NUMBER)
    return patterns


def _name_sample(index: ShardIndex, sample: int) -> str:
    shard = int(index.find_shards(np.array([sample]))[0])
    return f"{hide_credentials(index.reader.urls[shard])}: {index.key(sample)}"
