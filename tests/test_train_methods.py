"""Methods of masked image modelling: their masks, their numbers, what they never see, and that they learn."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mim_cases import (
    CASES,
    RECORDS,
    TOLERANCE,
    TOLERANCES,
    build_case,
    case_inputs,
    image_size,
    load_results,
    relative_error,
    results_of,
    shorten,
)
from torch import Tensor
from torch.nn import functional

from shardforge.errors import UsageError
from shardforge.train.encoders import create_encoder
from shardforge.train.masking import (
    count_visible,
    draw_mask,
    mask_from_hidden,
    mask_from_noise,
    mask_from_order,
    spread,
    unit_patches,
)
from shardforge.train.methods import Method, create_method, resolve_method
from shardforge.train.methods.crossmae import CrossMAE
from shardforge.train.methods.dbot import DBOT
from shardforge.train.methods.fcmae import FCMAE
from shardforge.train.recipe.smoke import narrow_encoder, shrink_size

pytestmark = pytest.mark.usefixtures("one_thread")

#: A method on each kind of network.
PAIRS = [
    ("mae_vit", "vit_reg4_b16"),
    ("mae_vit_npl", "simple_vit_b16"),
    ("mae_vit", "vit_sam_b16"),
    ("mae_vit", "rope_vit_reg4_so150m_p14_ap"),
    ("crossmae", "vit_reg4_b14"),
    ("fcmae", "convnext_v2_atto"),
    ("fcmae", "regnet_y_8g"),
    ("mae_hiera", "hiera_small"),
    ("mae_hiera", "hiera_abswin_base"),
    ("simmim", "regnet_y_4g"),
    ("simmim", "maxvit_t"),
    ("simmim", "nextvit_s"),
    ("simmim", "swin_transformer_v2_s"),
    ("simmim", "vit_l16"),
    ("dbot", "vit_l16"),
    ("dbot", "vit_reg8_l16_avg"),
]

#: Those whose encoder sees nothing of what is hidden.
BLIND = [pair for pair in PAIRS if pair[0] != "simmim"] + [("simmim", "swin_transformer_v2_s")]

#: One of each method.
HALF = [*{name.removesuffix("_npl"): (name, encoder) for name, encoder in PAIRS if encoder != "nextvit_s"}.values()]


def small_method(name: str, encoder: str, **settings: Any) -> Method:
    torch.manual_seed(0)
    spec = resolve_method(name)
    size = shrink_size(encoder, 224)
    model = create_encoder(encoder, size=size, settings={**spec.kind.encoder_settings, **narrow_encoder(encoder)})
    decoder = {} if name == "simmim" else {"width": 64, "depth": 2}
    return spec.create(model, size=size, **{**decoder, **settings})


def images_for(method: Method, batch: int = 2) -> Tensor:
    size = [side * method.patch for side in method.grid]
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(3))


def hide(method: Method, images: Tensor, hidden: Tensor) -> Tensor:
    return torch.where(hidden, torch.rand_like(images) * 100, images)


def test_mask_hides_squares_and_equally_many_of_every_image() -> None:
    mask = draw_mask(5, (8, 12), 0.75, unit=4, generator=torch.Generator().manual_seed(0))
    assert mask.visible == 16
    assert (mask.hidden.sum(dim=1) == 80).all()
    squares = mask.hidden.reshape(5, 2, 4, 3, 4)
    assert (squares == squares[:, :, :1, :, :1]).all()
    assert not mask.hidden.gather(1, mask.kept).any()
    assert (mask.order.sort(dim=1).values == torch.arange(96)).all()


def test_mask_comes_from_its_generator() -> None:
    draws = [draw_mask(4, (6, 6), 0.5, generator=torch.Generator().manual_seed(seed)).hidden for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_lowest_noise_is_visible() -> None:
    mask = mask_from_noise(torch.tensor([[0.9, 0.1, 0.5, 0.3]]), 0.5, (2, 2))
    assert mask.hidden.tolist() == [[True, False, True, False]]
    assert mask.kept.tolist() == [[1, 3]]


def test_units_are_squares_row_by_row() -> None:
    assert unit_patches((4, 6), 2).tolist() == [
        *([0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]),
        *([12, 13, 18, 19], [14, 15, 20, 21], [16, 17, 22, 23]),
    ]
    for unit in (0, 3, 4):
        with pytest.raises(UsageError, match=f"--min-mask-size {unit} does not divide the 4 x 6 patches"):
            unit_patches((4, 6), unit)


def test_refined_mask_shows_the_same_squares() -> None:
    mask = mask_from_order(torch.tensor([[1, 0], [0, 1]]), 1)
    fine = mask.refine((2, 4), 2)
    assert fine.visible == 4
    assert fine.order.tolist() == [[2, 3, 6, 7, 0, 1, 4, 5], [0, 1, 4, 5, 2, 3, 6, 7]]
    assert fine.hidden[0].tolist() == [True, True, False, False] * 2
    assert (fine.hidden[1] == ~fine.hidden[0]).all()
    assert mask_from_noise(torch.tensor([[0.9, 0.1]]), 0.5, (2, 4), 2).order.tolist() == [[2, 3, 6, 7, 0, 1, 4, 5]]


def test_mask_of_hidden_patches_keeps_the_order_of_the_visible() -> None:
    hidden = torch.tensor([[True, False, True, False], [False, False, True, True]])
    mask = mask_from_hidden(hidden)
    assert mask.order.tolist() == [[1, 3, 0, 2], [0, 1, 2, 3]]
    assert (mask.visible, mask.kept.tolist()) == (2, [[1, 3], [0, 1]])
    assert torch.equal(mask_from_order(mask.order, 2).hidden, hidden)
    assert torch.equal(mask.to("cpu").hidden, hidden)


def test_mask_on_pixels() -> None:
    pixels = spread(torch.tensor([[True, False]]), (1, 2), (2, 6))
    assert pixels.tolist() == [[[True] * 3 + [False] * 3] * 2]


def test_visible_units_are_rounded_down_and_never_all_or_none() -> None:
    assert [count_visible(10, ratio) for ratio in (0.75, 0.85, 0.05)] == [2, 1, 9]
    for ratio in (0.91, 1.0, 0.0):
        with pytest.raises(UsageError, match=f"--mask-ratio {ratio} of 10 mask units leaves"):
            count_visible(10, ratio)


def test_mask_of_unequal_images_is_refused() -> None:
    with pytest.raises(UsageError, match="equally many"):
        mask_from_hidden(torch.tensor([[True, False], [False, False]]))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"mask_ratio": 1.0}, "--mask-ratio"), ({"min_mask_size": 3}, "--min-mask-size"), ({"widht": 3}, "widht")],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        small_method("mae_vit", "vit_l16", **settings)


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_the_reference(name: str) -> None:
    method = build_case(name)
    images, _, mask = case_inputs(method, image_size(method))
    output = method(images, mask=mask)
    output.loss.backward()
    gradients = {key: value.grad for key, value in method.named_parameters() if value.grad is not None}
    ours = shorten(results_of(output.loss, output.prediction, gradients))
    assert relative_error(ours, load_results(RECORDS / f"{name}.npz")) < TOLERANCES.get(name, TOLERANCE)


@pytest.mark.parametrize(("name", "encoder"), PAIRS)
def test_loss_falls_and_all_that_is_trained_moves(name: str, encoder: str) -> None:
    method = small_method(name, encoder).train()
    images = images_for(method)
    mask = method.draw_mask(len(images), generator=torch.Generator().manual_seed(4))
    trained = [parameter for parameter in method.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-3)
    losses = []
    for _ in range(3):
        optimiser.zero_grad()
        loss = method(images, mask=mask).loss
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    assert not [key for key, value in method.named_parameters() if value.requires_grad and value.grad is None]


@pytest.mark.parametrize(("name", "encoder"), BLIND)
def test_hidden_pixels_change_no_prediction(name: str, encoder: str) -> None:
    method = small_method(name, encoder).train()
    images = images_for(method)
    mask = method.draw_mask(len(images), generator=torch.Generator().manual_seed(5))
    hidden = method.hidden_pixels(mask, (images.shape[2], images.shape[3]))
    first, second = (method(each, mask=mask).prediction for each in (images, hide(method, images, hidden)))
    assert torch.equal(first, second)
    assert not torch.equal(first, method(hide(method, images, ~hidden), mask=mask).prediction)


@pytest.mark.parametrize(("name", "encoder"), [pair for pair in PAIRS if pair[0] not in ("dbot", "crossmae")])
def test_perfect_prediction_gives_the_images_back(name: str, encoder: str) -> None:
    method = small_method(name, encoder)
    images = images_for(method)
    output = method(images)
    perfect = output._replace(prediction=output.target)
    torch.testing.assert_close(method.reconstruct(images, perfect), images, rtol=1e-4, atol=1e-4)
    hidden = method.hidden_pixels(output.mask, (images.shape[2], images.shape[3])).expand_as(images)
    assert torch.equal(method.reconstruct(images, output)[~hidden], images[~hidden])


@pytest.mark.parametrize(("name", "encoder"), HALF)
def test_half_precision_leaves_the_loss_in_float32(name: str, encoder: str) -> None:
    method = small_method(name, encoder)
    with torch.autocast("cpu", torch.bfloat16):
        assert method(images_for(method)).loss.dtype == torch.float32


def test_copies_are_independent() -> None:
    method = small_method("fcmae", "regnet_y_8g").eval()
    images, twin = images_for(method), copy.deepcopy(method)
    mask = method.draw_mask(2)
    assert torch.equal(method(images, mask=mask).loss, twin(images, mask=mask).loss)


def test_names_carry_decoder_and_pixels() -> None:
    assert resolve_method("mae_vit_dec512d24_npl").settings == {"width": 512, "depth": 24, "norm_pix": True}
    assert resolve_method("crossmae_dec512d12").kind is CrossMAE
    assert resolve_method("fcmae_raw").settings == {"norm_pix": False}
    with pytest.raises(UsageError, match="mae_vit"):
        resolve_method("mae_vit_tiny")


@pytest.mark.parametrize(
    ("name", "encoder", "words"),
    [
        ("mae_vit", "convnext_v2_atto", "vision transformer"),
        ("crossmae", "vit_sam_b16", "drop tokens"),
        ("mae_hiera", "vit_l16", "Hiera|q_pool"),
        ("fcmae", "vit_l16", "ConvNeXt"),
        ("fcmae", "resnet18", "BatchNorm2d"),
        ("simmim", "hiera_small", "chain"),
    ],
)
def test_encoders_that_a_method_cannot_run_are_refused(name: str, encoder: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        small_method(name, encoder)


def test_crossmae_predicts_a_quarter_of_all_patches_hidden_ones_only() -> None:
    method = small_method("crossmae", "vit_reg4_b14", min_mask_size=2)
    assert isinstance(method, CrossMAE)
    mask = method.draw_mask(3)
    numbers = method.predicted_patches(mask)
    assert numbers.shape == (3, method.grid[0] * method.grid[1] // 4)
    assert mask.hidden.gather(1, numbers).all()
    output = method(images_for(method, 3), mask=mask)
    pasted = method.layout.cut(method.reconstruct(images_for(method, 3), output._replace(prediction=output.target)))
    index = numbers[..., None].expand(-1, -1, pasted.shape[2])
    expected = method.layout.cut(images_for(method, 3)).gather(1, index)
    torch.testing.assert_close(pasted.gather(1, index), expected, rtol=1e-4, atol=1e-4)


def test_dbot_begins_a_stage_with_its_student_as_teacher() -> None:
    method = small_method("dbot", "vit_l16", teacher_depth=0)
    assert isinstance(method, DBOT)
    student = copy.deepcopy(method.encoder.state_dict())
    parameters = [id(parameter) for parameter in method.parameters() if parameter.requires_grad]
    method.begin_stage()
    assert all(torch.equal(value, student[key]) for key, value in method.teacher.state_dict().items())
    assert not torch.equal(method.encoder.state_dict()["blocks.0.attn.qkv.weight"], student["blocks.0.attn.qkv.weight"])
    assert [id(parameter) for parameter in method.parameters() if parameter.requires_grad] == parameters
    other = small_method("dbot", "vit_l16", teacher_depth=0)
    torch.rand(7)  # another process has drawn other numbers
    other.begin_stage()
    assert torch.equal(other.decoder.embed.weight, method.decoder.embed.weight)
    resumed = small_method("dbot", "vit_l16", teacher_depth=0)
    resumed.load_state_dict(method.state_dict())
    images, mask = images_for(method), method.draw_mask(2)
    assert torch.equal(resumed.eval()(images, mask=mask).loss, method.eval()(images, mask=mask).loss)


def test_dbot_teacher_sees_everything_and_learns_nothing() -> None:
    method = small_method("dbot", "vit_l16").train()
    images, mask = images_for(method), method.draw_mask(2)
    hidden = method.hidden_pixels(mask, (images.shape[2], images.shape[3]))
    targets = [method(each, mask=mask).target for each in (images, hide(method, images, hidden))]
    assert not torch.equal(*targets)
    assert not any(parameter.requires_grad for parameter in method.teacher.parameters())
    assert not method.teacher.training


@pytest.mark.parametrize("encoder", ["convnext_v2_atto", "convnext_v2_tiny"])
def test_fcmae_is_a_sparse_network_on_the_visible_places(encoder: str) -> None:
    method = small_method("fcmae", encoder)
    assert isinstance(method, FCMAE)
    with torch.no_grad():
        for parameter in method.encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    images = images_for(method)
    mask = method.draw_mask(2, generator=torch.Generator().manual_seed(6))
    features = method.encode(images, mask)
    for image, hidden, ours in zip(images, mask.hidden, features, strict=True):
        visible = (~hidden).reshape(method.grid)
        expected = _sparse_convnext(method.encoder, image, visible)
        torch.testing.assert_close(ours[:, visible].T, expected, rtol=1e-4, atol=1e-5)


def _sparse_convnext(encoder: Any, image: Tensor, visible: Tensor) -> Tensor:
    """Run ConvNeXt V2 on a list of places alone: [places, C] for the places that are `visible`, in reading order."""
    places, stride = _enlarge(visible, 8), 4
    pixels = functional.unfold(image[None], stride, stride=stride)[0].T.reshape(*places.shape, -1)[places]
    stem, norm = encoder.stem
    rows = _layer_norm(_linear(pixels, stem), norm)
    for stage in encoder.stages:
        if list(stage.downsample.children()):
            norm, conv = stage.downsample
            grid = _place(_layer_norm(rows, norm), places)
            corners = [grid[y::2, x::2] for y in (0, 1) for x in (0, 1)]
            places = places[::2, ::2]
            weights = conv.weight.permute(2, 3, 1, 0).flatten(0, 1)
            rows = sum(corner[places] @ weight for corner, weight in zip(corners, weights, strict=True)) + conv.bias
        for block in stage.blocks:
            rows = rows + _sparse_block(block, rows, places)
    return rows


def _sparse_block(block: Any, rows: Tensor, places: Tensor) -> Tensor:
    around = functional.pad(_place(rows, places), (0, 0, 3, 3, 3, 3))
    height, width = places.shape
    kernel = block.conv_dw.weight[:, 0]
    mixed = sum(around[y : y + height, x : x + width] * kernel[:, y, x] for y in range(7) for x in range(7))
    hidden = functional.gelu(_linear(_layer_norm(mixed[places] + block.conv_dw.bias, block.norm), block.mlp.fc1))
    energy = hidden.square().sum(dim=0).sqrt()
    response = hidden * energy / (energy.mean() + 1e-6)
    return _linear(hidden + block.mlp.grn.weight * response + block.mlp.grn.bias, block.mlp.fc2)


def _place(rows: Tensor, places: Tensor) -> Tensor:
    grid = rows.new_zeros(*places.shape, rows.shape[1])
    grid[places] = rows
    return grid


def _linear(rows: Tensor, layer: Any) -> Tensor:
    return functional.linear(rows, layer.weight.flatten(1), layer.bias)


def _layer_norm(rows: Tensor, norm: Any) -> Tensor:
    return functional.layer_norm(rows, rows.shape[1:], norm.weight, norm.bias, 1e-6)


def _enlarge(visible: Tensor, factor: int) -> Tensor:
    return visible.repeat_interleave(factor, 0).repeat_interleave(factor, 1)


def test_squeeze_and_excitation_averages_visible_places_only() -> None:
    method = small_method("fcmae", "regnet_y_8g")
    images = images_for(method)
    mask = method.draw_mask(2, generator=torch.Generator().manual_seed(7))
    squeeze: Any = method.encoder.get_submodule("s1.b1.se")
    seen: list[Tensor] = []
    squeeze.register_forward_hook(lambda _, inputs, output: seen.extend((inputs[0].detach(), output.detach())))
    method(images, mask=mask)
    features, scaled = seen
    visible = ~method.hidden_pixels(mask, (features.shape[2], features.shape[3]))
    pooled = torch.stack([each[:, place[0]].mean(dim=1) for each, place in zip(features, visible, strict=True)])
    gate = squeeze.gate(squeeze.fc2(squeeze.act(squeeze.fc1(pooled[..., None, None]))))
    torch.testing.assert_close(scaled, features * gate)


def test_batch_norm_takes_visible_places_only() -> None:
    method = small_method("fcmae", "regnet_y_8g").train()
    images = images_for(method)
    mask = method.draw_mask(2, generator=torch.Generator().manual_seed(7))
    norm: Any = method.encoder.stem.bn  # type: ignore[union-attr]
    seen: list[Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    method(images, mask=mask)
    visible = ~method.hidden_pixels(mask, (seen[0].shape[2], seen[0].shape[3]))[:, 0]
    values = seen[0].permute(0, 2, 3, 1)[visible]
    torch.testing.assert_close(norm.running_mean, values.mean(dim=0) * norm.momentum, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        norm.running_var, 1 - norm.momentum + values.var(dim=0) * norm.momentum, rtol=1e-4, atol=1e-6
    )


def test_size_that_patches_do_not_fill_is_refused() -> None:
    encoder = create_encoder("vit_l16", size=100, settings=narrow_encoder("vit_l16"))
    with pytest.raises(UsageError, match="multiple of 16"):
        create_method("mae_vit", encoder, size=100)


def test_created_by_name_for_any_size() -> None:
    encoder = create_encoder("vit_l16", size=(32, 64), settings=narrow_encoder("vit_l16"))
    method = create_method("mae_vit_dec64d1", encoder, size=(32, 64))
    assert method(torch.zeros(1, 3, 32, 64)).prediction.shape == (1, 8, 768)
