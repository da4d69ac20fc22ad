"""Write a MONAI bundle that stands alone: licence, configs, and the weights as ``model.pt``.

    python -m pipelines.export_bundle DIR [--model NAME|FILE]

The repository is a bundle itself; this adds what ``monai.bundle ckpt_export`` and the bundle
format ask for, a checkpoint at ``models/model.pt``.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch

from ctdenoise.models.registry import load

ROOT = Path(__file__).resolve().parents[1]


def export(folder: Path, model: str = "lite") -> None:
    """Write the bundle to ``folder``, which must not exist."""
    network = load(model).network
    shutil.copytree(ROOT / "configs", folder / "configs")
    shutil.copy(ROOT / "LICENSE", folder)
    (folder / "models").mkdir()
    torch.save(network.state_dict(), folder / "models" / "model.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a MONAI bundle that stands alone.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="lite")
    options = parser.parse_args()
    export(options.folder, options.model)


if __name__ == "__main__":
    main()
