"""Splits: which records are for training, which for validation and test, as a function of seed and data alone."""

from __future__ import annotations

from shardforge.splits.assign import assign_splits
from shardforge.splits.checks import CHECKS, CheckResult, check_mapping
from shardforge.splits.exclusions import ExclusionCount
from shardforge.splits.moves import Moves
from shardforge.splits.report import SplitCount, SplitReport

__all__ = [
    "CHECKS",
    "CheckResult",
    "ExclusionCount",
    "Moves",
    "SplitCount",
    "SplitReport",
    "assign_splits",
    "check_mapping",
]
