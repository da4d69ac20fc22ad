"""Classical methods have a setting; it is chosen on images that are not judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from ctdenoise.evaluation.images import Reference
from ctdenoise.evaluation.methods import Method
from ctdenoise.evaluation.noises import AS_IS, Noise
from ctdenoise.evaluation.parallel import in_parallel
from ctdenoise.evaluation.subjects import noisy_image
from ctdenoise.hounsfield import tissue_masks
from ctdenoise.progress import Progress

Settings = Mapping[tuple[str, str, str], float]
"""By method, kind of image and noise."""


def setting_of(settings: Settings, method: Method, kind: str, noise: Noise) -> float:
    """The tuned setting, or the middle one of those that are worth trying."""
    return settings.get((method.name, kind, str(noise)), method.settings[len(method.settings) // 2])


def tune(
    methods: Sequence[Method],
    validation: Sequence[Reference],
    noises: Sequence[Noise],
    seed: int,
    progress: Progress,
    threads: int,
    known: Settings,
) -> Settings:
    """The best setting of each method for each kind of image and noise, where it is not ``known``.

    ``as-is`` has no truth to tune by: its settings are the middle ones.
    """
    tunable = [method for method in methods if len(method.settings) > 1]
    jobs = []
    for noise, reference in product(noises, validation):
        of = [m for m in tunable if (m.name, reference.kind, str(noise)) not in known]
        if of and noise.name != AS_IS:
            jobs.append((reference, noise, seed, of))
    if not jobs:
        return known
    errors: dict[tuple[str, str, str], list[list[float]]] = {}
    for made in in_parallel("tuning", _errors, jobs, progress, threads):
        for key, found in made.items():
            errors.setdefault(key, []).append(found)
    by_name = {method.name: method for method in tunable}
    return dict(known) | {
        key: by_name[key[0]].settings[int(np.argmin(np.mean(found, axis=0)))]
        for key, found in errors.items()
    }


def _errors(
    reference: Reference, noise: Noise, seed: int, methods: Sequence[Method]
) -> dict[tuple[str, str, str], list[float]]:
    """Mean squared error of each setting, by method, kind and noise.

    Of CT it is in soft tissue, of a photograph over all pixels.
    """
    try:
        image, padding, seen = noisy_image(reference, noise, seed)
    except Exception:  # it tunes nothing, and is a gap where it is judged
        return {}
    mask = np.ones(image.shape, dtype=np.bool_)
    if reference.kind == "ct":
        soft = tissue_masks(image, padding)["fat_and_soft_tissue"]
        mask = soft if soft.any() else ~padding
    scale = float(np.mean((seen.noisy - image)[mask] ** 2)) or 1.0

    def error(method: Method, setting: float) -> float:
        try:
            found = float(np.mean((method.function(seen, setting) - image)[mask] ** 2)) / scale
        except Exception:  # as above
            return float("inf")
        return found if np.isfinite(found) else float("inf")

    kind, said = reference.kind, str(noise)
    return {(m.name, kind, said): [error(m, s) for s in m.settings] for m in methods}
