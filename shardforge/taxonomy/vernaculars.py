"""Common names: of all that a file has for a taxon in a language, the one to use."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardforge.taxonomy.languages import normalise_language

_NO = ("0", "f", "false", "n", "no")


def select_vernaculars(raw: pa.Table) -> pa.Table:
    """Return one name for each taxon and language: `taxon` (ascending), `language`, `name`.

    The name is the one that the file prefers; else the one that most rows have, capitals aside; else the first.
    """
    names = _clean(raw["name"])
    kept = pc.not_equal(names, "").fill_null(False)
    raw, names = raw.drop_columns(["name"]).filter(kept), names.filter(kept)
    languages = _encode_languages(raw["language"])
    taxon = np.asarray(raw["taxon"]).astype(np.int64)
    group = taxon * max(1, len(languages.dictionary)) + np.asarray(languages.indices)
    order = np.lexsort((-_count_equal(group, names), np.asarray(raw["preference"]), group))
    best = order[np.flatnonzero(np.diff(group[order], prepend=-1))]
    rows = pa.array(best)
    return pa.table({"taxon": raw["taxon"].take(rows), "language": languages.take(rows), "name": names.take(rows)})


def is_flagged(column: pa.Array) -> np.ndarray:
    """Return whether each cell of a column of flags says yes: any text but the usual words for no."""
    no = pc.is_in(pc.utf8_lower(column), pa.array(_NO))
    return np.asarray(pc.and_(pc.is_valid(column), pc.invert(no)))


def _clean(names: pa.ChunkedArray) -> pa.Array:
    """Return the names in Unicode NFC, without markup and with single spaces."""
    plain = pc.replace_substring_regex(names, "<[^<>]*>", "")
    spaced = pc.utf8_trim_whitespace(pc.replace_substring_regex(plain, r"\s+", " "))
    return pc.utf8_normalize(spaced, "NFC").combine_chunks()


def _encode_languages(languages: pa.ChunkedArray) -> pa.DictionaryArray:
    encoded = languages.combine_chunks().fill_null("").dictionary_encode()
    codes = pa.array([normalise_language(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return codes.take(encoded.indices).dictionary_encode()


def _count_equal(group: np.ndarray, names: pa.Array) -> np.ndarray:
    """Return how many rows of the same group have the same name, capitals aside."""
    folded = pc.utf8_lower(names).dictionary_encode()
    pair = group * max(1, len(folded.dictionary)) + np.asarray(folded.indices)
    _, inverse, counts = np.unique(pair, return_inverse=True, return_counts=True)
    return counts[inverse]
