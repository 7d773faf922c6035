"""Measure what training costs beside its steps: the trainer's own work, and the data that come from shards.

    python scripts/bench_train.py                               # on the GPU, if there is one
    python scripts/bench_train.py --device cpu                  # a small model, one thread
    git clone https://github.com/facebookresearch/mae references/mae
    python scripts/bench_train.py --reference references        # and the authors' own step

A pre-training run (MAE) has epochs that are fed in turns with one decoded batch again and again ("fake") and from
shards. Between them, in the same process, a bare loop (forward, backward, step) of a copy of the model takes its turn,
and the reference's own `train_one_epoch`. The first steps of each turn are not counted, nor is the end of an epoch.
Shards are made of the photos in data/photos, 256 pixels high or wide, unless --shards names others.

On a CPU, what is compared is CPU time, which hardly changes when something else runs; decoding takes its share of it.
docs/benchmarks.md has the figures.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from timm.layers.config import set_fused_attn, use_fused_attn
from torch import Tensor, nn

from shardforge.dataset.layout import MANIFEST
from shardforge.loader.loader import ShardLoader
from shardforge.train.data.augment import Colours
from shardforge.train.distributed import Ranks
from shardforge.train.log import RunLog, read_log
from shardforge.train.mim import MimTask
from shardforge.train.precision import choose_precision
from shardforge.train.recipe.settings import MimSettings
from shardforge.train.run import run_training

PHOTOS = Path(__file__).resolve().parent.parent / "data" / "photos" / "photos.csv"
RGB_MODE = "imagenet"


@dataclass(frozen=True)
class Workload:
    """What is trained. `skip` of the `steps` of a turn are not counted; both are multiples of the log's interval."""

    encoder: str
    size: int
    batch: int
    decoder: tuple[int, int]
    skip: int = 10
    steps: int = 60


LARGE = Workload("vit_base_patch16_224", size=224, batch=256, decoder=(512, 8))
SMALL = Workload("vit_tiny_patch16_224", size=96, batch=32, decoder=(128, 2), skip=5, steps=20)


class Span(NamedTuple):
    """Seconds by the clock, and of the CPU."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Span:
        """Return the time, from which another is to be subtracted."""
        return cls(time.perf_counter(), time.process_time())

    def since(self, begin: Span) -> Span:
        """Return what has passed."""
        return Span(self.wall - begin.wall, self.cpu - begin.cpu)


Batch = tuple[Tensor, ...]
#: Trains for the steps of a turn, and returns the time of those that count.
Turn = Callable[[], Span]


class Feed:
    """Stands in for the trainer's loader, and times the steps between its batches.

    Epoch 0 warms up; after it, epochs on fake data and from shards follow each other, the `others` before each pair,
    which are made when the first epoch has shown how much memory the trainer takes. The trainer has waited for its
    device when it asks for the first batch that counts, and at the end: it has logged.
    """

    def __init__(
        self, loader: ShardLoader, fake: Batch, workload: Workload, others: dict[str, Callable[[], Turn]]
    ) -> None:
        self.dataset = loader.dataset
        self._loader, self._fake, self._workload, self._others = loader, fake, workload, others
        self._turns: dict[str, Turn] = {}
        self._epoch = 0
        self.spans: dict[str, list[Span]] = {name: [] for name in ("fake", "shards", *others)}
        self.peak_memory = 0

    def __len__(self) -> int:
        return self._workload.steps

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to come."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        if self._epoch == 1:
            self.peak_memory = torch.cuda.max_memory_allocated() if self._fake[0].is_cuda else 0
            self._turns = {name: make() for name, make in self._others.items()}
        if self._epoch % 2:
            for name, turn in self._turns.items():
                self.spans[name].append(turn())
        name = "shards" if self._epoch and self._epoch % 2 == 0 else "fake"
        begin = Span.now()
        for number, batch in enumerate(self._batches(name)):
            if number == self._workload.skip:
                begin = Span.now()
            yield batch
        if self._epoch:
            self.spans[name].append(Span.now().since(begin))

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: no run goes on from here."""
        return {}

    def close(self) -> None:
        """Stop the workers."""
        self._loader.close()

    def _batches(self, name: str) -> Iterator[Batch]:
        if name == "fake":
            return iter([self._fake] * self._workload.steps)
        self._loader.set_epoch(self._epoch)
        return iter(self._loader)


