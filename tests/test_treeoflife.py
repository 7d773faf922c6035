"""The commands of docs/treeoflife.md, as they stand there, on a small tree of the layout that they name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from biology import Laid, make_bioscan, make_eol, make_inat21, make_rare_species

from shardforge.mapping import open_mapping

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "treeoflife.md"


def read_commands() -> list[str]:
    """Return the commands of the page's sh blocks, continued lines joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", "").splitlines()]


def lay_out(place: Path, photos: Path) -> tuple[Laid, Laid]:
    """Fill a folder with the page's data, the sbatch scripts, and an `sbatch` that runs a script at once.

    Returns:
        The EOL images that the lists of rare species leave out.
    """
    data = place / "data"
    make_inat21(data / "inat21", photos)
    laid = make_eol(data / "eol", photos)
    make_bioscan(data / "bioscan", photos)
    (place / "slurm").symlink_to(ROOT / "slurm")
    sbatch = place / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text('#!/bin/sh\nSLURM_JOB_ID=1 SLURM_JOB_NUM_NODES=1 SLURM_CPUS_PER_TASK=1 exec bash "$@"\n')
    sbatch.chmod(0o755)
    return make_rare_species(data / "rarespecies", laid)


def test_the_page_works_as_written(tmp_path: Path, photos: Path) -> None:
    rare = lay_out(tmp_path, photos)
    path = f"{tmp_path}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SHARDFORGE_CACHE": str(tmp_path / "cache")}
    environment.pop("SHARDFORGE_VENV", None)
    commands = read_commands()
    assert [re.sub(r"sbatch slurm/|shardforge ", "", line).split()[0] for line in commands] == [
        *("make-mapping.sh", "split", "make-wds.sh"),
        *("verify.sh", "verify", "verify"),
    ]
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    with open_mapping(tmp_path / "mapping.duckdb") as mapping:
        known = mapping.rows("SELECT source, count(species), count(common_name) FROM images GROUP BY 1 ORDER BY 1")
        excluded = mapping.rows("SELECT path FROM images JOIN outcomes USING (key) WHERE outcomes.reason = 'excluded'")
    assert [source for source, species, _ in known if species] == ["bioscan", "eol", "inat21"]
    assert [source for source, _, common in known if common] == ["eol", "inat21"]
    assert {image.path for image in rare} <= {path for (path,) in excluded}
    manifest = json.loads((tmp_path / "shards" / "_info.json").read_text())
    assert manifest["splits"].keys() >= {"train", "validation"}
    assert (tmp_path / "bad-shards-1.txt").read_text() == ""
