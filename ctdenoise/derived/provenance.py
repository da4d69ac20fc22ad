"""What made a derived image, and the UIDs that follow from it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from pydicom.uid import UID

from ctdenoise import __version__
from ctdenoise.level import Level
from ctdenoise.series.dicom import CONTRIBUTION

if TYPE_CHECKING:
    from ctdenoise.noise.low_dose import Scan

NAME = "ctdenoise"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "ctdenoise")


class Derivation(Protocol):
    """What was done to a series."""

    @property
    def keep_primary(self) -> bool:
        """Keep PRIMARY in the image type."""

    @property
    def keep_private(self) -> bool:
        """Keep private attributes."""

    @property
    def deidentify(self) -> bool:
        """Remove what may tell who the patient is."""

    @property
    def label(self) -> str:
        """What the series' description gets at its end."""

    @property
    def contribution(self) -> str:
        """What the equipment of the derivation did, for DICOM's Contribution Description."""

    @property
    def code(self) -> tuple[str, str]:
        """Value and meaning of DICOM's code for it, from its context group 7203."""

    def description(self) -> str:
        """One line for DICOM's Derivation Description."""

    def derive_uid(self, source_uid: str) -> UID:
        """A UID that depends on the source and on the derivation, and on nothing else."""


@dataclass(frozen=True)
class Provenance:
    """Everything that decides the pixels of a derived series beside its source.

    Attributes:
        model: name of the model.
        digest: SHA-256 of its weights, hexadecimal.
        strength: 0 to 1.
        precision: number format of the network.
        backend: what computed it.
        device: kind of device that it ran on; kinds round differently.
        level: at which the HU met the network.
        keep_primary: keep PRIMARY in the image type.
        keep_private: keep private attributes.
        deidentify: remove what may tell who the patient is.
    """

    model: str
    digest: str
    strength: float
    precision: str
    backend: str
    device: str
    level: Level
    keep_primary: bool = False
    keep_private: bool = False
    deidentify: bool = False
    contribution: ClassVar[str] = CONTRIBUTION
    code: ClassVar[tuple[str, str]] = ("113087", "Smoothing")

    @property
    def label(self) -> str:
        return f"{NAME} {self.strength:g}"

    def description(self) -> str:
        level = self.level
        return (
            f"Denoised by {NAME} {__version__}, model {self.model} (sha256 {self.digest[:16]}), "
            f"strength {self.strength:g}, {self.precision}, {self.backend} on {self.device}, "
            f"window {level.window.lower:g} to {level.window.upper:g} HU, "
            f"{level.unit_width:g} HU a unit about {level.centre:g} HU, "
            f"preserved scale {level.preserved_scale:g} pixels, "
            f"removal limit {level.removal_limit:g}, stride {level.stride}"
            f"{', at the local noise' if level.local else ''}. "
            "For research only: not a medical device."
        )

    def derive_uid(self, source_uid: str) -> UID:
        return _derived_uid(f"{self.digest} {self}", source_uid)


@dataclass(frozen=True)
class SimulatedDose:
    """Noise that was put in so that a series looks like one of a lower dose.

    Attributes:
        dose: fraction of the source's dose.
        scan: the scan that stands for the real one.
        seed: of the noise.
        keep_primary: keep PRIMARY in the image type.
        keep_private: keep private attributes.
    """

    dose: float
    scan: Scan
    seed: int
    keep_primary: bool = False
    keep_private: bool = False
    deidentify: ClassVar[bool] = False
    contribution: ClassVar[str] = "Simulation of a lower dose"
    code: ClassVar[tuple[str, str]] = ("113042", "Pixel by pixel addition")

    @property
    def label(self) -> str:
        return f"{NAME} dose {self.dose:g}"

    def description(self) -> str:
        scan = self.scan
        return (
            f"Noise added by {NAME} {__version__} to simulate {self.dose:g} of the dose: "
            f"{scan.photons:.4g} photons a ray, electronic noise {scan.electronic_noise:g} counts, "
            f"{scan.kev:g} keV, {scan.views} views, kernel {scan.kernel}, seed {self.seed}. "
            "Simulated, for research only."
        )

    def derive_uid(self, source_uid: str) -> UID:
        return _derived_uid(str(self), source_uid)


def _derived_uid(what: str, source_uid: str) -> UID:
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, f'{__version__} {what} {source_uid}').int}")
