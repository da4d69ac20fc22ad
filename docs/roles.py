"""For mkdocs: roles of docstrings, such as a :class: before a name, become the name alone."""

from __future__ import annotations

import re
from typing import Any

_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):<code>~?(?:[\w.]+\.)?([\w.]+)</code>")


def on_page_content(html: str, **_: Any) -> str:
    """The page, with the last part of each name."""
    return _ROLE.sub(r"<code>\1</code>", html)
