"""`shardforge index`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from shardforge.cli.options import (
    cache_options,
    executor_options,
    json_option,
    print_json,
    print_notes,
    print_table,
    trust_option,
)
from shardforge.progress import Progress


@click.command("index", short_help="Index shards, so that training opens them at once.")
@click.argument("inputs", nargs=-1, required=True, metavar="PATHS...")
@click.option("--split", help="Split to index, where PATHS is an _info.json or a folder with several.")
@click.option("--dali", is_flag=True, help="Write NAME.idx beside each NAME.tar, too, for DALI's webdataset reader.")
@cache_options
@trust_option
@executor_options
@json_option
def index_command(
    inputs: tuple[str, ...],
    split: str | None,
    dali: bool,
    executor: str,
    workers: int | None,
    ray_address: str | None,
    cache_dir: Path | None,
    cache_size: float,
    trust: bool,
    as_json: bool,
) -> None:
    """Index the shards of PATHS, so that training opens them at once: an _info.json, a folder, tars, names with braces.

    Training makes a missing index itself; this makes it in parallel. It lies beside the shards, or in the user's cache
    where their folder is read-only, and is made anew when a shard has changed.

    \b
    shardforge index shards/_info.json --split train
    shardforge index 'old/shard-{000000..000031}.tar' --workers 8
    """
    from shardforge.errors import UsageError
    from shardforge.executors import open_executor
    from shardforge.loader.index import open_index
    from shardforge.loader.index.cache import require_beside
    from shardforge.loader.index.dali import write_dali_index
    from shardforge.loader.index.notes import note_samples
    from shardforge.loader.inputs import open_inputs
    from shardforge.loader.places import is_remote
    from shardforge.loader.storage import RemoteOptions

    shards = open_inputs(inputs[0] if len(inputs) == 1 else inputs, split=split, trust=trust)
    if dali and any(is_remote(shard.url) for shard in shards.shards):
        raise UsageError("--dali writes beside the tars: give tars of this machine")
    if dali:
        require_beside(shards)
    with (
        Progress(quiet=as_json) as progress,
        open_executor(executor, workers, preload=("shardforge.loader.index.walk",), address=ray_address) as pool,
    ):
        remote = RemoteOptions(cache_dir, int(cache_size * (1 << 30)))
        index = open_index([shards], remote=remote, executor=pool, progress=progress)
        if dali:
            tasks = [shard.url for shard in shards.shards]
            for done, result in enumerate(pool.run(write_dali_index, tasks), 1):
                result.unwrap()
                progress("DALI index", done, len(tasks))
    described = {
        "shards": len(shards.shards),
        "samples": index.samples,
        "labelled": int((index.labels >= 0).sum()),
        "members": list(index.extensions),
        "index": str(index.path),
    }
    notes = note_samples(index)
    print_notes(notes)
    if as_json:
        print_json({**described, "notes": list(map(asdict, notes))})
    else:
        counts = {name: described[name] for name in ("shards", "samples", "labelled")}
        print_table([*counts, "members"], [[*counts.values(), ",".join(index.extensions)]])
        click.echo(f"Index: {index.path}")
