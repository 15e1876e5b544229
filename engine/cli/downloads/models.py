"""`dailies models`: list, download, verify, add and remove models."""

import argparse
import sys
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from engine.cli.downloads.asking import (
    add_download_options,
    confirm_deletion,
    confirm_download,
    unneeded_in,
    with_token,
)
from engine.cli.options.shared import Verbs
from engine.cli.terminal.output import print_json, print_result, print_table
from engine.cli.terminal.transfer_meter import TransferMeter, is_interactive
from engine.config.model_availability import ModelState, model_state, needed_sources
from engine.config.model_downloads import (
    ModelDownload,
    fetch_model,
    plan_model,
    plan_removal,
    remove_model,
    verify_model,
)
from engine.config.own_models import add_file, add_folder, forget, is_own
from engine.config.presets import load_model_preset, load_preset, preset_keys
from engine.config.schema import ModelPreset
from engine.errors import ConfigError, DailiesError, HubError
from engine.estimation.model_forecast import forecast_model, memory_summary
from engine.families.registry import family_spec
from engine.hub.permission import is_automatic, is_forbidden
from engine.jobs.maintenance_configs import MODEL
from engine.jobs.queue import JobQueue
from engine.jobs.spec import UNFINISHED, Job
from engine.storage.library import Library
from engine.workspace import Workspace


def build_models(parser: argparse.ArgumentParser) -> None:
    verbs = Verbs(parser)
    verbs.add("ls", list_models, help="list models with state, size, licence")
    getting = verbs.add("get", get, help="download a model, or resume its download")
    getting.add_argument("key", metavar="KEY", help="key of a model, see `dailies models ls`")
    add_download_options(getting)
    verifying = verbs.add("verify", verify, help="compare every file of a model with its checksum")
    verifying.add_argument("key", metavar="KEY", help="key of an installed model")
    verifying.add_argument("--repair", action="store_true", help="delete damaged files; `get` downloads them again")
    adding = verbs.add("add", add, help="add a local model as a preset of the workspace")
    adding.add_argument("key", metavar="KEY", help="key of the new model: lower-case letters, digits, '.', '_', '-'")
    source = adding.add_mutually_exclusive_group(required=True)
    source.add_argument("--folder", metavar="FOLDER", help="a diffusers folder")
    source.add_argument(
        "--file", metavar="FILE", help="the network in one .safetensors or .gguf file, as ComfyUI reads it"
    )
    adding.add_argument(
        "--low-noise", metavar="FILE", help="with --file, for a model of two experts: the file of the low-noise expert"
    )
    adding.add_argument(
        "--like", metavar="MODEL", help="model whose default clip it has; with --file, also whose other parts"
    )
    removing = verbs.add("rm", remove, help="delete a model's files from the hub's cache, or an added model")
    removing.add_argument("key", metavar="KEY", help="key of a model")
    removing.add_argument("-y", "--yes", action="store_true", help="do not ask")


def list_models(options: argparse.Namespace) -> None:
    usable, unusable = [], {}
    for key in preset_keys("models"):
        try:
            usable.append(load_preset("models", key))
        except DailiesError as error:
            unusable[key] = str(error)
    downloads = _active_downloads(options.workspace)
    states = {preset.key: model_state(preset) for preset in usable}
    if options.json:
        facts = [
            {**preset.model_dump(mode="json"), **_facts(states[preset.key], preset, downloads)} for preset in usable
        ]
        print_json([*facts, *({"key": key, "unusable": reason} for key, reason in unusable.items())])
        return
    rows = [
        (
            preset.key,
            preset.title,
            describe_state(states[preset.key], downloads.get(preset.key)),
            f"{preset.download_gb:g} GB" if preset.download_gb else "-",
            f"{preset.num_frames} frames {preset.width}x{preset.height}",
            family_spec(preset.family).conditioning_summary or "-",
            memory_summary(preset),
            preset.licence or "-",
        )
        for preset in usable
    ]
    print_table(("key", "title", "state", "size", "default clip", "pictures", "weights / peak", "licence"), rows)
    for key, reason in unusable.items():
        print(f"{key} cannot be used: {reason}", file=sys.stderr)


def _facts(state: ModelState, preset: ModelPreset, downloads: Mapping[str, Job]) -> dict[str, object]:
    status = "downloading" if preset.key in downloads else state.status
    found = forecast_model(preset)
    memory = {"weights_gib": found.clip.weights, "peak_gib": found.clip.peak} if found else None
    local = state.status == "installed"
    return {"local": local, "state": status, "reason": state.reason, "cached_b": state.cached_b, "memory": memory}


def describe_state(state: ModelState, download: Job | None) -> str:
    """Return the state of a model in a few words."""
    if download is not None:
        at = download.progress
        return f"downloading, {100 * at.step // at.of} %" if at and at.of else "downloading"
    if state.status == "incomplete":
        return f"incomplete, {state.cached_b / 1e9:.1f} GB here"
    return {"installed": "installed", "missing": "not downloaded", "incompatible": "incompatible"}[state.status]