def time_steps(step: Callable[[], object], workload: Workload, device: torch.device) -> Span:
    """Return the time of the steps of a turn that count."""
    for number in range(workload.steps):
        if number == workload.skip:
            synchronise(device)
            begin = Span.now()
        step()
    synchronise(device)
    return Span.now().since(begin)


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def bare_loop(model: nn.Module, images: Tensor, settings: MimSettings, workload: Workload) -> Turn:
    """Return the turn of a loop that does nothing but the steps, on a copy of the model."""
    twin = copy.deepcopy(model)
    compiled: Any = torch.compile(twin) if settings.compile else twin
    colours = Colours(settings.rgb_mode).to(images.device)
    optimiser = torch.optim.AdamW(
        (one for one in twin.parameters() if one.requires_grad), settings.lr, fused=settings.opt_fused
    )
    precision = choose_precision(settings, images.device)

    def step() -> None:
        with precision.autocast():
            loss = compiled(colours(images)).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return partial(time_steps, step, workload, images.device)


def reference_loop(clones: Path, images: Tensor, model: Any, workload: Workload, *, fused: bool) -> Turn:
    """Return the turn of the authors' `train_one_epoch` on the same model as theirs, images normalised beforehand.

    Their timm (0.3.2) had no fused attention; `fused` gives it to them.
    """
    from compare_reference import imported

    before = use_fused_attn()
    set_fused_attn(fused)
    with imported(clones / "mae", "models_mae") as module:
        block = module.Block
        module.Block = lambda *args, qk_scale=None, **kwargs: block(*args, **kwargs)
        width, depth = workload.decoder
        encoder = model.encoder
        theirs = module.MaskedAutoencoderViT(
            img_size=workload.size, patch_size=model.patch, embed_dim=encoder.embed_dim, depth=len(encoder.blocks),
            num_heads=encoder.blocks[0].attn.num_heads, decoder_embed_dim=width, decoder_depth=depth,
            decoder_num_heads=width // 32, norm_layer=partial(nn.LayerNorm, eps=1e-6),
        ).to(images.device)  # fmt: skip
    set_fused_attn(before)
    torch_six: Any = types.ModuleType("torch._six")  # their torch had it
    torch_six.inf = torch.inf
    with mock.patch.dict(sys.modules, {"torch._six": torch_six}), imported(clones / "mae", "engine_pretrain") as engine:
        scaler = engine.misc.NativeScalerWithGradNormCount()
    optimiser = torch.optim.AdamW(theirs.parameters(), 1e-4, betas=(0.9, 0.95))
    options = types.SimpleNamespace(accum_iter=1, lr=1e-4, min_lr=0.0, warmup_epochs=1, epochs=800, mask_ratio=0.75)
    batch = (Colours(RGB_MODE).to(images.device)(images), None)
    on_cpu = images.device.type == "cpu"  # where there is nothing to wait for

    def train(steps: int) -> None:
        waiting = mock.patch("torch.cuda.synchronize") if on_cpu else contextlib.nullcontext()
        with contextlib.redirect_stdout(io.StringIO()), waiting:
            engine.train_one_epoch(theirs, [batch] * steps, optimiser, images.device, 0, scaler, args=options)
        synchronise(images.device)

    def turn() -> Span:
        train(workload.skip)
        begin = Span.now()
        train(workload.steps - workload.skip)
        return Span.now().since(begin)

    return turn


