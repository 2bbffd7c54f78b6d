"""Markdown that outside text cannot break."""

from __future__ import annotations

from typing import Any


def cell(text: Any) -> str:
    """Return text that neither breaks a Markdown table nor turns into markup."""
    plain = " ".join(str(text).split())
    for sign in ("\\", "|", "*", "_", "[", "]", "`"):
        plain = plain.replace(sign, "\\" + sign)
    return plain.replace("<", "&lt;").replace(">", "&gt;")