def _active_downloads(workspace: str | None) -> dict[str, Job]:
    """Return the active download jobs of an existing workspace by the model's key."""
    place = Workspace.from_env(workspace)
    if not place.root.is_dir():
        return {}
    with closing(Library(place)) as library:
        jobs = JobQueue(library).list(UNFINISHED, kind=MODEL, limit=None)
        return {str(job.config.get("key")): job for job in jobs}


def get(options: argparse.Namespace) -> None:
    preset, token = load_model_preset(options.key), options.token
    state = model_state(preset)
    if state.status == "incompatible":
        raise ConfigError(state.reason)
    planned, token = with_token(partial(plan_model, preset), token)
    if planned.plans:
        if not (options.yes or confirm(preset, planned)):
            raise ConfigError(f"Nothing was downloaded: run `dailies models get {preset.key} --yes` to accept.")
        with_token(partial(_download, preset), token)
    print_result(
        options,
        {"key": preset.key, "downloaded_b": planned.remaining_b, "size_b": planned.size_b},
        f"{preset.title} is installed."
        + (f" {planned.remaining_b / 1e9:.1f} GB were downloaded and verified." if planned.plans else ""),
    )


def offer_model(key: str) -> None:
    """Ask a person at a terminal whether a model that is not installed shall be downloaded now.

    Without a terminal, or after a "no", nothing happens: the check of the request refuses a missing model.
    """
    preset = load_model_preset(key)
    downloadable = any(one.on_hub and not one.is_installed for one in needed_sources(preset))
    if not (downloadable and is_interactive()) or is_automatic() or is_forbidden():
        return
    planned, token = with_token(partial(plan_model, preset), None)
    if confirm(preset, planned):
        with_token(partial(_download, preset), token)


def confirm(preset: ModelPreset, planned: ModelDownload) -> bool:
    """Show size, free disk and licence, and ask. Raises ConfigError without a terminal."""
    return confirm_download(
        preset.title,
        planned.size_b,
        planned.remaining_b,
        planned.free_b,
        preset.licence or "unknown, see the model card",
        f"dailies models get {preset.key}",
    )


def _download(preset: ModelPreset, token: str | None) -> None:
    """Download with progress on stderr."""
    with TransferMeter(preset.key) as meter:
        fetch_model(preset, meter.show, token)


def verify(options: argparse.Namespace) -> None:
    preset = load_model_preset(options.key)
    with TransferMeter(f"{preset.key}: verify") as meter:
        problems = verify_model(preset, meter.show, forget=options.repair)
    if problems and not options.json:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        advice = (
            "downloads what is missing" if options.repair else "after `verify --repair` downloads damaged files again"
        )
        raise HubError(f"{preset.title}: {problems[0]}{more} `dailies models get {preset.key}` {advice}.")
    options.exit_code = 2 if problems else 0
    print_result(
        options, {"key": preset.key, "problems": problems}, f"{preset.title}: every file has its published checksum."
    )


def add(options: argparse.Namespace) -> None:
    workspace = Workspace.from_env(options.workspace).prepare()
    if options.folder and options.low_noise:
        raise ConfigError("--low-noise belongs to --file: leave it out, a folder has both experts.")
    if options.folder:
        preset = add_folder(workspace, options.key, Path(options.folder), options.like)
    elif options.like:
        low_noise = Path(options.low_noise) if options.low_noise else None
        preset = add_file(workspace, options.key, Path(options.file), options.like, low_noise)
    else:
        raise ConfigError("--file needs --like MODEL: the model whose text encoder, VAE and settings it uses.")
    state = model_state(preset)
    print_result(
        options,
        {"key": preset.key, "family": preset.family, "state": state.status, "reason": state.reason},
        f"{preset.key} was added: {family_spec(preset.family).title}, {preset.num_frames} frames "
        f"{preset.width}x{preset.height}. {state.reason}".rstrip(),
    )


def remove(options: argparse.Namespace) -> None:
    preset = load_model_preset(options.key)
    workspace = Workspace.from_env(options.workspace)
    planned = None if is_own(workspace, preset.key) else plan_removal(preset)
    keys = (preset.key, *(planned.also if planned else ()))
    with unneeded_in(workspace, keys):
        if planned is None:
            forget(workspace, preset.key)
    if planned is None:
        result = {"key": preset.key, "freed_b": 0, "kept": [], "also": []}
        return print_result(options, result, f"{preset.key} was removed from the workspace; its files were kept.")
    names = ", ".join(source.repository for source in planned.sources) or "nothing"
    if not options.yes:
        confirm_deletion(
            f"This deletes {names} ({planned.size_b / 1e9:.1f} GB).{planned.remarks()}",
            f"dailies models rm {preset.key}",
        )
    with unneeded_in(workspace, keys):
        freed = remove_model(preset)
    print_result(
        options,
        {"key": preset.key, "freed_b": freed, "kept": list(planned.kept), "also": list(planned.also)},
        f"Deleted {names}: {freed / 1e9:.1f} GB freed.{planned.remarks()}",
    )
