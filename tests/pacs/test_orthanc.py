"""From a real archive to the node and back: auto-routed, derived, viewed."""

from __future__ import annotations

import io
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from ctdenoise.pacs.settings import NodeSettings, Peer
from tests.conftest import Run
from tests.pacs.conftest import SmallSeries, Start, images, is_empty, send, wait_for
from tests.pacs.orthanc import Orthanc, binary, documented_command, running
from tests.pacs.process import NodeProcess, for_a_test

Series = Callable[..., SmallSeries]


def scanner(orthanc: Orthanc) -> NodeSettings:
    """What :func:`send` is to know of an archive that a scanner sends to."""
    peer = Peer("ORTHANC", "127.0.0.1", orthanc.dicom_port)
    return NodeSettings(aet=peer.aet, port=peer.port, forward=peer, spool=Path(), allow=frozenset())


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
        node(forward=scanner(orthanc).forward, allow=frozenset({"ORTHANC"}))
        assert send(scanner(orthanc), source.datasets) == [0x0000] * 4
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


def test_killed_while_the_archive_sends_nothing_is_lost(
    settings: NodeSettings, series: Series, small_model: Path, tmp_path: Path
) -> None:
    binary()
    sources = [dataset for _ in range(3) for dataset in series(20).datasets]
    with running(tmp_path / "orthanc", settings.port) as orthanc:
        replaced = {
            "11112": settings.port,
            "ORTHANC@127.0.0.1:4242": scanner(orthanc).forward,
            "/var/lib/ctdenoise": settings.spool,
        }
        words = documented_command("serve", replaced) + for_a_test(settings, small_model)
        process = NodeProcess(words, tmp_path / "log")
        try:
            process.start()
            sending = threading.Thread(target=send, args=(scanner(orthanc), sources))
            sending.start()
            # In the midst of an association, and while what came first is on its way back.
            wait_for(lambda: len(images(settings.spool)) >= 5)
            process.end(signal.SIGKILL)
            process.start()
            wait_for(lambda: images(settings.spool / "denoised"))
            process.end(signal.SIGKILL)
            process.start()
            sending.join()

            def is_back() -> bool:
                # As somebody does who has read the documentation.
                for job in orthanc.get("/jobs?expand"):
                    if job["State"] == "Failure":
                        orthanc.post(f"/jobs/{job['ID']}/resubmit")
                return orthanc.get("/statistics")["CountInstances"] >= 120

            wait_for(is_back)
            wait_for(lambda: is_empty(settings))
            assert process.end(signal.SIGTERM) == 0
        finally:
            process.close()
        files = [orthanc.get(f"/instances/{name}/file") for name in orthanc.get("/instances")]
    datasets = [pydicom.dcmread(io.BytesIO(file), stop_before_pixels=True) for file in files]
    derived = [dataset for dataset in datasets if dataset.ImageType[0] == "DERIVED"]
    made_from = [d.SourceImageSequence[0].ReferencedSOPInstanceUID for d in derived]
    assert sorted(made_from) == sorted(dataset.SOPInstanceUID for dataset in sources)
