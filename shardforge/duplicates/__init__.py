"""Duplicates: images that show the same picture, inside a mapping and between it and other data on disk.

Distances count the bits, of 256, in which two perceptual hashes differ; docs/duplicates.md says what they find.
"""

from __future__ import annotations

#: Finds copies that were encoded again, resized or made brighter; pictures of different things are much further apart.
DEFAULT_DISTANCE = 20

#: The largest distance for which the search is exact; see `shardforge.duplicates.bands`.
MAX_DISTANCE = 31

#: Below this quality, of 100, a hash rests on noise, as that of a picture of one colour: it is not compared.
MIN_QUALITY = 20
