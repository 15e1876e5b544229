"""What the System tab shows: plain dictionaries made of telemetry, versions, settings, weights and disk use."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

from app.text import system as text
from app.views.clips import moment
from engine.hardware.environment import environment
from engine.hardware.rocm import torch_build
from engine.hardware.telemetry.readings import TelemetrySnapshot
from engine.jobs.queue import JobQueue
from engine.runs.disk_usage import DiskUse
from engine.workspace import Workspace
from rewards.weights.catalog import DOWNLOADABLE, WEIGHTS, status

PACKAGES = (
    "dailies",
    "torch",
    "diffusers",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "gradio",
    "trackio",
    "plotly",
    "numpy",
)
NUMBERS = ("util_pct", "mem_used_b", "power_w", "temp_c", "clock_mhz")

Table = dict[str, Any]


def telemetry(history: Sequence[TelemetrySnapshot], since: float = 0.0) -> dict[str, Any]:
    """The newest snapshot, and the numbers of those after the moment `since` (Unix time, s), oldest first.

    `whole` tells the browser to replace what it has: its moment is later than the newest one here, so it got that from
    an earlier process, before the system clock was set back.
    """
    last = history[-1]
    whole = since > last.at
    return {
        "at": last.at,
        "note": text.source(last.source, [one.sentence for one in last.skipped if one.state == "error"]),
        "gpus": [asdict(gpu) for gpu in last.gpus],
        "ram_total_b": last.ram_total_b,
        "rows": [_row(one) for one in history if whole or one.at > since],
        "whole": whole,
    }


def _row(one: TelemetrySnapshot) -> dict[str, Any]:
    gpus = {str(gpu.index): [getattr(gpu, name) for name in NUMBERS] for gpu in one.gpus}
    return {"at": one.at, "cpu": one.cpu_pct, "ram": one.ram_used_b, "gpus": gpus}


def table(columns: Sequence[str], rows: Sequence[Table], note: str = "") -> Table:
    return {"columns": list(columns), "rows": list(rows), "note": note}


def row(key: str, *cells: str, action: str = "", really: str = "", state: str = "") -> Table:
    return {"key": key, "cells": list(cells), "action": action, "really": really, "state": state}


def versions() -> Table:
    """Installed packages, without importing them; PyTorch with what it was built for."""
    build = torch_build()
    built = f"ROCm {build.hip}" if build.hip else f"CUDA {build.cuda}" if build.cuda else "CPU only"
    rows = [row(name, name, f"{_version(name)}{f' ({built})' if name == 'torch' else ''}") for name in PACKAGES]
    return table(text.VERSION_COLUMNS, rows)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "-"


def settings(workspace: Workspace) -> Table:
    """The environment that workers and trainers start in, and what the user set that is likely to go wrong."""
    found, build = environment(workspace), torch_build()
    rows = [
        row(one.name, one.name, text.user_set(one.value, one.preset), text.ORIGINS[one.origin], one.reason)
        for one in found.settings
    ]
    note = " ".join(found.warnings) if build.hip else text.no_rocm(build.version, build.cuda)
    return table(text.SETTING_COLUMNS if rows else (), rows, note)


def weights() -> Table:
    """Every network of the rewards, those that are not here first; never asks the network."""
    found = sorted((status(key) for key in WEIGHTS), key=lambda one: one.path is not None)
    rows = [
        row(
            one.weights.key,
            f"{one.weights.title} ({one.weights.key})",
            ", ".join(one.weights.used_by),
            f"{one.weights.size_mb:g} MB",
            one.weights.licence,
            text.WEIGHT_STATES[one.state],
            action=text.DOWNLOAD if one.state == DOWNLOADABLE else "",
            state=one.state,
        )
        for one in found
    ]
    return table(text.WEIGHT_COLUMNS, rows)


def disk_parts(use: DiskUse) -> Table:
    rows = [
        row(one.key, text.PARTS.get(one.key, one.key), text.size(one.size_b), f"{one.num_files:,}")
        for one in use.parts
        if one.size_b
    ]
    return table(text.DISK_COLUMNS, rows, text.whole(use.size_b, use.free_b, use.total_b))


def disk_cleaning(use: DiskUse, note: str = "") -> Table:
    rows = [
        row(
            one.key,
            text.CLEANABLE[one.key],
            text.size(one.size_b),
            f"{one.num_files:,}",
            action=text.CLEAN if one.num_files else "",
            really=text.really(one.size_b),
        )
        for one in use.reclaimable
    ]
    return table(text.CLEAN_COLUMNS, rows, note)


def busy(shown: Table | None, note: str) -> Table:
    """A table while what it shows is changed: nothing of it can be pressed."""
    rows = [{**one, "action": "", "really": ""} for one in (shown or {}).get("rows", [])]
    return {**(shown or table((), [], "")), "rows": rows, "note": note}


def findings(queue: JobQueue) -> Table:
    """What the last "inspect" job found."""
    done = queue.list("done", "inspect", limit=1)
    if not done:
        return table((), [], text.NO_FINDINGS)
    found: Mapping[str, Any] = (done[0].result or {}).get("found", {})
    rows = [row(key, text.CAPTIONS.get(key, key), line) for key, said in found.items() for line in _lines(said)]
    return table(text.FINDING_COLUMNS, rows, moment(done[0].ended_at or done[0].created_at))


def _lines(said: Mapping[str, Any]) -> list[str]:
    """An answer in lines: a device each, or its values one after another."""
    devices = said.get("devices")
    if isinstance(devices, list):
        return [_device(one) for one in devices]
    return ["; ".join(f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in said.items())]


def _device(one: Mapping[str, Any]) -> str:
    parts = [one["device"], one["name"], one["architecture"], f"{one['memory_gib']:.0f} GiB", one["backend"]]
    parts += [f"PyTorch {one['torch_version']}", "bfloat16" if one["bfloat16"] else "no bfloat16"]
    return ", ".join(part for part in parts if part)


def _plain(value: Any) -> str:
    return f"{value:g} ms" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
