"""`shardforge bench-loader`."""

from __future__ import annotations

from pathlib import Path

import click

from shardforge.cli.options import (
    MOST_WORKERS,
    FiniteRange,
    cache_options,
    json_option,
    print_json,
    print_table,
    trust_option,
)


@click.command("bench-loader", short_help="Measure how fast samples are read on this machine.")
@click.argument("inputs", nargs=-1, required=True, metavar="PATHS...")
@click.option("--split", help="Split to read, where PATHS is an _info.json or a folder with several.")
@click.option(
    "--size", type=click.IntRange(1, 9_999), default=224, show_default=True, help="Pixels of the random crops."
)
@click.option("--raw", is_flag=True, help="Read the bytes of all members and decode nothing.")
@click.option("--batch-size", type=click.IntRange(min=1), default=256, show_default=True, help="Samples of a batch.")
@click.option("--workers", type=click.IntRange(0, MOST_WORKERS), default=None, help="Threads. [default: one per core]")
@click.option(
    "--step-ms",
    type=FiniteRange(0, 3_600_000),
    default=0.0,
    show_default=True,
    help="Pretend that a training step takes this long.",
)
@click.option("--seconds", type=FiniteRange(min=0), default=10.0, show_default=True, help="How long to read.")
@cache_options
@trust_option
@json_option
def bench_loader_command(
    inputs: tuple[str, ...],
    split: str | None,
    size: int,
    raw: bool,
    batch_size: int,
    workers: int | None,
    step_ms: float,
    seconds: float,
    cache_dir: Path | None,
    cache_size: float,
    trust: bool,
    as_json: bool,
) -> None:
    """Measure how fast the samples of PATHS are read on this machine: samples/s, MB/s, and how long training waits.

    Reads shuffled batches as training does, each image a random crop of --size, mirrored at random. The wait is the
    share of the time in which no batch was ready.

    \b
    shardforge bench-loader shards/_info.json --split train --workers 8 --step-ms 80
    """
    from shardforge.loader.measure import measure_loader
    from shardforge.loader.storage import RemoteOptions

    measured = measure_loader(
        inputs[0] if len(inputs) == 1 else inputs,
        split=split,
        side=None if raw else size,
        batch_size=batch_size,
        workers=workers,
        step_seconds=step_ms / 1000,
        seconds=seconds,
        remote=RemoteOptions(cache_dir, int(cache_size * (1 << 30))),
        trust=trust,
    )
    if as_json:
        print_json(measured._asdict())
        return
    print_table(
        ["samples", "samples/s", "MB/s", "wait", "first batch", "index opened"],
        [
            [
                measured.samples,
                round(measured.samples_per_second),
                round(measured.megabytes_per_second, 1),
                f"{measured.wait_share:.1%}",
                f"{measured.first_batch_seconds:.2f} s",
                f"{measured.open_seconds:.2f} s",
            ]
        ],
    )
