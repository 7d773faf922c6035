"""Resize geometry: which part of an image becomes how many pixels, on which canvas."""

from __future__ import annotations

from dataclasses import dataclass

Size = tuple[int, int]  # width, height
Box = tuple[float, float, float, float]  # left, top, right, bottom

#: What `--resize` may say.
RESIZE_MODES = ("squash", "shortest", "longest", "crop", "pad", "none")

_DECODER_SCALES = (8, 4, 2)  # other scales that libjpeg knows cost more than decoding in full
_OVERSAMPLING = 2  # pixels that the resizer must still get for each one it makes; below 2 the loss is visible


@dataclass(frozen=True, slots=True)
class Geometry:
    """One resize.

    Attributes:
        box: the part of the source that is used, in source pixels; may fall between them.
        size: what the box becomes.
        canvas: the size of the result; larger than `size` when it is padded.
    """

    box: Box
    size: Size
    canvas: Size

    def swap_axes(self) -> Geometry:
        """Return the same resize for the image turned by 90 degrees."""
        left, top, right, bottom = self.box
        return Geometry((top, left, bottom, right), self.size[::-1], self.canvas[::-1])

    def changes(self, source: Size) -> bool:
        """Whether the result differs from a `source` of this size."""
        return not self.size == self.canvas == source or self.box != whole_box(source)

    def shrinkage(self) -> float:
        """Return how many source pixels become one along the axis that shrinks less; below 1 when it grows."""
        left, top, right, bottom = self.box
        width, height = self.size
        return min((right - left) / width, (bottom - top) / height)

    def decoder_scale(self) -> int:
        """Return by how much (1, 2, 4, 8) a JPEG may shrink while it is decoded without a visible loss."""
        room = self.shrinkage() / _OVERSAMPLING
        return next((scale for scale in _DECODER_SCALES if scale <= room), 1)


def whole_box(source: Size) -> Box:
    """Return the box of all of an image."""
    return 0.0, 0.0, float(source[0]), float(source[1])


def plan_resize(source: Size, target: Size | None, mode: str, *, upscale: bool = False) -> Geometry:
    """Plan the resize of an upright image; without `upscale` no axis grows.

    Modes: `squash` makes exactly the target; `shortest` makes the short side as long as the target's short side, and
    `longest` fits the image inside the target, both keeping the shape; `crop` covers the target and keeps the centre;
    `pad` fits inside and centres on a canvas of exactly the target; `none`, or no target, changes nothing.
    """
    width, height = source
    whole = whole_box(source)
    if target is None or mode == "none":
        return Geometry(whole, source, source)
    if mode in ("squash", "crop") and not upscale:
        target = (min(target[0], width), min(target[1], height))
    if mode == "squash":
        return Geometry(whole, target, target)
    if mode == "crop":
        return Geometry(_centre_box(source, target), target, target)
    size = _scale_shortest(source, min(target)) if mode == "shortest" else _fit_inside(source, target)
    if not upscale and (size[0] > width or size[1] > height):
        size = source
    return Geometry(whole, size, target if mode == "pad" else size)


def _centre_box(source: Size, target: Size) -> Box:
    """Return the largest centred box of the target's shape."""
    width, height = source
    scale = min(width / target[0], height / target[1])
    box_width, box_height = min(width, target[0] * scale), min(height, target[1] * scale)
    left, top = (width - box_width) / 2, (height - box_height) / 2
    return left, top, left + box_width, top + box_height


def _scale_shortest(source: Size, side: int) -> Size:
    short = min(source)
    return _scaled(source[0], side, short), _scaled(source[1], side, short)


def _fit_inside(source: Size, target: Size) -> Size:
    width, height = source
    if target[0] * height <= target[1] * width:
        return target[0], _scaled(height, target[0], width)
    return _scaled(width, target[1], height), target[1]


def _scaled(length: int, numerator: int, denominator: int) -> int:
    """Return length * numerator / denominator, rounded half up, at least 1: integers, so that no platform differs."""
    return max(1, (2 * length * numerator + denominator) // (2 * denominator))
