"""All options of the two trainers. Names, meanings and most defaults are those of Birder 0.3.1, whose recipes run as
they are; docs/training.md lists what differs."""

from __future__ import annotations

import os
from dataclasses import dataclass

from shardforge.train.recipe.options import flag

OPTIMISERS = ("sgd", "adamw", "adam", "nadam", "nadamw", "radam", "rmsprop", "adagrad", "adamax")
SCHEDULERS = ("constant", "cosine", "polynomial", "step", "multistep")
#: Batch of `--auto-scale-lr` unless given, as in most recipes that state their rate for one.
_BASE_BATCH = 256
#: More than this are a slip of the finger, and would stop the machine before they start.
MOST_WORKERS = 1024
RGB_MODES = ("birder", "imagenet", "clip", "neutral", "none", "centered")


@dataclass(frozen=True, kw_only=True)
class Data:
    """What is read, and how it is varied."""

    data_path: tuple[str, ...] = flag(
        ("data/training",), "Folders of images, annotation files (.txt, .json) or shards to train on, read as one."
    )
    wds: bool = flag(False, "The data are shards, whatever the paths look like.")
    wds_info: tuple[str, ...] = flag((), "Manifests (_info.json) to train on instead of --data-path.")
    trust: bool = flag(False, "Read what manifests name outside of their own folders, too: any file, any URL.")
    size: int | None = flag(None, "Pixels of the images, both ways. [default: the model's own]", least=8)
    rgb_mode: str = flag("birder", "Mean and deviation that colours are normalised by.", choices=RGB_MODES)
    aug_level: int = flag(4, "Strength of augmentation, 0 (resize only) to 10.", least=0)
    resize_min_scale: float | None = flag(None, "Least area of a random crop. [default: 0.8 - 0.05 x --aug-level]")
    re_prob: float | None = flag(
        None, "Chance that a part of an image is erased. [default: by --aug-level]", least=0, most=1
    )
    ra_sampler: bool = flag(False, "Repeated augmentation: each batch shows its images several times, varied.")
    ra_reps: int = flag(3, "How often, with --ra-sampler.", least=1)
    repeat: tuple[int, ...] = flag(
        (), "Times that an epoch shows each image; one number for all of --data-path, or one for each.", least=1
    )
    data_weights: tuple[float, ...] = flag(
        (), "Share of each of --data-path in an epoch, which is as long as all of them. [default: by their images]"
    )
    class_balanced: bool = flag(False, "Show all classes equally often, whatever they have of images.")
    oversample_thr: float | None = flag(
        None,
        "Share of the images below which a class is shown more often: sqrt(this / its share) times.",
        least=0,
        most=1,
    )
    skip_bad: bool = flag(False, "Go on where an image cannot be read, up to 1% of them; they are counted.")
    workers: int | None = flag(
        None, "Workers that read data, for each process. [default: the cores]", least=0, most=MOST_WORKERS
    )


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How good the network is between epochs."""

    val_path: tuple[str, ...] = flag(
        (), "Data to evaluate on. [default: --data-path where that has splits, else data/validation]", also="--data-val"
    )
    wds_val_split: tuple[str, ...] = flag(("validation",), "Splits of the manifests to evaluate on.")
    knn_every: int | None = flag(
        None, "Epochs between evaluations by nearest neighbours, for which images need labels. [default: none]", least=1
    )
    knn_k: int = flag(20, "Neighbours that vote, with --knn-every.", least=1)
    knn_path: tuple[str, ...] = flag((), "Labelled data to look for neighbours in. [default: the training data]")


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """How weights are changed."""

    batch_size: int = flag(32, "Images of a batch, for each process.", least=1)
    grad_accum_steps: int = flag(1, "Batches whose gradients make one step.", least=1)
    opt: str = flag("sgd", "Optimiser.", choices=OPTIMISERS)
    opt_fused: bool = flag(False, "Use the optimiser's fused kernels.")
    opt_eps: float | None = flag(None, "Epsilon of the optimiser. [default: torch's]", least=0)
    opt_betas: tuple[float, ...] = flag((), "Betas of the optimiser. [default: torch's]", least=0)
    momentum: float = flag(0.9, "Momentum of SGD and RMSprop.", least=0, most=1)
    nesterov: bool = flag(False, "Nesterov momentum, for SGD.")
    lr: float = flag(0.1, "Learning rate; absolute unless --lr-scale is given.", least=0)
    lr_scale: int | None = flag(None, "Batch that --lr is meant for: the rate grows with the real batch.", least=1)
    auto_scale_lr: bool = flag(False, "The rate grows with the real batch from --base-batch-size: linearly.")
    base_batch_size: int | None = flag(
        None, "Batch that --lr is meant for with --auto-scale-lr. [default: 256]", least=1
    )
    lr_scale_type: str = flag("linear", "How it grows.", choices=("linear", "sqrt"))
    wd: float = flag(1e-4, "Weight decay, of norms and biases too unless the next options say otherwise.", least=0)
    norm_wd: float | None = flag(None, "Weight decay of normalisation layers. [default: --wd]", least=0)
    bias_weight_decay: float | None = flag(None, "Weight decay of biases. [default: --wd]", least=0)
    transformer_embedding_decay: float | None = flag(
        None, "Weight decay of tokens and position embeddings. [default: --wd]", least=0
    )
    layer_decay: float | None = flag(
        None, "Factor of the learning rate from each layer to the one below.", least=0, most=1
    )
    layer_decay_min_scale: float = flag(
        0.0, "The least that --layer-decay makes of the learning rate.", least=0, most=1
    )
    clip_grad_norm: float | None = flag(None, "Largest norm of all gradients together.", least=0)

    @property
    def reference_batch(self) -> int | None:
        """The batch that `lr` is meant for, None where it is absolute."""
        return (self.base_batch_size or _BASE_BATCH) if self.auto_scale_lr else self.lr_scale


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long, and the learning rate over that time."""

    epochs: int = flag(100, "Epochs of the whole run, those before --resume-epoch included.", least=1)
    stop_epoch: int | None = flag(None, "End after this epoch, with the schedule of --epochs.", least=1)
    stage_epochs: tuple[int, ...] = flag(
        (), "Epochs at which the schedule starts again, and dbot begins a stage.", least=0
    )
    lr_scheduler: str = flag("constant", "Course of the learning rate.", choices=SCHEDULERS)
    lr_scheduler_update: str = flag("epoch", "When the learning rate changes.", choices=("epoch", "step"))
    lr_cosine_min: float = flag(1e-6, "Last learning rate of the cosine; scaled with --layer-decay.", least=0)
    lr_power: float = flag(1.0, "Power of the polynomial.", least=0)
    lr_step_size: int = flag(40, "Epochs (or steps) between decreases of the step scheduler.", least=1)
    lr_steps: tuple[int, ...] = flag((), "Epochs (or steps) at which the multistep scheduler decreases.", least=0)
    lr_step_gamma: float = flag(0.75, "Factor of a decrease.", least=0)
    warmup_epochs: int = flag(0, "Epochs in which the learning rate rises.", least=0)
    lr_warmup_decay: float = flag(0.01, "Share of the learning rate that the rise starts from.", least=0, most=1)


