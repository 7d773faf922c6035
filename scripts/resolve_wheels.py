"""Resolve the plain install and all extras from wheels alone, for each platform and each Python of the classifiers.

usage: python scripts/resolve_wheels.py [--index URL]

uv reads the metadata of wheels and downloads none, so that torch costs seconds. A solution for the extra `all` is one
for each extra; only where there is none, they are tried one by one. The plain install is also resolved as pip does it,
which would rather build a newer release from source than take an older wheel. The configuration of pip and uv on this
machine (local wheels, constraints) has no say. Exit status: 0 all resolve, 1 something does not, or the index cannot be
reached.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
#: Where it must install, by uv's names. glibc 2.28 is of 2018; wheels of DuckDB and torch need it.
PLATFORMS = {
    "Linux x86_64": "x86_64-manylinux_2_28",
    "Linux aarch64": "aarch64-manylinux_2_28",
    "macOS arm64": "aarch64-apple-darwin",
}
FAST_CODEC = ("cykooz-resizer", "simplejpeg")
SECONDS = 60
WHEELS = ("--only-binary", ":all:")
#: What uv says when requirements contradict what there is; anything else is trouble with the index, or with uv.
NO_SOLUTION = "No solution found"
NOT_FOUND = "was not found in the package registry"


class SilentIndexError(Exception):
    """The package index does not answer as one."""


class Target(NamedTuple):
    """A platform of `PLATFORMS` and a Python such as 3.11."""

    platform: str
    python: str

    def __str__(self) -> str:
        return f"{self.platform}, Python {self.python}"


class NoSolutionError(Exception):
    """Requirements cannot be met."""


def resolve(target: Target, index: str | None, *arguments: str, requirements: str = "") -> set[str]:
    """Return `name==version` of all that an install takes.

    Raises:
        NoSolutionError: there are no such releases.
        SilentIndexError: the index does not answer.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", *arguments, "--quiet", "--no-header", "--no-annotate"]
    command += ["--python-platform", PLATFORMS[target.platform], "--python-version", target.python]
    command += ["--no-config", "--no-python-downloads"]
    command += ["--default-index", index] if index else []
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    environment |= {"UV_HTTP_TIMEOUT": "20", "UV_HTTP_RETRIES": "1"}
    try:
        ended = subprocess.run(
            command, input=requirements, capture_output=True, text=True, env=environment, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SilentIndexError(f"no answer in {SECONDS} s") from error
    if ended.returncode == 0:
        return set(ended.stdout.split("\n"))
    said = " ".join(ended.stderr.split())
    if NO_SOLUTION in said and NOT_FOUND not in said:
        raise NoSolutionError(said)
    raise SilentIndexError(said[-300:])


def check_target(target: Target, extras: list[str], index: str | None) -> list[str]:
    """Print a line about what a platform and a Python get, and return what is wrong."""
    try:
        resolve(target, index, str(PROJECT), "--extra", "all", *WHEELS)
        plain = resolve(target, index, str(PROJECT), *WHEELS)
    except NoSolutionError:
        return [f"{target}: {text}" for text in find_unsolvable(target, extras, index)]
    built = resolve(target, index, str(PROJECT)) - plain
    fast = all(any(line.startswith(f"{library}==") for line in plain) for library in FAST_CODEC)
    print(f"{target}: all have wheels, codec {'fast' if fast else 'pillow'}", flush=True)
    if not fast and has_fast_codec(target, index):
        print(f"Note: {target}: the codec fast has wheels: widen its markers in pyproject.toml", flush=True)
    return [f"{target}: pip would build {line} from source: bound or mark it in pyproject.toml" for line in built]


def find_unsolvable(target: Target, extras: list[str], index: str | None) -> list[str]:
    """Return what uv says of the plain install where that has no wheels, else of the extras that have none."""
    found = []
    for extra in ("", *extras):
        try:
            resolve(target, index, str(PROJECT), *(["--extra", extra] if extra else []), *WHEELS)
        except NoSolutionError as error:
            found.append(f"{f'shardforge[{extra}]' if extra else 'shardforge'}: {error}")
            if not extra:
                break
    return found


def has_fast_codec(target: Target, index: str | None) -> bool:
    """Whether the libraries of the codec `fast` have wheels."""
    try:
        resolve(target, index, "-", *WHEELS, requirements="\n".join(FAST_CODEC))
    except NoSolutionError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", default=os.environ.get("PIP_INDEX_URL"), help="of packages [default: PyPI]")
    index = parser.parse_args().index
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    versions = (text.rpartition(" :: ")[2] for text in project["classifiers"] if ":: Python :: 3." in text)
    targets = [Target(platform, python) for python in versions for platform in PLATFORMS]
    extras = [extra for extra in project["optional-dependencies"] if extra != "dev"]
    try:
        has_fast_codec(targets[0], index)  # so that an index that is away is met once, and early
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda target: check_target(target, extras, index), targets)
            try:
                bad = [line for lines in found for line in lines]
            except SilentIndexError:
                pool.shutdown(cancel_futures=True)
                raise
    except SilentIndexError as error:
        place = index or "PyPI"
        sys.exit(f"Error: {place} does not answer ({error}); nothing was resolved: see to the network, or give --index")
    for line in bad:
        print(f"Error: {line}", file=sys.stderr)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
