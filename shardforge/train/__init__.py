"""Training on shards: masked image modelling and fine-tuning.

Needs `pip install "shardforge[train]"`; without it a program of this package ends with one sentence.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = ("torch", "torchvision", "timm", "safetensors")

_missing = [name for name in _NEEDED if find_spec(name) is None]
if _missing:
    _sentence = f'training needs {", ".join(_missing)}; install with: pip install "shardforge[train]"'
    if sys.argv[0] == "-m":  # Python runs a module of this package as a program
        raise SystemExit(f"Error: {_sentence}")
    raise ImportError(_sentence)
