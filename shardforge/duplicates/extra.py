"""The libraries of the extra `duplicates`, or the sentence that says how to install them."""

from __future__ import annotations

from shardforge.errors import UsageError

try:
    from imagehash import phash
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
except ImportError as error:
    raise UsageError(
        f"{error.name} is not installed, and pictures cannot be compared without it; "
        'run pip install "shardforge[duplicates]"'
    ) from error

__all__ = ["connected_components", "coo_array", "phash"]
