"""Members to values, by their extensions: images, class numbers, JSON and text; whatever else stays bytes.

Nothing is ever unpickled: a .pyd or .pickle member is bytes like any other.
"""

from __future__ import annotations

import json
from typing import Any

from shardforge import reasons
from shardforge.errors import ImageError
from shardforge.samples import is_image_extension


def decode_member(extension: str, data: bytes) -> Any:
    """Return the value of a member; the last part of `extension` decides, so `sci.txt` is text.

    | extension | value |
    |---|---|
    | jpg, png, webp and other images | a PIL image, upright, in RGB |
    | cls | int |
    | json | what the JSON holds |
    | txt | str |
    | others | bytes |

    Raises:
        ImageError: the member cannot be decoded; `reason` says why.
    """
    kind = extension.rpartition(".")[2]
    if is_image_extension(extension):
        from shardforge.loader.pixels import decode_image  # loads the codecs, which raw readers do without

        return decode_image(data)
    try:
        if kind == "cls":
            return int(data)
        if kind == "json":
            return json.loads(data)
        if kind == "txt":
            return data.decode()
    except (ValueError, RecursionError) as error:
        raise ImageError(f"the member .{extension} cannot be decoded ({error})", reason=reasons.CORRUPT) from error
    return data
