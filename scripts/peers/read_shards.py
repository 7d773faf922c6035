"""One epoch of one loader, timed: what scripts/bench_loader.py runs, each loader in a process of its own.

    python scripts/peers/read_shards.py LOADER TASK WORKERS FOLDER

FOLDER holds `shards` (a dataset of shardforge) and copies of its train split as `mds` and `litdata`, which
`read_shards.py copy FOLDER` makes. TASK is `raw` (the bytes of all members), `shuffled` (the same in random order),
or RandomResizedCrop 224 and flip to batches of uint8: `crops` (the others decode with simplejpeg, too, and crop with
torchvision), `ordered` (shardforge's crops in the order of the shards), `kernel` (the others decode and crop with
shardforge's own kernel, too) or `pillow` (they decode with Pillow). LOADER `processes` is shardforge with processes
for its workers, where it would take threads. Prints one line of JSON: samples, seconds from before the loader is made
to its last batch, seconds to its first batch, and microseconds of CPU time a sample, with one process from that batch
on, with workers in all.
"""

from __future__ import annotations

import functools
import io
import json
import math
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BATCH = 256
SIDE = 224
MEMBERS = ("jpg", "cls", "json")
Read = Callable[[Path, str, int], Iterable[Any]]


def shardforge(folder: Path, task: str, workers: int, kind: Any = "auto") -> Iterable[Any]:
    from shardforge.loader.dataset import ShardDataset
    from shardforge.loader.loader import ShardLoader
    from shardforge.loader.transforms import RandomResizedCrop

    raw = task in ("raw", "shuffled")
    transform = None if raw else RandomResizedCrop(SIDE)
    dataset = ShardDataset(folder / "shards", split="train", transform=transform, decode=not raw)
    members = MEMBERS if raw else ("image", "cls")
    return ShardLoader(
        dataset,
        global_batch_size=BATCH,
        members=members,
        num_workers=workers,
        workers=kind,
        shuffle=task not in ("raw", "ordered"),
        last="exact",
    )


def processes(folder: Path, task: str, workers: int) -> Iterable[Any]:
    return shardforge(folder, task, workers, kind="processes")


def webdataset(folder: Path, task: str, workers: int) -> Iterable[Any]:
    import webdataset as wds

    dataset = wds.WebDataset(tars(folder), shardshuffle=False, workersplitter=wds.split_by_worker)
    return load(dataset.map(for_task(task, lambda s: s["jpg"], lambda s: (s["jpg"], s["cls"], s["json"]))), workers)


def wids(folder: Path, task: str, workers: int) -> Iterable[Any]:
    import wids

    content = json.loads((folder / "shards" / "_info.json").read_text())
    ours = set(content["splits"]["train"]["filenames"])
    shards = [
        {**shard, "url": str(folder / "shards" / shard["url"])}
        for shard in content["shardlist"]
        if shard["url"] in ours
    ]
    dataset = wids.ShardListDataset(shards, transformations=[])
    work = for_task(task, lambda s: s[".jpg"].read(), lambda s: tuple(s[f".{name}"].read() for name in MEMBERS))
    return load(Mapped(dataset, work), workers)


def streaming(folder: Path, task: str, workers: int) -> Iterable[Any]:
    from streaming import StreamingDataset

    dataset = StreamingDataset(local=str(folder / "mds"), shuffle=task == "shuffled", batch_size=BATCH)
    return load(Mapped(dataset, for_task(task, lambda s: s["jpg"], lambda s: tuple(s.values()))), workers)


def litdata(folder: Path, task: str, workers: int) -> Iterable[Any]:
    import litdata

    work = for_task(task, lambda s: s["jpg"], lambda s: tuple(s.values()))

    class Worked(litdata.StreamingDataset):
        def __getitem__(self, place: Any) -> Any:
            return work(super().__getitem__(place))

    dataset = Worked(str(folder / "litdata"), shuffle=task == "shuffled")
    if not workers:
        return in_batches(dataset)
    return litdata.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers, collate_fn=stack)


def kernel(folder: Path, task: str, workers: int) -> Iterator[Any]:
    """Run the kernel alone over bytes in memory, in `workers` processes at once: the ceiling of every loader."""
    images = [values[0] for values in open_members(folder)[: 12 * BATCH]]
    crop = Crop()
    yield [crop(image) for image in images[:BATCH]]
    children = [os.fork() for _ in range(workers - 1)]
    for image in images[BATCH:]:
        crop(image)
    if 0 in children:
        os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    yield images[BATCH:] * workers


class Mapped:
    """A map-style or iterable dataset with a function applied to its samples."""

    def __init__(self, dataset: Any, work: Callable[[Any], Any]) -> None:
        self.dataset, self.work = dataset, work

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: int) -> Any:
        return self.work(self.dataset[place])

    def __iter__(self) -> Iterator[Any]:
        return map(self.work, self.dataset)


class Crop:
    """RandomResizedCrop and flip of a JPEG by shardforge's own kernel, to one uint8 array."""

    def __init__(self) -> None:
        self.resizer: Any = None

    def __call__(self, data: bytes) -> np.ndarray:
        from shardforge.images.convert import read_bounded_header
        from shardforge.loader.pixels import open_resizer

        self.resizer = self.resizer or open_resizer((SIDE, SIDE))
        header = read_bounded_header(data)
        pixels = np.empty((3, SIDE, SIDE), np.uint8)
        self.resizer.resize(data, header, choose_box(header.width, header.height), random.random() < 0.5, pixels)
        return pixels


