"""Checks of the fields of a manifest, before anything shows or uses them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["wrong_field"]

_VERSION = re.compile(r"[\w.+!-]{1,64}")
_ENCODER = {"name", "class", "checkpoint", "revision", "crop", "fingerprint"}


def wrong_field(manifest: Mapping[str, Any]) -> str | None:
    """Return the first field that is missing or invalid, or None."""
    for name, (is_needed, is_well) in _FIELDS.items():
        if name not in manifest:
            if is_needed:
                return name
        elif not is_well(manifest[name]):
            return name
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_version(value: Any) -> bool:
    return isinstance(value, str) and bool(_VERSION.fullmatch(value))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_mapping_to(is_well: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(is_well, value.values()))


def _is_encoders(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(entry, dict)
        and set(entry) == _ENCODER
        and all(field is None or _is_text(field) for field in entry.values())
        for entry in value
    )


def _is_scores(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_number, value)))


def _is_card(value: Any) -> bool:
    if not isinstance(value, dict) or not _are_numbers(value.get("metrics")):
        return False
    return all(_is_text(text) for name, text in value.items() if name != "metrics")


_are_numbers = _is_mapping_to(_is_number)
_FIELDS: dict[str, tuple[bool, Callable[[Any], bool]]] = {
    "sha256": (True, _is_mapping_to(_is_text)),
    "versions": (
        True,
        _is_mapping_to(_is_version),
    ),
    "encoders": (True, _is_encoders),
    "columns": (False, _is_texts),
    "families": (False, _is_texts),
    "first_level": (False, _is_texts),
    "n_pairs": (False, lambda value: type(value) is int and value >= 0),
    "card": (True, _is_card),
    "needs_trust": (True, _is_texts),
    "scores": (True, _is_scores),
}
