"""Show that pre-training helps: fine-tuning from scratch against fine-tuning from pre-trained weights, on a CPU.

    pip install 'shardforge[train]'
    pip install --no-deps animal-mnist      # its loader would need TensorFlow, its data do not
    python scripts/learn_animals.py

The data are the 10,000 grey images of 28 pixels, in 10 classes, of PyPI's animal-mnist; some come twice. They are
packed as anybody's images would be (map, split, write): a fifth is for validation, images with the same bytes are on
one side, and a tenth of the training images is a subset "few". For each seed

- a small vision transformer is fine-tuned on the labels of "few", from fresh weights;
- it is pre-trained (MAE) on all training images, without labels, and then fine-tuned just as the first was.

Both accuracies are those of the last epoch, not of the best one. Few labels and epochs are the case that pre-training
is for: with more of either, expect less of a difference. Each run has one thread, and there are as many runs at once as
there are cores.
"""

from __future__ import annotations

import argparse
import gzip
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct
from PIL import Image

from shardforge.mapping import open_mapping
from shardforge.train.log import read_log

CLASSES = ("bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra")
ENCODER = "vit_tiny_patch16_224"
SHAPE = ("patch_size=4", "embed_dim=96", "depth=4", "num_heads=3")
#: What both trainers are told.
COMMON = (
    *("--size", "28", "--batch-size", "64", "--opt", "adamw", "--opt-betas", "0.9", "0.95", "--lr", "1e-3"),
    *("--wd", "0.05", "--lr-scheduler", "cosine", "--lr-scheduler-update", "step", "--warmup-epochs", "1"),
    *("--device", "cpu", "--workers", "1", "--keep-last", "1"),
)


class ArrayUnpickler(pickle.Unpickler):
    """Reads a pickled array, and nothing that would run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the three things that an array is made of."""
        known = {"_reconstruct": _reconstruct, "ndarray": np.ndarray, "dtype": np.dtype}
        if not module.startswith("numpy") or name not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an array")
        return known[name]


def unpack_images(folder: Path) -> None:
    """Write the package's images as PNG into a folder for each class."""
    package = find_spec("animal_mnist")
    if package is None or not package.submodule_search_locations:
        sys.exit("animal-mnist is not installed: pip install --no-deps animal-mnist")
    data = Path(package.submodule_search_locations[0]) / "data" / "Animal_MNIST"
    images, labels = (_read_array(data / f"animal_{kind}_version_3.gz") for kind in ("data", "label"))
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / CLASSES[label] / f"{number:05d}.png")


def _read_array(path: Path) -> Any:
    with gzip.open(path) as file:
        return ArrayUnpickler(file).load()


def pack(images: Path, folder: Path) -> None:
    """Write two datasets: `all`, and `few` with the subset and the same validation images."""
    db = folder / "mapping.duckdb"
    shardforge = partial(run, "shardforge")
    shardforge("map", "--db", db, "--source", f"animals=folder:{images}", "--option", "animals.label=parent")
    shardforge(
        *("split", "--db", db, "--seed", 17, "--val-split", 20, "--stratify", "label", "--subset", "few=10"),
    )
    write = partial(shardforge, "write", "--db", db, "--format", "png", "--passthrough", "--members", "cls")
    write("--out", folder / "all")
    write("--out", folder / "few", "--splits", "few,validation")
    with open_mapping(db) as mapping:
        ((total, different),) = mapping.rows("SELECT count(*), count(DISTINCT content_hash) FROM images")
        ((both,),) = mapping.rows(
            "SELECT count(*) FROM (SELECT content_hash FROM images JOIN splits USING (key) "
            "GROUP BY content_hash HAVING count(DISTINCT split) > 1)"
        )
        counts = dict(mapping.rows("SELECT coalesce(subset, split), count(*) FROM splits GROUP BY 1"))
    print(f"{total:,} images, {different:,} different ones; {both} of them both in training and validation")
    print(f"{counts['few']:,} labels to learn from, {counts['validation']:,} images to validate on", flush=True)


def fine_tune(folder: Path, seed: int, epochs: int, start: str, *options: object) -> float:
    """Return the accuracy after the last epoch."""
    out = folder / f"{start}-{seed}"
    run(
        *("shardforge.train.finetune", "--network", ENCODER, "--model-config", *SHAPE, "--out", out, "--seed", seed),
        *("--wds-info", folder / "few" / "_info.json", "--wds-training-split", "few", *COMMON, "--epochs", epochs),
        *("--aug-level", 1, "--re-prob", 0, "--save-frequency", epochs, *options),
    )
    return float(read_log(out / ENCODER)[-1]["top1"])


def pretrain(folder: Path, seed: int, epochs: int) -> Path:
    """Return the weights of the encoder."""
    out = folder / f"mim-{seed}"
    run(
        *("shardforge.train.mim", "--network", "mae_vit", "--model-config", "width=64", "depth=2", "--seed", seed),
        *("--encoder", ENCODER, "--encoder-model-config", *SHAPE, "--data-path", folder / "all", "--out", out, *COMMON),
        *("--epochs", epochs, "--save-frequency", epochs),
    )
    return out / f"mae_vit_{ENCODER}" / f"{ENCODER}_mim_{epochs}.safetensors"


def run(module: str, *words: object) -> None:
    """Run a module's command on one thread; show what it said only when it fails."""
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--pretrain-epochs", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=15, help="of fine-tuning, the same for both")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at once [default: the cores]")
    options = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="learn-animals-") as scratch, ThreadPoolExecutor(options.jobs) as runs:
        folder = Path(scratch)
        unpack_images(folder / "images")
        pack(folder / "images", folder)

        def learn_twice(seed: int) -> float:
            weights = pretrain(folder, seed, options.pretrain_epochs)
            return fine_tune(folder, seed, options.epochs, "pre-trained", "--init-from", weights)

        seeds = range(options.seeds)
        pretrained = [runs.submit(learn_twice, seed) for seed in seeds]  # the longer ones first
        fresh = [runs.submit(fine_tune, folder, seed, options.epochs, "scratch") for seed in seeds]
        print("seed  from scratch  pre-trained")
        try:
            pairs = [(one.result(), other.result()) for one, other in zip(fresh, pretrained, strict=True)]
        except SystemExit:
            runs.shutdown(cancel_futures=True)  # without the others' results, the rest is of no use
            raise
    for seed, (one, other) in enumerate(pairs):
        print(f"{seed:4}  {one:12.1%}  {other:11.1%}")
    one, other = (statistics.mean(column) for column in zip(*pairs, strict=True))
    print(f"mean  {one:12.1%}  {other:11.1%}   {(time.monotonic() - begin) / 60:.1f} minutes")
    if other <= one:
        sys.exit("pre-training did not help")


if __name__ == "__main__":
    main()
