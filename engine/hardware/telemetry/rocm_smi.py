"""`rocm-smi`, where there is neither `amd-smi` nor sysfs: {"card0": {...}} texts only, keys vary by version.

It is no longer part of ROCm from 10 on.
"""

import re
from collections.abc import Mapping
from typing import Any

from engine.hardware.telemetry.amd_smi import number
from engine.hardware.telemetry.command_json import ToolFailed, ask, find_tool, first_json
from engine.hardware.telemetry.readings import GpuReading, GpuSample

SOURCE = "rocm-smi"
OPTIONS = ("--showuse", "--showmeminfo", "vram", "--showtemp", "--showpower", "--showproductname", "--json")
CARD = re.compile(r"card(\d+)")


def read_rocm_smi() -> GpuReading:
    tool = find_tool(SOURCE)
    if tool is None:
        return GpuReading(source=SOURCE, state="absent", sentence="rocm-smi is not installed.")
    try:
        found = first_json(ask([tool, *OPTIONS]))
    except ToolFailed as error:
        return GpuReading(source=SOURCE, state="error", sentence=f"rocm-smi {error}.")
    cards = [(int(match[1]), card) for name, card in _items(found) if (match := CARD.fullmatch(name))]
    if not cards:
        return GpuReading(source=SOURCE, state="error", sentence="rocm-smi printed JSON that names no card.")
    return GpuReading(source=SOURCE, state="ok", gpus=tuple(_gpu(index, card) for index, card in sorted(cards)))


def _items(found: Any) -> list[tuple[str, Mapping[str, Any]]]:
    items = found.items() if isinstance(found, Mapping) else ()
    return [(str(name), card) for name, card in items if isinstance(card, Mapping)]


def _gpu(index: int, card: Mapping[str, Any]) -> GpuSample:
    facts = {key.lower(): value for key, value in card.items()}
    total, used = (number(facts.get(f"vram total {what}memory (b)")) for what in ("", "used "))
    return GpuSample(
        index=index,
        vendor="amd",
        name=_words(facts, "card series", "card model", "device name"),
        arch=_words(facts, "gfx version"),
        util_pct=number(facts.get("gpu use (%)")),
        mem_used_b=None if used is None else int(used),
        mem_total_b=None if total is None else int(total),
        power_w=_number(facts, "current socket graphics package power (w)", "average graphics package power (w)"),
        temp_c=_number(facts, "temperature (sensor junction) (c)", "temperature (sensor edge) (c)"),
    )


def _number(facts: Mapping[str, Any], *names: str) -> float | None:
    return next((found for name in names if (found := number(facts.get(name))) is not None), None)


def _words(facts: Mapping[str, Any], *names: str) -> str | None:
    return next((str(facts[name]) for name in names if facts.get(name) not in (None, "", "N/A")), None)
