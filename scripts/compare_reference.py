"""Compare the methods of masked image modelling with their authors' code, in float32, with the same weights and masks.

    git clone https://github.com/facebookresearch/mae references/mae
    git clone https://github.com/TonyLianLong/CrossMAE references/CrossMAE
    git clone https://github.com/facebookresearch/hiera references/hiera
    git clone https://github.com/microsoft/SimMIM references/SimMIM
    git clone https://github.com/liuxingbin/dbot references/dbot
    python scripts/compare_reference.py --reference references

Prints the relative error of loss, prediction and gradients for each method, and fails where one is too large. With
`--record` the references' numbers are kept in tests/data/methods, where the tests compare with them; those that are
there come from mae efb2a80, CrossMAE ed0677a, hiera b12b842, SimMIM d3e29bc and dbot db3b15e. FCMAE is not here: its
reference needs CUDA and MinkowskiEngine, so the tests hold a dense oracle of their own.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import re
import subprocess
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from mim_cases import (
    CASES,
    RECORDS,
    TOLERANCE,
    TOLERANCES,
    Results,
    build_case,
    case_inputs,
    image_size,
    relative_error,
    results_of,
    save_results,
    shorten,
)

from shardforge.train.masking import Mask, spread
from shardforge.train.methods import Method

#: What a parameter of ours is called in the reference: the first pattern that fits is replaced.
_DECODER = [
    (r"^encoder\.", ""),
    (r"^decoder\.mask_token", "mask_token"),
    (r"^decoder\.embed", "decoder_embed"),
    (r"^decoder\.positions", "decoder_pos_embed"),
    (r"^decoder\.(blocks|norm)", r"decoder_\1"),
]
_NAMES: dict[str, list[tuple[str, str]]] = {
    "mae": [*_DECODER, (r"^decoder\.head", "decoder_pred")],
    "dbot": [*_DECODER, (r"^decoder\.head", "decoder_predp")],
    "crossmae": [
        (r"^encoder\.", ""),
        (r"^mixture", "wfm.linear.weight"),
        (r"^blocks\.(\d+)\.memory_norm", r"dec_norms.\1"),
        (r"^blocks\.(\d+)\.query", r"decoder_blocks.\1.cross_attn.q"),
        (r"^blocks\.(\d+)\.key_value", r"decoder_blocks.\1.cross_attn.kv"),
        (r"^blocks\.(\d+)\.proj", r"decoder_blocks.\1.cross_attn.proj"),
        (r"^(blocks|norm)", r"decoder_\1"),
        (r"^head", "decoder_pred"),
    ],
    "hiera": [
        (r"^encoder\.head\.norm", "encoder_norm"),
        (r"^fusion", "multi_scale_fusion_heads"),
        *_DECODER,
        (r"^decoder\.head", "decoder_pred"),
    ],
    "simmim": [
        (r"^encoder\.layers\.1\.downsample", "encoder.layers.0.downsample"),
        (r"^mask_token", "encoder.mask_token"),
    ],
}


class Run:
    """What the reference made of a case."""

    def __init__(self, model: nn.Module, loss: Tensor, prediction: Tensor) -> None:
        self.model, self.loss, self.prediction = model, loss, prediction


@contextlib.contextmanager
def imported(folder: Path, module: str) -> Iterator[Any]:
    """Import a module of a clone, and forget it and what it imported from there afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    np.float = float  # type: ignore[attr-defined]  # gone from numpy, used by the clones
    try:
        yield importlib.import_module(module)
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if str(folder) in str(getattr(sys.modules[name], "__file__", "")) or name in ("models", "util"):
                del sys.modules[name]


def copy_weights(method: nn.Module, model: nn.Module, names: list[tuple[str, str]]) -> dict[str, str]:
    """Give our weights to the reference; returns our names with theirs."""
    theirs = dict(model.named_parameters())
    pairs = {}
    for name, parameter in method.named_parameters():
        other = next((re.sub(*rule, name) for rule in names if re.match(rule[0], name)), name)
        if other not in theirs or (name.endswith(("pos_embed", "positions")) and not parameter.requires_grad):
            continue
        with torch.no_grad():
            theirs[other].copy_(parameter.reshape(theirs[other].shape))
        pairs[name] = other
    left = {name for name, value in theirs.items() if value.requires_grad} - set(pairs.values())
    assert not left, f"the reference's {sorted(left)} have no counterpart"
    return pairs


def run_vit_mae(folder: Path, method: Method, images: Tensor, noise: Tensor, mask: Mask, norm_pix: bool) -> Run:
    with imported(folder / "mae", "models_mae") as module:
        block = module.Block
        module.Block = lambda *args, qk_scale=None, **kwargs: block(*args, **kwargs)
        model = module.MaskedAutoencoderViT(**_vit_arguments(), norm_pix_loss=norm_pix).eval()
    copy_weights(method, model, _NAMES["mae"])
    with mock.patch("torch.rand", return_value=noise):
        loss, prediction, hidden = model(images, mask_ratio=method.mask_ratio)
    assert torch.equal(hidden.bool(), mask.hidden)
    return Run(model, loss, prediction)


def run_crossmae(folder: Path, method: Any, images: Tensor, noise: Tensor, mask: Mask) -> Run:
    predictions: list[Tensor] = []
    with imported(folder / "CrossMAE", "models_cross") as module:
        model = module.MaskedAutoencoderViT(
            **{**_vit_arguments(), "decoder_depth": 3}, norm_pix_loss=True, weight_fm=True, use_input=True
        ).eval()
    copy_weights(method, model, _NAMES["crossmae"])
    model.decoder_pred.register_forward_hook(lambda _, __, output: predictions.append(output))
    with mock.patch("torch.rand", return_value=noise):
        loss = model(images, mask_ratio=method.mask_ratio, kept_mask_ratio=0.25)
    return Run(model, loss, predictions[0])


