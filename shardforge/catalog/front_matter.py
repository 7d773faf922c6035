"""The YAML front matter of a card, as Hugging Face and `datasets.load_dataset` read it.

The fields are those of https://github.com/huggingface/hub-docs/blob/main/datasetcard.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from shardforge.dataset.manifest import Manifest
from shardforge.dataset.shard import JSON_COLUMNS

_PLAIN = re.compile(r"[A-Za-z][\w./<-]*")
_NOT_TEXT = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_IMAGES = ("jpg", "png", "webp")
#: With more classes than this their names stay in classes.txt: the Hub reads front matter of limited length.
_MOST_NAMES = 1000


def describe_dataset(manifest: Manifest, classes: list[str], *, metadata: bool) -> dict[str, Any]:
    """Return `configs` and `dataset_info`, with which `load_dataset` reads the folder and checks its counts.

    `metadata` says that the `.json` members may have an object of that name, whose keys differ from sample to sample.
    """
    splits = list(dict.fromkeys(shard.split for shard in manifest.shards))
    sizes = {split: sum(shard.bytes or 0 for shard in manifest.shards if shard.split == split) for split in splits}
    features = [_describe_member(member, classes, metadata=metadata) for member in manifest.ours["members"]]
    return {
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split, "path": f"{split}/*.tar"} for split in splits],
            }
        ],
        "dataset_info": {
            "features": [*features, *({"name": name, "dtype": "string"} for name in ("__key__", "__url__"))],
            "splits": [
                {
                    "name": split,
                    "num_bytes": sizes[split],
                    "num_examples": manifest.content["splits"][split]["num_samples"],
                }
                for split in splits
            ],
            "download_size": sum(sizes.values()),
            "dataset_size": sum(sizes.values()),
        },
    }


def describe_licences(licences: list[dict[str, Any]]) -> dict[str, Any]:
    """Return `license`, and `license_name` for what has no identifier on the Hub, from rows of `roll_up_licences`."""
    identifiers = list(dict.fromkeys(row["hub_id"] or "unknown" for row in licences))
    named = [row["licence"] for row in licences if row["hub_id"] == "other"]
    other = {"license_name": "-".join(named[0].lower().split())} if named else {}
    return {"license": identifiers, **other}


def size_category(samples: int) -> str:
    """Return the Hub's range for a number of samples, such as 1K<n<10K."""
    steps = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"]
    step = len(str(max(samples, 1))) - 4  # 1,000 is the first of 1K<n<10K
    if step < 0:
        return "n<1K"
    return f"{steps[step]}<n<{steps[step + 1]}" if step < len(steps) - 1 else "n>1T"


def to_yaml(value: dict[str, Any]) -> str:
    """Return `value` as YAML: objects, lists, text and numbers."""
    return "\n".join(_yaml_lines(value))


def _describe_member(member: str, classes: list[str], *, metadata: bool) -> dict[str, Any]:
    if member in _IMAGES:
        return {"name": member, "dtype": "image"}
    if member == "cls":
        if len(classes) > _MOST_NAMES:
            return {"name": "cls", "dtype": "int64"}
        names = {str(number): name for number, name in enumerate(classes)}
        return {"name": "cls", "dtype": {"class_label": {"names": names}}}
    if member == "json":
        fields = [
            {"name": name, "dtype": "int32" if name in ("width", "height") else "string"} for name in JSON_COLUMNS
        ]
        return {"name": "json", "struct": [*fields, *([{"name": "metadata", "dtype": "json"}] if metadata else [])]}
    return {"name": member, "dtype": "string"}


def _yaml_lines(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, content in value.items():
            if isinstance(content, dict | list):
                yield f"{_scalar(name)}:"
                indent = "  " if isinstance(content, dict) else ""
                yield from (indent + line for line in _yaml_lines(content))
            else:
                yield f"{_scalar(name)}: {_scalar(content)}"
    elif isinstance(value, list):
        for entry in value:
            first, *rest = _yaml_lines(entry)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    return json.dumps(value, ensure_ascii=False)
