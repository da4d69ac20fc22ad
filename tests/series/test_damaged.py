"""Damaged DICOM files: one clear line, nothing outside the output, no memory beyond the pixels."""

from __future__ import annotations

import io
import struct
import tempfile
import tracemalloc
from pathlib import Path

import pydicom
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from ctdenoise.cli import main
from ctdenoise.errors import CTDenoiseError
from ctdenoise.series import find, read_frames
from tests.conftest import Run, assert_one_line
from tests.made import make
from tests.series.made import save, slice_of_sample

SIDE = 32
HONEST = 32 * 2**20
"""Bytes that reading a file of so few pixels may take, all that it imports included."""
NUMBERS = (0, 1, 7, 8, 11, 12, 13, 15, 16, 31, 32, 33, 64, 4095, 32767, 65535)
WORDS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
WORDS += ("SamplesPerPixel", "PixelPaddingValue", "PixelPaddingRangeLimit")
TEXTS = (
    b"",
    b"0",
    b"-1",
    b"3",
    b"nan",
    b"inf",
    b"1e308",
    b"1e-320",
    b"2147483647",
    b"99999999999999999999",
    b"1\\2",
    b"abc",
    b"../../../evil",
    b"/evil",
    b"..\\..\\evil",
    b"C:\\evil",
    b"evil\0\x1b[31m\r\n\x07",
    b"\xff\xfe\x80",
    b"e" * 10_000,
)
NAMED = ("NumberOfFrames", "RescaleSlope", "RescaleIntercept", "SeriesNumber", "InstanceNumber")
NAMED += ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientName", "PatientID")
NAMED += ("SeriesDescription", "ImageType", "SpecificCharacterSet", "ImagePositionPatient")
NAMED += ("ImageOrientationPatient", "PixelSpacing", "RescaleType", "Manufacturer", "SeriesDate")
SYNTAXES = (
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
)


