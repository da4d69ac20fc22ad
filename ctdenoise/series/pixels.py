"""Stored values and Hounsfield units of a DICOM file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from ctdenoise.errors import CTDenoiseError, DamagedError
from ctdenoise.file_names import named
from ctdenoise.series.decoding import Words, decode, embedded_overlays
from ctdenoise.series.frames import rescale
from ctdenoise.series.layout import Layout, checked_layout
from ctdenoise.series.lut import check_domain, has_lut, replace_lut
from ctdenoise.series.model import SourceImage, spread
from ctdenoise.series.opening import (
    decode_elements,
    read_with_pixels,
    transfer_syntax,
    without_warnings,
)
from ctdenoise.series.padding import is_padding, settle_padding
from ctdenoise.series.representation import as_values, first_guess, is_contradicted, value_range

_SIGN_SAMPLE = 3
"""Frames of a file of many that tell whether their values are signed."""


def read_image(path: Path) -> SourceImage:
    """Header and pixels of a CT file; the rescale is read, never assumed.

    Raises:
        CTDenoiseError: the file is gone, cut short, or compressed in a way that no installed
            decoder knows.
    """
    return SourceImage.join(list(read_frames(path)))


def read_frames(path: Path, frames: Sequence[int] | None = None) -> Iterator[SourceImage]:
    """The frames of a CT file one by one, all of them or those asked for, in order.

    No more than some are in memory at a time, but for a deflated file. They share one header,
    which says what they are: a wrong Pixel Representation is put right in it, and a Modality LUT
    is replaced by the rescale that it stands for.

    Raises:
        CTDenoiseError: as :func:`read_image`, when the frame concerned is reached.
    """
    with _in_one_line(path):
        header, pixels = read_with_pixels(path)
        notes = decode_elements(header)
        layout = checked_layout(header, transfer_syntax(header), path.stat().st_size)
        if rescale(header, 0) is None:
            raise DamagedError("it has no Rescale Slope and Intercept")
    count = layout.frames
    wanted = list(range(count) if frames is None else frames)
    if any(frame not in range(count) for frame in wanted):
        raise CTDenoiseError(f"{named(path)}: it has only {count} frames")
    decoded = decode(path, header, pixels, layout, None if frames is None else wanted)
    held: list[Words] = []
    try:
        with _in_one_line(path):
            with _decoding(header):
                if len(wanted) <= _SIGN_SAMPLE:
                    held = list(decoded)
                    sample = held
                else:
                    places = [wanted[place] for place in spread(len(wanted), _SIGN_SAMPLE)]
                    sample = list(decode(path, header, pixels, layout, places))
            signed = _is_signed(sample, header, layout)
            notes += _settle(header, layout, signed=signed)
            domain = replace_lut(header) if has_lut(header) else None
            slope, intercept = _scales(header, count)
        del sample
        words_of = _popped(held) if held else decoded
        for frame in wanted:
            with _in_one_line(path):
                with _decoding(header):
                    words = next(words_of, None)
                if words is None:
                    raise DamagedError(f"it holds {frame} of {count} frames")
                if is_contradicted(words, header, layout, signed=signed):
                    raise DamagedError("some of its frames are signed and others are not")
                stored = as_values(words, layout, signed=signed)
                padding = is_padding(header, stored)
                if domain is not None:
                    check_domain(domain, stored[~padding])
            place = slice(frame, frame + 1)
            yield SourceImage(
                header, stored[None], slope[place], intercept[place], padding[None], frame, notes
            )
    finally:
        decoded.close()


def _scales(header: Dataset, count: int) -> NDArray[np.float64]:
    """Slopes and intercepts (2, F) of all frames."""
    has_groups = bool(header.get("PerFrameFunctionalGroupsSequence"))
    found = [rescale(header, frame) for frame in range(count if has_groups else 1)]
    if any(scale is None for scale in found):
        raise DamagedError("a frame has no Rescale Slope and Intercept")
    scales = np.array(found, dtype=np.float64).T
    return scales if has_groups else np.broadcast_to(scales, (2, count))


def stored_range(header: Dataset) -> tuple[int, int]:
    """Lowest and highest value that the stored pixels can hold."""
    return value_range(int(header.BitsStored), signed=header.PixelRepresentation == 1)


def _popped(words: list[Words]) -> Iterator[Words]:
    while words:
        yield words.pop(0)


def _is_signed(sample: Sequence[Words], header: Dataset, layout: Layout) -> bool:
    """Whether the values are signed: as is said, unless the pixels show that it is not true."""
    guess = first_guess(sample[0], layout) if sample else layout.signed
    wrong = any(is_contradicted(words, header, layout, signed=guess) for words in sample)
    return guess != wrong


def _settle(header: Dataset, layout: Layout, *, signed: bool) -> tuple[str, ...]:
    """Make a header say what its values are, as they are given; returns what it did not say."""
    notes = []
    if signed != layout.signed:
        kind = "signed" if signed else "unsigned"
        notes.append(f"pixels are {kind}, other than their Pixel Representation says: taken so")
    header.PixelRepresentation = int(signed)
    settle_padding(header)
    header.HighBit = layout.stored - 1
    for group in embedded_overlays(header):
        notes.append("an overlay within the pixels' words was left out")
        for tag in [tag for tag in list(header.keys()) if tag.group == group]:
            del header[tag]
    return tuple(notes)


@contextmanager
def _decoding(header: Dataset) -> Iterator[None]:
    """What a decoder says in a line, with the transfer syntax."""
    try:
        yield
    except (DamagedError, OSError):
        raise
    except Exception as error:  # decoders fail in many ways, and all mean the same here
        reason = " ".join(str(error).split())[:200]
        said = f"pixels cannot be decoded ({transfer_syntax(header).name}): {reason}"
        raise DamagedError(said) from None


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """Whatever goes wrong in reading a file, as one line with its name."""
    try:
        with without_warnings():
            yield
    except OSError as error:
        why = error.strerror or "cut short or damaged"
        raise CTDenoiseError(f"{named(path)}: cannot be read: {why}") from None
    except DamagedError as error:
        raise CTDenoiseError(f"{named(path)}: {error}") from None
    except Exception as error:  # pydicom meets broken files with errors of many kinds
        raise CTDenoiseError(f"{named(path)}: damaged ({type(error).__name__})") from None
