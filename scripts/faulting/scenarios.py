"""The commands that are disturbed: what is there before, what is done, and what there is to compare afterwards."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PHOTOS = Path(__file__).resolve().parents[2] / "data" / "photos"

Action = Callable[[Path], None]


@dataclass(frozen=True)
class Scenario:
    """What is there before (`build`), what is disturbed (`act`), and what there is to compare (`look`)."""

    build: Action
    act: Action
    look: Callable[[Path], Any]


def shardforge(*arguments: object) -> None:
    """Run a command in this process; a status other than 0 ends it."""
    from shardforge.cli import main

    try:
        main([str(argument) for argument in arguments], prog_name="shardforge")
    except SystemExit as end:
        if end.code:
            raise


def make_images(folder: Path) -> None:
    from PIL import Image

    for number, photo in enumerate(sorted(PHOTOS.glob("*.webp"))[:14]):
        place = folder / "images" / ("birds", "fish")[number % 2] / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(photo) as image:
            image.convert("RGB").resize((48, 36)).save(place)
        os.utime(place, ns=(10**18, 10**18))


def map_images(folder: Path, engine: str = "duckdb", workers: int = 0) -> None:
    source = f"photos=folder:{folder / 'images'}"
    shardforge("map", "--db", folder / f"m.{engine}", "--source", source, "--workers", workers)


def split_images(folder: Path, engine: str = "duckdb") -> None:
    db = folder / f"m.{engine}"
    shardforge("split", "--db", db, "--seed", 17, "--rule", "exact", "--val-split", 30)


def write_shards(folder: Path, *options: object, engine: str = "duckdb", workers: int = 0) -> None:
    size = ("--size", 24, "--shard-samples", 4, "--workers", workers)
    shardforge("write", "--db", folder / f"m.{engine}", "--out", folder / "out", *size, *options)


def change_images(folder: Path) -> None:
    (folder / "images" / "fish" / "1.jpg").unlink()
    shutil.copy2(folder / "images" / "fish" / "3.jpg", folder / "images" / "birds" / "new.jpg")
    (folder / "images" / "fish" / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")


def damage_shards(folder: Path) -> None:
    first, second, *_ = sorted(folder.glob("out/train/*.tar"))
    first.write_bytes(first.read_bytes()[:-2000])
    second.unlink()
    shutil.copy2(sorted(folder.glob("out/validation/*.tar"))[0], folder / "out" / "train" / "stranger.tar")
    (folder / "out" / "classes.txt").write_text("wrong\n")


def look_at_mapping(folder: Path, engine: str = "duckdb") -> Any:
    from shardforge.mapping import open_mapping

    with open_mapping(folder / f"m.{engine}") as mapping:
        images = mapping.rows(
            "SELECT key, path, bytes, mtime, label, width, content_hash, reason FROM images ORDER BY 1"
        )
        splits = mapping.rows("SELECT name, key, split FROM splits ORDER BY 1, 2")
        outcomes = mapping.rows("SELECT key, reason FROM outcomes ORDER BY 1")
        notes = mapping.rows("SELECT key, note FROM notes ORDER BY 1, 2")
    return [images, splits, outcomes, notes]


def look_at_dataset(folder: Path, engine: str = "duckdb") -> Any:
    from shardforge.files import sha256_file

    files = {str(path.relative_to(folder)): path for path in sorted((folder / "out").rglob("*")) if path.is_file()}
    passing = ("plan.parquet", "/lock")  # which name a run
    lasting = {name: sha256_file(path) for name, path in files.items() if not name.endswith(passing)}
    return [sorted(files), lasting, look_at_mapping(folder, engine)]


def look_at_files(folder: Path) -> Any:
    """Return what there is without what lies in the dataset's scratch folder, which the next `write` empties."""
    files, lasting, _ = look_at_dataset(folder)
    scratch = "out/.shardforge/tmp/"
    return [
        [name for name in files if not name.startswith(scratch)],
        {name: digest for name, digest in lasting.items() if not name.startswith(scratch)},
    ]


def nothing(folder: Path) -> Any:
    return None


def drop_index(folder: Path) -> None:
    for path in folder.glob("out/*/.*.shardforge-index"):
        path.unlink()


def make_index(folder: Path) -> None:
    shardforge("index", folder / "out" / "_info.json", "--split", "train", "--dali", "--workers", 0)


def read_samples(folder: Path, inputs: object, **options: Any) -> Any:
    from shardforge.loader.dataset import ShardDataset

    data = ShardDataset(str(inputs), split="train", decode=False, **options)
    return [sorted((name, bytes(value).hex() if name != "__key__" else value) for name, value in data[i].items())
            for i in range(len(data))]  # fmt: skip


def read_cached(folder: Path) -> None:
    """Read all samples of the dataset behind a URL through the cache, and keep what was read."""
    from shardforge.endings import one_line_errors
    from shardforge.loader.storage import RemoteOptions

    handler = functools.partial(_Quiet, directory=str(_served(folder)))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, one_line_errors():
        threading.Thread(target=server.serve_forever, daemon=True).start()
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        url = f"http://127.0.0.1:{server.server_port}/_info.json"
        samples = read_samples(folder, url, remote=RemoteOptions(folder / "cache" / "shards", 1 << 30))
        server.shutdown()
    (folder.parent / "read.json").write_text(json.dumps(samples))


