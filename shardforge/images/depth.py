"""Samples of 16 bits to 8: which of their bits mean something is not always what the file says.

| `--sixteen-bit` | a sample becomes |
|---|---|
| full | its upper 8 bits |
| range | its place between the least and the largest sample of the image's colours: 0 to 255, rounded |
| auto | the upper 8 of the bits that the file says it has, as long as the largest sample of the image fits into them; |
| | else the upper 8 of the fewest of 8, 10, 12, 14 and 16 bits that it fits into |

A file says it by TIFF's MaxSampleValue, SMaxSampleValue or depth, by sBIT in a PNG (whose samples are to be scaled to
16 bits, so that 16 is what else they may have), by the depth of a JPEG 2000 and the largest value of a PNM (both are
scaled to 16 bits). Where `auto` takes fewer than 16 bits on the word of the samples alone, there is a note. Alpha has
bits of its own, found in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shardforge.images.notes import add_note

#: What `--sixteen-bit` may say.
SIXTEEN_BIT_MODES = ("auto", "full", "range")
#: How the note begins of an image whose samples were taken for ones of fewer bits.
FEWER_BITS = "16-bit samples up to "

_USUAL_BITS = (8, 10, 12, 14, 16)
_LARGEST_OF_14_BITS = 0x3FFF

Samples = npt.NDArray[np.uint16]
Bytes = npt.NDArray[np.uint8]


def needs_lower_bytes(upper: Bytes, said: Sequence[int], mode: str) -> bool:
    """Whether the upper bytes of samples do not suffice to make 8 bits of them."""
    if mode == "auto" and not said:
        return int(upper.max()) <= _LARGEST_OF_14_BITS >> 8
    return mode != "full" and tuple(said) != (16,)


def to_bytes(samples: Samples, said: Sequence[int], mode: str, *, quiet: bool = False) -> Bytes:
    """Return samples of any shape in 8 bits.

    Args:
        samples: at least one.
        said: how many bits they may have by what the file says, the likeliest first.
        mode: one of `SIXTEEN_BIT_MODES`.
        quiet: make no note.
    """
    if mode == "full":
        return (samples >> 8).astype(np.uint8)
    largest = int(samples.max())
    if mode == "range":
        return _stretch(samples, int(samples.min()), largest)
    for bits in (max(bits, 8) for bits in said):
        if largest < 1 << bits:
            return (samples >> (bits - 8)).astype(np.uint8)
    bits = next(bits for bits in _USUAL_BITS if largest < 1 << bits)
    if bits < 16 and largest and not quiet:
        add_note(f"{FEWER_BITS}{largest} taken for {bits} bits")
    return (samples >> (bits - 8)).astype(np.uint8)


def _stretch(samples: Samples, least: int, largest: int) -> Bytes:
    if least == largest:  # of one value nothing can be said but how bright it is
        return (samples >> 8).astype(np.uint8)
    values = np.arange(1 << 16)
    table = (510 * (values - least) + largest - least) // (2 * (largest - least))
    stretched: Bytes = table.clip(0, 255).astype(np.uint8)[samples]
    return stretched
