"""The four commands as tests call them: in this process, with the output at hand."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from shardforge.cli import main


@dataclass
class Outcome:
    """Exit code and output of one command."""

    code: int
    stdout: str
    stderr: str


def run(*arguments: object, code: int = 0) -> Outcome:
    """Run `shardforge ARGUMENTS` and demand this exit code."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, f"exit code {result.exit_code}: {result.stderr}"
    return Outcome(result.exit_code, result.stdout, result.stderr)


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start `shardforge ARGUMENTS` as a process of its own."""
    command = [sys.executable, "-m", "shardforge", *(str(argument) for argument in arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def prepare(folder: Path, source: str, *split: object) -> Path:
    """Map `source` and split it; return the database."""
    db = folder / "mapping.duckdb"
    run("map", "--db", db, "--source", source, "--workers", 0)
    run("split", "--db", db, "--seed", 17, *(split or ("--rule", "exact", "--val-split", 20)))
    return db


def write(db: Path, out: Path, *options: object, workers: int = 0, code: int = 0) -> Outcome:
    """Write small shards of 64 px images."""
    size = () if "--size" in options or "--passthrough" in options else ("--size", 64)
    shards = () if "--shard-samples" in options else ("--shard-samples", 8)
    return run("write", "--db", db, "--out", out, *size, *shards, "--workers", workers, *options, code=code)


def shard_hashes(out: Path) -> dict[str, str]:
    """Return the SHA-256 of every tar of a dataset, by its path in it."""
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.glob("*/*.tar"))
    }


def manifest(out: Path) -> dict:
    """Return the content of a dataset's manifest."""
    return json.loads((out / "_info.json").read_text())


def copy_images(photos: Path, folder: Path, copies: int) -> Path:
    """Fill a folder with small JPEG files of the photos, `copies` of each with other pixels."""
    from PIL import Image, ImageEnhance

    for path in sorted(photos.glob("*.webp")):
        with Image.open(path) as photo:
            small = photo.convert("RGB").resize((120, 90))
        for number in range(copies):
            place = folder / path.stem.split("_")[0] / f"{path.stem}-{number}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            ImageEnhance.Brightness(small).enhance(1 + number / 50).save(place)
    return folder


def unpack_before(folder: Path) -> None:
    """Unpack what 0.1.0 wrote: images, their mapping.duckdb and mapping.sqlite, and the dataset shards."""
    with tarfile.open(Path(__file__).parent / "data" / "written-by-0.1.0.tar.gz") as archive:
        archive.extractall(folder, filter="data")


def as_nobody(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process without root's power over permissions."""
    drop = "import os\nif os.geteuid() == 0:\n    os.setegid(65534)\n    os.seteuid(65534)\n"
    command = [sys.executable, "-c", PRELOAD + drop + code, *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))


def open_to_all(folder: Path, mode: int = 0o755) -> None:
    """Let every user into a folder, and into those above it, which pytest closes."""
    folder.chmod(mode)
    for above in folder.parents:
        if not above.stat().st_mode & 0o001:
            above.chmod(0o755)


#: Imported while still root: the interpreter's folder may be closed to others.
PRELOAD = (
    "import sys, duckdb, multiprocessing.forkserver, numpy.ma, uuid\n"
    "from shardforge.cli import main\n"
    "import shardforge.dataset.write, shardforge.executors.local, shardforge.images.convert\n"
    "import shardforge.loader.index.parquet, shardforge.loader.index.dali\n"
    "import shardforge.mapping.duckdb, shardforge.mapping.sqlite, shardforge.mapping.update\n"
    "import shardforge.sources.list_file, shardforge.sources.openmmlab, shardforge.sources.wds\n"
)
