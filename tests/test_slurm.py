"""The sbatch scripts on a real Slurm: two nodes, played by this machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.ray, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "slurm"
CLUSTER = ROOT / "tests" / "slurm-cluster.sh"
DONE = "COMPLETED 0"
OPTIONS = ("--name", "photos", "--size", "64", "--shard-samples", "8", "--label", "family")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start Slurm and yield a folder to submit jobs from."""
    state = tmp_path_factory.mktemp("slurm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(state / "slurm.conf"))
        patch.setenv("SHARDFORGE_VENV", sys.prefix)
        started = subprocess.run([CLUSTER, "start", state], stderr=subprocess.PIPE, text=True)
        if started.returncode != 0:
            pytest.fail(started.stderr)
        yield tmp_path_factory.mktemp("jobs")
        subprocess.run([CLUSTER, "stop", state], check=True)


@pytest.fixture(scope="module")
def mapping(folder: Path, photos: Path) -> Path:
    """Map the photos in a job and split them."""
    db = folder / "mapping.duckdb"
    assert submit(folder, "make-mapping.sh", "--db", db, "--source", f"photos=table:{photos / 'photos.csv'}") == [DONE]
    split = [sys.executable, "-m", "shardforge", "split", "--db", db, "--seed", "17", "--val-split", "20"]
    subprocess.run(split, check=True)
    return db


@pytest.fixture(scope="module")
def dataset(folder: Path, mapping: Path) -> Path:
    """Write the photos as an array of two jobs, and a last job for the manifest."""
    out = folder / "array"
    line = [SCRIPTS / "submit-wds.sh", "2", "--cpus-per-task=1", "--", "--db", mapping, "--out", out, *OPTIONS]
    assert finish_jobs(subprocess.check_output(line, text=True, cwd=folder)) == [DONE] * 3, read_logs(folder)
    return out


def submit(folder: Path, script: str, *arguments: str | Path, sbatch: tuple[str, ...] = ()) -> list[str]:
    """Run a script as a job, to its end, and return how it ended."""
    line = ["sbatch", "--cpus-per-task=1", *sbatch, SCRIPTS / script, *arguments]
    return finish_jobs(subprocess.check_output(line, text=True, cwd=folder))


def finish_jobs(submitted: str) -> list[str]:
    """Wait until no job is left; return "STATE EXITCODE" of each that sbatch named, an array's elements one by one."""
    while subprocess.check_output(["squeue", "--noheader"]):
        time.sleep(0.2)
    ids = re.findall(r"job (\d+)", submitted)
    jobs = [subprocess.check_output(["scontrol", "--oneliner", "show", "job", i], text=True) for i in ids]
    return [f"{state} {code}" for state, code in re.findall(r"JobState=(\w+) .* ExitCode=(\d+)", "".join(jobs))]


def read_logs(folder: Path) -> str:
    return "\n".join(f"{log.name}:\n{log.read_text()}" for log in sorted(folder.glob("*.log")))


def hash_shards(dataset: Path) -> dict[str, str]:
    return {str(tar.relative_to(dataset)): sha256(tar.read_bytes()).hexdigest() for tar in dataset.rglob("*.tar")}


def test_an_array_writes_a_sound_dataset(folder: Path, dataset: Path) -> None:
    assert len(hash_shards(dataset)) == 6
    assert submit(folder, "verify.sh", dataset / "_info.json", "--level", "decode") == [DONE], read_logs(folder)


def test_ray_over_two_nodes_writes_the_same_bytes(folder: Path, mapping: Path, dataset: Path) -> None:
    line = ("make-wds.sh", "--db", mapping, "--out", folder / "ray", *OPTIONS)
    assert submit(folder, *line, sbatch=("--nodes=2",)) == [DONE], read_logs(folder)
    assert "--executor ray" in read_logs(folder)
    assert hash_shards(folder / "ray") == hash_shards(dataset)


def test_a_failed_ray_job_fails(folder: Path, mapping: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDFORGE_EXECUTOR", "ray")
    line = ("make-wds.sh", "--db", mapping, "--out", folder / "wrong", "--size", "none")
    assert submit(folder, *line) == ["FAILED 2"]


def test_verify_lists_bad_shards_and_fails(
    folder: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = Path(shutil.copytree(dataset, tmp_path / "damaged"))
    shard = damaged / "train" / "photos-train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    monkeypatch.setenv("SHARDFORGE_BAD_SHARDS", str(tmp_path / "bad.txt"))
    assert submit(folder, "verify.sh", damaged / "_info.json") == ["FAILED 1"]
    assert (tmp_path / "bad.txt").read_text() == f"{shard}\n"


def test_an_array_with_gaps_is_refused(folder: Path, mapping: Path) -> None:
    line = ("make-wds.sh", "--db", mapping, "--out", folder / "gaps")
    assert submit(folder, *line, sbatch=("--array=1,3",)) == ["FAILED 2"] * 2
    assert "the array must be 1-N" in read_logs(folder)
