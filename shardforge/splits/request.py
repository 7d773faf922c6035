"""What is asked of a split, checked before anything is touched."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from shardforge.errors import UsageError
from shardforge.records import DESCRIPTIVE, RANKS

#: Columns that may group or stratify.
COLUMNS = ("source", *(name for name in DESCRIPTIVE if name != "metadata"))

#: Splits that take a share; train is what remains.
HELD_OUT = ("validation", "test")

#: For pre-training only: samples of this split are written without a class.
PRETRAIN = "pretrain"

#: Every split that there can be, in the order in which people name them; see docs/splits.md for those of held-out taxa.
SPLITS = ("train", *HELD_OUT, "validation_unseen", "test_unseen", "key_unseen", "other_heldout", PRETRAIN)

#: A text column without a value, in SQL.
NULL = "CAST(NULL AS VARCHAR)"

# Positions are 64 bits; a database multiplies these numbers with counts of records in 64 bits.
_POSITION_BITS = 64
_MAX_DENOMINATOR = 10**8
_SEEDS = range(-(2**63), 2**63)
_NAME = re.compile(r"[a-z0-9_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOut:
    """Whole taxa that training never sees; raises UsageError when it contradicts itself.

    Either a `share` of all taxa at `rank` or the names in `taxa` are held out. Records without the rank go to the split
    `without_rank`, pretrain or train; `keys` is the share of the held-out records that are set aside as key_unseen.
    """

    rank: str = "species"
    share: Fraction | None = None
    taxa: tuple[str, ...] = ()
    without_rank: str = PRETRAIN
    keys: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        if self.rank not in RANKS:
            raise UsageError(f"'{self.rank}' is not a rank to hold taxa out at; choose one of {', '.join(RANKS)}")
        if (self.share is None) == (not self.taxa):
            raise UsageError("taxa are held out by a share or by their names: give one of the two, and not both")
        if self.without_rank not in (PRETRAIN, "train"):
            raise UsageError(f"records without the rank cannot go to '{self.without_rank}'; choose {PRETRAIN} or train")
        if self.share is not None:
            _check_share("the held-out taxa", self.share)
        if self.keys:
            _check_share("key_unseen", self.keys)

    def parameters(self) -> dict[str, Any]:
        """Return what is recorded with the run, as JSON can hold it; names as the first digits of a digest."""
        names = "\n".join(sorted(self.taxa))
        return {
            "rank": self.rank,
            "share": None if self.share is None else str(self.share),
            "taxa": hashlib.sha256(names.encode("utf-8", "surrogatepass")).hexdigest()[:16] if self.taxa else None,
            "without_rank": self.without_rank,
            "keys": str(self.keys),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRequest:
    """A split as asked for; raises UsageError when it contradicts itself.

    `shares` and `subsets` are fractions between 0 and 1 by name; `rule` is hash, exact or stratified.
    """

    seed: int
    name: str
    shares: Dict[str, Fraction]
    rule: str
    stratify: str | None
    group_by: str | None
    subsets: Dict[str, Fraction]
    hold_out: HoldOut | None = None
    group_near_duplicates: bool = False

    def __post_init__(self) -> None:
        if self.seed not in _SEEDS:
            raise UsageError(f"seed {self.seed} is out of range; choose one between -2^63 and 2^63 - 1")
        if not self.name:
            raise UsageError("the split run has an empty name; give it one, such as 'default'")
        self._check_rule()
        self._check_shares()
        self._check_subsets()

    def _check_rule(self) -> None:
        if self.rule not in ("hash", "exact", "stratified"):
            raise UsageError(f"rule '{self.rule}' is not known; use hash or exact, or name a column to stratify by")
        if (self.rule == "stratified") != (self.stratify is not None):
            raise UsageError(
                f"rule {self.rule} does not go with stratifying by {self.stratify or 'nothing'}; leave one of them out"
            )
        for column in (self.stratify, self.group_by):
            if column is not None and column not in COLUMNS:
                raise UsageError(
                    f"'{column}' is not a column to group or stratify by; choose one of {', '.join(COLUMNS)}"
                )

    def _check_shares(self) -> None:
        if not self.shares or not set(self.shares) <= set(HELD_OUT):
            raise UsageError(
                f"shares are given for {', '.join(self.shares) or 'no split'}; give them for validation and test"
            )
        for split, share in self.shares.items():
            _check_share(split, share)
        if sum(self.shares.values()) >= 1:
            total = format_percent(sum(self.shares.values(), Fraction(0)))
            raise UsageError(
                f"validation and test together take {total}, which leaves nothing for train; ask for less than 100%"
            )

    def _check_subsets(self) -> None:
        for name, share in self.subsets.items():
            if not _NAME.fullmatch(name) or name in (*SPLITS, "training"):
                raise UsageError(
                    f"'{name}' cannot name a subset; use a-z, 0-9 and _, and none of training, {', '.join(SPLITS)}"
                )
            _check_share(name, share)
        if len(set(self.subsets.values())) < len(self.subsets):
            raise UsageError("two subsets have the same share, so neither holds the other; give them different shares")

    def cumulated(self) -> dict[str, Fraction]:
        """Return where validation ends and where test ends, as shares of all records."""
        validation = self.shares.get("validation", Fraction(0))
        return {"validation": validation, "test": validation + self.shares.get("test", Fraction(0))}

    def required(self) -> tuple[str, ...]:
        """Return the splits that must not be empty, in their usual order."""
        unseen = [f"{split}_unseen" for split in self.shares] if self.hold_out else []
        keys = ["key_unseen"] if self.hold_out and self.hold_out.keys else []
        return tuple(split for split in SPLITS if split in ("train", *self.shares, *unseen, *keys))

    def ordered_subsets(self) -> list[tuple[str, Fraction]]:
        """Return the subsets from the smallest, which all others hold, to the largest."""
        return sorted(self.subsets.items(), key=lambda item: item[1])

    def parameters(self) -> dict[str, Any]:
        """Return what is recorded beside seed and rule, as JSON can hold it; fractions as text, for instance "1/20"."""
        return {
            "shares": {split: str(share) for split, share in sorted(self.shares.items())},
            "stratify": self.stratify,
            "group_by": self.group_by,
            "subsets": {name: str(share) for name, share in self.ordered_subsets()},
            "hold_out": self.hold_out.parameters() if self.hold_out else None,
        }


def share_to_position(share: Fraction) -> str:
    """Return floor(2^64 * share) as 16 hex digits: positions below it are the first `share` of all positions."""
    return f"{(share.numerator << _POSITION_BITS) // share.denominator:016x}"


def format_percent(share: Fraction) -> str:
    """Return a share as people write it, for instance `2.5%`."""
    return f"{float(share * 100):.10g}%"


def _check_share(name: str, share: Fraction) -> None:
    if not 0 < share < 1:
        raise UsageError(
            f"{name} is asked to take {format_percent(share)}; a share lies between 0% and 100%, both excluded"
        )
    if share.denominator > _MAX_DENOMINATOR:
        raise UsageError(f"the share of {name} has too many digits; six decimals of a percent are enough")
