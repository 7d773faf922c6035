"""What libtiff says goes to the notes of the thread that it says it in, not to standard error."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import PIL

from shardforge.images.notes import add_note, current_notes

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_ROOM = 512


@functools.cache
def collect_complaints() -> None:
    """Take over the error handler of the libtiff that Pillow has loaded, once; where it is not found, leave it.

    Pillow itself silences warnings. Where no collector is open, the handler of before gets what is said.
    """
    library = _load_library()
    if library is None:
        return
    format_text = ctypes.CDLL(None).vsnprintf
    format_text.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p]
    library.TIFFSetErrorHandler.restype = _HANDLER
    library.TIFFSetErrorHandler.argtypes = [_HANDLER]
    before = library.TIFFSetErrorHandler(_HANDLER())

    def handle(module: bytes | None, form: bytes, values: int | None) -> None:
        if current_notes() is None:
            if before:
                before(module, form, values)
            return
        text = ctypes.create_string_buffer(_ROOM)
        format_text(text, _ROOM, form, values)
        add_note(f"libtiff: {text.value.decode('utf-8', 'replace')}")

    global _kept
    _kept = _HANDLER(handle)  # libtiff keeps only its address
    library.TIFFSetErrorHandler(_kept)


_kept: object = None


def _load_library() -> ctypes.CDLL | None:
    """Return the libtiff that this process has loaded: on Linux the kernel lists it, on macOS it lies in Pillow."""
    from PIL import _imaging  # noqa: F401  # loads it

    places: list[str] = []
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
        places = [line[line.index("/") :] for line in lines if "libtiff" in line and "/" in line]
    except OSError:
        places = list(map(str, (Path(PIL.__file__).parent / ".dylibs").glob("libtiff*")))
    try:
        return ctypes.CDLL(places[0]) if places else None
    except OSError:
        return None
