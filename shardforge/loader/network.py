"""Requests to the file systems behind URLs: retried, and with errors that show no credentials."""

from __future__ import annotations

import itertools
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from shardforge.errors import DatasetError, ShardforgeError, UsageError

Answer = TypeVar("Answer")

#: Seconds that a request may take, where the file system can be told.
_TIMEOUT = 60.0
#: Answers of a server that may be others when asked again: too early, too many requests, a time-out.
_PASSING = (408, 425, 429)
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError, ImportError)
#: Not the module's own generator, from which transforms draw.
_JITTER = random.SystemRandom()


@dataclass(frozen=True)
class Retries:
    """How often a request is made that fails for a reason that may pass.

    The second attempt comes after about `delay` seconds, each further one after twice the time before, up to 30 s.
    """

    attempts: int = 6
    delay: float = 0.5

    def call(self, action: Callable[[], Answer], url: str, error_class: type[ShardforgeError] = DatasetError) -> Answer:
        """Return what `action`, which makes requests to `url`, returns.

        Raises:
            ShardforgeError: of `error_class`, when it failed for good.
        """
        for attempt in itertools.count(1):
            try:
                return action()
            except ShardforgeError:
                raise
            except Exception as error:  # each protocol raises errors of its own
                if attempt >= self.attempts or _is_final(error):
                    # Without the cause, whose text and traceback show URLs whole.
                    raise error_class(_explain(error, url, attempt)) from None
            time.sleep(min(30.0, self.delay * 2 ** (attempt - 1)) * _JITTER.uniform(0.5, 1.5))
        raise AssertionError  # the loop has no other end


def connect(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it. Cheap: fsspec keeps one for each process.

    Raises:
        UsageError: the protocol is unknown, or its package is missing.
    """
    try:
        import fsspec  # only where there is a URL
    except ImportError as error:
        raise UsageError(
            f"{hide_credentials(url)}: reading URLs needs fsspec; install with: pip install 'shardforge[remote]'"
        ) from error
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
        return found
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"{hide_credentials(url)}: cannot be read ({hide_credentials(str(error))}); check the address, or install "
            "fsspec's package for this protocol"
        ) from None


def limit_time(files: Any) -> dict[str, float]:
    """Return the argument that ends a request to a server that says nothing more, where the file system knows it."""
    return {"timeout": _TIMEOUT} if files.async_impl else {}


def describe_file(url: str, retries: Retries) -> dict[str, Any]:
    """Return what the file system says of a file now: its size in bytes, and what else tells its states apart.

    Raises:
        DatasetError: there is no such file, its size is not known, or the network is gone.
    """

    def ask() -> dict[str, Any]:
        files, path = connect(url)
        files.invalidate_cache()
        found: dict[str, Any] = files.info(path, **limit_time(files))
        return found

    found = retries.call(ask, url)
    if found.get("size") is None:
        raise DatasetError(
            f"{hide_credentials(url)}: the server does not say its size; copy the shards to this machine"
        )
    return found


def is_there(url: str, retries: Retries) -> bool:
    """Tell whether there is such a file; a server that does not answer is an error, not an absence.

    Raises:
        UsageError: the network is gone, or access is refused.
    """

    def ask() -> bool:
        files, path = connect(url)
        files.invalidate_cache()
        try:
            files.info(path, **limit_time(files))
        except FileNotFoundError as error:
            if _find_reason(error) is not error:
                raise
            return False
        return True

    return retries.call(ask, url, UsageError)


def hide_credentials(text: str) -> str:
    """Return text with URLs in it that show neither user, password nor query."""
    text = re.sub(r"(?<=://)[^\s/?#'\"]*@", "", text)
    return re.sub(r"(://[^\s?'\"]*)\?[^\s'\"]*", r"\1", text)


def _is_final(error: BaseException) -> bool:
    """Tell whether another attempt would fail alike."""
    error = _find_reason(error)
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return 400 <= status < 500 and status not in _PASSING
    return isinstance(error, _FINAL)


def _find_reason(error: BaseException) -> BaseException:
    """Return what went wrong: fsspec's HTTP says "not found" of whatever fails when it asks for a file's size."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and cause is not None and type(cause).__module__.startswith("aiohttp"):
        return cause
    return error


def _explain(error: BaseException, url: str, attempts: int) -> str:
    error = _find_reason(error)
    said = " ".join(str(error).split())  # some quote the answer over several lines
    what = hide_credentials(said).replace(hide_credentials(url), "").strip(" ,:") or "no answer"
    tried = f" after {attempts} attempts" if attempts > 1 else ""
    kind = "not found" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {what}"
    return (
        f"{hide_credentials(url)}: cannot be read{tried} ({kind}); check the address, the network and the credentials, "
        "then start again"
    )
