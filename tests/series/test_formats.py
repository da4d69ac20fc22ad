"""Strength 0 through the whole command is exact, in every format that CT comes in."""

from __future__ import annotations

import copy
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.fileset import FileSet
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from ctdenoise.errors import CTDenoiseError
from ctdenoise.series import find
from ctdenoise.series.pixels import read_image
from tests.conftest import Run
from tests.made import make
from tests.series.made import hu_of, put_lut, put_stored, save, slice_of_sample


@pytest.fixture
def exact(run: Run, tmp_path: Path) -> Callable[..., Dataset]:
    """Runs with strength 0 and makes sure of the HU; gives what was written of one file."""

    def call(source: Path, expected: np.ndarray, *arguments: object) -> Dataset:
        output = tmp_path / "exact"
        assert run(source, "--strength", 0, "--output", output, *arguments) == 0
        (path,) = output.rglob("*.dcm")
        derived = pydicom.dcmread(path)
        np.testing.assert_array_equal(hu_of(derived), expected)
        return derived

    return call


def converted(dataset: Dataset, path: Path, syntax: UID) -> Path:
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
        return save(dataset, path)
    dataset.file_meta.TransferSyntaxUID = syntax
    implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
    if not little:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    pydicom.dcmwrite(path, dataset, implicit_vr=implicit, little_endian=little)
    return path


SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=[syntax.keyword for syntax in SYNTAXES])
@pytest.mark.parametrize(("bits", "signed"), [(12, False), (16, False), (12, True), (16, True)])
def test_syntaxes_bits_and_signs(
    exact: Callable[..., Dataset], tmp_path: Path, syntax: UID, bits: int, signed: bool
) -> None:
    dataset = slice_of_sample()
    hu = hu_of(dataset)
    offset = 0 if signed else 1024
    # A value of each end of what so many bits hold, far apart.
    hu[0, 0], hu[40, 40] = -1024, 2047 if bits == 12 else 3071
    put_stored(dataset, hu + offset, bits=bits, signed=signed)
    dataset.RescaleIntercept = str(-offset)
    path = converted(dataset, tmp_path / "file", syntax)
    derived = exact(path, hu)
    assert derived.PixelRepresentation == int(signed)
    assert derived.BitsStored == bits


@pytest.mark.parametrize("compression", ["rle", "jpeg-ls", "jpeg-2000"])
@pytest.mark.parametrize(("bits", "signed"), [(12, False), (12, True), (16, True)])
def test_compressed_output(
    exact: Callable[..., Dataset], tmp_path: Path, compression: str, bits: int, signed: bool
) -> None:
    dataset = slice_of_sample()
    hu = hu_of(dataset)
    offset = 0 if signed else 1024
    put_stored(dataset, hu + offset, bits=bits, signed=signed)
    dataset.RescaleIntercept = str(-offset)
    derived = exact(save(dataset, tmp_path / "file"), hu, "--transfer-syntax", compression)
    assert derived.file_meta.TransferSyntaxUID.is_encapsulated


def test_values_above_other_bits_of_their_words(
    exact: Callable[..., Dataset], tmp_path: Path
) -> None:
    dataset = slice_of_sample()
    hu = hu_of(dataset)
    put_stored(dataset, (hu + 1024) * 16, bits=12, signed=False, high=15)
    derived = exact(save(dataset, tmp_path / "file"), hu)
    assert derived.HighBit == 11


def test_overlay_within_the_words_of_the_pixels(
    exact: Callable[..., Dataset], tmp_path: Path
) -> None:
    dataset = slice_of_sample()
    hu = hu_of(dataset)
    words = (hu + 1024).astype(np.int64)
    words[10:20, 10:20] |= 1 << 14
    put_stored(dataset, words, bits=12, signed=False)
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 14)
    derived = exact(save(dataset, tmp_path / "file"), hu)
    assert 0x60000102 not in derived