@dataclass(frozen=True, kw_only=True)
class Running:
    """How the work is done, and what is kept of it."""

    tag: str | None = flag(None, "Part of the name of what is saved.")
    out: str = flag("models", "Folder for checkpoints, logs and exported weights.")
    resume: bool = flag(False, "Go on from the run's latest checkpoint, in the middle of an epoch if need be.")
    resume_epoch: int | None = flag(
        None, "Start from the weights saved after this epoch; 0: from pre-trained weights.", least=0
    )
    load_states: bool = flag(False, "With --resume-epoch: optimiser, schedule, scaler and averaged weights, too.")
    load_scheduler: bool = flag(False, "With --resume-epoch: the schedule goes on instead of starting again.")
    init_from: str | None = flag(None, "Weights to start from: a .safetensors file, or a checkpoint of a run.")
    save_frequency: int = flag(5, "Epochs between checkpoints.", least=1)
    save_steps: int | None = flag(None, "Steps between checkpoints within an epoch. [default: none]", least=1)
    keep_last: int | None = flag(None, "Checkpoints to keep, besides the best. [default: all]", least=1)
    amp: bool = flag(False, "Compute in 16 bits where that is safe.")
    amp_dtype: str = flag("float16", "Type for --amp.", choices=("float16", "bfloat16"))
    fast_matmul: bool = flag(False, "Multiply matrices in TF32.")
    compile: bool = flag(False, "Compile the model.")
    compile_opt: bool = flag(False, "Compile the optimiser's step.")
    find_unused_parameters: bool = flag(False, "Let ranks agree on parameters that a step did not use.")
    device: str = flag("auto", "Where to compute: auto, cpu, cuda.", choices=("auto", "cpu", "cuda"))
    seed: int = flag(0, "Seed of weights, order, augmentation and masks.", least=0)
    log_steps: int = flag(10, "Steps between log entries.", least=1)
    smoke: bool = flag(False, "Two steps of a tiny model on tiny images, everything else as asked: a test of a recipe.")


