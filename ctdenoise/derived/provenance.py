"""What made a derived image, and the UIDs that follow from it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from pydicom.uid import UID

from ctdenoise import __version__
from ctdenoise.hounsfield import Level

NAME = "ctdenoise"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "ctdenoise")


@dataclass(frozen=True)
class Provenance:
    """Everything that decides the pixels of a derived series beside its source.

    Attributes:
        model: name of the model.
        digest: SHA-256 of its weights, hexadecimal.
        strength: 0 to 1.
        precision: number format of the network.
        device: kind of device that it ran on; kinds round differently.
        level: at which the HU met the network.
        keep_primary: keep PRIMARY in the image type.
        keep_private: keep private attributes.
    """

    model: str
    digest: str
    strength: float
    precision: str
    device: str
    level: Level
    keep_primary: bool = False
    keep_private: bool = False

    def description(self) -> str:
        """One line for DICOM's Derivation Description."""
        level = self.level
        return (
            f"Denoised by {NAME} {__version__}, model {self.model} (sha256 {self.digest[:16]}), "
            f"strength {self.strength:g}, {self.precision} on {self.device}, "
            f"window {level.window.lower:g} to {level.window.upper:g} HU, "
            f"{level.unit_width:g} HU a unit about {level.centre:g} HU, "
            f"preserved scale {level.preserved_scale:g} pixels, "
            f"removal limit {level.removal_limit:g}, stride {level.stride}. "
            "For research only: not a medical device."
        )

    def derive_uid(self, source_uid: str) -> UID:
        """A UID that depends on the source and on everything here, and on nothing else."""
        text = f"{__version__} {self.digest} {self} {source_uid}"
        return UID(f"2.25.{uuid.uuid5(_NAMESPACE, text).int}")