def test_signed_values_that_are_said_to_be_unsigned(
    exact: Callable[..., Dataset], run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = slice_of_sample()
    hu = hu_of(dataset)
    put_stored(dataset, hu, bits=16, signed=False)
    dataset.RescaleIntercept = "0"
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    derived = exact(save(dataset, tmp_path / "file"), hu)
    assert derived.PixelRepresentation == 1
    assert derived.PixelPaddingValue == -2000
    assert (
        "pixels are signed, other than their Pixel Representation says" in capsys.readouterr().err
    )


def test_unsigned_values_that_are_said_to_be_signed(
    exact: Callable[..., Dataset], tmp_path: Path
) -> None:
    dataset = slice_of_sample()
    hu = np.minimum(hu_of(dataset) + 900, 3000)
    put_stored(dataset, hu + 1024, bits=12, signed=True)
    derived = exact(save(dataset, tmp_path / "file"), hu)
    assert derived.PixelRepresentation == 0


@pytest.mark.parametrize("outside", [-32768, 32767])
def test_values_far_outside_do_not_change_the_sign(
    exact: Callable[..., Dataset], tmp_path: Path, outside: int
) -> None:
    """Padding that no header tells of is no reason to doubt what it tells of the sign."""
    dataset = slice_of_sample()
    hu = hu_of(dataset)
    hu[::2, ::2] = outside
    put_stored(dataset, hu, bits=16, signed=True)
    dataset.RescaleIntercept = "0"
    assert exact(save(dataset, tmp_path / "file"), hu).PixelRepresentation == 1


@pytest.mark.parametrize("signed", [False, True])
def test_modality_lut_becomes_its_rescale(
    exact: Callable[..., Dataset], tmp_path: Path, signed: bool
) -> None:
    dataset = slice_of_sample()
    hu = hu_of(dataset)
    offset = 0 if signed else 1024
    put_stored(dataset, hu + offset, bits=12, signed=signed)
    put_lut(dataset, -2048 if signed else 0, np.arange(4096) - (2048 if signed else 1024))
    derived = exact(save(dataset, tmp_path / "file"), hu)
    assert "ModalityLUTSequence" not in derived
    assert derived.RescaleType == "HU"


@pytest.mark.parametrize(
    ("first", "entries", "said"),
    [
        (0, np.arange(4096) ** 2 // 4096, "no straight line"),
        (0, np.arange(1000), "no straight line"),
        (0, np.arange(1), "damaged"),
        (0, np.zeros(4096, dtype=int), "no straight line"),
    ],
    ids=["curved", "shorter than the values", "of one entry", "flat"],
)
def test_other_modality_luts_are_refused(
    tmp_path: Path, first: int, entries: np.ndarray, said: str
) -> None:
    path = save(put_lut(slice_of_sample(), first, entries), tmp_path / "file")
    with pytest.raises(CTDenoiseError, match=said):
        read_image(path)


def test_modality_lut_of_something_else_is_refused(tmp_path: Path) -> None:
    dataset = put_lut(slice_of_sample(), 0, np.arange(4096) - 1024)
    dataset.ModalityLUTSequence[0].ModalityLUTType = "OD"
    save(dataset, tmp_path / "file")
    (left_out,) = find(tmp_path).left_out
    assert left_out.reason == "its Modality LUT does not say that it gives HU"


def test_padding_range_comes_back_exactly(run: Run, tmp_path: Path) -> None:
    """At full strength: what is in the range stays, and nothing comes into it."""
    dataset = slice_of_sample()
    stored = dataset.pixel_array.copy()
    stored[:12] = np.arange(12)[:, None] % 4
    dataset.PixelData = stored.tobytes()
    dataset.add_new("PixelPaddingValue", "US", 0)
    dataset.add_new("PixelPaddingRangeLimit", "US", 3)
    assert run(save(dataset, tmp_path / "file")) == 0
    (path,) = (tmp_path / "out").rglob("*.dcm")
    after = pydicom.dcmread(path).pixel_array
    padding = stored <= 3
    assert padding.sum() >= 12 * 64
    np.testing.assert_array_equal(after[padding], stored[padding])
    assert (after[~padding] > 3).all()
    assert (after != stored).any()


def test_each_slice_keeps_its_own_rescale(run: Run, tmp_path: Path) -> None:
    source, expected = tmp_path / "source", {}
    source.mkdir()
    for place, (slope, intercept) in enumerate([("1", "-1024"), ("2", "-1000"), ("0.5", "-512")]):
        dataset = slice_of_sample(place)
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        expected[dataset.SOPInstanceUID] = hu_of(dataset)
        save(dataset, source / str(place))
    assert run(source, "--strength", 0) == 0
    derived = [pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    assert {dataset.RescaleSlope for dataset in derived} == {1, 2, 0.5}
    for dataset in derived:
        uid = dataset.SourceImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_array_equal(hu_of(dataset), expected[uid])


def test_frames_in_frames_out(run: Run, tmp_path: Path) -> None:
    """Functional groups of each frame are kept, and each frame's rescale is its own."""
    path = make("frames", tmp_path / "in", 4)
    dataset = pydicom.dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    del shared.PixelValueTransformationSequence
    for place, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        scale = Dataset()
        scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = 1, -1024 - place, "HU"
        group.PixelValueTransformationSequence = Sequence([scale])
    dataset.save_as(path)
    assert run(path, "--strength", 0) == 0
    (derived,) = [pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    assert derived.SOPClassUID == dataset.SOPClassUID
    assert derived.NumberOfFrames == 4
    np.testing.assert_array_equal(derived.pixel_array, dataset.pixel_array)
    assert derived.PerFrameFunctionalGroupsSequence == dataset.PerFrameFunctionalGroupsSequence


TEXTS = {
    "ISO_IR 192": "Müller^Łucja 山田",
    "ISO_IR 100": "Müller^Éa",
    "ISO_IR 144": "Люкceмбypг",
    "GB18030": "王^小东",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞",
}


@pytest.mark.parametrize("charset", TEXTS)
@pytest.mark.parametrize("compression", [(), ("--transfer-syntax", "rle")])
def test_text_of_all_character_sets_is_kept(
    exact: Callable[..., Dataset], tmp_path: Path, charset: str, compression: tuple[str, ...]
) -> None:
    dataset, text = slice_of_sample(), TEXTS[charset]
    dataset.SpecificCharacterSet = charset.split("\\")
    dataset.PatientName = text
    dataset.SeriesDescription = text.partition("=")[2] or text
    item = Dataset()
    item.CodeMeaning = text
    dataset.ProcedureCodeSequence = Sequence([item])
    source = save(dataset, tmp_path / "file")
    before = pydicom.dcmread(source)
    assert str(before.PatientName) == text
    derived = exact(source, hu_of(dataset), *compression)
    assert derived.SpecificCharacterSet == before.SpecificCharacterSet
    assert str(derived.PatientName) == text
    assert derived.ProcedureCodeSequence[0].CodeMeaning == text
    assert derived.SeriesDescription == f"{before.SeriesDescription} ctdenoise 0"


def test_private_attributes_are_kept_for_those_who_ask(
    exact: Callable[..., Dataset], tmp_path: Path
) -> None:
    dataset = slice_of_sample()
    for name in ("ACME 1", "ACME 2"):
        block = dataset.private_block(0x0029, name, create=True)
        block.add_new(0x10, "LO", f"of {name}")
        block.add_new(0x11, "OB", b"\1\2\3\4")
    source = save(dataset, tmp_path / "file")
    derived = exact(source, hu_of(dataset), "--keep-private")
    for name in ("ACME 1", "ACME 2"):
        block = derived.private_block(0x0029, name)
        assert block[0x10].value == f"of {name}"
        assert block[0x11].value == b"\1\2\3\4"
    shutil.rmtree(tmp_path / "exact")
    assert not [element for element in exact(source, hu_of(dataset)) if element.tag.is_private]


def test_elements_that_cannot_be_read_are_kept_as_they_are(
    exact: Callable[..., Dataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = slice_of_sample()
    dataset.private_block(0x0029, "ACME", create=True).add_new(0x10, "DS", "123.5")
    dataset.KVP = "456.5"
    source = save(dataset, tmp_path / "file")
    data = source.read_bytes()
    for value in (b"123.5 ", b"456.5 "):
        assert data.count(b"DS\6\0" + value) == 1
        data = data.replace(b"DS\6\0" + value, b"FL\6\0" + value)
    source.write_bytes(data)
    derived = exact(source, hu_of(dataset), "--keep-private")
    assert derived.KVP == 456.5
    assert derived.private_block(0x0029, "ACME")[0x10].value == b"123.5 "
    said = capsys.readouterr().err
    assert "note: elements that cannot be read were kept as they are" in said
    assert "123" not in said


@pytest.mark.parametrize("name", ["IM1", "a.txt", "a.nii", "a.nii.gz", "a.jpg", ".hidden"])
def test_no_or_wrong_file_extension(
    exact: Callable[..., Dataset], tmp_path: Path, name: str
) -> None:
    dataset = slice_of_sample()
    exact(save(dataset, tmp_path / name), hu_of(dataset))


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_missing_file_meta_information(
    exact: Callable[..., Dataset], tmp_path: Path, syntax: UID
) -> None:
    dataset = slice_of_sample()
    hu = hu_of(dataset)
    whole = converted(dataset, tmp_path / "whole", syntax)
    data = whole.read_bytes()
    length = int.from_bytes(data[140:144], "little")
    (tmp_path / "bare").write_bytes(data[144 + length :])
    exact(tmp_path / "bare", hu)


def medium(folder: Path) -> Path:
    """A DICOMDIR with three slices beside it."""
    files = FileSet()
    for place in range(3):
        dataset = slice_of_sample(place)
        dataset.PatientID = dataset.StudyID = "1"
        files.add(dataset)
    files.write(folder)
    return folder / "DICOMDIR"


def test_dicomdir_and_its_folder(run: Run, tmp_path: Path) -> None:
    directory = medium(tmp_path / "medium")
    for source, output in ((directory, "by file"), (directory.parent, "by folder")):
        assert run(source, "--strength", 0, "--output", tmp_path / output) == 0
        assert len(list((tmp_path / output).rglob("*.dcm"))) == 3
    with zipfile.ZipFile(tmp_path / "medium.zip", "w") as archive:
        for path in directory.parent.rglob("*"):
            archive.write(path, path.relative_to(tmp_path))
    assert run(tmp_path / "medium.zip", "--output", tmp_path / "zip") == 0


def test_what_a_dicomdir_names_and_is_not_there_is_said(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = medium(tmp_path / "medium")
    first = sorted(path for path in directory.parent.glob("*/**/*") if path.is_file())[0]
    first.unlink()
    assert run(directory) == 1
    assert "cannot be read: No such file" in capsys.readouterr().err


def test_a_dicomdir_leads_nowhere_else(tmp_path: Path) -> None:
    outside = save(slice_of_sample(), tmp_path / "outside")
    directory = medium(tmp_path / "medium")
    dataset = pydicom.dcmread(directory)
    for record in dataset.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = ["..", outside.name]
    dataset.save_as(directory)
    assert find(directory).series == ()


def test_series_split_over_folders_and_two_studies_in_one(run: Run, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in ("a", "b/c"):
        (source / folder).mkdir(parents=True)
    other = generate_uid()
    for place, folder in enumerate(["a", "b/c", "a", "b/c"]):
        dataset = slice_of_sample(place)
        save(dataset, source / folder / f"{place}.dcm")
        second = copy.deepcopy(dataset)
        second.StudyInstanceUID, second.SOPInstanceUID = other, f"2.25.{place + 1}"
        save(second, source / "a" / f"other{place}.dcm")
    assert run(source, "--strength", 0) == 0
    folders = [folder for folder in (tmp_path / "out").iterdir() if folder.is_dir()]
    assert [len(list(folder.glob("*.dcm"))) for folder in folders] == [4, 4]
    for folder in folders:
        studies = {pydicom.dcmread(path).StudyInstanceUID for path in folder.glob("*.dcm")}
        assert len(studies) == 1


UNDECODABLE = ("1.2.840.10008.1.2.4.53.dcm", "1.2.840.10008.1.2.4.55.dcm")
SIGN_SAID_WRONGLY = "TOSHIBA_J2K_SIZ1_PixRep0.dcm"


def test_values_are_those_of_another_decoder(shared: Path) -> None:
    """Frame by frame, for all files of all formats, parametric maps too."""
    compared = 0
    for path in sorted((shared / "data" / "ct_formats").rglob("*")):
        if not path.is_file():
            continue
        if path.name.endswith(UNDECODABLE):
            with pytest.raises(CTDenoiseError, match=r"pixels cannot be decoded \(JPEG"):
                read_image(path)
            continue
        ours, theirs = read_image(path), pydicom.dcmread(path).pixel_array
        theirs = theirs.reshape(ours.stored.shape)
        if path.name == SIGN_SAID_WRONGLY:
            # Its codestream says that it is signed, and air is at -1000 HU only if it is.
            assert ours.notes
            assert -2048 <= ours.hu.min() < ours.hu.max() < 3000
            theirs = theirs.astype(np.uint16).view(np.int16)
        np.testing.assert_array_equal(ours.stored, theirs, err_msg=path.name)
        compared += len(theirs)
    assert compared > 75


def test_hu_of_all_series_are_those_of_another_decoder(shared: Path) -> None:
    """And no header of them is taken for wrong."""
    compared = 0
    for series in find(shared / "data" / "ct").series:
        if series.kind == "nifti":
            continue
        for instance in series.instances:
            ours = read_image(instance.path)
            np.testing.assert_array_equal(ours.hu[0], hu_of(pydicom.dcmread(instance.path)))
            assert ours.notes == ()
            compared += 1
    assert compared > 200
