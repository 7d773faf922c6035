from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardforge.images.geometry import plan_resize


@pytest.mark.parametrize(
    ("source", "target", "mode", "upscale", "size"),
    [
        ((400, 300), (100, 100), "squash", False, (100, 100)),
        ((400, 300), (100, 100), "shortest", False, (133, 100)),
        ((300, 400), (100, 80), "shortest", False, (80, 107)),
        ((400, 300), (100, 100), "longest", False, (100, 75)),
        ((300, 400), (100, 80), "longest", False, (60, 80)),
        ((400, 300), (100, 100), "crop", False, (100, 100)),
        ((400, 300), (100, 100), "none", False, (400, 300)),
        ((400, 300), None, "squash", False, (400, 300)),
        ((40, 300), (100, 100), "squash", False, (40, 100)),
        ((40, 30), (100, 100), "shortest", False, (40, 30)),
        ((40, 30), (100, 100), "longest", False, (40, 30)),
        ((10, 1000), (5000, 1001), "longest", False, (10, 1000)),
        ((400, 30), (100, 100), "crop", False, (100, 30)),
        ((40, 30), (100, 100), "squash", True, (100, 100)),
        ((40, 30), (100, 100), "shortest", True, (133, 100)),
        ((40, 30), (100, 100), "longest", True, (100, 75)),
        ((40, 30), (100, 100), "crop", True, (100, 100)),
        ((30_000, 2), (224, 224), "longest", False, (224, 1)),
    ],
)
def test_size_of_each_resize_mode(
    source: tuple[int, int], target: tuple[int, int] | None, mode: str, upscale: bool, size: tuple[int, int]
) -> None:
    geometry = plan_resize(source, target, mode, upscale=upscale)
    assert (geometry.size, geometry.canvas) == (size, size)


@pytest.mark.parametrize(
    ("source", "upscale", "size"),
    [((400, 300), False, (100, 75)), ((40, 30), False, (40, 30)), ((40, 30), True, (100, 75))],
)
def test_pad_fits_inside_its_canvas(source: tuple[int, int], upscale: bool, size: tuple[int, int]) -> None:
    geometry = plan_resize(source, (100, 100), "pad", upscale=upscale)
    assert (geometry.size, geometry.canvas) == (size, (100, 100))


@given(
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    st.tuples(st.integers(1, 999), st.integers(1, 999)),
    st.sampled_from(["squash", "shortest", "longest", "crop", "pad", "none"]),
)
def test_no_axis_grows_and_the_box_stays_inside(source: tuple[int, int], target: tuple[int, int], mode: str) -> None:
    geometry = plan_resize(source, target, mode)
    assert 1 <= geometry.size[0] <= source[0]
    assert 1 <= geometry.size[1] <= source[1]
    left, top, right, bottom = geometry.box
    assert 0 <= left < right <= source[0]
    assert 0 <= top < bottom <= source[1]
    if geometry.decoder_scale() > 1:
        assert (right - left) / geometry.decoder_scale() >= 2 * geometry.size[0]
