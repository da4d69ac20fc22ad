"""From a real archive to the node and back: auto-routed, derived, viewed."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from ctdenoise.pacs.settings import NodeSettings, Peer
from tests.conftest import Run
from tests.pacs.conftest import SmallSeries, Start, send, wait_for
from tests.pacs.orthanc import Orthanc, binary, running

Series = Callable[..., SmallSeries]


def series_of(orthanc: Orthanc) -> dict[str, dict]:
    """The series that it has, by their UIDs."""
    found = orthanc.get("/series?expand")
    return {one["MainDicomTags"]["SeriesInstanceUID"]: one for one in found}


def test_routed_derived_and_back(
    node: Start, settings: NodeSettings, series: Series, run: Run, tmp_path: Path
) -> None:
    binary()
    source = series(4, side=256)
    assert run(source.folder) == 0
    expected = [pydicom.dcmread(path) for path in sorted((tmp_path / "out").rglob("*.dcm"))]
    (derived_uid,) = {dataset.SeriesInstanceUID for dataset in expected}
    with running(tmp_path / "orthanc", settings.port) as orthanc:
        peer = Peer("ORTHANC", "127.0.0.1", orthanc.dicom_port)
        node(forward=peer, allow=frozenset({"ORTHANC"}))
        scanner_to_archive = NodeSettings(
            aet="ORTHANC", port=orthanc.dicom_port, forward=peer, spool=Path(), allow=frozenset()
        )
        assert send(scanner_to_archive, source.datasets) == [0x0000] * 4
        wait_for(lambda: len(series_of(orthanc).get(derived_uid, {}).get("Instances", [])) == 4)
        instances = series_of(orthanc)[derived_uid]["Instances"]
        got = [
            pydicom.dcmread(io.BytesIO(orthanc.get(f"/instances/{instance}/file")))
            for instance in instances
        ]
        by_uid = {dataset.SOPInstanceUID: dataset for dataset in got}
        for dataset in expected:
            assert by_uid[dataset.SOPInstanceUID].PixelData == dataset.PixelData
        for instance, dataset in zip(instances, got, strict=True):
            picture = Image.open(io.BytesIO(orthanc.get(f"/instances/{instance}/preview")))
            shown = np.asarray(picture).astype(float)
            assert shown.shape == (256, 256)
            # The picture is the image, stretched to what can be shown.
            assert np.corrcoef(shown.ravel(), dataset.pixel_array.ravel())[0, 1] > 0.95
        # What was derived became stable in the archive by now, and was not routed again.
        wait_for(lambda: series_of(orthanc)[derived_uid]["IsStable"])
        assert set(series_of(orthanc)) == {derived_uid, source.datasets[0].SeriesInstanceUID}
        assert len(orthanc.get("/jobs")) == 1
