"""Small models of each method with weights, images and masks that a formula gives, the same on every machine."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from shardforge.train.encoders import create_encoder
from shardforge.train.masking import Mask, mask_from_noise
from shardforge.train.methods import Method, create_method

#: Arrays of a step by name: loss, prediction, and gradients of our parameters.
Results = dict[str, np.ndarray]

RECORDS = Path(__file__).parent / "data" / "methods"

_VIT = {"patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3}
_HIERA = {"embed_dim": 8, "stages": (1, 1, 2, 1), "q_pool": 2}
_SWIN = {"embed_dim": 8, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}


def _vit(method: str, **settings: object) -> Method:
    return create_method(method, create_encoder("vit_base_patch16_224", size=16, settings=_VIT), size=16, **settings)


def _hiera() -> Method:
    return create_method("mae_hiera_dec32d2", create_encoder("hiera_small", size=96, settings=_HIERA), size=96)


def _swin() -> Method:
    encoder = create_encoder("swin_tiny_patch4_window7_224", size=64, settings=_SWIN)
    return create_method("simmim", encoder, size=64)


#: Methods that have a reference implementation which runs on a CPU.
CASES: dict[str, Callable[[], Method]] = {
    "mae": lambda: _vit("mae_vit_dec32d2_npl"),
    "mae_raw": lambda: _vit("mae_vit_dec32d2"),
    "crossmae": lambda: _vit("crossmae_dec32d3"),
    "hiera_mae": _hiera,
    "simmim": _swin,
    "dbot": lambda: _vit("dbot_dec32d2"),
}

#: Largest relative error against the reference, in float32.
TOLERANCES = {"mae": 1e-5, "mae_raw": 1e-5}
TOLERANCE = 1e-4


def build_case(name: str) -> Method:
    """Build a method in evaluation mode, all its weights by formula."""
    method = CASES[name]().eval()
    fill(method)
    return method


def fill(module: nn.Module) -> None:
    """Set all parameters but fixed positions."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if not name.endswith(("pos_embed", "positions")) or parameter.requires_grad:
                noise = formula(name, tuple(parameter.shape)) - 0.5
                is_norm = parameter.dim() == 1 and name.endswith("weight")
                scale = 0.2 if parameter.dim() == 1 else 3.0 / math.sqrt(parameter[0].numel())
                parameter.copy_(noise * scale + is_norm)


def formula(seed: str, shape: tuple[int, ...]) -> Tensor:
    """Return float32 numbers in [0, 1) that look random."""
    steps = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    noise = torch.sin(steps * 12.9898 + zlib.crc32(seed.encode()) % 997) * 43758.5453
    return (noise - noise.floor()).reshape(shape).float()


def case_inputs(method: Method, size: int, batch: int = 2) -> tuple[Tensor, Tensor, Mask]:
    """Return images, noise, and the mask of that noise."""
    images = (formula("images", (batch, 3, size, size)) - 0.5) * 4
    noise = formula("noise", (batch, method.grid[0] * method.grid[1]))
    return images, noise, mask_from_noise(noise, method.mask_ratio, method.grid)


def image_size(method: Method) -> int:
    """Return the side of the images."""
    return method.grid[0] * method.patch


def results_of(loss: Tensor, prediction: Tensor, gradients: dict[str, Tensor]) -> Results:
    """Name all results of a step."""
    tensors = {"loss": loss, "prediction": prediction, **{f"gradient {key}": value for key, value in gradients.items()}}
    return {name: tensor.detach().flatten().numpy() for name, tensor in tensors.items()}


def shorten(results: Results) -> Results:
    """Keep the norm of each result and at most 24 of its values."""
    return {
        name: np.append(values[:: -(-len(values) // 24)], np.linalg.norm(values)).astype(np.float32)
        for name, values in results.items()
    }


def save_results(path: Path, results: Results) -> None:
    """Write results as one array, with their names and lengths."""
    np.savez_compressed(
        path,
        names=np.frombuffer("\n".join(results).encode(), np.uint8),
        lengths=np.array([len(values) for values in results.values()], np.uint16),
        values=np.concatenate(list(results.values())),
    )


def load_results(path: Path) -> Results:
    """Read what `save_results` wrote."""
    with np.load(path) as record:
        parts = np.split(record["values"], np.cumsum(record["lengths"])[:-1])
        return dict(zip(record["names"].tobytes().decode().split("\n"), parts, strict=True))


def relative_error(ours: Results, theirs: Results) -> float:
    """Return the largest error of a result; one of a gradient is relative to the largest gradient if that is larger."""
    assert ours.keys() == theirs.keys()
    norms = {name: float(np.linalg.norm(values)) for name, values in theirs.items()}
    floor = max(norm for name, norm in norms.items() if name.startswith("gradient")) / 100
    return max(
        float(np.linalg.norm(ours[name] - values)) / max(norms[name], floor if name.startswith("gradient") else 0.0)
        for name, values in theirs.items()
    )
