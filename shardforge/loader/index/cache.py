"""Where index files are kept: beside the shards, or in the user's cache when that folder is read-only."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from shardforge.dataset.layout import INDEX_SUFFIX
from shardforge.errors import DatasetError
from shardforge.inside import is_inside, require_inside
from shardforge.loader.places import folder_of, is_remote
from shardforge.loader.shards import ShardSet

#: With the version of the format, so that releases of different formats leave each other's files alone.
_ENDING = f".3{INDEX_SUFFIX}"
#: How an index begins that 0.1.0 made.
_FORMER = b"shardforge-idx\x00\x02"


def identify(urls: Sequence[str]) -> str:
    """Return hex digits for shards by their names from the folder that they have in common: moving it changes none."""
    folder = _find_common(map(folder_of, urls))
    names = [os.path.relpath(url, folder) if folder else url for url in urls]
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def list_places(sets: Sequence[ShardSet]) -> list[Path]:
    """Return where the index of these shards may be, the preferred place first.

    It is not beside shards that lie outside of the folders of the manifests that name them.
    """
    urls = [shard.url for part in sets for shard in part.shards]
    folder = _find_common(map(folder_of, urls))
    bound = _find_common(
        part.root if part.root is not None else folder_of(shard.url) for part in sets for shard in part.shards
    )
    allowed = folder is not None and bound is not None and is_inside(bound, folder)
    beside = [folder / f".{identify(urls)[:16]}{_ENDING}"] if folder and allowed else []
    absolute = "\n".join(url if "://" in url else os.path.abspath(url) for url in urls)
    digest = hashlib.sha256(absolute.encode("utf-8", "surrogateescape")).hexdigest()
    return [*beside, _user_cache() / f"{digest[:16]}{_ENDING}"]


def remove_former(path: Path) -> None:
    """Remove the index that 0.1.0 made in the place of the one at `path`; it makes its own again where it is used."""
    former = path.with_name(path.name.removesuffix(_ENDING) + INDEX_SUFFIX)
    with contextlib.suppress(OSError), open(former, "rb") as file:
        if file.read(len(_FORMER)) == _FORMER:
            former.unlink()


def choose_place(places: Sequence[Path]) -> Path:
    """Return the first place that can be written; the last one is made when it is not there.

    Raises:
        DatasetError: none can.
    """
    for place in places[:-1]:
        writable = os.access(place.parent, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
        if writable and not place.is_dir():
            return place
    try:
        places[-1].parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(
            f"{places[-1].parent}: cannot be made ({error.strerror}), nor is the shards' folder writable: the index "
            "needs one of them; set XDG_CACHE_HOME to a folder of yours"
        ) from error
    return places[-1]


def require_beside(shards: ShardSet) -> None:
    """Refuse to write beside tars that lie outside of the folder of the manifest that names them.

    Raises:
        DatasetError: one of them does.
    """
    for shard in shards.shards if shards.root is not None else ():
        require_inside(Path(shards.root or "."), Path(shard.url).parent)


@contextlib.contextmanager
def one_builder(folder: Path) -> Iterator[None]:
    """Let other processes wait that want to build an index in this folder; leaves no file behind.

    Where the file system has no such locks, several may build: each file is whole, the last one stays.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _find_common(folders: Iterable[str]) -> Path | None:
    """Return the folder that holds all of these, None where there is none on this machine."""
    distinct = set(folders)
    if not distinct or any(map(is_remote, distinct)):
        return None
    return Path(os.path.commonpath([os.path.abspath(folder) for folder in distinct]))


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shardforge" / "index"
