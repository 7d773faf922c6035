"""Fuzzes one target in this process; `scripts/fuzz.py` starts it.

python child.py TARGET SECONDS LIBFUZZER_ARGUMENT...      # SECONDS from now on, 0: no limit
python child.py TARGET --replay FILE                      # one input, without atheris
"""

from __future__ import annotations

import importlib
import resource
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

#: Address space of the process: an allocation that an input claims, and that is never touched, fails here.
_MOST_BYTES = 8 << 30


def main() -> None:
    started = time.monotonic()
    name, seconds, *arguments = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    if seconds == "--replay":
        importlib.import_module(f"fuzzing.{name}").TARGET.check(Path(arguments[0]).read_bytes())
        return
    import atheris

    with atheris.instrument_imports(include=["shardforge"]):
        target = importlib.import_module(f"fuzzing.{name}").TARGET
        seeds = target.seeds()
        for seed in seeds:
            target.check(seed)
    corpus = Path(arguments[-1])
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    if float(seconds):
        arguments.insert(0, f"-max_total_time={max(1, round(float(seconds) - (time.monotonic() - started)))}")

    def mutate(data: Any, most: int, seed: int) -> bytes:
        random = Random(seed)
        if target.vary and random.random() < 0.5:
            changed = target.vary(bytes(data), random)
        else:
            changed = bytes(atheris.Mutate(bytes(data), most))
        if target.mend and random.random() < 0.5:
            changed = target.mend(changed)
        return changed[:most]

    atheris.Setup([sys.argv[0], f"-max_len={target.most}", *arguments], target.check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
