from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardforge.images.geometry import Box, Geometry, Size, plan_resize, whole_box


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


@pytest.mark.parametrize(
    ("source", "target", "upscale", "box", "size"),
    [
        ((400, 300), (100, 100), False, (50, 0, 350, 300), (100, 100)),
        ((300, 400), (100, 50), False, (0, 125, 300, 275), (100, 50)),
        ((400, 300), (50, 100), False, (125, 0, 275, 300), (50, 100)),
        ((403, 300), (100, 100), False, (51.5, 0, 351.5, 300), (100, 100)),  # between pixels
        ((400, 30), (100, 100), False, (150, 0, 250, 30), (100, 30)),  # what may not grow keeps its pixels
        ((40, 30), (100, 50), True, (0, 5, 40, 25), (100, 50)),
    ],
)
def test_crop_is_the_largest_centred_box_of_the_targets_shape(
    source: Size, target: Size, upscale: bool, box: Box, size: Size
) -> None:
    assert plan_resize(source, target, "crop", upscale=upscale) == Geometry(box, size, size)


@pytest.mark.parametrize("mode", ["squash", "shortest", "longest", "pad", "none"])
def test_other_modes_use_the_whole_image(mode: str) -> None:
    assert plan_resize((403, 300), (100, 50), mode).box == (0, 0, 403, 300)


def test_swapped_axes_are_those_of_the_turned_image() -> None:
    upright, turned = (
        plan_resize(source, target, "crop") for source, target in (((400, 300), (60, 50)), ((300, 400), (50, 60)))
    )
    assert upright.swap_axes() == turned
    padded = Geometry((1, 2, 30, 40), (5, 6), (7, 8))
    assert padded.swap_axes() == Geometry((2, 1, 40, 30), (6, 5), (8, 7))


@pytest.mark.parametrize(
    ("source", "size", "scale"),
    [
        ((1600, 1600), (100, 100), 8),
        ((1599, 1600), (100, 100), 4),
        ((800, 9999), (100, 100), 4),
        ((9999, 799), (100, 100), 2),
        ((400, 400), (100, 100), 2),
        ((399, 400), (100, 100), 1),
        ((10, 10), (100, 100), 1),
    ],
)
def test_a_jpeg_is_decoded_at_twice_the_pixels_that_are_needed(source: Size, size: Size, scale: int) -> None:
    assert Geometry(whole_box(source), size, size).decoder_scale() == scale


@pytest.mark.parametrize(
    ("geometry", "changes"),
    [
        (Geometry((0, 0, 40, 30), (40, 30), (40, 30)), False),
        (Geometry((0, 0, 40, 30), (40, 30), (40, 40)), True),
        (Geometry((0, 0, 40, 30), (20, 15), (20, 15)), True),
        (Geometry((5, 0, 35, 30), (40, 30), (40, 30)), True),
    ],
)
def test_what_an_image_is_changed_by(geometry: Geometry, changes: bool) -> None:
    assert geometry.changes((40, 30)) is changes
