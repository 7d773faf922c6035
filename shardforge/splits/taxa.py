"""Open-world splits: whole taxa that training never sees, and that have a validation and a test split of their own.

Which taxa these are is a function of the seed and their names: the position of a taxon is the first 16 hex digits of
sha256("SEED:taxon:NAME"), NAME in the normal form of `shardforge.taxonomy` and in lower case.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pyarrow as pa
import pyarrow.compute as pc

from shardforge.errors import SplitError
from shardforge.mapping import Mapping
from shardforge.mapping.ranks import rank_name_sql
from shardforge.splits.names import compare_species, compare_taxa, read_taxon
from shardforge.splits.request import HoldOut, SplitRequest, share_to_position

_ROW = "SELECT count(*), count(DISTINCT group_id) FROM set_apart WHERE split = $split"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What was held out: taxa at `rank` in all and by split of unseen taxa, and the names given that no record has.

    `excluded` has the names whose records exclusion lists keep out, with those lists; `unmatched` the others.
    `conflicts` counts the groups with taxa of different splits, `conflict_images` their records: all other_heldout.
    """

    rank: str
    taxa: int
    held: dict[str, int]
    unmatched: tuple[str, ...]
    excluded: dict[str, str]
    conflicts: int
    conflict_images: int


def hold_out_taxa(mapping: Mapping, request: SplitRequest) -> HeldOut:
    """Take the records of held-out taxa, and those without a taxon, out of `placed` and into `set_apart`.

    Raises:
        SplitError: no record has the rank, or a split of unseen taxa would have none.
    """
    asked = request.hold_out
    assert asked is not None
    _list_taxa(mapping, asked)
    absent = _list_named(mapping, asked)
    excluded = _find_excluded(mapping, asked, absent)
    [(total,)] = mapping.rows("SELECT count(DISTINCT name) FROM taxa")
    if not total:
        raise SplitError(
            f"{mapping.path}: no usable record has a {asked.rank}, so no taxon can be held out; "
            "choose another --hold-out-rank"
        )
    mapping.execute(mapping.query("hold_out_taxa").format(seed=request.seed, **_conditions(mapping, request)))
    held = dict(mapping.rows("SELECT split, count(*) FROM taxon_splits WHERE split <> 'seen' GROUP BY split"))
    _require_taxa(mapping, request, held, total, excluded)
    mapping.execute(mapping.query("set_records_apart").format(without_rank=asked.without_rank))
    [(images, conflicts)] = mapping.rows(_ROW, split="other_heldout")
    unmatched = tuple(entry for entry in absent if entry not in excluded)
    return HeldOut(asked.rank, total, held, unmatched, excluded, conflicts, images)


def _list_taxa(mapping: Mapping, asked: HoldOut) -> None:
    """Fill the table `taxa` with the names at the rank, as they are written and as they are compared."""
    mapping.execute("CREATE TEMP TABLE taxa (value VARCHAR, name VARCHAR)")
    found = list(mapping.batches("SELECT DISTINCT taxon FROM placed WHERE taxon IS NOT NULL"))
    if found:
        values = pa.concat_tables(found)["taxon"].combine_chunks().cast(pa.string())
        rows = pa.table({"value": values, "name": _compare(values, asked.rank)})
        mapping.insert("taxa", rows.filter(pc.is_valid(rows["name"])))


def _compare(names: pa.Array, rank: str) -> pa.Array:
    return compare_species(names) if rank == "species" else compare_taxa(names)


def _list_named(mapping: Mapping, asked: HoldOut) -> tuple[str, ...]:
    """Fill the table `named_taxa` with the names that were given; return those that no record to split has."""
    mapping.execute("CREATE TEMP TABLE named_taxa (name VARCHAR, entry VARCHAR)")
    if not asked.taxa:
        return ()
    names = pa.array(map(read_taxon, asked.taxa), pa.string())
    entries = pa.array(asked.taxa, pa.string())
    mapping.insert("named_taxa", pa.table({"name": _compare(names, asked.rank), "entry": entries}))
    rows = mapping.rows(
        "SELECT entry FROM named_taxa WHERE name IS NULL OR name NOT IN (SELECT name FROM taxa) ORDER BY entry"
    )
    return tuple(entry for (entry,) in rows)


def _find_excluded(mapping: Mapping, asked: HoldOut, names: tuple[str, ...]) -> dict[str, str]:
    """Return those of `names` whose records exclusion lists keep out, with the names of these lists."""
    if not names:
        return {}
    rows = mapping.rows(mapping.query("select_excluded_taxa").format(taxon=rank_name_sql(asked.rank)))
    lists: dict[str, list[str]] = {}
    for taxon, (_, name) in zip(
        _compare(pa.array((row[0] for row in rows), pa.string()), asked.rank), rows, strict=True
    ):
        lists.setdefault(taxon.as_py(), []).append(name)
    compared = _compare(pa.array(map(read_taxon, names), pa.string()), asked.rank).to_pylist()
    return {
        entry: ", ".join(dict.fromkeys(lists[name]))
        for entry, name in zip(names, compared, strict=True)
        if name in lists
    }


def _conditions(mapping: Mapping, request: SplitRequest) -> dict[str, str]:
    """Return the SQL that says which taxa may be held out, which are, and which of these are for validation."""
    asked = request.hold_out
    assert asked is not None
    candidate = "name IN (SELECT name FROM named_taxa)" if asked.taxa else "TRUE"
    share = Fraction(1) if asked.share is None else asked.share
    validation = share * request.shares.get("validation", Fraction(0)) / sum(request.shares.values())
    if request.rule == "hash":
        held, for_validation = (_below(part) for part in (share, validation))
    else:
        [(candidates,)] = mapping.rows(f"SELECT count(DISTINCT name) FROM taxa WHERE {candidate}")
        held, for_validation = (f"place < {round(part * candidates)}" for part in (share, validation))
    return {"candidate": candidate, "held": held, "validation": for_validation}


def _below(share: Fraction) -> str:
    return "TRUE" if share == 1 else f"position < '{share_to_position(share)}'"


def _require_taxa(
    mapping: Mapping, request: SplitRequest, held: dict[str, int], total: int, excluded: dict[str, str]
) -> None:
    """Refuse to hold out no taxon for a split of unseen taxa, or all."""
    asked = request.hold_out
    assert asked is not None
    if asked.taxa and not held:
        kept_out = f", {len(excluded):,} of them kept out by exclusion lists" if excluded else ""
        raise SplitError(
            f"{mapping.path}: {next(iter(request.shares))}_unseen would have no taxon: no record to split has one of "
            f"the names to hold out as its {asked.rank} ({len(asked.taxa):,} given{kept_out}); list others, or choose "
            "another --hold-out-rank"
        )
    empty = next((split for split in request.shares if not held.get(f"{split}_unseen")), None)
    if empty is not None:
        remedy = "hold out more taxa" if request.rule != "hash" else "hold out more taxa, or use --rule exact"
        raise SplitError(
            f"{mapping.path}: {empty}_unseen would have no taxon: {sum(held.values()):,} of {total:,} taxa of rank "
            f"{asked.rank} are held out; {remedy}"
        )
    if sum(held.values()) == total:
        raise SplitError(
            f"{mapping.path}: all {total:,} taxa of rank {asked.rank} are held out, which leaves none for train; "
            "hold out fewer"
        )
