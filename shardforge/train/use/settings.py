"""Options that all programs share which apply a model to images."""

from __future__ import annotations

from dataclasses import dataclass

from shardforge.errors import UsageError
from shardforge.train.recipe.options import flag
from shardforge.train.recipe.settings import MOST_WORKERS, RGB_MODES


@dataclass(frozen=True, kw_only=True)
class Applying:
    """Which model, which images, and how the work is done."""

    weights: str = flag(..., "Weights: a run's folder, a .safetensors file, a checkpoint, or a network.", argument=True)
    network: str | None = flag(None, "Network of the weights. [default: as their file tells]")
    size: int | None = flag(None, "Pixels of the images, both ways. [default: that of the weights]", least=8)
    rgb_mode: str | None = flag(None, "Normalisation of colours. [default: that of the weights]", choices=RGB_MODES)
    data_path: tuple[str, ...] = flag((), "Folders of images, annotation files (.txt, .json) or shards, read as one.")
    wds: bool = flag(False, "The data are shards, whatever the paths look like.")
    wds_info: tuple[str, ...] = flag((), "Manifests (_info.json) instead of --data-path.")
    trust: bool = flag(False, "Read what manifests name outside of their own folders, too: any file, any URL.")
    wds_split: tuple[str, ...] = flag((), "Splits of the manifests; one for all, or one each.")
    wds_class_file: str | None = flag(None, "File with a class a line. [default: that of the data]")
    batch_size: int = flag(64, "Images of a batch, for each process.", least=1)
    workers: int | None = flag(
        None, "Workers that read data, for each process. [default: the cores]", least=0, most=MOST_WORKERS
    )
    skip_bad: bool = flag(False, "Go on where an image cannot be read, up to 1% of them; they are counted.")
    amp: bool = flag(False, "Compute in 16 bits where that is safe.")
    amp_dtype: str = flag("bfloat16", "Type for --amp.", choices=("float16", "bfloat16"))
    fast_matmul: bool = flag(False, "Multiply matrices in TF32.")
    device: str = flag("auto", "Where to compute: auto, cpu, cuda.", choices=("auto", "cpu", "cuda"))

    def __post_init__(self) -> None:
        if bool(self.data_path) == bool(self.wds_info):
            raise UsageError("name the images: by --data-path, or by --wds-info where they are shards with a manifest")