def serve_shards(folder: Path) -> None:
    """Put the dataset where no call of the server is counted."""
    shutil.rmtree(_served(folder), ignore_errors=True)
    shutil.move(folder / "out", _served(folder))


def _served(folder: Path) -> Path:
    return folder.parent / "served"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


def look_at_read(folder: Path) -> Any:
    return json.loads((folder.parent / "read.json").read_text())


def save_checkpoints(folder: Path, last: int = 4) -> None:
    """Go on from the newest whole checkpoint, as a run does, to the end of the `last` epoch."""
    import torch

    from shardforge.endings import one_line_errors
    from shardforge.train import checkpoint
    from shardforge.train.lock import lock_run

    place = folder / "run"
    place.mkdir(exist_ok=True)
    with one_line_errors(), lock_run(place, print):
        epoch, weights = 0, torch.zeros(500)
        if checkpoint.list_checkpoints(place):
            whole, _ = checkpoint.find_whole(place)
            checkpoint.set_damaged_aside(place, whole)
            found = checkpoint.load_checkpoint(whole, checked=True)
            epoch, weights = found["epoch"], found["model"]["w"]
        while epoch < last:
            epoch, weights = epoch + 1, weights + 1
            about = {"task": "mim"}
            parts: dict[str, Any] = {"about": about, "loader": {}, "meter": {}, "begin": {}, "best": None}
            parts |= {"model": {"w": weights}, "average": None, "optimiser": {}, "scaler": None}
            checkpoint.save_checkpoint(place, epoch, 0, parts)
            checkpoint.prune_checkpoints(place, 1, 2, None)


def look_at_checkpoints(folder: Path) -> Any:
    """Return the newest two checkpoints: one before them may be left where the end of a run was disturbed."""
    from shardforge.train import checkpoint

    saved = checkpoint.list_checkpoints(folder / "run")[-2:]
    others = {path.name for path in (folder / "run").iterdir()} - {f"checkpoint_000{epoch}.pt" for epoch in range(5)}
    return [sorted(others), [checkpoint.load_checkpoint(one.path)["model"]["w"].tolist() for one in saved]]


def chain(*actions: Action) -> Action:
    """Return one action that does these in turn."""

    def act(folder: Path) -> None:
        for action in actions:
            action(folder)

    return act


def scenarios() -> dict[str, Scenario]:
    found: dict[str, Scenario] = {}
    for engine in ("duckdb", "sqlite"):
        mapped = chain(make_images, functools.partial(map_images, engine=engine))
        ready = chain(mapped, functools.partial(split_images, engine=engine))
        look = functools.partial(look_at_mapping, engine=engine)
        found[f"map {engine}"] = Scenario(make_images, functools.partial(map_images, engine=engine), look)
        found[f"map again {engine}"] = Scenario(
            chain(ready, change_images), functools.partial(map_images, engine=engine), look
        )
        found[f"split {engine}"] = Scenario(mapped, functools.partial(split_images, engine=engine), look)
        found[f"write {engine}"] = Scenario(
            ready, functools.partial(write_shards, engine=engine), functools.partial(look_at_dataset, engine=engine)
        )
    ready = chain(make_images, map_images, split_images)
    written = chain(ready, write_shards)
    other = functools.partial(_write_again, options=("--replace", "--label", "source"))
    out = functools.partial(_on_dataset)
    found |= {
        "map workers": Scenario(make_images, functools.partial(map_images, workers=1), look_at_mapping),
        "write workers": Scenario(ready, functools.partial(write_shards, workers=1), look_at_dataset),
        "write replace": Scenario(written, other, look_at_dataset),
        "verify": Scenario(written, out("verify", "--db", "--workers", 0), nothing),
        "verify decode": Scenario(written, out("verify", "--level", "decode", "--workers", 0), nothing),
        "repair": Scenario(chain(written, damage_shards), out("verify", "--repair", "--workers", 0), look_at_files),
        "catalog": Scenario(written, out("catalog"), look_at_files),
        "card": Scenario(written, out("card", "--db"), look_at_files),
        "index": Scenario(chain(written, drop_index), make_index, look_at_files),
        "cache": Scenario(chain(written, serve_shards), read_cached, look_at_read),
        "checkpoint": Scenario(functools.partial(save_checkpoints, last=2), save_checkpoints, look_at_checkpoints),
    }
    return found


def _write_again(folder: Path, options: Sequence[object]) -> None:
    write_shards(folder, *options)


def _on_dataset(command: str, *options: object) -> Action:
    def act(folder: Path) -> None:
        db = [folder / "m.duckdb"]
        given = [part for option in options for part in ([option, *db] if option == "--db" else [option])]
        shardforge(command, folder / "out", *given)

    return act
