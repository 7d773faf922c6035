"""dBOT (Liu et al. 2022, arXiv:2209.03917): predict what a frozen earlier self makes of the whole image.

The student is a masked autoencoder whose decoder predicts features: the output of the teacher's last block without its
final norm, each token normalised. The loss is the smooth L1 distance with beta 2 of hidden patches and of the class
token. Training goes in stages. The first teacher has random weights; at a boundary the student becomes the teacher and
starts anew (`begin_stage`), while the optimiser keeps its moments and the learning rate begins again, which is the
training loop's part. The teacher's weights are part of the method's state, so resuming needs no second file.

What the reference does not have: register tokens (they are no targets), encoders without a class token, encoders whose
norm follows the pooling (they get one of their own).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from shardforge.errors import UsageError
from shardforge.train.encoders.positions import fix_positions
from shardforge.train.encoders.vit import apply_norm, encode, encode_visible, has_norm, token_shape
from shardforge.train.masking import Mask
from shardforge.train.methods.base import Method, MIMOutput
from shardforge.train.methods.decoder import LayerNorm, TokenDecoder, initialise_transformer, initialise_vit
from shardforge.train.methods.patches import masked_mean, normalise_patches


class DBOT(Method):
    """Distillation from a bootstrapped teacher on a vision transformer.

    Args:
        encoder: the student, a timm `VisionTransformer` or `Eva` without a classifier.
        size: height and width of the images, for which the encoder was built.
        mask_ratio: share of the patches to hide.
        min_mask_size: patches are hidden in squares of this side.
        norm_target: normalise each token of the teacher.
        width: size of the decoder's tokens.
        depth: number of the decoder's blocks.
        drop_path: rate of the decoder's last block; the encoder has its own.
        teacher_depth: blocks of the first teacher. None is all of them, as for ViT-B; 0, for larger ones, makes patch
            embedding and positions the first target.
        initialise: draw the encoder's weights anew, as the reference does.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        size: tuple[int, int],
        mask_ratio: float | None = None,
        min_mask_size: int = 1,
        norm_target: bool = True,
        width: int = 512,
        depth: int = 8,
        drop_path: float = 0.0,
        teacher_depth: int | None = None,
        initialise: bool = True,
    ) -> None:
        shape = token_shape(encoder, "dbot")
        if not shape.droppable:
            raise UsageError(
                "dbot needs an encoder that can drop tokens, which vit_sam_b16 cannot: choose another one."
            )
        super().__init__(
            encoder, size=size, grid=shape.grid, patch=shape.patch, mask_ratio=mask_ratio, min_mask_size=min_mask_size
        )
        self.norm_target = norm_target
        self.prefix, self.class_tokens = shape.prefix, int(shape.class_token)
        self.latent_norm = nn.Identity() if has_norm(encoder) else LayerNorm(shape.width)
        self.decoder = TokenDecoder(
            shape.width, shape.width, shape.grid, prefix=shape.prefix, width=width, depth=depth, drop_path=drop_path
        )
        self.teacher = _freeze_copy(encoder)
        initialise_vit(self.teacher)
        fix_positions(self.teacher)
        if teacher_depth is not None:
            self.teacher.blocks = self.teacher.blocks[:teacher_depth]  # type: ignore[index]
        self.decoder.initialise()
        if initialise:
            self._initialise_student()
        self.register_load_state_dict_pre_hook(_match_teacher)  # type: ignore[no-untyped-call]

    def begin_stage(self, seed: int = 0) -> None:
        """Make the student the teacher, and draw a new student into the same parameters.

        Args:
            seed: of the new weights; the same in every process of distributed training, which does not compare them.
        """
        self.teacher = _freeze_copy(self.encoder)
        device = self.decoder.mask_token.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            self._initialise_student()
            self.decoder.initialise()
            initialise_transformer(self.latent_norm)

    def train(self, mode: bool = True) -> DBOT:
        """Set the student's mode; the teacher stays as it is when nothing is dropped."""
        super().train(mode)
        self.teacher.eval()
        return self

    def run(self, images: Tensor, mask: Mask) -> MIMOutput:
        """Predict the teacher's tokens: [B, class token and patches, width]."""
        tokens = apply_norm(self.encoder, encode_visible(self.encoder, images, mask)[-1])
        prediction = self._targets_of(self.decoder(self.latent_norm(tokens), mask)).float()
        with torch.no_grad():
            target = self._targets_of(encode(self.teacher, images)[-1]).float()
            if self.norm_target:
                target = normalise_patches(target)
        errors = functional.smooth_l1_loss(prediction, target, beta=2.0, reduction="none").mean(dim=-1)
        hidden = functional.pad(mask.hidden, (self.class_tokens, 0), value=True)
        return MIMOutput(masked_mean(errors, hidden), prediction, target, mask)

    def reconstruct(self, images: Tensor, output: MIMOutput) -> Tensor:
        """Return the images with their hidden parts blank: features are predicted, and no pixels."""
        return images.float().masked_fill(self.hidden_pixels(output.mask, (images.shape[2], images.shape[3])), 0.0)

    def _targets_of(self, tokens: Tensor) -> Tensor:
        return torch.cat([tokens[:, : self.class_tokens], tokens[:, self.prefix :]], dim=1)

    def _initialise_student(self) -> None:
        initialise_vit(self.encoder)
        fix_positions(self.encoder)


def _freeze_copy(encoder: nn.Module) -> nn.Module:
    return copy.deepcopy(encoder).requires_grad_(False).eval()


def _match_teacher(method: DBOT, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Give the teacher as many blocks as a saved one of a later stage has."""
    saved = {name.split(".")[2] for name in state if name.startswith(f"{prefix}teacher.blocks.")}
    if len(saved) > len(method.teacher.blocks):  # type: ignore[arg-type]
        method.teacher = _freeze_copy(method.encoder)