def choose_box(width: int, height: int) -> tuple[int, int, int, int]:
    """Return a random box as torchvision chooses it."""
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1.0)
        shape = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        box_width, box_height = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < box_width <= width and 0 < box_height <= height:
            left, top = random.randint(0, width - box_width), random.randint(0, height - box_height)
            return left, top, left + box_width, top + box_height
    return 0, 0, width, height


class TorchvisionCrop:
    """The same decoder, and torchvision's fastest crop: what a user of the other loaders would write."""

    def __init__(self) -> None:
        from torchvision.transforms import v2

        self.transform = v2.Compose([v2.RandomResizedCrop(SIDE, antialias=True), v2.RandomHorizontalFlip()])

    def __call__(self, data: bytes) -> np.ndarray:
        import simplejpeg
        import torch

        pixels = torch.from_numpy(simplejpeg.decode_jpeg(data)).permute(2, 0, 1)
        return np.asarray(self.transform(pixels))


class PillowCrop:
    """The same as most training scripts have it."""

    def __init__(self) -> None:
        from torchvision.transforms import v2

        self.transform = v2.Compose([v2.RandomResizedCrop(SIDE), v2.RandomHorizontalFlip(), v2.PILToTensor()])

    def __call__(self, data: bytes) -> np.ndarray:
        return np.asarray(self.transform(Image.open(io.BytesIO(data)).convert("RGB")))


def for_task(task: str, image: Callable[[Any], bytes], members: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what is done with each sample."""
    if task in ("raw", "shuffled"):
        return members
    crop: Callable[[bytes], np.ndarray] = {"crops": TorchvisionCrop, "kernel": Crop, "pillow": PillowCrop}[task]()
    return lambda sample: crop(image(sample))


def load(dataset: Any, workers: int) -> Iterable[Any]:
    """Return batches of a dataset: in this process, or by torch's DataLoader."""
    if not workers:
        return in_batches(dataset)
    from torch.utils.data import DataLoader, IterableDataset

    if not hasattr(dataset, "__getitem__") and not isinstance(dataset, IterableDataset):
        raise SystemExit("torch would not split this dataset among its workers")
    return DataLoader(dataset, batch_size=BATCH, num_workers=workers, collate_fn=stack)


def in_batches(samples: Iterable[Any]) -> Iterator[Any]:
    batch: list[Any] = []
    for sample in samples:
        batch.append(sample)
        if len(batch) == BATCH:
            yield stack(batch)
            batch = []
    if batch:
        yield stack(batch)


def stack(batch: list[Any]) -> Any:
    """Return one tensor for arrays, the list itself for bytes."""
    import torch

    return torch.from_numpy(np.stack(batch)) if isinstance(batch[0], np.ndarray) else batch


def tars(folder: Path) -> list[str]:
    return sorted(str(path) for path in (folder / "shards" / "train").glob("*.tar"))


def copy(folder: Path) -> None:
    """Write the train split in the formats of MosaicML streaming and litdata."""
    import litdata
    from streaming import MDSWriter

    samples = open_members(folder)
    with MDSWriter(out=str(folder / "mds"), columns=dict.fromkeys(MEMBERS, "bytes")) as writer:
        for values in samples:
            writer.write(dict(zip(MEMBERS, values, strict=True)))
    inputs = [(str(folder), number) for number in range(len(samples))]
    litdata.optimize(
        fn=read_sample, inputs=inputs, output_dir=str(folder / "litdata"), chunk_bytes="64MB", num_workers=1
    )


@functools.cache
def open_members(folder: Path) -> Any:
    from shardforge.loader.dataset import ShardDataset

    return ShardDataset(folder / "shards", split="train", members=MEMBERS, decode=False)


def read_sample(place: tuple[str, int]) -> dict[str, bytes]:
    return dict(zip(MEMBERS, open_members(Path(place[0]))[place[1]], strict=True))


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


LOADERS: dict[str, Read] = {
    read.__name__: read for read in (shardforge, processes, webdataset, wids, streaming, litdata, kernel)
}


def main() -> None:
    if sys.argv[1] == "copy":
        copy(Path(sys.argv[2]))
        return
    name, task, workers, folder = sys.argv[1:]
    import torch  # every loader needs it, so none is charged for the import

    torch.set_num_threads(1)
    used, started, first, samples, before = cpu_seconds(), time.perf_counter(), 0.0, 0, 0
    for batch in LOADERS[name](Path(folder), task, int(workers)):
        samples += len(batch[0] if name in ("shardforge", "processes") else batch)
        if not first:
            first = time.perf_counter() - started
            if workers == "0":
                used, before = cpu_seconds(), samples
    seconds = time.perf_counter() - started
    cpu_us = 1e6 * (cpu_seconds() - used) / (samples - before)
    print(json.dumps({"samples": samples, "seconds": seconds, "first": first, "cpu_us": cpu_us}))


if __name__ == "__main__":
    main()
