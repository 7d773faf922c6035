"""Options of the trainers: what they mean for groups, rates and order, and what is said of wrong ones."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pipeline import copy_images, prepare, write

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from shardforge.errors import TaskError, UsageError  # noqa: E402
from shardforge.loader.dataset import ShardDataset  # noqa: E402
from shardforge.train.data.files import FileDataset  # noqa: E402
from shardforge.train.distributed import Ranks  # noqa: E402
from shardforge.train.finetune import main as finetune  # noqa: E402
from shardforge.train.meter import Meter  # noqa: E402
from shardforge.train.mim import main as mim  # noqa: E402
from shardforge.train.optim import create_optimiser, group_by_rate_and_decay  # noqa: E402
from shardforge.train.recipe.settings import FinetuneSettings, scale_rate  # noqa: E402
from shardforge.train.run import describe_surprises  # noqa: E402
from shardforge.train.schedule import Course, create_course, find_stage, set_rates  # noqa: E402

pytestmark = pytest.mark.readers


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    folder = tmp_path_factory.mktemp("options")
    images = copy_images(photos, folder / "images", 1)
    write(prepare(folder, f"photos=folder:{images}"), folder / "shards")
    return folder / "shards"


def settings(**values: Any) -> FinetuneSettings:
    return FinetuneSettings(network="vit_tiny_patch16_224", **values)


def tiny_vit() -> torch.nn.Module:
    model: torch.nn.Module = timm.create_model(
        "vit_tiny_patch16_224", depth=2, embed_dim=24, num_heads=2, num_classes=3
    )
    return model


def groups_by_name(chosen: FinetuneSettings, model: torch.nn.Module, lr: float = 1.0) -> dict[str, tuple[float, float]]:
    """Return rate and decay of each parameter, which is in one group alone."""
    groups = group_by_rate_and_decay(chosen, model, lr)
    found = [(name, (group["lr"], group["weight_decay"])) for group in groups for name in group["names"]]
    assert len(found) == len(dict(found))
    return dict(found)


def test_everything_is_decayed_unless_an_option_says_otherwise() -> None:
    model = tiny_vit()
    assert {decay for _, decay in groups_by_name(settings(wd=0.3), model).values()} == {0.3}
    asked = settings(wd=0.3, norm_wd=0.2, bias_weight_decay=0.1, transformer_embedding_decay=0.0)
    found = groups_by_name(asked, model)
    assert found.keys() == dict(model.named_parameters()).keys()
    names = ("blocks.0.attn.qkv.weight", "blocks.0.norm1.weight", "blocks.0.norm1.bias", "pos_embed")
    assert [found[name][1] for name in names] == [0.3, 0.2, 0.1, 0.0]


def test_decay_of_embeddings_is_by_their_names() -> None:
    names = (
        *("cls_token", "class_token", "mask_token", "reg_token", "pos_embed", "pos_embedding", "pos_embed_win"),
        *("position_embedding", "relative_position_bias_table", "rel_pos_h", "rel_pos_w"),
        *("decoder_embed", "decoder_pos_embed"),
    )
    model = torch.nn.ParameterDict({name: torch.zeros(1) for name in (*names, "weight", "embedding")})
    found = groups_by_name(settings(wd=0.3, transformer_embedding_decay=0.2), model)
    assert found == {name: (1.0, 0.2 if name in names else 0.3) for name in model}


def test_layer_decay_is_in_the_rates_and_torch_schedulers_keep_it() -> None:
    model = tiny_vit()
    chosen = settings(opt="adamw", layer_decay=0.5)
    found = groups_by_name(chosen, model)
    names = ("head.weight", "blocks.1.attn.qkv.weight", "blocks.0.attn.qkv.weight", "patch_embed.proj.weight")
    assert [found[name][0] for name in names] == [1.0, 0.5, 0.25, 0.125]
    optimiser = create_optimiser(chosen, model, 1.0)
    rates = [group["lr"] for group in optimiser.param_groups]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda time: 0.1)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.1 * rate for rate in rates])
    assert scheduler.get_last_lr() == pytest.approx([0.1 * rate for rate in rates])


def test_cosine_rises_linearly_and_ends_at_its_floor_in_every_group() -> None:
    chosen = settings(lr=0.1, lr_cosine_min=0.01, lr_scheduler="cosine", epochs=12, warmup_epochs=2, layer_decay=0.5)
    course = create_course(chosen, 0.1, epochs=12, steps_per_epoch=5)
    assert [course.factor(time) for time in (0, 1, 2, 11)] == pytest.approx([0.01, 0.505, 1.0, 0.1])
    middle = 0.1 + 0.9 * (1 + math.cos(math.pi * 5 / 9)) / 2
    assert course.factor(7) == pytest.approx(middle)
    optimiser = create_optimiser(chosen, tiny_vit(), 0.1)
    before = [group["lr"] for group in optimiser.param_groups]
    set_rates(optimiser, course.factor(11))
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.1 * rate for rate in before])


@pytest.mark.parametrize(
    ("options", "defaults"),
    [
        ({"opt": "sgd", "momentum": 0.8, "nesterov": True}, {"momentum": 0.8, "nesterov": True}),
        ({"opt": "sgd", "opt_fused": True, "opt_eps": 1e-3}, {"momentum": 0.9, "nesterov": False, "fused": True}),
        ({"opt": "rmsprop", "momentum": 0.7, "opt_eps": 1e-3}, {"momentum": 0.7, "eps": 1e-3}),
        ({"opt": "adamw", "opt_betas": (0.8, 0.95), "opt_fused": True}, {"betas": (0.8, 0.95), "fused": True}),
        ({"opt": "adam", "opt_betas": (0.8, 0.95), "opt_eps": 1e-3}, {"betas": (0.8, 0.95), "eps": 1e-3}),
        ({"opt": "adam"}, {"betas": (0.9, 0.999), "eps": 1e-8, "fused": None, "capturable": False}),
        ({"opt": "nadam", "opt_betas": (0.8, 0.95)}, {"betas": (0.8, 0.95), "decoupled_weight_decay": False}),
        ({"opt": "nadamw", "opt_betas": (0.8, 0.95)}, {"betas": (0.8, 0.95), "decoupled_weight_decay": True}),
        ({"opt": "radam", "opt_betas": (0.8, 0.95)}, {"betas": (0.8, 0.95)}),
        ({"opt": "adamax", "opt_betas": (0.8, 0.95)}, {"betas": (0.8, 0.95)}),
        ({"opt": "adagrad", "opt_fused": True, "opt_eps": 0.0}, {"fused": True, "eps": 0.0}),
    ],
)
def test_options_reach_the_optimiser(options: dict[str, Any], defaults: dict[str, Any]) -> None:
    optimiser = create_optimiser(settings(**options), torch.nn.Linear(4, 2), 0.5)
    assert {name: optimiser.defaults[name] for name in defaults} == defaults
    kind = {"sgd": "SGD", "rmsprop": "RMSprop", "nadam": "NAdam", "nadamw": "NAdam", "radam": "RAdam", "adamw": "AdamW"}
    assert type(optimiser).__name__ == kind.get(options["opt"], options["opt"].capitalize())
    assert [group["lr"] for group in optimiser.param_groups] == [0.5]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"opt": "sgd", "opt_betas": (0.8, 0.9)},
            "--opt-betas: --opt sgd .*; adam, adamax, adamw, nadam, nadamw, radam do",
        ),
        ({"opt": "nadam", "opt_fused": True}, "--opt-fused: --opt nadam .*; adagrad, adam, adamw, sgd do"),
        ({"opt": "rmsprop", "nesterov": True}, "--nesterov: --opt rmsprop .*; sgd do"),
    ],
)
def test_settings_that_an_optimiser_lacks_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        create_optimiser(settings(**options), torch.nn.Linear(4, 2), 0.5)


def test_compiled_steps_have_rates_as_tensors() -> None:
    optimiser = create_optimiser(settings(opt="adamw"), torch.nn.Linear(4, 2), 0.5, compiled=True)
    rate = optimiser.param_groups[0]["lr"]
    set_rates(optimiser, 0.1)
    assert optimiser.param_groups[0]["lr"] is rate  # another tensor would be compiled anew
    assert rate.item() == pytest.approx(0.05)
    set_rates(optimiser, 1.0)
    assert rate.item() == pytest.approx(0.5)


def test_layer_decay_goes_through_a_part_alone_and_has_a_least() -> None:
    vit = tiny_vit()
    whole = torch.nn.ModuleDict({"encoder": vit, "decoder": torch.nn.Linear(24, 2)})
    chosen = settings(layer_decay=0.5, layer_decay_min_scale=0.3)
    groups = group_by_rate_and_decay(chosen, whole, 2.0, layered=vit)
    found = {name: group["lr"] for group in groups for name in group["names"]}
    names = ("decoder.weight", "encoder.head.weight", "encoder.blocks.1.mlp.fc1.weight", "encoder.pos_embed")
    assert [found[name] for name in names] == [2.0, 2.0, 1.0, 0.6]
    with pytest.raises(UsageError, match="--layer-decay: Linear does not tell its layers apart"):
        group_by_rate_and_decay(chosen, whole["decoder"], 1.0)


def test_frozen_and_shared_weights_are_in_no_group_and_in_one() -> None:
    one, other, frozen = (torch.nn.Linear(2, 2) for _ in range(3))
    other.weight = one.weight
    frozen.requires_grad_(False)
    (group,) = group_by_rate_and_decay(settings(), torch.nn.Sequential(one, other, frozen), 1.0)
    assert group["names"] == ["0.weight", "0.bias", "1.bias"]
    assert len(group["params"]) == 3


@pytest.mark.parametrize(
    ("kind", "options", "factors"),
    [
        ("constant", {}, [0.2, 0.6, 1.0, 1.0, 1.0, 1.0]),
        ("cosine", {"floor": 0.5}, [0.2, 0.6, 1.0, 0.875, 0.625, 0.5]),
        ("polynomial", {"power": 2.0}, [0.2, 0.6, 1.0, 4 / 9, 1 / 9, 0.0]),
        ("step", {"step_size": 2, "gamma": 0.5}, [0.2, 0.6, 1.0, 1.0, 0.5, 0.5]),
        ("multistep", {"steps": (3, 5), "gamma": 0.5}, [0.2, 0.6, 1.0, 0.5, 0.5, 0.25]),
    ],
)
def test_courses_of_the_rate(kind: str, options: dict[str, Any], factors: list[float]) -> None:
    course = Course(kind, total=6, warmup=2, warmup_start=0.2, **options)
    assert [course.factor(time) for time in range(6)] == pytest.approx(factors)


@pytest.mark.parametrize("kind", ["cosine", "polynomial"])
def test_courses_without_time_after_the_rise_end_at_once(kind: str) -> None:
    assert Course(kind, total=3, warmup=3).factor(3) == 1.0
    assert Course(kind, total=1).factor(0) == 1.0
    assert Course(kind, total=4).factor(3) == 0.0
    assert Course(kind, total=4, floor=0.25).factor(9) == (0.25 if kind == "cosine" else 0.0)


def test_options_of_the_schedule_reach_the_course() -> None:
    chosen = settings(
        lr_scheduler="multistep",
        warmup_epochs=3,
        lr_warmup_decay=0.2,
        lr_cosine_min=0.05,
        lr_power=2.0,
        lr_step_size=7,
        lr_steps=(4, 8),
        lr_step_gamma=0.3,
    )
    epochs = create_course(chosen, 0.5, epochs=10, steps_per_epoch=100)
    expected = Course("multistep", 10, 3, 0.2, floor=0.1, power=2.0, step_size=7, steps=(4, 8), gamma=0.3)
    assert epochs == expected
    by_step = create_course(replace(chosen, lr_scheduler_update="step"), 0.5, epochs=10, steps_per_epoch=100)
    assert by_step == replace(expected, total=1000, warmup=300)
    assert create_course(chosen, 0.0, epochs=10, steps_per_epoch=1).floor == 0.0
    assert create_course(chosen, 0.01, epochs=10, steps_per_epoch=1).floor == 1.0


def test_schedule_starts_again_at_stages_and_after_resume_epoch() -> None:
    chosen = settings(epochs=30, stage_epochs=(0, 10, 20))
    assert [find_stage(chosen, 0, epoch) for epoch in (0, 9, 10, 29)] == [(0, 10), (0, 10), (10, 20), (20, 30)]
    assert find_stage(settings(epochs=30), 12, 20) == (12, 30)
    assert find_stage(replace(chosen, stage_epochs=(10, 30, 40)), 12, 20) == (12, 30)
    assert Course("step", total=9, step_size=3, gamma=0.5).factor(7) == 0.25


def test_lr_scale_is_by_the_batch_of_all_processes() -> None:
    chosen = settings(lr=0.002, lr_scale=1024, batch_size=128, grad_accum_steps=2)
    assert scale_rate(chosen, world=2) == pytest.approx(0.001)
    assert scale_rate(settings(lr=0.002, batch_size=128), world=2) == 0.002
    automatic = settings(lr=0.002, auto_scale_lr=True, batch_size=128)
    assert scale_rate(automatic, world=4) == pytest.approx(0.004)
    assert (
        "lr 0.004 (--lr 0.002 for a batch of 256)" in describe_surprises(automatic, Ranks(0, 4, torch.device("cpu")))[1]
    )
    assert scale_rate(settings(lr=0.002, auto_scale_lr=True, base_batch_size=64), world=1) == pytest.approx(0.001)


@pytest.mark.parametrize("opt", ["sgd", "adamw", "adam", "nadam", "nadamw", "radam", "rmsprop", "adagrad", "adamax"])
def test_every_optimiser_makes_a_step(opt: str) -> None:
    model = torch.nn.Linear(4, 2)
    optimiser = create_optimiser(settings(opt=opt), model, 0.1)
    before = model.weight.detach().clone()
    model(torch.ones(1, 4)).sum().backward()
    optimiser.step()
    assert not torch.equal(before, model.weight)


def test_loss_that_is_no_number_names_the_samples(shards: Path) -> None:
    dataset = ShardDataset(shards, split="train")
    meter = Meter(dataset)
    meter.add(torch.tensor(1.0), torch.tensor([0]), 1)
    meter.add(torch.tensor(float("nan")), torch.tensor([3, 5]), 2)
    with pytest.raises(TaskError, match=f"nan for the batch of these samples: {dataset.keys[3]} {dataset.keys[5]};"):
        meter.look()


def test_config_file_gives_values_that_the_command_line_overrides(tmp_path: Path) -> None:
    config = tmp_path / "recipe.toml"
    config.write_text('network = "mae_vit"\nencoder = "vit_reg4_b16"\nlr = 0.5\nopt-betas = [0.8, 0.9]\nwds = true\n')
    result = CliRunner().invoke(
        mim, ["--config", str(config), "--lr", "0.25", "--data-path", "a", "b", "--print-config"]
    )
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert (printed["lr"], printed["opt_betas"], printed["wds"]) == (0.25, [0.8, 0.9], True)
    assert printed["data_path"] == ["a", "b"]
    again = tmp_path / "settings.json"
    again.write_text(result.stdout)
    assert CliRunner().invoke(mim, ["--config", str(again), "--print-config"]).stdout == result.stdout


def test_image_folders_and_lists_are_read_like_shards(image_tree: Path, tmp_path: Path) -> None:
    found = FileDataset([str(image_tree)])
    assert found.classes == ("birds", "fish", "mammals")
    assert sorted(found.labels.tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    entries = [{"img_path": Path(key).name, "gt_label": 0} for key in [found.index.key(0)]]
    (image_tree / "birds" / "list.json").write_text(
        json.dumps({"metainfo": {"classes": ["bird"]}, "data_list": entries})
    )
    assert FileDataset([str(image_tree / "birds" / "list.json")]).classes == ("bird",)


_ENCODER = ("--network", "mae_vit", "--encoder", "vit_tiny_patch16_224")
_NETWORK = ("--network", "vit_tiny_patch16_224", "--smoke")


@pytest.mark.parametrize(
    ("command", "words", "sentence"),
    [
        (mim, (*_ENCODER, "--data-path", "nowhere"), "nowhere"),
        (mim, ("--network", "fcmae", "--encoder", "vit_tiny_patch16_224", "--size", "40"), "multiple of 32"),
        (mim, ("--network", "nonsense", "--encoder", "vit_tiny_patch16_224"), "no method nonsense"),
        (mim, (*_ENCODER, "--ra-sampler", "--batch-size", "32"), "no multiple of --ra-reps 3"),
        (mim, (*_ENCODER, "--load-states"), "say what --resume-epoch loads"),
        (mim, (*_ENCODER, "--resume-epoch", "5", "--data-path", "SHARDS"), "no checkpoint of epoch 5 here"),
        (mim, (*_ENCODER, "--opt-betas", "0.9"), "takes two numbers"),
        (mim, (*_ENCODER, "--encoder-model-config", "depth"), "expected name=value"),
        (mim, (*_ENCODER, "--init-from", "FEW", "--data-path", "SHARDS"), "not weights that this program reads"),
        (finetune, (*_NETWORK, "--data-path", "SHARDS", "--wds-class-file", "FEW"), "the class file only 2 lines"),
        (finetune, (*_NETWORK, "--data-path", "SHARDS", "--resume-epoch", "0"), "pre-train first"),
        (finetune, (*_NETWORK, "--data-path", "SHARDS", "--wds-train-size", "9999"), "contradicts the shards"),
        (finetune, (*_NETWORK, "--data-path", "SHARDS", "--opt-fused", "--opt", "radam"), "has no such setting"),
    ],
)
def test_mistakes_are_one_sentence(
    command: Any, words: tuple[str, ...], sentence: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few = tmp_path / "few.txt"
    few.write_text("one\ntwo\n")
    named = [{"SHARDS": str(shards), "FEW": str(few)}.get(word, word) for word in words]
    result = CliRunner().invoke(command, [*named, "--workers", "0", "--device", "cpu"])
    assert result.exit_code == 2, result.stderr
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert sentence in line
    assert "Traceback" not in result.stderr
