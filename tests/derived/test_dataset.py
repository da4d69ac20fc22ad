"""What a derived dataset must be, attribute by attribute."""

from __future__ import annotations

import copy
from datetime import datetime

import pydicom
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import JPEGExtended12Bit

from ctdenoise import __version__
from ctdenoise.derived.dataset import derive
from ctdenoise.derived.provenance import Provenance
from ctdenoise.hounsfield import HUWindow
from ctdenoise.level import Level
from ctdenoise.series.pixels import read_image
from tests.conftest import SAMPLE

WHEN = datetime(2030, 1, 2, 3, 4, 5)


def provenance(**changes: object) -> Provenance:
    values: dict = {
        "model": "lite",
        "digest": "ab" * 32,
        "strength": 0.5,
        "precision": "fp32",
        "backend": "torch",
        "device": "cpu",
        "level": Level(HUWindow(-160.0, 240.0), 400.0, 40.0),
    }
    return Provenance(**(values | changes))


@pytest.fixture
def source() -> Dataset:
    header = read_image(SAMPLE / "1-12.dcm").header
    assert header is not None
    return header


def test_identity(source: Dataset) -> None:
    derived = derive(source, provenance(), WHEN)
    assert derived.SOPInstanceUID != source.SOPInstanceUID
    assert derived.file_meta.MediaStorageSOPInstanceUID == derived.SOPInstanceUID
    assert derived.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert derived.SeriesInstanceUID != source.SeriesInstanceUID
    assert derived.SeriesNumber == source.SeriesNumber + 1000
    assert derived.SeriesDescription == f"{source.SeriesDescription} ctdenoise 0.5"
    assert (derived.SeriesDate, derived.ContentDate) == ("20300102", "20300102")
    assert derived.InstanceCreationTime == "030405"
    assert derived.ContentQualification == "RESEARCH"


@pytest.mark.parametrize(
    "keyword",
    [
        "StudyInstanceUID",
        "FrameOfReferenceUID",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "InstanceNumber",
        "AcquisitionDate",
        "AcquisitionTime",
        "StudyDate",
        "PatientID",
        "PatientName",
        "RescaleSlope",
        "RescaleIntercept",
        "BitsStored",
        "PixelSpacing",
        "SpecificCharacterSet",
        "PatientIdentityRemoved",
        "DeidentificationMethodCodeSequence",
        "KVP",
        "ConvolutionKernel",
    ],
)
def test_what_stays(source: Dataset, keyword: str) -> None:
    assert derive(source, provenance(), WHEN)[keyword] == source[keyword]


def test_image_type(source: Dataset) -> None:
    derived = derive(source, provenance(), WHEN)
    assert derived.ImageType == ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 SPI"]
    kept = derive(source, provenance(keep_primary=True), WHEN)
    assert kept.ImageType[:2] == ["DERIVED", "PRIMARY"]
    source.ImageType = ["ORIGINAL", "PRIMARY"]
    assert len(derive(source, provenance(), WHEN).ImageType) == 3


def test_derivation(source: Dataset) -> None:
    derived = derive(source, provenance(), WHEN)
    text = derived.DerivationDescription
    for part in (__version__, "lite", "abababab", "0.5", "-160 to 240 HU", "not a medical device"):
        assert part in text
    assert len(text) <= 1024
    (code,) = derived.DerivationCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113087", "DCM")
    (reference,) = derived.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == source.SOPClassUID
    assert reference.SpatialLocationsPreserved == "YES"
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"


def test_equipment(source: Dataset) -> None:
    derived = derive(source, provenance(), WHEN)
    assert (derived.Manufacturer, derived.SoftwareVersions) == ("ctdenoise", __version__)
    scanner, ourselves = derived.ContributingEquipmentSequence
    assert scanner.Manufacturer == "SIEMENS"
    assert scanner.ManufacturerModelName == "Sensation 10"
    assert scanner.PurposeOfReferenceCodeSequence[0].CodeValue == "109101"
    assert ourselves.Manufacturer == "ctdenoise"
    assert ourselves.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"


def test_earlier_contributing_equipment_is_kept(source: Dataset) -> None:
    earlier = Dataset()
    earlier.Manufacturer = "earlier"
    source.ContributingEquipmentSequence = Sequence([earlier])
    derived = derive(source, provenance(), WHEN)
    assert [item.Manufacturer for item in derived.ContributingEquipmentSequence] == [
        "earlier",
        "SIEMENS",
        "ctdenoise",
    ]


def test_stale_attributes_go(source: Dataset) -> None:
    source.SmallestImagePixelValue = 0
    source.LargestImagePixelValue = 1
    source.IconImageSequence = Sequence([Dataset()])
    source.DigitalSignaturesSequence = Sequence([Dataset()])
    derived = derive(source, provenance(), WHEN)
    for keyword in (
        "SmallestImagePixelValue",
        "LargestImagePixelValue",
        "IconImageSequence",
        "DigitalSignaturesSequence",
    ):
        assert keyword not in derived


def test_private_attributes_go_unless_asked_for(source: Dataset) -> None:
    assert any(element.tag.is_private for element in source)
    derived = derive(source, provenance(), WHEN)
    assert not any(element.tag.is_private for element in derived)
    kept = derive(source, provenance(keep_private=True), WHEN)
    assert any(element.tag.is_private for element in kept)


def test_lossy_compression_is_never_denied(source: Dataset) -> None:
    source.LossyImageCompression = "01"
    source.BurnedInAnnotation = "YES"
    derived = derive(source, provenance(), WHEN)
    assert derived.LossyImageCompression == "01"
    assert derived.BurnedInAnnotation == "YES"


@pytest.mark.parametrize("said", [None, "", "00"])
@pytest.mark.parametrize("deidentify", [False, True])
def test_loss_that_the_source_does_not_say_is_said(
    source: Dataset, deidentify: bool, said: str | None
) -> None:
    source.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    if said is not None:
        source.LossyImageCompression = said
    derived = derive(source, provenance(deidentify=deidentify), WHEN)
    assert derived.LossyImageCompression == "01"
    assert derived.LossyImageCompressionMethod == "ISO_10918_1"


@pytest.mark.parametrize("deidentify", [False, True])
def test_source_is_left_as_it_is(source: Dataset, deidentify: bool) -> None:
    before = copy.deepcopy(source)
    derive(source, provenance(deidentify=deidentify), WHEN)
    assert source == before


def test_long_and_missing_descriptions(source: Dataset) -> None:
    source.SeriesDescription = "x" * 64
    derived = derive(source, provenance(), WHEN)
    assert len(derived.SeriesDescription) == 64
    assert derived.SeriesDescription.endswith("ctdenoise 0.5")
    del source.SeriesDescription, source.SeriesNumber
    derived = derive(source, provenance(), WHEN)
    assert (derived.SeriesDescription, derived.SeriesNumber) == ("ctdenoise 0.5", 1000)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"digest": "cd" * 32},
        {"strength": 0.6},
        {"precision": "bf16"},
        {"device": "cuda"},
        {"level": Level(HUWindow(-160.0, 240.0), 400.0, 40.0, stride=2)},
        {"keep_private": True},
    ],
)
def test_another_run_never_reuses_a_uid(change: dict) -> None:
    same = {provenance().derive_uid("1.2.3") for _ in range(3)}
    assert len(same) == 1
    assert provenance(**change).derive_uid("1.2.3") not in same
    assert provenance().derive_uid("1.2.4") not in same
    assert all(uid.is_valid for uid in same)
