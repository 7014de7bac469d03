"""Texts of the engine begin small and end without a stop; the panel shows them as sentences."""

from __future__ import annotations


def capital(text: str) -> str:
    """``text`` with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    return f"{capital(text)}."
