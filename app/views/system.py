"""Values of the System tab: telemetry, versions, environment, weights and disk use."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from typing import Any

from app.text import system as text
from app.text.numbers import size
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
    """Return the newest snapshot, and the numbers after `since` (Unix time, s), oldest first.

    With `whole`, the browser must replace its data: `since` is later than the newest snapshot, so it comes from an
    earlier process, before the system clock was set back.
    """
    last = history[-1]
    whole = since > last.at
    return {
        "at": last.at,
        "note": text.source(last.source, [snapshot.sentence for snapshot in last.skipped if snapshot.state == "error"]),
        "gpus": [asdict(gpu) for gpu in last.gpus],
        "ram_total_b": last.ram_total_b,
        "rows": [_row(snapshot) for snapshot in history if whole or snapshot.at > since],
        "whole": whole,
    }


def _row(snapshot: TelemetrySnapshot) -> dict[str, Any]:
    gpus = {str(gpu.index): [getattr(gpu, name) for name in NUMBERS] for gpu in snapshot.gpus}
    return {"at": snapshot.at, "cpu": snapshot.cpu_pct, "ram": snapshot.ram_used_b, "gpus": gpus}


def table(columns: Sequence[str], rows: Sequence[Table], note: str = "") -> Table:
    return {"columns": list(columns), "rows": list(rows), "note": note}


def row(key: str, *cells: str, action: str = "", really: str = "", state: str = "") -> Table:
    return {"key": key, "cells": list(cells), "action": action, "really": really, "state": state}


def versions() -> Table:
    """Return the versions of installed packages, without importing them, and the platform of PyTorch."""
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
    """Return the environment of workers and trainers, with warnings about the user's own settings."""
    env, build = environment(workspace), torch_build()
    rows = [
        row(
            variable.name,
            variable.name,
            text.user_set(variable.value, variable.preset),
            text.ORIGINS[variable.origin],
            variable.reason,
        )
        for variable in env.settings
    ]
    note = " ".join(env.warnings) if build.hip else text.no_rocm(build.version, build.cuda)
    return table(text.SETTING_COLUMNS if rows else (), rows, note)


def weights() -> Table:
    """Return the weights of all reward networks, missing ones first; makes no network request."""
    networks = sorted((status(key) for key in WEIGHTS), key=lambda network: network.path is not None)
    rows = [
        row(
            network.weights.key,
            f"{network.weights.title} ({network.weights.key})",
            ", ".join(network.weights.used_by),
            f"{network.weights.size_mb:g} MB",
            network.weights.licence,
            text.WEIGHT_STATES[network.state],
            action=text.DOWNLOAD if network.state == DOWNLOADABLE else "",
            state=network.state,
        )
        for network in networks
    ]
    return table(text.WEIGHT_COLUMNS, rows)


def disk_parts(use: DiskUse) -> Table:
    rows = [
        row(part.key, text.PARTS.get(part.key, part.key), size(part.size_b), f"{part.num_files:,}")
        for part in use.parts
        if part.size_b
    ]
    return table(text.DISK_COLUMNS, rows, text.whole(use.size_b, use.free_b, use.total_b))


def disk_cleaning(use: DiskUse, note: str = "") -> Table:
    rows = [
        row(
            part.key,
            text.CLEANABLE[part.key],
            size(part.size_b),
            f"{part.num_files:,}",
            action=text.CLEAN if part.num_files else "",
            really=text.really(part.size_b),
        )
        for part in use.reclaimable
    ]
    return table(text.CLEAN_COLUMNS, rows, note)


def busy(shown: Table | None, note: str) -> Table:
    """Return a table without actions, for the time that its data is being changed."""
    rows = [{**shown_row, "action": "", "really": ""} for shown_row in (shown or {}).get("rows", [])]
    return {**(shown or table((), [], "")), "rows": rows, "note": note}


def findings(queue: JobQueue) -> Table:
    """Return the result of the last "inspect" job."""
    done = queue.list("done", "inspect", limit=1)
    if not done:
        return table((), [], text.NO_FINDINGS)
    answers: Mapping[str, Any] = (done[0].result or {}).get("found", {})
    rows = [row(key, text.CAPTIONS.get(key, key), line) for key, answer in answers.items() for line in _lines(answer)]
    return table(text.FINDING_COLUMNS, rows, moment(done[0].ended_at or done[0].created_at))


def _lines(answer: Mapping[str, Any]) -> list[str]:
    """Format an answer: one line a device, or one line with all values."""
    devices = answer.get("devices")
    if isinstance(devices, list):
        return [_device(device) for device in devices]
    return ["; ".join(f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in answer.items())]


def _device(device: Mapping[str, Any]) -> str:
    parts = [
        device["device"],
        device["name"],
        device["architecture"],
        f"{device['memory_gib']:.0f} GiB",
        device["backend"],
    ]
    parts += [f"PyTorch {device['torch_version']}", "bfloat16" if device["bfloat16"] else "no bfloat16"]
    return ", ".join(part for part in parts if part)


def _plain(value: Any) -> str:
    return f"{value:g} ms" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
