"""Hostile and damaged HDF5 files: an odd object costs its row, damage its file; no other file is opened."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from archives import list_all
from hypothesis import given, settings
from hypothesis import strategies as st


def nest(opened: h5py.File) -> None:
    group = opened.id
    for _ in range(10_000):
        group = h5py.h5g.create(group, b"g")


def refer(opened: h5py.File) -> None:
    opened["2.jpg"] = np.array([opened["1.jpg"].ref], h5py.ref_dtype)


def link(name: str, target: Any) -> Callable[[h5py.File], None]:
    return lambda opened: opened.__setitem__(name, target)


#: What is put into an HDF5 file -> reasons by path; "misnamed" is an image whose name is not one of its kind of source.
HDF5: dict[str, tuple[Callable[[h5py.File], object], dict[str, str]]] = {
    "a soft link": (link("2.jpg", h5py.SoftLink("/1.jpg")), {"2.jpg": "link"}),
    "a soft link to nothing": (link("2.jpg", h5py.SoftLink("/3.jpg")), {"2.jpg": "link"}),
    "a link to another file": (link("2.jpg", h5py.ExternalLink("/etc/passwd", "/x")), {"2.jpg": "link"}),
    "a hard link": (lambda opened: opened.__setitem__("2.jpg", opened["1.jpg"]), {"2.jpg": "misnamed"}),
    "a circle": (lambda opened: opened.create_group("g").__setitem__("h", opened["/"]), {"g/h": "link"}),
    "groups 10,000 deep": (nest, {"/".join("g" * 100): "too_costly"}),
    "bytes in another file": (
        lambda opened: opened.create_dataset("2.jpg", (9,), "u1", external=[("/etc/passwd", 0, 9)]),
        {"2.jpg": "link"},
    ),
    "a view of another file": (
        lambda opened: opened.create_virtual_dataset("2.jpg", h5py.VirtualLayout((9,), "u1")),
        {"2.jpg": "link"},
    ),
    "chunks": (
        lambda opened: opened.create_dataset("2.jpg", (9,), "u1", chunks=(3,), data=[1] * 9),
        {"2.jpg": "compressed"},
    ),
    "no bytes": (lambda opened: opened.create_dataset("2.jpg", (9,), "u1"), {"2.jpg": "empty_file"}),
    "nothing": (lambda opened: opened.create_dataset("2.jpg", data=h5py.Empty("u1")), {"2.jpg": "empty_file"}),
    "references": (refer, {"2.jpg": "misnamed"}),
    "a type": (lambda opened: opened.__setitem__("2.jpg", np.dtype("i4")), {}),
}


@pytest.mark.parametrize("name", HDF5)
def test_an_odd_object_of_hdf5_costs_its_row(tmp_path: Path, name: str) -> None:
    change, expected = HDF5[name]
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        opened["1.jpg"] = np.frombuffer(b"A", np.uint8)
        change(opened)
    found = {row["path"]: row["reason"] for row in list_all(f"a=eol:{tmp_path}")}
    assert found == {"a.h5::1.jpg": "misnamed", **{f"a.h5::{path}": reason for path, reason in expected.items()}}


def test_an_offset_beyond_an_hdf5_file_is_not_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        opened["1.jpg"] = np.frombuffer(b"A" * 999, np.uint8)
        offset = opened["1.jpg"].id.get_offset()
    raw = (tmp_path / "a.h5").read_bytes()
    place = struct.pack("<QQ", offset, 999)
    assert raw.count(place) == 1
    (tmp_path / "a.h5").write_bytes(raw.replace(place, struct.pack("<QQ", 1 << 40, 999)))
    assert [row["reason"] for row in list_all(f"a=eol:{tmp_path}")] == ["corrupt"]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_damaged_hdf5_file_is_a_row(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("hdf5")
    with h5py.File(folder / "a.h5", "w") as opened:
        for number in range(3):
            opened[f"g/{number}.jpg"] = np.frombuffer(b"A" * 9, np.uint8)
    raw = bytearray((folder / "a.h5").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
    (folder / "a.h5").write_bytes(raw[: data.draw(st.one_of(st.none(), st.integers(1, len(raw))))])
    for row in list_all(f"a=eol:{folder}"):
        assert row["path"].startswith("a.h5")
        assert row["reason"] is not None
