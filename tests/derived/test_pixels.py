"""HU to stored values and back, for every slope, sign and padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from ctdenoise.derived.pixels import to_stored
from ctdenoise.errors import CTDenoiseError
from ctdenoise.series import find, read
from ctdenoise.series.model import SourceImage
from ctdenoise.series.padding import padding_range
from ctdenoise.series.pixels import read_image, stored_range
from tests.conftest import SAMPLE


def source_image(
    stored: np.ndarray, slope: float, intercept: float, bits: int, signed: bool, **header: int
) -> SourceImage:
    dataset = Dataset()
    dataset.BitsAllocated, dataset.BitsStored = 16, bits
    dataset.PixelRepresentation = int(signed)
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    bounds = padding_range(dataset)
    padding = np.zeros(stored.shape, dtype=bool)
    if bounds is not None:
        padding = (stored >= bounds[0]) & (stored <= bounds[1])
    return SourceImage(dataset, stored, np.array([slope]), np.array([intercept]), padding)


formats = st.tuples(st.sampled_from([8, 12, 16]), st.booleans())
slopes = st.one_of(st.just(1.0), st.floats(1e-3, 50.0), st.floats(-50.0, -1e-3))


@st.composite
def images(draw: st.DrawFn) -> SourceImage:
    bits, signed = draw(formats)
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    values = st.lists(st.integers(lowest, highest), min_size=8, max_size=8)
    stored = np.array(draw(values), dtype=np.int16 if signed else np.uint16).reshape(1, 2, 4)
    slope, intercept = draw(slopes), draw(st.floats(-5000, 5000))
    header = {}
    if draw(st.booleans()):
        header["PixelPaddingValue"] = draw(st.integers(lowest, highest))
        if draw(st.booleans()):
            header["PixelPaddingRangeLimit"] = draw(st.integers(lowest, highest))
    return source_image(stored, slope, intercept, bits, signed, **header)


@given(images())
def test_unchanged_hu_give_unchanged_values(source: SourceImage) -> None:
    np.testing.assert_array_equal(to_stored(source.hu, source), source.stored)


@given(images(), st.floats(-3e4, 3e4))
def test_changed_hu_stay_in_range_off_padding_and_nearest(
    source: SourceImage, change: float
) -> None:
    stored = to_stored(source.hu + change, source).astype(np.int64)
    lowest, highest = stored_range(source.header)
    assert stored.min() >= lowest
    assert stored.max() <= highest
    np.testing.assert_array_equal(stored[source.padding], source.stored[source.padding])
    native = ~source.padding
    bounds = padding_range(source.header)
    if bounds is not None and not (bounds[0] <= lowest and bounds[1] >= highest):
        assert not np.any((stored[native] >= bounds[0]) & (stored[native] <= bounds[1]))
    exact = (source.hu + change - source.intercept[0]) / source.slope[0]
    free = native & (exact > lowest) & (exact < highest)
    if bounds is not None:
        free &= (exact < bounds[0] - 1) | (exact > bounds[1] + 1)
    assert np.all(np.abs(stored - exact)[free] <= 0.5 + 1e-6)


def test_padding_written_with_the_wrong_sign_is_understood() -> None:
    stored = np.array([[[-2000, 5]]], dtype=np.int16)
    source = source_image(stored, 1.0, -1024.0, 16, True, PixelPaddingValue=63536)
    assert source.padding.tolist() == [[[True, False]]]


def test_hu_agree_with_an_independent_reader() -> None:
    sitk = pytest.importorskip("SimpleITK")
    for path in sorted(SAMPLE.glob("*.dcm")):
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        np.testing.assert_array_equal(read_image(path).hu, theirs)


def test_every_series_and_format_round_trips(shared: Path) -> None:
    """Strength 0 at the level of pixels, for all that can be decoded, parametric maps too."""
    tried = 0
    for path in sorted((shared / "data").glob("ct*/**/*")):
        if not path.is_file() or path.suffix in (".raw", ".mhd", ".gz"):
            continue
        try:
            source = read_image(path)
        except Exception:
            assert any(s in path.name for s in (".51.", ".53.", ".55.")), path
            continue
        np.testing.assert_array_equal(to_stored(source.hu, source), source.stored)
        tried += 1
    assert tried > 300


def test_hu_agree_with_an_independent_reader_for_every_maker(shared: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    compared = 0
    for folder in ("ct", "ct_formats"):
        for series in find(shared / "data" / folder).series:
            for instance in series.instances[:: max(1, len(series.instances) // 7)]:
                if series.kind == "nifti":
                    continue
                try:
                    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(instance.path)))
                    hu = read(series, instance).hu
                except (RuntimeError, CTDenoiseError):
                    continue
                # Lossy JPEG may differ by a step: the inverse transform is not laid down exactly.
                header = read_image(instance.path).header
                assert header is not None
                lossy = any(code in instance.path.name for code in (".4.50.", ".4.51."))
                tolerance = 1.01 * float(header.RescaleSlope) if lossy else 1e-3
                assert np.abs(hu - theirs).max() <= tolerance, instance.path
                compared += 1
    assert compared > 60
