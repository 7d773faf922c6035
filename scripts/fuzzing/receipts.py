"""Receipts of finished shards: `shardforge.dataset.receipt`, against the checksum at their end."""

from __future__ import annotations

import hashlib
import json
import re
from random import Random

from fuzzing.target import Target, make_folder, parse_object, require, vary_json

from shardforge.dataset.receipt import Receipt, read_receipt
from shardforge.dataset.tarwriter import END, MISSING
from shardforge.tarfiles import BLOCK

_CHECKSUM = "receipt:sha256"
_END = re.compile(rb'"receipt:sha256": ?"[0-9a-f]{64}"}}\Z')
_FOLDER = make_folder()
_SHARD = "train/plants-train-000000.tar"
_PLACE = _FOLDER / f"{_SHARD.rpartition('/')[2]}.json"


def make_seeds() -> list[bytes]:
    """Return receipts of three samples and of none, each also as 0.1.0 wrote it."""
    sizes = {"jpg": [700, 0, 12], "cls": [1, 2, MISSING], "json": [80, 512, 513]}
    crcs = {name: [0, 1, 4_294_967_295] for name in sizes}
    there = [size for column in sizes.values() for size in column if size != MISSING]
    end = BLOCK * sum(1 + -(-size // BLOCK) for size in there) + len(END)
    digests = "a" * 64, "0" * 64
    seeds = []
    for receipt in (
        Receipt(_SHARD, *digests, end, 3, 1, sizes, crcs, {"other": "not_an_image"}, {"other": "no image"}),
        Receipt(_SHARD, *digests, len(END), 0, 0, {"jpg": []}, {"jpg": []}, {"k": "corrupt"}, {"k": 'é "x"'}),
    ):
        receipt.write(_PLACE, _FOLDER)
        require(read_receipt(_PLACE) == receipt, "a receipt cannot be read")
        seeds += [_PLACE.read_bytes(), json.dumps(vars(receipt), ensure_ascii=False).encode()]
    return seeds


def mend(data: bytes) -> bytes:
    """Return a receipt with the checksum made right."""
    if not _END.search(data):
        return data
    body = data[:-67]
    return body + hashlib.sha256(body).hexdigest().encode() + data[-3:]


def vary(data: bytes, random: Random) -> bytes:
    """Return a receipt with another value somewhere; mended, it is well-formed."""
    content = parse_object(data)
    if content is None:
        return data
    closely = None if random.random() < 0.2 else (",", ":")
    changed = vary_json(content, random)
    return json.dumps(changed, ensure_ascii=False, separators=closely).encode("utf-8", "surrogatepass")


def check(data: bytes) -> None:
    _PLACE.write_bytes(data)
    receipt = read_receipt(_PLACE)
    if receipt is None:
        return
    require(mend(data) == data, "its checksum is another one")
    require(_END.search(data) or _CHECKSUM not in json.loads(data)["notes"], "its checksum is elsewhere")
    numbers = [receipt.bytes, receipt.samples, receipt.small, *(n for column in receipt.crcs.values() for n in column)]
    require(all(type(number) is int and number >= 0 for number in numbers), receipt)
    columns = [*receipt.sizes.values(), *receipt.crcs.values()]
    require(all(len(column) == receipt.samples for column in columns), receipt)
    texts = [receipt.path, receipt.digest, receipt.sha256, *receipt.bad.values(), *receipt.notes.values()]
    require(all(isinstance(text, str) for text in texts), receipt)
    receipt.write(_PLACE, _FOLDER)
    require(read_receipt(_PLACE) == receipt, f"written anew it is another one: {receipt}")


TARGET = Target(make_seeds, check, mend, vary, most=1 << 11)
