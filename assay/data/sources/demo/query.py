"""The query of a demo:// address: known keys with types, ranges and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from assay.errors import InputError, did_you_mean

SCHEME = "demo://"


@dataclass(frozen=True)
class Parameter:
    """One key of a query: its default, whose type it has, and its range."""

    default: int | float
    low: int | float
    high: int | float
    meaning: str


def demo_name(uri: str) -> str:
    """Return the name in ``demo://NAME?...``."""
    return urlsplit(uri).netloc or urlsplit(uri).path.strip("/")


def parse_query(uri: str, parameters: Mapping[str, Parameter]) -> dict[str, int | float]:
    """Read the query of a demo address.

    Args:
        uri: ``demo://NAME?key=value&...``.
        parameters: The keys that exist.

    Returns:
        A value for every key, defaults filled in.

    Raises:
        InputError: An unknown or repeated key, or a value that is no number or out of range.
    """
    values = {key: parameter.default for key, parameter in parameters.items()}
    seen: set[str] = set()
    for key, text in parse_qsl(urlsplit(uri).query, keep_blank_values=True):
        if key not in parameters:
            hint = did_you_mean(key, parameters, count=1) or f" Known: {', '.join(parameters)}."
            raise InputError(f"{uri}: unknown key '{key}'.{hint}")
        if key in seen:
            raise InputError(f"{uri}: '{key}' is given twice. Keep one.")
        seen.add(key)
        parameter = parameters[key]
        try:
            value = type(parameter.default)(text)
        except ValueError:
            value = None
        if value is None or not parameter.low <= value <= parameter.high:
            kind = "a whole number" if isinstance(parameter.default, int) else "a number"
            raise InputError(
                f"{uri}: '{key}' ({parameter.meaning}) must be {kind} from {parameter.low} to {parameter.high}. "
                f"Received: {text!r}"
            )
        values[key] = value
    return values


def canonical(name: str, values: Mapping[str, int | float]) -> str:
    """Return the address with every key written out, in order."""
    return f"{SCHEME}{name}?{urlencode(values)}"
