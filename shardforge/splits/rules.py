"""The three rules: where to cut the line of positions on which the seed puts every group.

All rules end in the same two cuts per class (one class for all, unless stratified): positions below the first are
validation, between them test, behind them train. They differ in where the cuts come from: `hash` takes them from the
shares alone, `exact` and `stratified` from the records.
"""

from __future__ import annotations

from shardforge.mapping import Mapping
from shardforge.splits.request import NULL, SplitRequest, share_to_position


def place_records(mapping: Mapping, request: SplitRequest) -> None:
    """Give every usable record its group's position under the seed."""
    subset_position = f"substr(sha256('{request.seed}:subset:' || group_id), 1, 16)" if request.subsets else NULL
    shared_content = (
        "CASE WHEN u.content_hash IN (SELECT content_hash FROM shared) THEN u.content_hash END"
        if request.group_by
        else NULL
    )
    statement = mapping.query("place_split_records")
    mapping.execute(statement.format(seed=request.seed, subset_position=subset_position, shared_content=shared_content))
    if request.stratify:
        mapping.execute(mapping.query("settle_group_classes"))


def find_cuts(mapping: Mapping, request: SplitRequest) -> None:
    """Fill the table of cuts and define `assigned`, the split of every placed record."""
    mapping.execute("CREATE TEMP TABLE cuts (class VARCHAR, validation VARCHAR, test VARCHAR, images BIGINT)")
    shares = request.cumulated()
    if request.rule == "hash":
        cuts = {split: share_to_position(share) for split, share in shares.items()}
        mapping.execute("INSERT INTO cuts VALUES ('', $validation, $test, NULL)", **cuts)
    else:
        mapping.execute("CREATE TEMP TABLE asked (split VARCHAR, numerator BIGINT, denominator BIGINT)")
        for split, share in shares.items():
            numerator, denominator = share.as_integer_ratio()
            mapping.execute(
                "INSERT INTO asked VALUES ($split, $numerator, $denominator)",
                split=split,
                numerator=numerator,
                denominator=denominator,
            )
        mapping.execute(mapping.query("cut_split_classes"))
    subset = _choose_subset(request)
    group = "p.group_id" if request.group_by or request.group_near_duplicates else NULL
    keys = share_to_position(request.hold_out.keys) if request.hold_out else ""
    set_apart = (
        mapping.query("select_set_apart").format(group=group, subset=subset, keys=keys) if request.hold_out else ""
    )
    mapping.execute(mapping.query("create_split_assigned").format(group=group, subset=subset, set_apart=set_apart))


def _choose_subset(request: SplitRequest) -> str:
    """Return the SQL for the smallest subset that holds a position; names are checked, so they need no quoting."""
    cases = [
        f"WHEN p.subset_position < '{share_to_position(share)}' THEN '{name}'"
        for name, share in request.ordered_subsets()
    ]
    return f"CASE {' '.join(cases)} END" if cases else NULL
