"""Splits: which records are for training, which for validation and test, as a function of seed and data alone."""

from __future__ import annotations

from shardforge.splits.assign import assign_splits
from shardforge.splits.checks import CHECKS, CheckResult, check_mapping
from shardforge.splits.exclusion_lists import ExclusionList, parse_list
from shardforge.splits.exclusions import ExclusionCount
from shardforge.splits.moves import Moves
from shardforge.splits.report import SplitCount, SplitReport
from shardforge.splits.request import HoldOut
from shardforge.splits.taxa import HeldOut

__all__ = [
    "CHECKS",
    "CheckResult",
    "ExclusionCount",
    "ExclusionList",
    "HeldOut",
    "HoldOut",
    "Moves",
    "SplitCount",
    "SplitReport",
    "assign_splits",
    "check_mapping",
    "parse_list",
]
