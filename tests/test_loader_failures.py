"""What goes wrong while batches are made: bad images, changed shards, dead workers, signals."""

from __future__ import annotations

import logging
import os
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pipeline import manifest, prepare, write

from shardforge.dataset.budget import Budget
from shardforge.errors import BudgetExceededError, DatasetError, ImageError, TaskError, UsageError
from shardforge.loader.dataset import ShardDataset
from shardforge.loader.loader import ShardLoader
from shardforge.loader.order import Chosen, Sampler, Sequential
from shardforge.loader.pixels import Normalise
from shardforge.loader.transforms import RandomResizedCrop

SIDE = 32

#: Prints the process ids of two workers, then makes batches for ever.
ENDLESS = """
import sys
from shardforge.loader.dataset import ShardDataset
from shardforge.loader.loader import ShardLoader
from shardforge.loader.transforms import RandomResizedCrop
dataset = ShardDataset(sys.argv[1], split="train", transform=RandomResizedCrop(32))
loader = ShardLoader(dataset, global_batch_size=8, workers="processes", num_workers=2)
while True:
    for batch in loader:
        if loader.epoch == 0 and loader.state_dict()["step"] == 2:
            print(*(worker._process.pid for worker in loader._workers._workers), flush=True)
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    folder = tmp_path_factory.mktemp("failures")
    write(prepare(folder, f"photos=table:{photos / 'photos.csv'}"), folder / "out", "--label", "family")
    return folder / "out"


@pytest.fixture
def out(dataset: Path, tmp_path: Path) -> Path:
    """Return a copy of a dataset that a test may damage."""
    return Path(shutil.copytree(dataset, tmp_path / "out"))


def first_shard(out: Path) -> Path:
    return out / manifest(out)["splits"]["train"]["filenames"][0]


def damage(shard: Path, *samples: int) -> list[str]:
    """Overwrite the images of some samples of a shard, keep its time of change, and return their keys."""
    with tarfile.open(shard) as tar:
        images = [member for member in tar if member.name.endswith(".jpg")]
    before = shard.stat()
    with open(shard, "r+b") as file:
        for number in samples:
            file.seek(images[number].offset_data)
            file.write(b"\0" * 64)
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    return [images[number].name.partition(".")[0] for number in samples]


def raise_on_large(image: Image.Image) -> np.ndarray:
    raise ZeroDivisionError("a mistake in a transform")


def change_shape(image: Image.Image) -> np.ndarray:
    return np.zeros((3, int(np.asarray(image).mean()), 4), np.uint8)


def crops(out: Path) -> ShardDataset:
    return ShardDataset(out, split="train", transform=RandomResizedCrop(SIDE))


@pytest.mark.parametrize(("workers", "number"), [("threads", 0), ("threads", 2), ("processes", 1)])
def test_a_bad_image_is_named(out: Path, workers: Any, number: int) -> None:
    shard = first_shard(out)
    (key,) = damage(shard, 3)
    loader = ShardLoader(crops(out), global_batch_size=8, workers=workers, num_workers=number)
    place = rf"{shard.name}: sample {key}, image at byte [\d,]+: "
    with pytest.raises(ImageError, match=place + "the bytes are not those of a known image"):
        list(loader)
    loader.close()


def test_skipped_samples_are_replaced_counted_and_reported(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = damage(first_shard(out), 2, 3)
    loader = ShardLoader(
        crops(out), global_batch_size=6, shuffle=False, last="exact", num_workers=2, on_error="skip",
        members=("image", "sample", "valid", "cls", "__key__"),
    )  # fmt: skip
    with caplog.at_level(logging.WARNING):
        (images, samples, valid, labels, names), *rest = list(loader)
    # Rows 2 and 3 show the sample of row 4.
    assert samples.tolist() == [0, 1, 4, 4, 4, 5]
    assert valid.tolist() == [True, True, False, False, True, True]
    assert np.array_equal(images[2], images[4])
    assert labels[3] == labels[4]
    assert names[2] == names[4]
    assert all(batch[2].all() for batch in rest)
    assert [skipped.sample for skipped in loader.skipped] == [2, 3]
    assert all(key in skipped.message for key, skipped in zip(keys, loader.skipped, strict=True))
    assert "epoch 0: 2 samples skipped (2 not_an_image)" in caplog.text


def test_too_many_bad_samples_stop_the_run(out: Path) -> None:
    damage(first_shard(out), 1, 4)
    loader = ShardLoader(crops(out), global_batch_size=4, num_workers=1, on_error="skip", max_skipped=Budget(count=1))
    with pytest.raises(BudgetExceededError, match="2 samples could not be used, and 1 may be skipped"):
        list(loader)


def test_a_batch_without_a_good_sample_raises(out: Path) -> None:
    damage(first_shard(out), 0, 1)
    loader = ShardLoader(crops(out), global_batch_size=2, shuffle=False, num_workers=0, on_error="skip")
    with pytest.raises(ImageError, match="not those of a known image"):
        next(iter(loader))


def test_a_shard_that_changed_after_it_was_indexed_is_refused(out: Path) -> None:
    dataset = crops(out)
    shard = first_shard(out)
    shard.write_bytes(shard.read_bytes() + bytes(512))
    with pytest.raises(DatasetError, match=rf"{shard.name}: changed since it was indexed"):
        dataset[0]


def test_a_shard_that_is_cut_while_it_is_read_is_an_error(out: Path) -> None:
    dataset = crops(out)
    dataset[0]
    os.truncate(first_shard(out), 2048)
    with pytest.raises(DatasetError, match=r"ends at byte 2048, expected \d+ bytes from byte"):
        list(dataset[:8])


def test_content_is_compared_with_the_manifest_on_demand(out: Path) -> None:
    damage(first_shard(out), 0)
    assert ShardDataset(out, split="train")[1]["cls"] >= 0
    with pytest.raises(DatasetError, match="its SHA-256 is not that of the manifest"):
        ShardDataset(out, split="train", check_sha256=True)[1]


def test_a_missing_shard_is_named(out: Path) -> None:
    first_shard(out).unlink()
    with pytest.raises(DatasetError, match=r"train-000000\.tar: cannot be read \(No such file"):
        crops(out)


def test_a_mistake_in_a_transform_is_shown(out: Path) -> None:
    dataset = ShardDataset(out, split="train")
    loader = ShardLoader(dataset, global_batch_size=4, workers="processes", num_workers=1)
    dataset.transform = raise_on_large
    with pytest.raises(TaskError, match="ZeroDivisionError: a mistake in a transform") as caught:
        list(loader)
    assert "raise_on_large" in caught.value.__notes__[0]


def test_images_of_several_shapes_are_refused(out: Path) -> None:
    dataset = ShardDataset(out, split="train", transform=change_shape)
    with pytest.raises(UsageError, match="a batch needs one shape: crop or resize to a fixed size"):
        list(ShardLoader(dataset, global_batch_size=4, num_workers=0))


def test_a_bad_first_image_is_skipped_with_a_transform_in_python(out: Path) -> None:
    damage(first_shard(out), 0)
    dataset = ShardDataset(out, split="train", transform=lambda image: np.asarray(image.resize((4, 4))))
    loader = ShardLoader(dataset, global_batch_size=4, shuffle=False, num_workers=0, on_error="skip")
    assert next(iter(loader))[0].shape == (4, 4, 4, 3)
    assert [skipped.sample for skipped in loader.skipped] == [0]


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_only_the_latest_iterator_gets_batches(out: Path, workers: Any) -> None:
    options: dict[str, Any] = {"global_batch_size": 4, "members": ("sample",), "seed": 3}
    expected = [samples.tolist() for (samples,) in ShardLoader(crops(out), num_workers=0, **options)]
    loader = ShardLoader(crops(out), workers=workers, num_workers=2, **options)
    left = iter(loader)
    next(left)
    loader.set_epoch(0)
    assert [samples.tolist() for (samples,) in loader] == expected
    with pytest.raises(UsageError, match="use one iterator at a time, or a loader for each"):
        next(left)
    loader.close()


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_a_forked_process_starts_workers_of_its_own(out: Path, workers: Any) -> None:
    loader = ShardLoader(crops(out), workers=workers, num_workers=1, global_batch_size=4, members=("sample",))
    batches = iter(loader)
    next(batches)
    reading, writing = os.pipe()
    if not (child := os.fork()):  # while the parent's workers have batches under way
        os.write(writing, bytes([len(list(loader))]))
        loader.close()
        os._exit(0)
    ready, _, _ = select.select([reading], [], [], 30)
    if not ready:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert ready
    assert os.read(reading, 1) == bytes([len(loader)])
    assert len(list(batches)) == len(loader) - 1
    loader.close()
    os.close(reading)
    os.close(writing)


def test_a_transform_that_cannot_be_sent_to_a_spawned_worker_is_refused(out: Path) -> None:
    dataset = ShardDataset(out, split="train", transform=lambda image: np.zeros(3))
    loader = ShardLoader(dataset, global_batch_size=4, num_workers=1, start_method="spawn")
    with pytest.raises(UsageError, match="define the transform at the top of a module"):
        list(loader)


def dawdle(image: Image.Image) -> np.ndarray:
    time.sleep(0.1)
    return np.zeros(3, np.uint8)


def test_an_interrupted_wait_loses_no_batch(out: Path) -> None:
    dataset = ShardDataset(out, split="train", transform=dawdle)
    loader = ShardLoader(dataset, global_batch_size=2, members=("image", "sample"), num_workers=1, shuffle=False)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        batches = iter(loader)
        next(batches)  # the worker is up, and the next batch takes 0.2 s
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            list(batches)
    finally:
        signal.signal(signal.SIGALRM, before)
    loader.set_epoch(0)
    again = iter(loader)
    assert [next(again)[1].tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    loader.close()


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_no_interrupt_is_lost_where_a_batch_ends(workers: Any, out: Path) -> None:
    loader = ShardLoader(crops(out), global_batch_size=4, workers=workers, num_workers=1)
    batches = iter(loader)
    batch = next(batches)
    called: list[str] = []  # a KeyboardInterrupt in any of these would be printed and forgotten
    sys.setprofile(lambda frame, event, argument: called.append(frame.f_code.co_name) if event == "call" else None)
    del batch
    sys.setprofile(None)
    assert called == []
    loader.close()


@pytest.mark.parametrize("sampler", [Sequential(1000), Chosen(Sequential(3), np.array([0, 1, -1]))])
def test_a_sampler_of_other_data_is_refused(out: Path, sampler: Sampler) -> None:
    loader = ShardLoader(crops(out), global_batch_size=500, sampler=sampler, num_workers=1)
    with pytest.raises(UsageError, match=r"the sampler draws samples -?\d+ to \d+, the dataset has"):
        list(loader)


def test_a_shard_of_zeros_is_named(out: Path) -> None:
    shard = first_shard(out)
    before = shard.stat()
    shard.write_bytes(bytes(before.st_size))
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    dataset = crops(out)
    with pytest.raises(DatasetError, match=rf"{shard.name}: byte [\d,]+ holds another sample than the index says"):
        list(ShardLoader(dataset, global_batch_size=4, num_workers=1))
    with pytest.raises(DatasetError, match="holds another sample"):
        list(dataset.keys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_workers": -1}, "give 0 workers or more"),
        ({"prefetch": 0}, "at least 1 batch"),
        ({"workers": "fibers"}, "workers 'fibers': not known; choose auto, threads, processes"),
        ({"start_method": "warp"}, "start method 'warp': not known; choose fork"),
        ({"on_error": "ignore"}, "on_error 'ignore': not known; choose raise, skip"),
        ({"members": ("imgae",)}, "member 'imgae': no sample has it; choose of jpg, cls, json, image, __key__"),
        ({"rank": 2, "world": 2}, "rank 2 of 2: ranks count from 0"),
        ({"last": "drop", "global_batch_size": 10_000}, "does not fill one batch"),
    ],
)
def test_options_that_make_no_loader_are_refused(out: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ShardLoader(crops(out), **{"global_batch_size": 4, **options})


def test_normalise_without_a_batched_transform_is_refused(out: Path) -> None:
    normalise = Normalise((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    with pytest.raises(UsageError, match="normalise goes with transforms of"):
        ShardLoader(ShardDataset(out, split="train"), global_batch_size=4, normalise=normalise)


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_killed_worker_is_an_error_and_the_loader_can_go_on(out: Path, start_method: str) -> None:
    loader = ShardLoader(
        crops(out), global_batch_size=4, workers="processes", num_workers=2, start_method=start_method,
        members=("sample",),
    )  # fmt: skip
    expected = [samples.tolist() for (samples,) in loader]
    loader.set_epoch(0)
    batches = iter(loader)
    next(batches)
    os.kill(loader._workers._workers[1]._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
    with pytest.raises(TaskError, match=r"loader worker 1 \(process \d+\) was killed by signal 9 \(SIGKILL"):
        list(batches)
    loader.set_epoch(0)
    assert [samples.tolist() for (samples,) in loader] == expected
    loader.close()


def test_workers_do_not_wait_for_threads_that_were_left_behind(out: Path) -> None:
    dataset = crops(out)
    loader = ShardLoader(dataset, global_batch_size=4, workers="processes", num_workers=1, start_method="fork")
    with dataset.index.reader._lock, ThreadPoolExecutor(1) as pool:  # as a thread does that downloads a shard
        batch = pool.submit(lambda: next(iter(loader)))
        try:
            assert len(batch.result(timeout=60)[0]) == 4
        finally:
            loader.close()


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def start_endless(out: Path) -> tuple[subprocess.Popen[str], list[int]]:
    command = [sys.executable, "-c", ENDLESS, str(out)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert run.stdout is not None
    return run, [int(pid) for pid in run.stdout.readline().split()]


def wait_for_end(pids: list[int]) -> None:
    for _ in range(600):
        if not any(map(is_running, pids)):
            return
        time.sleep(0.05)
    raise AssertionError(f"still running: {[pid for pid in pids if is_running(pid)]}")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes through /proc")
def test_nothing_is_left_of_a_killed_run(out: Path) -> None:
    shared = set(os.listdir("/dev/shm"))
    files = {str(path) for path in out.parent.rglob("*")}
    run, workers = start_endless(out)
    assert len(workers) == 2
    run.kill()
    run.communicate()
    wait_for_end(workers)
    assert {name for name in os.listdir("/dev/shm") if "shardforge" in name} <= shared
    assert {str(path) for path in out.parent.rglob("*")} - files <= {
        str(path) for path in out.rglob("*.shardforge-index")
    }


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes through /proc")
def test_ctrl_c_ends_the_run_and_its_workers(out: Path) -> None:
    run, workers = start_endless(out)
    os.killpg(run.pid, signal.SIGINT)  # the terminal signals the workers, too
    _, said = run.communicate(timeout=60)
    assert run.returncode != 0
    assert said.count("Traceback") == said.count("KeyboardInterrupt") == 1
    wait_for_end(workers)
