"""Transfer syntaxes and classes, as they come and as the peer takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from ctdenoise.pacs.settings import Peer
from ctdenoise.run import RunSettings
from tests.conftest import Run
from tests.made import make
from tests.pacs.conftest import (
    Archive,
    SmallSeries,
    Start,
    free_port,
    send,
    wait_for,
)

Series = Callable[..., SmallSeries]


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEG2000Lossless],
)
def test_transfer_syntaxes(
    node: Start, archive: Archive, series: Series, syntax: UID, run: Run, tmp_path: Path
) -> None:
    source = series(2)
    assert run(source.folder) == 0
    expected = [pydicom.dcmread(path) for path in sorted((tmp_path / "out").rglob("*.dcm"))]
    encoded = source.datasets
    for dataset, path in zip(encoded, source.files, strict=True):
        if syntax.is_encapsulated:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=True)
    assert send(node(), source.datasets) == [0x0000] * 2
    wait_for(lambda: len(archive.of(source.uid)) == 2)
    for ours, theirs in zip(archive.of(source.uid), expected, strict=True):
        assert ours.SOPInstanceUID == theirs.SOPInstanceUID
        assert ours.PixelData == theirs.PixelData


def test_a_peer_that_knows_implicit_little_endian_only(
    node: Start, series: Series, run: Run, tmp_path: Path
) -> None:
    source = series()
    with Archive(free_port()).listening([ImplicitVRLittleEndian]) as old:
        send(node(forward=Peer("ARCHIVE", "127.0.0.1", old.port)), source.datasets)
        wait_for(lambda: len(old.got) == 3)
        assert run(source.folder) == 0
        derived = sorted((tmp_path / "out").rglob("*.dcm"))
        for ours, path in zip(old.of(source.uid), derived, strict=True):
            assert ours.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
            np.testing.assert_array_equal(ours.pixel_array, pydicom.dcmread(path).pixel_array)


def test_a_peer_that_does_not_know_the_compression(
    node: Start, series: Series, run: Run, tmp_path: Path
) -> None:
    source = series()
    with Archive(free_port()).listening([ExplicitVRLittleEndian]) as old:
        settings = node(
            run_settings=RunSettings(syntax=JPEGLSLossless),
            forward=Peer("ARCHIVE", "127.0.0.1", old.port),
        )
        send(settings, source.datasets)
        wait_for(lambda: len(old.got) == 3)
    assert run(source.folder) == 0
    expected = [pydicom.dcmread(path) for path in sorted((tmp_path / "out").rglob("*.dcm"))]
    for ours, theirs in zip(old.of(source.uid), expected, strict=True):
        assert ours.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        np.testing.assert_array_equal(ours.pixel_array, theirs.pixel_array)


def test_an_enhanced_image(node: Start, archive: Archive, tmp_path: Path, run: Run) -> None:
    source = make("frames", tmp_path / "frames", 3)
    assert run(source) == 0
    (expected,) = (pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm"))
    assert send(node(), [pydicom.dcmread(source)]) == [0x0000]
    wait_for(lambda: archive.got)
    assert archive.got[0].SOPInstanceUID == expected.SOPInstanceUID
    assert archive.got[0].PixelData == expected.PixelData