def run_hiera(folder: Path, method: Method, images: Tensor, noise: Tensor, mask: Mask) -> Run:
    with imported(folder / "hiera", "hiera.hiera_mae") as module:
        model = module.MaskedAutoencoderHiera(
            input_size=(96, 96), embed_dim=8, num_heads=1, stages=(1, 1, 2, 1), q_pool=2,
            decoder_embed_dim=32, decoder_depth=2, decoder_num_heads=1,
        ).eval()  # fmt: skip
    predictions: list[Tensor] = []
    copy_weights(method, model, _NAMES["hiera"])
    model.decoder_pred.register_forward_hook(lambda _, __, output: predictions.append(output))
    return Run(model, model(images, mask=~mask.hidden)[0], predictions[0])


def run_simmim(folder: Path, method: Any, images: Tensor, noise: Tensor, mask: Mask) -> Run:
    models = types.ModuleType("models")
    models.__path__ = [str(folder / "SimMIM" / "models")]
    with mock.patch.dict(sys.modules, {"models": models}), imported(folder / "SimMIM", "models.simmim") as module:
        encoder = module.SwinTransformerForSimMIM(
            img_size=64, patch_size=4, num_classes=0, embed_dim=8, depths=[2, 2], num_heads=[2, 4], window_size=4
        )
        encoder.patch_size = 4
        model = module.SimMIM(encoder, encoder_stride=8).eval()
    copy_weights(method, model, _NAMES["simmim"])
    predictions: list[Tensor] = []
    model.decoder.register_forward_hook(lambda _, __, output: predictions.append(output))
    return Run(model, model(images, spread(mask.hidden, method.grid, method.stem_grid).float()), predictions[0])


def run_dbot(folder: Path, method: Any, images: Tensor, noise: Tensor, mask: Mask) -> Run:
    with imported(folder / "dbot", "models_mae") as module:
        model, teacher = (
            module.MaskedAutoencoderViT(**{**_vit_arguments(), "decoder_depth": depth}, norm_feature_loss=True).eval()
            for depth in (2, 0)
        )
    copy_weights(method, model, _NAMES["dbot"])
    copy_weights(method.teacher, teacher, [])
    with mock.patch("torch.rand", return_value=noise):
        loss, prediction, _ = model(images, teacher=teacher, mask_ratio=method.mask_ratio)
    return Run(model, loss, prediction)


def _vit_arguments() -> dict[str, Any]:
    encoder = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3}
    decoder = {"decoder_embed_dim": 32, "decoder_depth": 2, "decoder_num_heads": 1}
    return {**encoder, **decoder, "norm_layer": partial(nn.LayerNorm, eps=1e-6)}


RUNS: dict[str, tuple[str, str, Callable[..., Run]]] = {
    "mae": ("mae", "mae", partial(run_vit_mae, norm_pix=True)),
    "mae_raw": ("mae", "mae", partial(run_vit_mae, norm_pix=False)),
    "crossmae": ("CrossMAE", "crossmae", run_crossmae),
    "hiera_mae": ("hiera", "hiera", run_hiera),
    "simmim": ("SimMIM", "simmim", run_simmim),
    "dbot": ("dbot", "dbot", run_dbot),
}


def compare(name: str, folder: Path) -> tuple[float, Results]:
    """Return the relative error of a case, and the reference's results."""
    method = build_case(name)
    images, noise, mask = case_inputs(method, image_size(method))
    output = method(images, mask=mask)
    output.loss.backward()
    gradients = {key: value.grad for key, value in method.named_parameters() if value.grad is not None}
    _, names, run = RUNS[name]
    theirs = run(folder, method, images, noise, mask)
    theirs.loss.backward()
    parameters = dict(theirs.model.named_parameters())
    pairs = copy_weights(method, theirs.model, _NAMES[names])
    assert gradients.keys() <= pairs.keys(), f"{gradients.keys() - pairs.keys()} have no counterpart"
    other_gradients = {key: parameters[pairs[key]].grad.reshape(value.shape) for key, value in gradients.items()}
    expected = results_of(theirs.loss, theirs.prediction, other_gradients)
    return relative_error(results_of(output.loss, output.prediction, gradients), expected), expected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, required=True, help="folder that holds the clones")
    parser.add_argument("--method", choices=[*CASES], action="append", help="only this one; may be repeated")
    parser.add_argument("--record", action="store_true", help="keep the references' numbers for the tests")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    failed = []
    for name in options.method or CASES:
        clone = options.reference / RUNS[name][0]
        if not clone.is_dir():
            sys.exit(f"{clone} is not there: clone it as the top of this script says.")
        with contextlib.redirect_stdout(sys.stderr):
            error, expected = compare(name, options.reference.resolve())
        limit = TOLERANCES.get(name, TOLERANCE)
        print(f"{name:10} relative error {error:.1e} (limit {limit:.0e}), {_commit(clone)}")
        failed += [name] * (error > limit)
        if options.record:
            RECORDS.mkdir(parents=True, exist_ok=True)
            save_results(RECORDS / f"{name}.npz", shorten(expected))
    if failed:
        sys.exit(f"{', '.join(failed)}: not what the reference computes")


def _commit(clone: Path) -> str:
    result = subprocess.run(
        ["git", "-C", clone, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return f"{clone.name} {result.stdout.strip() or 'of unknown commit'}"


if __name__ == "__main__":
    main()
