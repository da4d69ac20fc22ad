"""Images of a report, each stored in the page once."""

from __future__ import annotations

import base64
import html
import io
import json

import numpy as np
from PIL import Image

from ctdenoise.hounsfield import HU, HUWindow

SCRIPT = """
document.querySelectorAll('img[data-i]').forEach(e=>{e.src='data:image/webp;base64,'+P[e.dataset.i]});
document.querySelectorAll('.slide').forEach(s=>s.addEventListener('input',()=>{
s.parentNode.querySelector('.after').style.clipPath='inset(0 0 0 '+s.value+'%)'}))
"""
"""Puts the images in their places, and lets a slider part before and after."""


class Pictures:
    """The images of a page; one that is shown twice is stored once."""

    def __init__(self) -> None:
        self._stored: dict[str, int] = {}

    def image(self, pixels: HU, window: HUWindow, text: str, *, after: bool = False) -> str:
        """An image (H, W) in a window, gray, without loss."""
        gray = (np.clip(window.to_unit(pixels), 0.0, 1.0) * 255.0).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(gray).save(buffer, "WEBP", lossless=True, quality=60)
        data = base64.b64encode(buffer.getvalue()).decode()
        number = self._stored.setdefault(data, len(self._stored))
        kind = " class='after'" if after else ""
        return f"<img{kind} data-i='{number}' alt='{html.escape(text, quote=True)}'>"

    def figure(self, pixels: HU, window: HUWindow, text: str) -> str:
        """An image with its caption."""
        shown = self.image(pixels, window, text)
        return f"<figure>{shown}<figcaption>{html.escape(text)}</figcaption></figure>"

    def before_after(self, before: HU, after: HU, window: HUWindow, text: str) -> str:
        """Two images with a slider between them."""
        return (
            f"<figure><div class='both'>{self.image(before, window, 'noisy')}"
            f"{self.image(after, window, text, after=True)}</div>"
            "<input class='slide' type='range' value='50' aria-label='noisy or denoised'>"
            f"<figcaption>noisy | {html.escape(text)}</figcaption></figure>"
        )

    def script(self) -> str:
        """What the page ends with."""
        return f"<script>const P={json.dumps(list(self._stored))};{SCRIPT}</script>"
