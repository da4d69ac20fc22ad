"""Models by name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ctdenoise.errors import CTDenoiseError
from ctdenoise.models.files import LoadedModel, load_model

EMBEDDED = ("lite",)
CLIP_RN50 = "clip-rn50"
DOWNLOADABLE = ("openai", "yfcc15m", "cc12m")


@dataclass(frozen=True)
class ModelSummary:
    """A line of ``ctdenoise models``."""

    name: str
    size: str
    origin: str
    licence: str
    training_noise: str


def load(
    model: str, *, clip_weights: str | None = None, decoder: Path | None = None
) -> LoadedModel:
    """Load a model by name or by file.

    Args:
        model: ``lite``, ``clip-rn50``, or the path of a weights file.
        clip_weights: for ``clip-rn50``: a file, or the name of weights that open_clip may
            download: ``openai``, ``yfcc15m`` or ``cc12m``.
        decoder: for ``clip-rn50``: a file with the decoder's weights.

    Raises:
        CTDenoiseError: there is no such model, or its files do not fit.
    """
    if model == CLIP_RN50:
        if not clip_weights or decoder is None:
            raise CTDenoiseError(
                f"{CLIP_RN50} needs --clip-weights FILE (or one of {', '.join(DOWNLOADABLE)}, "
                "to download) and --decoder FILE"
            )
        return load_model(decoder, clip_file(clip_weights))
    if clip_weights or decoder is not None:
        raise CTDenoiseError(f"--clip-weights and --decoder go with --model {CLIP_RN50} only")
    if model in EMBEDDED:
        return load_model(_verified(embedded_path(model)))
    if not Path(model).is_file():
        raise CTDenoiseError(
            f"{model}: no such model or file; models are {', '.join((*EMBEDDED, CLIP_RN50))}"
        )
    return load_model(Path(model))


def summaries() -> list[ModelSummary]:
    """The models that have a name."""
    found = []
    for name in EMBEDDED:
        model = load(name)
        size = embedded_path(name).stat().st_size / 1e6
        found.append(
            ModelSummary(
                name=name,
                size=f"{size:.0f} MB, embedded",
                origin=model.card.training_data,
                licence=model.card.licence,
                training_noise=model.card.training_noise,
            )
        )
    found.append(
        ModelSummary(
            name=CLIP_RN50,
            size="bring the files",
            origin="OpenAI's CLIP RN50 with a decoder of yours (--clip-weights, --decoder)",
            licence="CLIP: MIT; decoder: its own",
            training_noise="the decoder's",
        )
    )
    return found


def embedded_path(name: str) -> Path:
    return Path(str(resources.files("ctdenoise") / "weights" / f"{name}.safetensors"))


def _verified(path: Path) -> Path:
    """An embedded file, if it is what its digest beside it says.

    Raises:
        CTDenoiseError: it is not, or not there.
    """
    try:
        sums = path.with_name("SHA256SUMS").read_text("ascii").split()
        known = dict(zip(sums[1::2], sums[::2], strict=True))
        whole = known[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, KeyError, ValueError):
        whole = False
    if not whole:
        raise CTDenoiseError(f"{path.stem}: the embedded weights are damaged; install again")
    return path


def clip_file(clip_weights: str) -> Path:
    """A file as it is; a known name through open_clip, which downloads and caches it."""
    if Path(clip_weights).is_file():
        return Path(clip_weights)
    if clip_weights not in DOWNLOADABLE:
        raise CTDenoiseError(
            f"{clip_weights}: no such weights file; to download: {', '.join(DOWNLOADABLE)}"
        )
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg

    try:
        return Path(download_pretrained(get_pretrained_cfg("RN50", clip_weights)))
    except Exception as error:  # each way of being offline has an error of its own
        raise CTDenoiseError(
            f"CLIP RN50 {clip_weights}: download failed ({type(error).__name__}); fetch the file "
            "by hand and pass it to --clip-weights"
        ) from None
