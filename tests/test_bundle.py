"""The repository as a MONAI bundle."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import monai.bundle
import numpy as np
import pydicom
import pytest
import torch

from ctdenoise import __version__
from ctdenoise.cli import main
from pipelines.export_bundle import export
from tests.conftest import ROOT

CONFIG = str(ROOT / "configs" / "inference.json")
META = str(ROOT / "configs" / "metadata.json")


def run_bundle(dataset_dir: Path, output_dir: Path, **override: object) -> None:
    monai.bundle.run(
        config_file=CONFIG,
        meta_file=META,
        bundle_root=str(ROOT),
        dataset_dir=str(dataset_dir),
        output_dir=str(output_dir),
        **override,
    )


def test_bundle_gives_what_the_command_gives(
    series_dir: Path, tmp_path: Path, small_model: Path
) -> None:
    run_bundle(series_dir, tmp_path / "bundle", model_name=str(small_model))
    # Another number of threads would round otherwise.
    threads = ["--threads", str(torch.get_num_threads())]
    arguments = ["--input", str(series_dir), "--output", str(tmp_path / "run"), *threads]
    assert main(["run", *arguments, "--model", str(small_model), "--backend", "torch"]) == 0
    names = [p.relative_to(tmp_path / "run") for p in sorted((tmp_path / "run").rglob("*.dcm"))]
    assert len(names) == 3
    for name in names:
        ours, theirs = (pydicom.dcmread(tmp_path / door / name) for door in ("bundle", "run"))
        np.testing.assert_array_equal(ours.pixel_array, theirs.pixel_array)
        assert ours.SOPInstanceUID == theirs.SOPInstanceUID
        assert ours.SeriesInstanceUID == theirs.SeriesInstanceUID


def test_network_has_the_declared_input_and_output(small_model: Path) -> None:
    monai.bundle.verify_net_in_out(
        net_id="network_def", meta_file=META, config_file=CONFIG, device="cpu"
    )


def test_exported_bundle_can_be_scripted(tmp_path: Path) -> None:
    export(tmp_path / "bundle")
    folder = tmp_path / "bundle"
    monai.bundle.ckpt_export(
        net_id="network_def",
        filepath=str(folder / "models" / "model.ts"),
        ckpt_file=str(folder / "models" / "model.pt"),
        meta_file=str(folder / "configs" / "metadata.json"),
        config_file=str(folder / "configs" / "inference.json"),
    )
    scripted = torch.jit.load(folder / "models" / "model.ts")
    from ctdenoise.models.registry import load

    image = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(scripted(image), load("lite").network(image))
    assert (folder / "LICENSE").exists()


def test_metadata_is_current() -> None:
    metadata = json.loads(Path(META).read_text())
    assert metadata["version"] == __version__
    assert __version__ in metadata["changelog"]


def test_metadata_fits_the_schema(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    try:
        monai.bundle.verify_metadata(meta_file=META, filepath=str(schema))
    except (OSError, RuntimeError) as error:
        if schema.exists():
            raise
        pytest.skip(f"MONAI's metadata schema cannot be downloaded: {type(error).__name__}")


def test_wheel_carries_configs_and_weights(tmp_path: Path) -> None:
    """Build from a copy of what git knows, so that nothing lying about gets in."""
    import shutil
    import subprocess
    import sys

    source = tmp_path / "source"
    for name in ("ctdenoise", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    modules = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "ctdenoise").rglob("*")
        if path.suffix in (".py", ".safetensors")
    }
    configs = {f"ctdenoise/configs/{path.name}" for path in (ROOT / "configs").iterdir()}
    assert modules | configs <= packed
    assert wheel.stat().st_size < 25e6