def make_settings(workload: Workload, options: argparse.Namespace, folder: Path) -> MimSettings:
    """Return the settings of the run: bfloat16, compiled and with fused AdamW on a GPU, plain float32 on a CPU."""
    on_gpu = options.device == "cuda"
    shards = options.shards or make_shards(folder)
    images = workload.batch * workload.steps
    width, depth = workload.decoder
    return MimSettings(
        network="mae_vit", encoder=workload.encoder, model_config=(f"width={width}", f"depth={depth}"),
        data_path=(str(shards),) * -(-images // count_images(shards)), wds_size=images,
        size=workload.size, batch_size=workload.batch, workers=options.workers, rgb_mode=RGB_MODE,
        opt="adamw", opt_betas=(0.9, 0.95), lr=1e-4, wd=0.05, opt_fused=on_gpu,
        amp=on_gpu, amp_dtype="bfloat16", compile=on_gpu and not options.eager, device=options.device,
        epochs=1 + 2 * options.rounds, out=str(folder), log_steps=workload.skip, save_frequency=1000, keep_last=1,
    )  # fmt: skip


def make_shards(folder: Path) -> Path:
    """Pack the repository's photos."""
    shardforge, mapping = [sys.executable, "-m", "shardforge"], ["--db", str(folder / "mapping.duckdb")]
    for command in (
        ["map", *mapping, "--source", f"photos=table:{PHOTOS}"],
        ["split", *mapping, "--seed", "17", "--val-split", "10"],
        ["write", *mapping, "--out", str(folder / "shards"), "--size", "256", "--resize", "shortest"],
    ):
        done = subprocess.run([*shardforge, *command], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"shardforge {command[0]} failed: {done.stderr}")
    return folder / "shards"


def count_images(shards: Path) -> int:
    """Return how many images a dataset has for training."""
    return int(json.loads((shards / MANIFEST).read_text())["splits"]["training"]["num_samples"])


def train(workload: Workload, options: argparse.Namespace, settings: MimSettings) -> Feed:
    """Run the training with its feed; return the feed with all times."""
    feeds: list[Feed] = []

    def create_task(settings: MimSettings, ranks: Ranks, log: RunLog) -> MimTask:
        task = MimTask(settings, ranks, log)
        model: Any = task.model.to(ranks.device)
        fake = tuple(part.to(ranks.device) for part in next(iter(task.loader)))
        others: dict[str, Callable[[], Turn]] = {"bare loop": partial(bare_loop, model, fake[0], settings, workload)}
        if options.reference:
            reference = partial(reference_loop, options.reference.resolve(), fake[0], model, workload)
            others["reference"] = partial(reference, fused=False)
            others["reference, fused attention"] = partial(reference, fused=True)
        feeds.append(Feed(task.loader, fake, workload, others))
        task.loader = feeds[0]  # type: ignore[assignment]
        return task

    with contextlib.redirect_stderr(io.StringIO()):
        run_training(settings, create_task)
    return feeds[0]


def report(feed: Feed, workload: Workload, settings: MimSettings) -> None:
    """Print the medians, and what is asked of them."""
    images = workload.batch * (workload.steps - workload.skip)
    print(f"{'':28} {'images/s':>9} {'spread':>7} {'CPU ms/image':>13}")
    for name, spans in feed.spans.items():
        rates = [images / span.wall for span in spans]
        rate, cpu = statistics.median(rates), statistics.median(span.cpu for span in spans) / images
        print(f"{name:28} {rate:9,.0f} {(max(rates) - min(rates)) / rate:7.0%} {1e3 * cpu:13.3f}")
    waits = [
        line["data_wait"]
        for line in read_log(Path(settings.out) / settings.run_name)
        if line["kind"] == "step" and line["epoch"] > 1 and line["epoch"] % 2 == 1 and line["step"] > workload.skip
    ]
    clock = "wall" if settings.device == "cuda" else "cpu"
    print(f"trainer over bare loop     {compare(feed, 'fake', 'bare loop', clock) - 1:+.1%} {clock} time (goal < 5%)")
    print(f"shards against fake data   {1 / compare(feed, 'shards', 'fake', clock):.1%} (goal on a GPU 97%)")
    print(f"waiting for data           {statistics.mean(waits):.1%} of the time (goal on a GPU < 3%)")
    if "reference" in feed.spans:
        print(f"times the reference's step {compare(feed, 'reference', 'shards', clock):.2f} (goal on a GPU 1.5)")
    if feed.peak_memory:
        print(f"peak memory                {feed.peak_memory / 2**30:.1f} GiB")


def compare(feed: Feed, one: str, other: str, clock: str) -> float:
    """Return the median over the rounds of how many times longer `one` took than `other`."""
    pairs = zip(feed.spans[one], feed.spans[other], strict=True)
    return float(statistics.median(getattr(first, clock) / getattr(second, clock) for first, second in pairs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cpu", "cuda"), default=found, help="on a CPU the model is small")
    parser.add_argument("--shards", type=Path, help="dataset to feed from, instead of the photos")
    parser.add_argument("--reference", type=Path, help="folder that holds a clone of facebookresearch/mae as mae")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, help="images of a step [default: 256 on a GPU, 32 on a CPU]")
    parser.add_argument("--workers", type=int, help="of the loader [default: the cores; on a CPU 1]")
    parser.add_argument("--eager", action="store_true", help="do not compile, on a GPU")
    options = parser.parse_args()
    workload = LARGE if options.device == "cuda" else SMALL
    if options.batch_size:
        workload = replace(workload, batch=options.batch_size)
    if options.device == "cpu":
        torch.set_num_threads(1)  # threads that wait for others count as CPU time, too
        options.workers = options.workers or 1
    warnings.simplefilter("ignore")  # the clone's, about what torch has renamed
    with tempfile.TemporaryDirectory(prefix="bench-train-") as folder:
        settings = make_settings(workload, options, Path(folder))
        report(train(workload, options, settings), workload, settings)


if __name__ == "__main__":
    main()
