"""Files that are damaged, or made to do harm: one clear line, and nothing outside the output."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import nibabel
import numpy as np
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
from ctdenoise.series.archive import unpack
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


VOLUME = np.random.default_rng(0).normal(-200, 300, (16, 12, 4)).astype(np.int16)


def volume(values: np.ndarray, slope: float | None = None, intercept: float = 0.0) -> bytes:
    image = nibabel.Nifti1Image(values, np.eye(4))
    if slope is not None:
        image.header["scl_slope"], image.header["scl_inter"] = slope, intercept
    data = bytearray(image.to_bytes())
    if slope is not None:
        data[112:120] = struct.pack("<ff", slope, intercept)
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("4d.nii", volume(np.stack([VOLUME] * 2, axis=-1)), "not a volume of slices"),
        ("2d.nii", volume(VOLUME[..., 0]), "not a volume of slices"),
        (
            "rgb.nii",
            volume(np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])),
            "not a volume of numbers",
        ),
        ("complex.nii", volume(VOLUME.astype(np.complex64)), "not a volume of numbers"),
        ("unit.nii", volume((VOLUME % 2).astype(np.float32)), "its values are no HU (0 to 1)"),
        ("mr.nii", volume(np.abs(VOLUME)), "its values are no HU"),
        ("flat.nii", volume(np.full_like(VOLUME, 40)), "its values are no HU (40 to 40)"),
        ("nan.nii", volume(np.full(VOLUME.shape, np.nan, "f4")), "its values are no HU"),
        ("huge.nii", volume(VOLUME, slope=1e6), "its values are no HU"),
        ("inter.nii", volume(VOLUME, slope=1.0, intercept=np.inf), "not a readable NIfTI file"),
        ("short.nii", volume(VOLUME)[:-100], "declares more voxels than the file can hold"),
        ("head.nii", volume(VOLUME)[:200], "not a readable NIfTI file"),
        ("text.nii", b"hello", "not a readable NIfTI file"),
        ("text.nii.gz", b"hello", "not a readable NIfTI file"),
        (
            "half.nii.gz",
            gzip.compress(volume(VOLUME))[:-300],
            "cut short or damaged",
        ),
        (
            "dtype.nii",
            volume(VOLUME)[:70] + struct.pack("<h", 12345) + volume(VOLUME)[72:],
            "not a readable NIfTI file",
        ),
        (
            "dims.nii",
            volume(VOLUME)[:42] + struct.pack("<3h", *[32767] * 3) + volume(VOLUME)[48:],
            "declares more voxels than the file can hold",
        ),
        (
            "dims.nii.gz",
            gzip.compress(
                volume(VOLUME)[:42] + struct.pack("<3h", *[32767] * 3) + volume(VOLUME)[48:]
            ),
            "declares more voxels than the file can hold",
        ),
    ],
)
def test_volumes_that_are_no_ct(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert run(tmp_path / name) == 2
    assert_one_line(capsys, said)


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_a_volume_without_a_slope_has_its_values_as_they_are(
    run: Run, tmp_path: Path, slope: float
) -> None:
    (tmp_path / "v.nii").write_bytes(volume(VOLUME, slope=slope))
    assert run(tmp_path / "v.nii", "--strength", 0) == 0
    (path,) = (tmp_path / "out").rglob("*.nii")
    np.testing.assert_array_equal(np.asarray(nibabel.load(path).dataobj), VOLUME)


def test_a_volume_without_air_is_said(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.clip(VOLUME, -100, 200)
    (tmp_path / "v.nii").write_bytes(volume(values))
    assert run(tmp_path / "v.nii") == 0
    assert "note: it has no air (-100 HU at least): is it in HU?" in capsys.readouterr().err


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def link(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ("../evil", "leaves the folder"),
        ("a/../../evil", "leaves the folder"),
        ("/evil", "leaves the folder"),
        ("\\evil", "leaves the folder"),
        ("C:\\evil", "leaves the folder"),
        ("C:evil", "leaves the folder"),
        ("\\\\host\\share\\evil", "leaves the folder"),
        (link("evil"), "holds a link"),
        ("e" * 10_000, "cannot be unpacked"),
    ],
)
def test_zips_that_lead_elsewhere_are_refused(
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    member: str | zipfile.ZipInfo,
    said: str,
) -> None:
    archive = zipped(tmp_path / "z.zip", ("harmless", b"1"), (member, b"/etc/passwd"))
    before = files_below(tmp_path)
    assert run(archive) == 2
    assert_one_line(capsys, said)
    assert files_below(tmp_path) - before == {tmp_path / "out"}


def test_zips_that_are_none_or_damaged(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none.zip").write_text("hello")
    assert run(tmp_path / "none.zip") == 2
    assert_one_line(capsys, "is no zip, or damaged")
    data = bytearray(zipped(tmp_path / "z.zip", ("a", bytes(range(256)) * 64)).read_bytes())
    data[60] ^= 0xFF
    (tmp_path / "z.zip").write_bytes(data)
    assert run(tmp_path / "z.zip") == 2
    assert_one_line(capsys, "is no zip, or damaged")
    flags = bytearray(zipped(tmp_path / "key.zip", ("a", b"1")).read_bytes())
    flags[flags.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "key.zip").write_bytes(flags)
    assert run(tmp_path / "key.zip") == 2
    assert_one_line(capsys, "it is encrypted")


def test_a_zip_whose_members_lie_one_over_the_other(tmp_path: Path) -> None:
    """Each is small beside its packed size; together they are many times the archive."""
    path = zipped(tmp_path / "z.zip", ("0", bytes(100 * 2**20)))
    with zipfile.ZipFile(path, "a") as archive:
        (first,) = archive.infolist()
        for place in range(1, 100):
            again = zipfile.ZipInfo(str(place))
            for name in ("compress_type", "CRC", "compress_size", "file_size", "header_offset"):
                setattr(again, name, getattr(first, name))
            archive.filelist.append(again)
        archive._didModify = True
    (tmp_path / "out").mkdir()
    with pytest.raises(CTDenoiseError, match="would unpack to"):
        unpack(path, tmp_path / "out")
