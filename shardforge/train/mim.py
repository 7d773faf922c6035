"""`python -m shardforge.train.mim`: pre-training by masked image modelling."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shardforge.train.checkpoint import find_checkpoint, load_checkpoint
from shardforge.train.data.augment import Colours, training_transform
from shardforge.train.data.open import open_dataset, training_loader
from shardforge.train.distributed import Ranks
from shardforge.train.encoders import DERIVED, EncoderSpec, export_encoder, resolve_encoder, unwrap
from shardforge.train.encoders.features import average_patches
from shardforge.train.log import RunLog
from shardforge.train.methods import Method, resolve_method
from shardforge.train.methods.dbot import DBOT
from shardforge.train.neighbours import open_neighbours
from shardforge.train.pictures import draw_reconstructions
from shardforge.train.recipe.options import make_command
from shardforge.train.recipe.pairs import parse_pairs
from shardforge.train.recipe.settings import MimSettings, expand_home
from shardforge.train.recipe.smoke import narrow_decoder, narrow_encoder, shrink_size
from shardforge.train.run import run_training
from shardforge.train.step import derive_seed
from shardforge.train.weights import fit_weights, read_weights

_PICTURES = 8
_GREY = 0.0
#: Arguments of methods that are options of their own.
_OPTIONS = {"mask_ratio": "give --mask-ratio", "min_mask_size": "give --min-mask-size"}


class MimTask:
    """A method of masked image modelling around an encoder, on images without labels."""

    averages = False
    follows = ("mean_loss", False)

    def __init__(self, settings: MimSettings, ranks: Ranks, log: RunLog) -> None:
        self._settings = settings
        self._device = ranks.device
        self._spec, self.model = _create_method(settings)
        self.layered = self.model.encoder
        self._colours = Colours(settings.rgb_mode).to(ranks.device)
        transform = training_transform(settings, self._spec.size[0])
        dataset = open_dataset(
            settings.data_path,
            transform,
            info=settings.wds_info,
            shards=settings.wds,
            splits=settings.wds_split,
            trust=settings.trust,
        )
        self.loader = training_loader(dataset, settings, ranks, members=("image", "sample"), samples=settings.wds_size)
        self._neighbours = open_neighbours(settings, ranks, self._colours, self._spec.size[0])
        self._shown: Tensor | None = None
        log.say(f"{len(dataset):,} images of {self._spec.size[0]} px, {len(self.loader):,} batches an epoch")
        self._load_weights(log)

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """Return the method's loss."""
        images = batch[0].to(self._device, non_blocking=True)
        if self._shown is None:
            self._shown = images[:_PICTURES].clone()
        loss: Tensor = model(self._colours(images)).loss
        return loss

    def begin_epoch(self, epoch: int, step: int) -> None:
        """Begin a stage of dbot where one begins."""
        if epoch and not step and epoch in self._settings.stage_epochs and isinstance(self.model, DBOT):
            self.model.begin_stage(derive_seed(self._settings.seed, epoch))

    def evaluate(self, model: nn.Module, epoch: int) -> dict[str, float]:
        """Return how well nearest neighbours of the encoder's features tell classes, if so asked."""
        if self._neighbours is None:
            return {}
        method = unwrap(model).eval()
        return self._neighbours.evaluate(lambda images: average_patches(method.encoder, images), epoch)

    @torch.no_grad()
    def picture(self, model: nn.Module, folder: Path, epoch: int) -> None:
        """Draw some images as they are, with their hidden parts grey, and as the method completes them."""
        method = unwrap(model)
        if self._shown is None or not isinstance(method, Method):
            return
        method.eval()
        images = self._colours(self._shown)
        mask = method.draw_mask(len(images), generator=torch.Generator().manual_seed(0))
        mask = type(mask)(mask.hidden.to(self._device), mask.order.to(self._device), mask.visible)
        completed = method.reconstruct(images, method(images, mask=mask))
        height, width = images.shape[2:]
        blank = images.masked_fill(method.hidden_pixels(mask, (height, width)), _GREY)
        columns = [self._colours.undo(column).cpu().numpy() for column in (images, blank, completed)]
        draw_reconstructions(list(zip(*columns, strict=True)), folder / f"reconstruction_{epoch}.png")

    def export(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the encoder's weights."""
        return export_encoder(unwrap(model).get_submodule("encoder"))

    def about(self) -> dict[str, Any]:
        """Return what builds the encoder, and how its colours are normalised."""
        return {
            "task": "mim",
            "method": self._settings.network,
            "network": self._settings.encoder,
            "model": self._spec.model,
            "arguments": self._spec.arguments,
            "size": self._spec.size[0],
            "rgb_mode": self._settings.rgb_mode,
            "classes": None,
        }

    def _load_weights(self, log: RunLog) -> None:
        """Load the weights that the options name, of the encoder alone or of an epoch of this run."""
        settings = self._settings
        if settings.init_from:
            fitted = fit_weights(read_weights(Path(expand_home(settings.init_from))), self.layered, keep_head=False)
            log.say(f"encoder from {settings.init_from} ({fitted})")
        elif settings.resume_epoch:
            folder = Path(expand_home(settings.out)) / settings.run_name
            path = find_checkpoint(folder, settings.resume_epoch)
            self.model.load_state_dict(load_checkpoint(path)["model"])
            log.say(f"weights: {path}")


def _create_method(settings: MimSettings) -> tuple[EncoderSpec, Method]:
    method = resolve_method(settings.network)
    method.check_family(resolve_encoder(settings.encoder))
    accepted = frozenset(inspect.signature(method.kind.__init__).parameters)
    size = settings.size or method.kind.default_size
    encoder_settings = {
        **method.kind.encoder_settings,
        **parse_pairs(settings.encoder_model_config, "--encoder-model-config", refused=DERIVED),
    }
    own = parse_pairs(settings.model_config, "--model-config", refused=_OPTIONS)
    if settings.smoke:
        size = shrink_size(settings.encoder, size)
        encoder_settings |= narrow_encoder(settings.encoder)
        own |= narrow_decoder(accepted)
    spec = resolve_encoder(settings.encoder, size=size, settings=encoder_settings)
    encoder = spec.create()
    if settings.size:
        spec.check_size(encoder)
    created = method.create(
        encoder, size=spec.size, mask_ratio=settings.mask_ratio, min_mask_size=settings.min_mask_size, **own
    )
    return spec, created


def _run(settings: MimSettings) -> None:
    run_training(settings, MimTask)


main = make_command(
    "shardforge.train.mim",
    MimSettings,
    _run,
    "Pre-train an encoder by masked image modelling. Under torchrun on several GPUs.",
)

if __name__ == "__main__":
    main()
