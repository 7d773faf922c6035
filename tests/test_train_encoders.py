"""Encoders: the recipes' names, weights for plain timm, and forward passes that see only what is visible."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from mim_cases import fill
from torch import Tensor, nn

from shardforge.errors import UsageError
from shardforge.train.encoders import ENCODERS, EncoderSpec, create_encoder, export_encoder, resolve_encoder
from shardforge.train.encoders.hiera import encode_units
from shardforge.train.encoders.positions import sincos_positions
from shardforge.train.encoders.vit import encode, encode_visible, token_shape
from shardforge.train.masking import Mask, draw_mask, mask_from_order, spread
from shardforge.train.recipe.smoke import narrow_encoder, shrink_size

pytestmark = pytest.mark.usefixtures("one_thread")

#: Millions of parameters without a classifier.
PARAMETERS = {
    "vit_reg4_b14": 85.7, "vit_reg4_so150m_p14_avg": 133, "vit_reg4_b16": 85.8, "vit_l16": 303, "vit_reg8_l16_avg": 303,
    "simple_vit_b16": 85.8, "vit_sam_b16": 85.7, "rope_vit_reg4_so150m_p14_ap": 141, "convnext_v2_atto": 3.4,
    "convnext_v2_nano": 15.0, "convnext_v2_tiny": 27.9, "convnext_v2_base": 87.7, "regnet_y_4g": 19.6,
    "regnet_y_8g": 37.2, "hiera_small": 34.2, "hiera_abswin_tiny": 26.9, "hiera_abswin_small": 33.6,
    "hiera_abswin_base": 50.5, "hiera_abswin_base_plus": 68.7, "maxvit_t": 30.4, "nextvit_s": 30.7, "nextvit_b": 43.8,
    "swin_transformer_v2_s": 49.0, "swin_transformer_v2_b": 86.9, "swin_transformer_v2_w2_b": 86.9,
}  # fmt: skip

VITS = [
    *("vit_reg4_b14", "vit_reg4_so150m_p14_avg", "vit_reg4_b16", "vit_l16", "vit_reg8_l16_avg", "simple_vit_b16"),
    "rope_vit_reg4_so150m_p14_ap",
]


def narrow_spec(name: str, **settings: Any) -> EncoderSpec:
    return resolve_encoder(name, size=shrink_size(name, 224), settings={**narrow_encoder(name), **settings})


def images_for(spec: EncoderSpec, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, *spec.size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ENCODERS)
def test_exported_weights_load_into_plain_timm(name: str) -> None:
    spec = narrow_spec(name)
    encoder = spec.create().eval()
    plain = timm.create_model(spec.model, **spec.arguments).eval()
    plain.load_state_dict(export_encoder(encoder))
    with torch.no_grad():
        torch.testing.assert_close(plain(images_for(spec, 1)), encoder(images_for(spec, 1)))


@pytest.mark.parametrize("name", ENCODERS)
def test_full_size_has_the_recipes_parameters(name: str) -> None:
    with torch.device("meta"):
        encoder = timm.create_model(resolve_encoder(name).model, **resolve_encoder(name).arguments)
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert count / 1e6 == pytest.approx(PARAMETERS[name], rel=0.012)


def test_export_takes_compile_wrapper_off() -> None:
    encoder = narrow_spec("vit_l16").create()
    assert export_encoder(torch.compile(encoder)).keys() == encoder.state_dict().keys()


def test_any_timm_name_works() -> None:
    spec = resolve_encoder("resnet18", num_classes=5)
    assert spec.create().get_classifier().out_features == 5
    assert resolve_encoder("deit_tiny_patch16_224", size=96).create().patch_embed.grid_size == (6, 6)


def test_windows_follow_the_size() -> None:
    sizes = {256: 8, 192: 6}
    assert {
        size: resolve_encoder("swin_transformer_v2_s", size=size).arguments["window_size"] for size in sizes
    } == sizes
    assert resolve_encoder("swin_transformer_v2_w2_b", size=192).arguments["window_size"] == 12


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("vit_reg4_b61", {}, "Did you mean vit_reg4_b16"),
        ("swin_transformer_v2_s", {"size": 200}, "multiple of 32"),
        ("convnext_v2_atto", {"settings": {"depht": 3}}, "depht"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        create_encoder(name, **options)


def test_simple_vit_has_fixed_sincos_positions() -> None:
    encoder: Any = narrow_spec("simple_vit_b16").create()
    assert not encoder.pos_embed.requires_grad
    torch.testing.assert_close(encoder.pos_embed.data, sincos_positions(64, encoder.patch_embed.grid_size))


def test_sincos_positions_encode_the_column_first() -> None:
    positions = sincos_positions(8, (2, 3), prefix=1)
    assert not positions[0, 0].any()
    row, column = 1, 2
    angles = torch.tensor([[place, place / 100] for place in (column, row)])
    expected = torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())])
    torch.testing.assert_close(positions[0, 1 + row * 3 + column], expected)


@pytest.mark.parametrize("name", [*VITS, "vit_sam_b16"])
def test_own_pass_over_a_whole_image_is_timms(name: str) -> None:
    spec = narrow_spec(name)
    encoder: Any = spec.create().eval()
    expected = encoder.forward_features(images_for(spec))
    tokens = encode(encoder, images_for(spec))[-1]
    if name == "vit_sam_b16":
        tokens = encoder.neck(tokens.unflatten(1, encoder.patch_embed.grid_size).permute(0, 3, 1, 2))
    else:
        tokens = encoder.norm(tokens)
    torch.testing.assert_close(tokens, expected)


@pytest.mark.parametrize("name", [*VITS, "vit_sam_b16"])
def test_hidden_pixels_never_reach_the_tokens(name: str) -> None:
    spec = narrow_spec(name)
    encoder = spec.create().eval()
    shape = token_shape(encoder, "test")
    mask = draw_mask(2, shape.grid, 0.75, generator=torch.Generator().manual_seed(1))
    images = images_for(spec)
    others = torch.where(spread(mask.hidden, shape.grid, spec.size)[:, None], torch.nan, images)
    token = None if shape.droppable else torch.zeros(1, 1, shape.width)
    tokens, same = (encode_visible(encoder, each, mask, token=token)[-1] for each in (images, others))
    assert tokens.shape == (2, shape.prefix + mask.visible, shape.width)
    assert torch.equal(tokens, same)


@pytest.mark.parametrize("settings", [{}, {"rope_type": "mixed"}, {"rope_type": "dinov3"}])
def test_rotary_positions_follow_the_tokens(settings: dict[str, Any]) -> None:
    spec = narrow_spec("rope_vit_reg4_so150m_p14_ap", **settings)
    encoder = spec.create().eval()
    fill(encoder)  # attention that is far from even
    shape = token_shape(encoder, "test")
    order = torch.stack([torch.randperm(shape.grid[0] * shape.grid[1]) for _ in range(2)])
    shuffled = encode_visible(encoder, images_for(spec), mask_from_order(order, order.shape[1]))[-1]
    straight = encode(encoder, images_for(spec))[-1][:, shape.prefix :]
    expected = straight.gather(1, order[..., None].expand_as(straight))
    torch.testing.assert_close(shuffled[:, shape.prefix :], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["hiera_small", "hiera_abswin_base"])
def test_hiera_on_visible_units_is_timms(name: str) -> None:
    spec = resolve_encoder(name, size=96, settings={**narrow_encoder(name), "q_pool": 2})
    encoder: Any = spec.create().eval()
    hidden = draw_mask(2, (3, 3), 0.6, generator=torch.Generator().manual_seed(2)).hidden
    kept = (~hidden).nonzero()[:, 1].reshape(2, -1)
    mask = Mask(hidden, torch.cat([kept, hidden.nonzero()[:, 1].reshape(2, -1)], dim=1), kept.shape[1])
    _, expected = encoder.forward_features(images_for(spec), mask=~hidden, return_intermediates=True)
    for ours, theirs in zip(encode_units(encoder, images_for(spec), mask), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_other_networks_have_no_tokens() -> None:
    with pytest.raises(UsageError, match="vision transformer"):
        token_shape(nn.Linear(1, 1), "mae_vit")
