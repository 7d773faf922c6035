"""The statements sql/check_*.sql: each finds the violation that is planted for it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest

from shardforge.mapping import Mapping, open_mapping
from shardforge.splits.assign import assign_splits
from shardforge.splits.checks import CHECKS, check_mapping

SQL = Path(__file__).resolve().parent.parent / "sql"


@pytest.fixture(params=["duckdb", "sqlite"])
def mapping(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mapping]:
    with open_mapping(tmp_path / f"mapping.{request.param}", write=True, create=True) as mapping:
        keys = [f"k{i:02d}" for i in range(20)]
        contents = [f"c{i // 2}" for i in range(20)]
        columns = {"key": keys, "source": keys, "path": keys, "content_hash": contents, "author": contents}
        mapping.insert("images", pa.table(columns))
        assign_splits(mapping, seed=1, shares={"validation": Fraction(1, 2)}, rule="exact", group_by="author")
        yield mapping


def offending(mapping: Mapping) -> dict[str, int]:
    return {result.check: result.rows for result in check_mapping(mapping) if result.rows}


def test_every_check_in_the_folder_is_run() -> None:
    assert sorted(CHECKS) == sorted(path.stem for path in SQL.glob("check_*.sql"))


def test_a_sound_split_passes_every_check(mapping: Mapping) -> None:
    assert offending(mapping) == {}


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        (
            "INSERT INTO splits SELECT * FROM splits WHERE key = 'k03'",
            {"check_split_keys": 1},
        ),
        (
            "UPDATE splits SET split = CASE split WHEN 'train' THEN 'validation' ELSE 'train' END WHERE key = 'k03'",
            {"check_split_groups": 1, "check_split_contents": 1},
        ),
        (
            "UPDATE splits SET split = CASE split WHEN 'train' THEN 'test' ELSE 'train' END, group_id = 'own'"
            " WHERE key = 'k03'",
            {"check_split_contents": 1},
        ),
        ("DELETE FROM splits WHERE key IN ('k03', 'k04')", {"check_split_complete": 2}),
        ("UPDATE images SET reason = 'corrupt' WHERE key = 'k03'", {"check_split_unusable": 1}),
        ("INSERT INTO exclusions (list, key) VALUES ('late', 'k03')", {"check_split_unusable": 1}),
        ("DELETE FROM images WHERE key = 'k03'", {"check_split_unusable": 1}),
        ("UPDATE images SET key = 'k04' WHERE key = 'k03'", {"check_image_keys": 1, "check_split_unusable": 1}),
    ],
)
def test_a_planted_violation_is_found(mapping: Mapping, planted: str, found: dict[str, int]) -> None:
    mapping.execute(planted)
    assert found.items() <= offending(mapping).items()


def test_a_check_shows_its_first_offending_row(mapping: Mapping) -> None:
    mapping.execute("DELETE FROM splits WHERE key = 'k03'")
    [result] = [result for result in check_mapping(mapping) if result.rows]
    assert result.first == ("default", "k03")