@dataclass(frozen=True, kw_only=True)
class MimSettings(Data, Evaluation, Optimisation, Schedule, Running):
    """Options of `python -m shardforge.train.mim`."""

    network: str = flag(..., "Method: mae_vit, crossmae, fcmae, mae_hiera, simmim, dbot; see docs/training.md.")
    encoder: str = flag(..., "Encoder, by Birder's name or timm's.")
    model_config: tuple[str, ...] = flag((), "Arguments of the method, for instance depth=4 (of the decoder).")
    encoder_model_config: tuple[str, ...] = flag((), "Arguments of the encoder, for instance drop_path_rate=0.0.")
    min_mask_size: int = flag(1, "Patches along the side of what is masked as one.", least=1)
    mask_ratio: float | None = flag(None, "Share of the image that is masked. [default: the method's]", least=0, most=1)
    wds_size: int | None = flag(None, "Images of an epoch. [default: all]", least=1)
    wds_split: tuple[str, ...] = flag(("training",), "Splits of the manifests; one for all, or one each.")
    epochs: int = flag(800, "Epochs of the whole run, those before --resume-epoch included.", least=1)
    aug_level: int = flag(1, "Strength of augmentation, 0 (resize only) to 10; 1 is crop and mirror.", least=0)
    resize_min_scale: float | None = flag(0.3, "Least area of a random crop.", least=0)
    re_prob: float | None = flag(0.0, "Chance that a part of an image is erased.", least=0, most=1)
    save_frequency: int = flag(1, "Epochs between checkpoints.", least=1)

    @property
    def run_name(self) -> str:
        """What the run's folder is called."""
        return "_".join([self.network, self.encoder, *([self.tag] if self.tag else [])])

    @property
    def export_name(self) -> str:
        """What files with the encoder's weights are called, without epoch: the name that fine-tuning looks for."""
        return f"{self.encoder}_mim" + (f"-{self.tag}" if self.tag else "")

    @property
    def training_splits(self) -> tuple[str, ...]:
        """Splits of the manifests to train on."""
        return self.wds_split


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(Data, Evaluation, Optimisation, Schedule, Running):
    """Options of `python -m shardforge.train.finetune`."""

    network: str = flag(..., "Network, by Birder's name or timm's.")
    model_config: tuple[str, ...] = flag((), "Arguments of the network, for instance drop_path_rate=0.1.")
    wds_class_file: str | None = flag(None, "File with a class a line. [default: that of the shards]")
    wds_train_size: int | None = flag(None, "Images of an epoch. [default: all]", least=1)
    wds_val_size: int | None = flag(None, "Images to evaluate on; must be those that are there.", least=1)
    wds_training_split: tuple[str, ...] = flag(("training",), "Splits of the manifests to train on.")
    smoothing_alpha: float = flag(0.0, "Label smoothing.", least=0, most=1)
    mixup_alpha: float | None = flag(None, "Alpha of mixup. [default: no mixup]", least=0)
    cutmix: bool = flag(False, "Mix parts of images.")
    model_ema: bool = flag(False, "Keep an average of the weights, evaluate and export that.")
    model_ema_steps: int = flag(32, "Steps between updates of the average.", least=1)
    model_ema_decay: float = flag(0.9999, "Decay of the average, for a run of batch 32 x 1 epoch.", least=0, most=1)
    reset_head: bool = flag(False, "Start with a new head, even if the classes are the same.")
    freeze_body: bool = flag(False, "Train the head alone: a linear probe.")
    probe_norm: bool = flag(
        False, "With --freeze-body: normalise features over the batch before the head, without a learnt scale."
    )

    @property
    def run_name(self) -> str:
        """What the run's folder and the files with its weights are called."""
        return self.network + (f"_{self.tag}" if self.tag else "")

    @property
    def export_name(self) -> str:
        """What files with the weights are called, without epoch."""
        return self.run_name

    @property
    def training_splits(self) -> tuple[str, ...]:
        """Splits of the manifests to train on."""
        return self.wds_training_split


Settings = MimSettings | FinetuneSettings


def count_step_images(settings: Optimisation, world: int) -> int:
    """Return the images of a step of the optimiser, over all `world` processes."""
    return settings.batch_size * settings.grad_accum_steps * world


def scale_rate(settings: Optimisation, world: int) -> float:
    """Return the learning rate of a run of `world` processes."""
    if settings.reference_batch is None:
        return settings.lr
    factor = count_step_images(settings, world) / settings.reference_batch
    return settings.lr * (factor if settings.lr_scale_type == "linear" else factor**0.5)


def expand_home(path: str) -> str:
    """Return a path with `~` replaced, as the shell does not inside quotes or after the first word of a list."""
    return os.path.expanduser(path)
