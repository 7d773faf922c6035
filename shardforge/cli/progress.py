"""Progress of commands: that of the library."""

from __future__ import annotations

from shardforge.progress import Progress

__all__ = ["Progress"]
