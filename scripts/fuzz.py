"""Throw damaged and hostile bytes at what reads files of others, and find those that it has no word for.

    python scripts/fuzz.py --seed 1 --runs 1000000 --record fuzz.json   # all targets, so many inputs each
    python scripts/fuzz.py tar zips --seconds 60                        # two of them, a minute in total
    python scripts/fuzz.py tar --replay FILE                            # an input that was found

libFuzzer (by atheris) changes valid files so that more and more of the code is reached; half of the time their
checksums are made right again, so that it gets behind these. Every input must end in a result or in the error that is
documented, within 10 s and 2 GiB; and where it is cheap the result is compared with that of another reader, or with
what a checksum says. A target is a module of `fuzzing/`. Runs with one seed begin alike, and part after a while.

Exit status: 0 nothing was found; 1 something was, which is printed with the file that holds the input.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parent
CHILD = SCRIPTS / "fuzzing" / "child.py"
TARGETS = ("states", "receipts", "zips", "plans", "indexes", "tar", "images", "tables")
MEMORY = Path("/dev/shm")
#: What an input may take.
SECONDS, MEBIBYTES = 10, 2048
_STATISTIC = re.compile(r"^stat::(\w+):\s+(\d+)$", re.MULTILINE)
_PROGRESS = re.compile(r"^#(\d+)\t", re.MULTILINE)


def main() -> None:
    options = parse_options()
    if options.replay:
        sys.exit(run_child(options.targets[0], "--replay", str(options.replay)).returncode)
    try:
        version = importlib.metadata.version("atheris")
    except importlib.metadata.PackageNotFoundError:
        sys.exit("Error: atheris is not installed; pip install 'shardforge[dev]' on Linux x86_64, where it has wheels")
    found: list[dict[str, Any]] = []
    end = time.monotonic() + options.seconds if options.seconds else None
    for number, name in enumerate(options.targets):
        seconds = (end - time.monotonic()) / (len(options.targets) - number) if end else 0
        found.append(fuzz(name, options.seed, options.runs, seconds, options.folder))
        if options.record:
            options.record.write_text(json.dumps({"atheris": version, "targets": found}, indent=1) + "\n")
    sys.exit(any(result["crashes"] for result in found))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} [default: all]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=-1, help="inputs for each target [default: no limit]")
    parser.add_argument("--seconds", type=float, default=0, help="for all targets together [default: no limit]")
    parser.add_argument("--record", type=Path, help="write what came of it to this file, as JSON")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "shardforge-fuzz")
    parser.add_argument("--replay", type=Path, help="read this input, and print what it raises")
    options = parser.parse_args()
    options.targets = options.targets or list(TARGETS)
    if unknown := [name for name in options.targets if name not in TARGETS]:
        parser.error(f"{unknown[0]}: no such target; choose of {', '.join(TARGETS)}")
    if options.replay and len(options.targets) > 1:
        parser.error("--replay FILE: name the one TARGET that the input is of")
    if options.runs < 0 and not options.seconds and not options.replay:
        parser.error("give --runs, --seconds, or both")
    return options


def fuzz(name: str, seed: int, runs: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Fuzz a target until something is found or its time or runs are up; return what the record says of it."""
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)
    (place / "corpus").mkdir(parents=True)
    flags = [f"-seed={seed}", f"-runs={runs}", f"-timeout={SECONDS}", f"-rss_limit_mb={MEBIBYTES}"]
    flags += ["-print_final_stats=1", f"-artifact_prefix={place}/", str(place / "corpus")]
    started = time.monotonic()
    with open(place / "log", "wb") as log:
        code = run_child(name, str(seconds), *flags, stdout=log, stderr=log).returncode
    took = time.monotonic() - started
    said = (place / "log").read_text(errors="replace")
    statistics = {key: int(value) for key, value in _STATISTIC.findall(said)}
    executions = statistics.get("number_of_executed_units", 0) or max(map(int, _PROGRESS.findall(said)), default=0)
    crashes = [path for path in sorted(place.iterdir()) if re.match("crash-|timeout-|oom-|leak-", path.name)]
    if code and not crashes:
        crashes = [place / "log"]
    shutil.rmtree(place / "corpus")
    rate = round(executions / took)
    print(f"{name}: {executions:,} inputs in {took:.0f} s, {rate:,}/s, {len(crashes)} crashes", flush=True)
    if crashes:
        begin = max(said.rfind(mark) for mark in ("\n ===", "\nTraceback"))
        print(said[begin:][:4000])
    for path in crashes:
        print(f"Error: {name}: {path}: {path.read_bytes()[:200].hex()}", flush=True)
    return {
        "target": name,
        "seed": seed,
        "executions": executions,
        "seconds": round(took, 1),
        "executions_per_second": rate,
        "peak_mebibytes": statistics.get("peak_rss_mb"),
        "crashes": [str(path) for path in crashes],
    }


def run_child(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run `fuzzing/child.py`; its files lie in memory, where the system lets them, and go with it."""
    command = [sys.executable, str(CHILD), *arguments]
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="shardforge-fuzz-", dir=memory) as folder:
        environment = {**os.environ, "PYTHONHASHSEED": "0", "TMPDIR": folder}
        return subprocess.run(command, stdin=subprocess.DEVNULL, env=environment, **options)


if __name__ == "__main__":
    main()