def nested(depth: int) -> bytes:
    """A sequence in a sequence, and so on; it stands behind the pixels."""
    inner = struct.pack("<HH2sHI", 0xFFFA, 0xFFFA, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return (inner + item) * depth + end * depth


def put(dataset: Dataset, keyword: str, value: int | bytes | None) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    if value is None:
        dataset.pop(tag, None)
    elif isinstance(value, int):
        dataset.add_new(tag, "US", value)
    else:
        value += b" " * (len(value) % 2)
        dataset[tag] = RawDataElement(Tag(tag), "UN", len(value), value, 0, False, True)


def encoded(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    dataset.file_meta.TransferSyntaxUID = syntax
    made = io.BytesIO()
    pydicom.dcmwrite(made, dataset, implicit_vr=False, little_endian=True)
    return made.getvalue()


def syntax_element(syntax: UID) -> bytes:
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    return struct.pack("<2sH", b"UI", len(uid)) + uid


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A small CT file with some things wrong with it."""
    dataset, syntax = slice_of_sample(side=SIDE), draw(st.sampled_from(SYNTAXES))
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    words = st.tuples(st.sampled_from(WORDS), st.one_of(st.none(), st.sampled_from(NUMBERS)))
    texts = st.tuples(st.sampled_from(NAMED), st.one_of(st.none(), st.sampled_from(TEXTS)))
    for keyword, value in draw(st.lists(st.one_of(words, texts), max_size=4)):
        put(dataset, keyword, value)
    if draw(st.booleans()):
        pixels = dataset.PixelData * 2
        pixels = pixels[: 2 * draw(st.integers(4, len(pixels) // 2))]
        length = 0xFFFFFFFF if syntax.is_encapsulated else len(pixels)
        tag = Tag("PixelData")
        dataset[tag] = RawDataElement(tag, "OW", length, pixels, 0, False, True)
    try:
        data = encoded(dataset, syntax)
    except ValueError:  # there are things that pydicom reads and does not write
        reject()
    if draw(st.booleans()):
        other = draw(st.sampled_from(SYNTAXES))
        data = data.replace(syntax_element(syntax), syntax_element(other))
    if draw(st.booleans()):
        data += nested(draw(st.sampled_from([1, 50, 3000])))
    if draw(st.integers(0, 3)) == 0:
        data = data[: draw(st.integers(0, len(data)))]
    for place, byte in draw(
        st.lists(st.tuples(st.integers(0, 8000), st.integers(0, 255)), max_size=3)
    ):
        data = data[:place] + bytes([byte]) + data[place + 1 :]
    return data


def files_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(data=damaged())
def test_damaged_files_end_with_a_line(
    small_model: Path, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    """Beside a whole one, which is denoised."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source, output = folder / "in", folder / "out"
        source.mkdir()
        (source / "damaged").write_bytes(data)
        save(slice_of_sample(1, side=SIDE), source / "whole")
        before = files_below(folder)
        code = main(
            [
                *("run", "--input", str(source), "--output", str(output)),
                *("--strength", "0", "--model", str(small_model)),
            ]
        )
        said = capsys.readouterr().err
        assert code in (0, 1)
        assert "Traceback" not in said
        assert ": unexpected" not in said
        assert "evil" not in said
        assert said.replace("\n", "").isprintable()
        assert all(len(line) < 500 for line in said.splitlines())
        new = files_below(folder) - before
        assert all(path == output or output in path.parents for path in new)
        assert (source / "damaged").read_bytes() == data
        assert len(list(output.rglob("*.dcm"))) >= 1


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(data=damaged())
def test_damaged_files_take_no_more_memory_than_whole_ones(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "damaged"
        path.write_bytes(data)
        tracemalloc.start()
        try:
            for series in find(path).series:
                for instance in series.instances:
                    for image in read_frames(series, instance):
                        assert image.hu.shape == (1, instance.rows, instance.columns)
        except CTDenoiseError:
            pass
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < HONEST


def test_two_files_of_one_uid_and_other_pixels(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    first, second = slice_of_sample(0), slice_of_sample(1)
    second.SOPInstanceUID = first.SOPInstanceUID
    save(first, source / "1")
    save(second, source / "2")
    assert run(source, "--verbose") == 0
    assert "same SOP Instance UID as file" in capsys.readouterr().err
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Rows": 65535, "Columns": 65535}, "bytes of pixel data"),
        ({"Rows": 33}, "bytes of pixel data"),
        ({"BitsStored": 17}, "contradict each other"),
        ({"HighBit": 5}, "contradict each other"),
        ({"BitsAllocated": None}, "its Bits Allocated is missing"),
        ({"BitsAllocated": 12}, "is none of CT"),
        ({"PixelRepresentation": None}, "its Pixel Representation is missing"),
        ({"NumberOfFrames": b"2147483647"}, "more frames than the file can hold"),
        ({"RescaleSlope": b"nan"}, "no Rescale Slope"),
        ({"RescaleSlope": b"0"}, "no Rescale Slope"),
        ({"RescaleIntercept": b"1e300"}, "no Rescale Slope"),
        ({"PixelData": None}, "no pixel data"),
        ({"BitsStored": 4, "HighBit": 3}, "more bits than its Bits Stored"),
    ],
)
def test_contradictions_are_named(
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, int | bytes | None],
    said: str,
) -> None:
    dataset = slice_of_sample(side=SIDE)
    for keyword, value in change.items():
        put(dataset, keyword, value)
    (tmp_path / "file").write_bytes(encoded(dataset))
    assert run(tmp_path / "file", "--quiet") in (1, 2)
    assert_one_line(capsys, said)


def test_functional_groups_of_other_frames(tmp_path: Path) -> None:
    path = make("frames", tmp_path, 4)
    dataset = pydicom.dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence[3]
    dataset.save_as(path)
    (left_out,) = find(path).left_out
    assert left_out.damaged
    assert left_out.reason == "it has functional groups for 3 of 4 frames"


def test_pixels_that_say_they_are_others(tmp_path: Path) -> None:
    """A compressed frame of another size than the header says would be read into wrong rows."""
    dataset = slice_of_sample(side=SIDE)
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    dataset.Rows, dataset.Columns = 2 * SIDE, SIDE // 2
    save(dataset, tmp_path / "file")
    with pytest.raises(CTDenoiseError, match="another size than the header says"):
        read_all(tmp_path / "file")


def read_all(path: Path) -> None:
    for series in find(path).series:
        for instance in series.instances:
            list(read_frames(series, instance))


def test_a_damaged_run_length_frame_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A decoder of it ended the process with a message of its own."""
    dataset = slice_of_sample(side=SIDE)
    dataset.compress(RLELossless, generate_instance_uid=False)
    data = bytearray(encoded(dataset, RLELossless))
    start = data.rindex(struct.pack("<II", 2, 64))
    data[start + 64 : start + 128] = bytes([127]) * 64
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(CTDenoiseError):
        read_all(tmp_path / "file")
    assert capfd.readouterr().err == ""


def test_deflated_files_inflate_to_what_they_declare(tmp_path: Path) -> None:
    dataset = slice_of_sample(side=SIDE)
    dataset.PixelData = bytes(64 * 2**20)
    (tmp_path / "file").write_bytes(encoded(dataset, DeflatedExplicitVRLittleEndian))
    assert (tmp_path / "file").stat().st_size < 2**20
    tracemalloc.start()
    with pytest.raises(CTDenoiseError, match="more than the pixels that it declares"):
        read_all(tmp_path / "file")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


def test_elements_of_messages_do_not_reach_the_output(run: Run, tmp_path: Path) -> None:
    data = encoded(slice_of_sample(side=SIDE))
    start = data.index(b"\x08\x00\x05\x00")
    command = struct.pack("<HH2sHH", 0, 0x0100, b"US", 2, 1)
    (tmp_path / "file").write_bytes(data[:start] + command + data[start:])
    assert run(tmp_path / "file") == 0
    (path,) = (tmp_path / "out").rglob("*.dcm")
    assert 0x00000100 not in pydicom.dcmread(path)


def test_elements_of_a_kind_that_cannot_be_told(run: Run, tmp_path: Path) -> None:
    """They could not be written."""
    dataset = slice_of_sample(side=SIDE)
    dataset.add_new("PixelPaddingRangeLimit", "US", 3)
    data = encoded(dataset)
    element = b"\x28\0\x21\1US"
    assert data.count(element) == 1
    (tmp_path / "file").write_bytes(data.replace(element, element[:4] + b"TS"))
    assert run(tmp_path / "file", "--quiet") == 0


@pytest.mark.parametrize("keyword", ["SeriesNumber", "SoftwareVersions", "SeriesDescription"])
def test_elements_of_another_kind_than_they_are(run: Run, tmp_path: Path, keyword: str) -> None:
    """What is set in the output would be written as that kind."""
    dataset = slice_of_sample(side=SIDE)
    dataset[keyword] = DataElement(keyword, "FD", 1.5)
    (tmp_path / "file").write_bytes(encoded(dataset))
    assert run(tmp_path / "file", "--quiet") == 0
    (path,) = (tmp_path / "out").rglob("*.dcm")
    assert pydicom.dcmread(path)[keyword].VR in ("IS", "LO")


def test_positions_beyond_all_measure(run: Run, tmp_path: Path) -> None:
    for place, value in enumerate([b"0\\0\\1e308", b"0\\0\\-1e308", b"0\\0\\nan"]):
        dataset = slice_of_sample(place, side=SIDE)
        put(dataset, "ImagePositionPatient", value)
        (tmp_path / str(place)).write_bytes(encoded(dataset))
    assert run(tmp_path, "--quiet") == 0
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 3
