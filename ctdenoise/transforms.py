"""The steps of :mod:`ctdenoise.run` as MONAI dictionary transforms, for the bundle.

They call the same functions, so that a bundle gives what the command line gives.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ctdenoise.derived.provenance import Provenance
from ctdenoise.derived.writers import file_name, write_derived
from ctdenoise.hounsfield import HUWindow
from ctdenoise.level import Level, Seen
from ctdenoise.models.files import LoadedModel
from ctdenoise.run import series_folder, series_level
from ctdenoise.series import find
from ctdenoise.series.pixels import read_image

Item = dict[Hashable, Any]


def dicom_items(
    dataset_dir: str,
    output_dir: str,
    model: LoadedModel,
    window: tuple[float, float] | None = None,
) -> list[Item]:
    """One item for each file of each CT series in a folder, in order of position.

    Args:
        dataset_dir: folder of DICOM files.
        output_dir: folder that is not searched.
        model: its card says at which level the series' noise should meet the network.
        window: HU that become [0, 1]; None matches the noise.

    Returns:
        ``image``, the file; ``level``, lower, upper, unit width and centre in HU, the
        preserved scale in pixels, the removal limit, the stride, and whether it is local;
        ``output``, the path of the derived file below the output folder.

    Raises:
        CTDenoiseError: the folder does not exist, or a series cannot be read at all.
    """
    items: list[Item] = []
    for series in find(Path(dataset_dir), without=Path(output_dir)).series:
        if series.kind != "dicom":
            continue
        level = series_level(series, model.card, HUWindow(*window) if window else None)
        for place, instance in enumerate(series.instances):
            items.append(
                {
                    "image": str(instance.path),
                    "level": _to_numbers(level),
                    "output": f"{series_folder(series)}/{file_name(place)}",
                }
            )
    return items


class LoadHUd(MapTransform):
    """Replace the path of a DICOM file by its HU, float64 (F, H, W).

    Adds ``source``, the path, and ``padding``, the pixels that are no image.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        item = dict(data)
        for key in self.key_iterator(item):
            item["source"] = item[key]
            image = read_image(Path(item[key]))
            item[key] = torch.from_numpy(image.hu)
            item["padding"] = torch.from_numpy(image.padding)
        return item


class HUToNetworkd(MapTransform):
    """HU to the network's range at the item's level.

    Adds ``hu``, what it was, and ``unit``, the HU that are one unit at each pixel.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        item = dict(data)
        level = _to_level(item["level"])
        for key in self.key_iterator(item):
            item["hu"] = item[key]
            seen = level.to_network(item[key].numpy(), item["padding"].numpy())
            item["unit"] = torch.from_numpy(seen.unit)
            item[key] = torch.from_numpy(seen.images)
        return item


class NetworkToHUd(MapTransform):
    """What the network gave for ``image`` back to HU, float64 (F, H, W).

    Args:
        keys: of the network's result.
        strength: 0 changes nothing, 1 is full.
    """

    def __init__(self, keys: KeysCollection, strength: float = 1.0) -> None:
        super().__init__(keys)
        self.strength = strength

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        item = dict(data)
        level = _to_level(item["level"])
        for key in self.key_iterator(item):
            hu, padding = _array(item["hu"]), _array(item["padding"])
            seen = Seen(_array(item["image"]), _array(item["unit"]))
            denoised = _array(item[key])
            item[key] = level.from_network(hu, padding, seen, denoised, self.strength)
        return item


class SaveDerivedDICOMd(MapTransform):
    """Write HU as the DICOM file derived from the item's source.

    Args:
        keys: of the HU, (F, H, W).
        output_dir: folder for the series' folders.
        model: what denoised.
        device: where it ran.
        strength: what :class:`NetworkToHUd` was given.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str,
        model: LoadedModel,
        device: torch.device,
        strength: float = 1.0,
    ) -> None:
        super().__init__(keys)
        self.output_dir = Path(output_dir)
        self.model = model
        self.device = device
        self.strength = strength
        self.when = datetime.now()

    def __call__(self, data: Mapping[Hashable, Any]) -> Item:
        item = dict(data)
        provenance = Provenance(
            model=self.model.card.name,
            digest=self.model.digest,
            strength=self.strength,
            precision="fp32",
            backend="torch",
            device=self.device.type,
            level=_to_level(item["level"]),
        )
        for key in self.key_iterator(item):
            path = self.output_dir / item["output"]
            path.parent.mkdir(parents=True, exist_ok=True)
            write_derived(path, read_image(Path(item["source"])), item[key], provenance, self.when)
        return item


def _array(value: Any) -> np.ndarray[Any, Any]:
    return np.asarray(value.cpu() if isinstance(value, torch.Tensor) else value)


def _to_numbers(level: Level) -> list[float]:
    window = level.window
    return [
        window.lower,
        window.upper,
        level.unit_width,
        level.centre,
        level.preserved_scale,
        level.removal_limit,
        level.stride,
        level.local,
    ]


def _to_level(numbers: Any) -> Level:
    lower, upper, unit_width, centre, preserved, limit, stride, local = map(float, numbers)
    window = HUWindow(lower, upper)
    return Level(window, unit_width, centre, preserved, limit, int(stride), bool(local))
