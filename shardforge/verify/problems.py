"""What verify can find, one code a kind of damage."""

from __future__ import annotations

from dataclasses import dataclass

MEANING = {
    "manifest_invalid": "the manifest cannot be read",
    "manifest_value": "the manifest says something else than the shards and the plan",
    "companion_value": "a file beside the shards does not agree with the manifest",
    "class_file": "the class file does not agree with the dataset",
    "index_missing": "the index is not there",
    "index_value": "the index does not agree with the manifest",
    "shard_missing": "the shard is not there",
    "shard_extra": "a tar that the manifest does not list",
    "shard_size": "the shard has another size",
    "shard_truncated": "the shard ends too early",
    "shard_checksum": "the shard's bytes are not those that were written",
    "shard_swapped": "the shard holds another shard's bytes",
    "shard_samples": "the shard has another number of samples",
    "shard_unreadable": "the shard cannot be opened or read",
    "shard_compressed": "the shard is compressed as a whole",
    "tar_header": "a tar header is damaged",
    "tar_padding": "bytes between members are not zero",
    "member_missing": "a member is not there",
    "member_extra": "a member that does not belong there",
    "member_renamed": "a member has another name",
    "member_duplicate": "a member occurs twice",
    "member_order": "a member stands in another place",
    "member_suffix": "a member's suffix is not spelled as shardforge writes it",
    "member_packed": "a member is sparse, or of a type that no standard has: no reader finds its bytes",
    "member_costly": "a member has more bytes than any reader takes",
    "member_bytes": "a member's bytes are not those that were written",
    "label_wrong": "a .cls member holds another label",
    "label_range": "a .cls member holds no class number",
    "image_undecodable": "an image cannot be decoded",
    "text_invalid": "a .json or .txt member cannot be read",
    "reader_killed": "reading it kills the process that does",
    "internal_error": "a fault of shardforge itself, met at this place; please report it",
    "key_twice": "a key occurs in more than one place",
    "mapping_damaged": "the mapping contradicts itself",
    "mapping_missing": "a sample that the mapping does not know",
    "mapping_unwritten": "the mapping says that it was written, and it is in no shard",
    "mapping_value": "the mapping says something else than the dataset",
    "mapping_passing": "images were not written for a reason that may pass",
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: a code of `MEANING`, the file, the member in it, what was expected and what was found.

    `shard` says that the file is a shard, so that writing it again mends the problem.
    """

    code: str
    file: str
    member: str = ""
    expected: str = ""
    found: str = ""
    shard: bool = True

    def __str__(self) -> str:
        place = f"{self.file}: {self.member}" if self.member else self.file
        details = [f"{word} {text}" for word, text in (("expected", self.expected), ("found", self.found)) if text]
        return f"{place}: {MEANING[self.code]}{': ' if details else ''}{', '.join(details)} [{self.code}]"
