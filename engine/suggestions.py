"""Sentences that explain invalid values."""

from collections.abc import Iterable

from pydantic import ValidationError

from rewards.errors import did_you_mean


def validation_message(error: ValidationError, where: str, fields: Iterable[str]) -> str:
    """Return one sentence about the first error in `where`: the field, its value and the requirement."""
    first = error.errors(include_url=False, include_context=True)[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden" and len(path) == 1:
        return f"Unknown key '{path[0]}' in {where}. {did_you_mean(path[0], fields)}".rstrip()
    name = ".".join(path)
    if first["type"] == "missing":
        return f"{where} lacks '{name}': add it."
    if not name:
        return f"{where}: {first['msg'].removeprefix('Value error, ')}."
    got = repr(first["input"])
    shown = got if len(got) <= 60 else f"{got[:57]}... ({len(got)} characters)"
    return f"{where}: {name} = {shown} is invalid: {first['msg'][:1].lower()}{first['msg'][1:]}."
