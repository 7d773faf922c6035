"""Real processes under torch.distributed: what the ranks read together is what one process reads alone."""

from __future__ import annotations

import itertools
import json
import multiprocessing
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pipeline import copy_images, prepare, write

from shardforge.loader.dataset import ShardDataset
from shardforge.loader.loader import ShardLoader
from shardforge.loader.order import Shuffled
from shardforge.loader.schedule import Last, Schedule
from shardforge.loader.state import LoaderState
from shardforge.loader.transforms import RandomResizedCrop

LENGTHS = [31, 7, 0, 25, 40, 12]
BATCH_SIZE = 12
KEYS = [f"sample-{number:03d}" for number in range(sum(LENGTHS))]

pytestmark = pytest.mark.readers


def make_schedule(last: Last) -> Schedule:
    return Schedule(Shuffled(np.array(LENGTHS), seed=17, block_shards=2), seed=17, batch_size=BATCH_SIZE, last=last)


def read_alone(last: Last, epoch: int) -> list[list[str]]:
    schedule = make_schedule(last)
    return [[KEYS[n] for n in schedule.batch(epoch, step).samples] for step in range(schedule.steps(epoch))]


def run_rank(rank: int, world: int, folder: Path, state: dict | None) -> None:
    """Read the rest of an epoch and a whole validation; rank 0 writes down what all ranks had, batch by batch."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    schedule = make_schedule("wrap")
    start = LoaderState("data", schedule.describe(), epoch=1, step=0)
    if state is not None:
        start = LoaderState.from_dict(state).fit("data", schedule.describe())
    trained, states = [], []
    for step in range(start.step, schedule.steps(start.epoch)):
        trained.append(gather(schedule, start.epoch, step, rank, world))
        states.append(LoaderState("data", schedule.describe(), start.epoch, step + 1).to_dict())
    exact = make_schedule("exact")
    validated = [gather(exact, 0, step, rank, world) for step in range(exact.steps())]
    if rank == 0:
        (folder / "found.json").write_text(json.dumps({"trained": trained, "validated": validated, "states": states}))
    dist.destroy_process_group()


def gather(schedule: Schedule, epoch: int, step: int, rank: int, world: int) -> list[str]:
    """Return the keys of a batch in the order of the ranks, through a collective in which each rank takes part."""
    import torch
    import torch.distributed as dist

    share = schedule.share(schedule.batch(epoch, step), rank, world)
    rows = torch.full((BATCH_SIZE,), -1)
    rows[: len(share.samples)] = torch.from_numpy(np.where(share.valid, share.samples, -1))
    gathered = [torch.empty_like(rows) for _ in range(world)]
    dist.all_gather(gathered, rows)
    return [KEYS[n] for n in torch.cat(gathered).tolist() if n >= 0]


def run_ranks(world: int, folder: Path, state: dict | None = None) -> dict:
    folder.mkdir()
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=run_rank, args=(rank, world, folder, state)) for rank in range(world)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    assert [process.exitcode for process in ranks] == [0] * world
    return json.loads((folder / "found.json").read_text())


def test_any_number_of_ranks_reads_the_same_batches_and_goes_on_with_any_other(tmp_path: Path) -> None:
    expected = read_alone("wrap", 1)
    state = None
    for world in (3, 1, 4, 2):
        found = run_ranks(world, tmp_path / f"{world}-ranks", state)
        done = 0 if state is None else state["step"]
        assert found["trained"] == expected[done:]
        assert found["validated"] == read_alone("exact", 0)
        # The next run, of another number of ranks, goes on from two batches later.
        state = found["states"][1]
        assert state == LoaderState("data", make_schedule("wrap").describe(), 1, done + 2).to_dict()
    assert sorted(key for batch in found["validated"] for key in batch) == KEYS


def load_on_rank(rank: int, world: int, folder: Path, workers: int, state: dict | None) -> None:
    """Read half an epoch, or the rest of it, with a real loader, and a validation; write down what this rank had."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    dataset = ShardDataset(folder.parent / "out", split="train", transform=RandomResizedCrop(16))
    loader = ShardLoader(
        dataset, global_batch_size=BATCH_SIZE, members=("sample", "image"), num_workers=workers,
        workers="processes" if workers == 3 else "threads",
    )  # fmt: skip
    if state is not None:
        loader.load_state_dict(state)
    steps = len(loader) if state is not None else len(loader) // 2
    trained = []
    for samples, images in loader:
        trained.append([samples.tolist(), images.double().mean(dim=(1, 2, 3)).tolist()])
        if loader.state_dict()["step"] == steps:
            break
    exact = ShardLoader(
        dataset,
        global_batch_size=BATCH_SIZE,
        members=("sample", "valid"),
        shuffle=False,
        last="exact",
        num_workers=workers,
    )
    validated = []
    for samples, valid in exact:
        dist.barrier()  # a collective in each step: it would hang if a rank had fewer of them
        validated.append(samples[valid].tolist())
    found = {"trained": trained, "validated": validated, "state": loader.state_dict()}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    loader.close()
    dist.destroy_process_group()


def load_on_ranks(world: int, workers: int, folder: Path, state: dict | None = None) -> tuple[list, list, dict]:
    """Return samples and mean pixels of each global batch, the samples validated in each step, and the last state."""
    folder.mkdir()
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=load_on_rank, args=(rank, world, folder, workers, state)) for rank in range(world)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
    assert [process.exitcode for process in ranks] == [0] * world
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]
    trained = [[join(parts) for parts in zip(*step, strict=True)] for step in each_step(found, "trained")]
    return trained, [join(step) for step in each_step(found, "validated")], found[0]["state"]


def each_step(found: list[dict], name: str) -> Iterator[tuple[list, ...]]:
    """Yield what the ranks had in each step, in the order of the ranks."""
    return zip(*(rank[name] for rank in found), strict=True)


def join(parts: Iterable[list]) -> list:
    return list(itertools.chain.from_iterable(parts))


def test_loaders_of_any_number_of_ranks_and_workers_read_the_same_batches(tmp_path: Path, photos: Path) -> None:
    images = copy_images(photos, tmp_path / "images", 1)
    write(prepare(tmp_path, f"photos=folder:{images}"), tmp_path / "out")
    begun, validated, state = load_on_ranks(1, 0, tmp_path / "alone")
    ended, _, _ = load_on_ranks(1, 0, tmp_path / "alone-again", state)
    assert load_on_ranks(3, 3, tmp_path / "begun", None) == (begun, validated, state)
    assert load_on_ranks(4, 2, tmp_path / "ended", state)[0] == ended
    assert load_on_ranks(2, 1, tmp_path / "ended-again", state)[0] == ended
    samples = [sample for batch, _ in (*begun, *ended) for sample in batch]
    dataset = ShardDataset(tmp_path / "out", split="train")
    assert sorted(set(samples)) == list(range(len(dataset)))
    assert sorted(join(validated)) == list(range(len(dataset)))
