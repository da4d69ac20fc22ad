"""What happened, counted, in the text format of Prometheus. Nothing of patients in it."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping

_HELP = {
    "received": "objects that were accepted and are safely on disk",
    "received_again": "objects that came once more and were here already",
    "refused": "objects that were refused, by status",
    "associations": "associations that were accepted",
    "associations_rejected": "associations that were rejected, by reason",
    "associations_aborted": "associations that ended without a release",
    "series_denoised": "series that were denoised",
    "slices_denoised": "slices that were denoised",
    "left_out": "objects that are no CT slices to denoise, such as localizers",
    "sent": "derived objects that the peer accepted",
    "series_sent": "derived series that the peer has whole",
    "failures": "tries that failed, by stage",
    "dead": "series that became dead letters",
}
"""Each counter, as ``ctdenoise_NAME_total``, and what it counts."""


class Counters:
    """Counts from several threads."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[tuple[tuple[str, str], ...], int]] = defaultdict(dict)
        self._last_error: tuple[str, str, float] | None = None
        self._lock = threading.Lock()

    def add(self, name: str, count: int = 1, **labels: str) -> None:
        """Count; ``name`` is one of those that have a help text."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            of_name = self._counts[name]
            of_name[key] = of_name.get(key, 0) + count

    def failed(self, stage: str, kind: str) -> None:
        """Count a failure; ``kind`` is a class or a code, never a text that may name somebody."""
        self.add("failures", stage=stage)
        with self._lock:
            self._last_error = (stage, kind, time.time())

    def text(self, gauges: Mapping[str, tuple[str, Mapping[str, float] | float]]) -> str:
        """All counters and the ``gauges``, each a help text and a value, or one for each label."""
        lines: list[str] = []
        with self._lock:
            for name, help_text in _HELP.items():
                lines += _head(f"{name}_total", help_text, "counter")
                counts = self._counts.get(name) or {(): 0}
                lines += [_line(f"{name}_total", dict(key), n) for key, n in counts.items()]
            if self._last_error is not None:
                stage, kind, when = self._last_error
                lines += _head("last_error_timestamp_seconds", "the latest failure", "gauge")
                labels = {"stage": stage, "kind": kind}
                lines.append(_line("last_error_timestamp_seconds", labels, round(when)))
        for name, (help_text, value) in gauges.items():
            lines += _head(name, help_text, "gauge")
            if isinstance(value, Mapping):
                lines += [_line(name, {"stage": label}, v) for label, v in value.items()]
            else:
                lines.append(_line(name, {}, value))
        return "\n".join(lines) + "\n"


def _head(name: str, help_text: str, kind: str) -> list[str]:
    return [f"# HELP ctdenoise_{name} {help_text}", f"# TYPE ctdenoise_{name} {kind}"]


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    said = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"ctdenoise_{name}{{{said}}} {value:.15g}" if said else f"ctdenoise_{name} {value:.15g}"
