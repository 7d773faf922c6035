"""Classes at a rank: a name and what stands above it, so that homonyms stay apart and gaps tear nothing.

Classes are made from the highest rank down, by the records that know the rank. Where these differ, the rank tells the
classes apart and stands behind the name: "Oenanthe (Animalia)", "Oenanthe (Plantae)". A record that does not know the
rank joins the one class that it does not contradict; where there are more, its class is not known. What contradicts all
of them is a class of its own. A class is contradicted by its most complete records: a gap lets nothing in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from functools import lru_cache
from itertools import chain, count, groupby

import pyarrow as pa

from shardforge.mapping import Mapping
from shardforge.mapping.ranks import higher_ranks_sql, rank_name_sql
from shardforge.records import RANKS
from shardforge.taxonomy.kingdoms import normalise_kingdom
from shardforge.taxonomy.normalise import normalise_name

#: The names above a name, kingdom to genus, None where unknown.
Path = tuple[str | None, ...]


def name_homonyms(mapping: Mapping, rank: str) -> None:
    """Tell the planned records apart whose name at `rank` stands for several classes.

    Reads the temporary table `class_paths` and changes `planned`; leaves the names that it told apart in `homonyms`.
    What stands above a name is taken from all usable records: a class has one name, whichever splits are written.
    """
    columns = ["name", *RANKS[:-1], "class_name"]
    told_apart: list[tuple[str | None, ...]] = []
    taken = {name for (name,) in mapping.rows("SELECT DISTINCT name FROM class_paths WHERE name LIKE '% (%'")}
    for name, written in _read_paths(mapping):
        normal = {path: _normalise(path) for path in written}
        classes = tell_apart(list(dict.fromkeys(normal.values())))
        if len(set(classes.values())) > 1:
            told_apart += [(name, *path, _class_name(name, classes[normal[path]], taken)) for path in written]
    if told_apart:
        values = zip(columns, zip(*told_apart, strict=True), strict=True)
        mapping.insert("homonyms", pa.table({column: pa.array(cells, pa.string()) for column, cells in values}))
        names = {"name": rank_name_sql(rank), "higher": higher_ranks_sql(rank)}
        mapping.execute(mapping.query("name_homonyms").format(**names))


def list_homonyms(mapping: Mapping) -> list[str]:
    """Return the names that `name_homonyms` gave to classes that share one."""
    found = mapping.rows("SELECT DISTINCT class_name FROM homonyms WHERE class_name IS NOT NULL ORDER BY 1")
    return [name for (name,) in found]


def tell_apart(paths: Sequence[Path], start: int = 0) -> dict[Path, tuple[str, ...] | None]:
    """Return for each path above one name what tells its class from the others: (), or names; None: not known.

    Ranks from `start` are looked at, as all paths agree above.
    """
    rank = next((rank for rank in range(start, len(RANKS) - 1) if any(path[rank] for path in paths)), None)
    if rank is None:
        return dict.fromkeys(paths, ())
    branches: dict[str, list[Path]] = {}
    for path in paths:
        if (value := path[rank]) is not None:
            branches.setdefault(value, []).append(path)
    classes: dict[Path, tuple[str, ...] | None] = {}
    strangers: list[Path] = []
    gappy = [path for path in paths if path[rank] is None]
    fullest = {value: _drop_gappy(members) for value, members in branches.items()} if gappy else {}
    for path in gappy:
        homes = [value for value, members in fullest.items() if any(_agree(path, other) for other in members)]
        if len(homes) == 1:
            branches[homes[0]].append(path)
        elif homes:
            classes[path] = None
        else:
            strangers.append(path)
    alone = len(branches) == 1 and not strangers
    for value, members in branches.items():
        for path, qualifier in tell_apart(members, rank + 1).items():
            classes[path] = None if qualifier is None else qualifier if alone else (value, *qualifier)
    return classes | _tell_strangers_apart(strangers, rank + 1)


def _tell_strangers_apart(paths: Sequence[Path], start: int) -> dict[Path, tuple[str, ...] | None]:
    """Return the classes of paths that agree with no branch; one class alone is named by its highest known rank."""
    known = ((rank, path[rank]) for path in paths for rank in range(start, len(RANKS) - 1))
    highest = min(((rank, value) for rank, value in known if value), default=(0, ""))[1]
    return {path: (highest,) if qualifier == () else qualifier for path, qualifier in tell_apart(paths, start).items()}


def _drop_gappy(paths: Sequence[Path]) -> list[Path]:
    """Return the paths that no other one completes: what a path agrees with only by its gaps is no home."""
    return [path for path in paths if not any(path != other and _completes(other, path) for other in paths)]


def _completes(full: Path, gappy: Path) -> bool:
    return all(name is None or name == known for name, known in zip(gappy, full, strict=True))


def _normalise(path: Path) -> Path:
    """Return what paths are compared by, so that Metazoa is Animalia, and nothing is what a placeholder says."""
    return tuple(_normalise_rank(rank, name) if name else None for rank, name in enumerate(path))


@lru_cache(maxsize=100_000)
def _normalise_rank(rank: int, name: str) -> str | None:
    return (normalise_name(name) if rank else normalise_kingdom(name)) or None


def _agree(one: Path, other: Path) -> bool:
    return all(a == b or a is None or b is None for a, b in zip(one, other, strict=True))


def _class_name(name: str, qualifier: tuple[str, ...] | None, taken: Set[str]) -> str | None:
    """Return the name of a class, with a number where records have that name already."""
    if qualifier is None:
        return None
    made = f"{name} ({', '.join(qualifier)})"
    return next(text for text in chain([made], (f"{made} {i}" for i in count(2))) if text not in taken)


def _read_paths(mapping: Mapping) -> Iterator[tuple[str, list[Path]]]:
    """Yield each name with several paths above it."""
    rows = (
        row
        for batch in mapping.batches(mapping.query("select_class_paths"))
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
    )
    for name, group in groupby(rows, key=lambda row: row[0]):
        yield name, [row[1:] for row in group]
