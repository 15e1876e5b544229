"""Values of the list of models.

They are the state on this machine, the memory, and the effect of a download or a removal.
"""

import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from typing_extensions import TypedDict

from app.api.server_folders import opened_path
from app.context import AppContext
from app.text import general, jobs
from app.text import models as text
from app.text.numbers import time_left
from engine.config.model_availability import ModelState, model_state, needed_sources
from engine.config.model_downloads import plan_model, plan_removal, remove_model
from engine.config.own_models import add_file, add_folder, forget, is_own
from engine.config.presets import load_model_preset, preset_keys
from engine.config.schema import ModelPreset
from engine.errors import DailiesError, HubAccessError, JobError
from engine.estimation.model_forecast import Fit, fit_generation, fit_training
from engine.hardware.telemetry.monitor import device_gib
from engine.hub.access import forget_token, store_token, token_source
from engine.hub.download import SPARE_B, free_b
from engine.hub.listing import hub_address, is_offline
from engine.hub.permission import is_forbidden
from engine.jobs.maintenance_configs import MODEL, model_job
from engine.jobs.spec import Job
from engine.jobs.submission import unneeded
from engine.jobs.worker_control import reconcile_and_ensure_worker

READ_JOBS = 200  # newest downloads whose ends are shown
Row = dict[str, Any]


class NewModel(TypedDict):
    """A diffusers folder or a single file of this machine, and the preset whose settings it takes."""

    kind: str
    place: str
    key: str
    like: str


def model_list(context: AppContext) -> dict[str, Any]:
    """Return the groups of models, each a row; makes no network request.

    `at` (seconds of a monotonic clock) lets the browser drop answers that arrive out of order.
    """
    at = time.monotonic()
    reconcile_and_ensure_worker(context.queue)
    jobs = _newest_jobs(context)
    groups: dict[str, list[Row]] = {key: [] for key in text.GROUPS}
    for key in preset_keys("models"):
        try:
            preset = load_model_preset(key)
        except DailiesError as error:
            groups["unusable"].append(_row(key, key, status="incompatible", line=str(error)))
            continue
        state = model_state(preset)
        row = _model_row(preset, state, jobs.get(key))
        row["can_remove"] = row["can_remove"] or is_own(context.workspace, key)
        groups[{"installed": "installed", "incompatible": "unusable"}.get(state.status, "missing")].append(row)
    groups["missing"].sort(key=lambda row: (not row["active"], row["status"] != "incomplete"))
    return {
        "groups": [
            {"key": key, "title": f"{text.GROUPS[key]} ({len(rows)})", "rows": rows}
            for key, rows in groups.items()
            if rows
        ],
        "machine": text.machine(device_gib(), free_b()),
        "note": closed(),
        "bases": [{"key": row["key"], "title": row["title"]} for rows in groups.values() for row in rows],
        "token": {"source": token_source(), "line": text.TOKENS[token_source()]},
        "at": at,
    }


def closed() -> str:
    """Return one sentence why nothing can be downloaded; "" if it can."""
    return text.FORBIDDEN if is_forbidden() else text.OFFLINE if is_offline() else ""


def _newest_jobs(context: AppContext) -> Mapping[str, Job]:
    """Return the newest download of each model."""
    newest: dict[str, Job] = {}
    for job in context.queue.list(kind=MODEL, limit=READ_JOBS):
        newest.setdefault(str(job.config.get("key")), job)
    return newest


def _row(key: str, title: str, *, status: str, line: str, **more: Any) -> Row:
    empty = {"licence": "", "memory": "", "verdict": "", "training": "", "eta": "", "fraction": None, "job": ""}
    actions = {"active": False, "get": "", "can_remove": False, "failed": False}
    return {"key": key, "title": title, "status": status, "line": line, **empty, **actions, **more}


def _model_row(preset: ModelPreset, state: ModelState, job: Job | None) -> Row:
    row = _row(preset.key, preset.title, status=state.status, line=_state_line(preset, state))
    row |= {"licence": preset.licence or text.NO_LICENCE, **_memory(preset.model_dump_json())}
    if state.status == "installed":
        return row | {"can_remove": _is_removable(preset)}
    if job is not None and not job.is_over:
        return row | _progress(job)
    if state.status == "incompatible" or not _is_downloadable(preset):
        return row | {"line": state.reason}
    failed = job is not None and job.status in ("failed", "lost")
    return row | {
        "get": "" if closed() else "again" if failed else "resume" if state.status == "incomplete" else "get",
        "failed": failed,
        "line": text.failed(job.error or jobs.JOB_ENDS[job.status]) if failed and job else row["line"],
        "can_remove": state.status == "incomplete",
    }


def _state_line(preset: ModelPreset, state: ModelState) -> str:
    if state.status == "missing":
        return text.to_download(preset.download_gb)
    if state.status == "incomplete":
        return text.partly(state.cached_b, preset.download_gb)
    return state.reason or text.STATES[state.status]


def _progress(job: Job) -> Row:
    at = job.progress
    done, total = (at.step, at.of) if at else (0, 0)
    line = general.waiting(job.position) if job.status == "queued" else text.downloading(done, total)
    return {
        "status": "downloading",
        "active": True,
        "job": job.id,
        "line": general.STOPPING if job.status == "stopping" else line,
        "fraction": round(min(1.0, done / total), 3) if total else None,
        "eta": time_left(at.eta_s) if at and job.status == "running" else "",
    }


def _is_downloadable(preset: ModelPreset) -> bool:
    return all(one.on_hub is not None for one in needed_sources(preset) if not one.is_installed)


def _is_removable(preset: ModelPreset) -> bool:
    return any(one.on_hub is not None for one in needed_sources(preset))


@cache
def _memory(preset_json: str) -> Row:
    """Return the forecast of a preset (as JSON, which can be hashed) for this machine."""
    preset = ModelPreset.model_validate_json(preset_json)
    clip, training = fit_generation(preset, device_gib()), fit_training(preset, device_gib())
    if clip is None:
        return {"memory": text.NO_FORECAST, "verdict": "unknown", "training": ""}
    return {
        "memory": text.fitting(clip),
        "verdict": _verdict(clip),
        "training": text.training(training) if training else text.GENERATION_ONLY,
    }


def _verdict(fit: Fit) -> str:
    return "too_large" if not fit.fits else "options" if fit.options else "fits"


# ---- Actions
def ask_get(key: str) -> dict[str, Any]:
    """Ask the hub what a download would do. Raises DailiesError: no network, no permission.

    `ready` is true if the download can begin, `needs_token` if an access token is missing.
    """
    preset = load_model_preset(key)
    try:
        planned = plan_model(preset)
    except HubAccessError as error:
        return {"key": key, "question": str(error), "ready": False, "needs_token": True}
    if planned.gated and token_source() == "none":
        page = f"{hub_address()}/{preset.source.partition('@')[0]}"
        sentence = text.NEEDS_TOKEN.format(page=page)
        return {"key": key, "question": sentence, "ready": False, "needs_token": True}
    if planned.remaining_b and planned.remaining_b + SPARE_B > planned.free_b:
        sentence = text.no_room(planned.remaining_b, planned.free_b)
        return {"key": key, "question": sentence, "ready": False, "needs_token": False}
    sentence = text.question(planned.remaining_b, planned.size_b, planned.free_b, preset.licence)
    return {"key": key, "question": sentence, "ready": True, "needs_token": False}


def get(context: AppContext, key: str) -> dict[str, Any]:
    """Queue the download of a model, unless it is queued or running."""
    context.submit_shared(model_job(key))
    return model_list(context)


def cancel(context: AppContext, job_id: str) -> dict[str, Any]:
    """Cancel a download; what arrived is kept. Raises JobError for another kind of job."""
    if context.queue.get(job_id).kind != MODEL:
        raise JobError(f"The job '{job_id}' downloads no model.")
    context.queue.cancel(job_id)
    return model_list(context)


def add(context: AppContext, order: NewModel) -> dict[str, Any]:
    """Add a folder or a single file of this machine as a model. Raises DailiesError in one sentence."""
    path, key = opened_path(context, order["place"]), order["key"].strip()
    if order["kind"] == "file":
        preset = add_file(context.workspace, key, path, order["like"])
    else:
        preset = add_folder(context.workspace, key, path, order["like"] or None)
    return {**model_list(context), "said": text.added(preset.title)}


def ask_remove(context: AppContext, key: str) -> dict[str, Any]:
    """Return what a removal would delete."""
    if is_own(context.workspace, key):
        return {"key": key, "question": text.FORGET, "ready": True}
    planned = plan_removal(load_model_preset(key))
    return {"key": key, "question": text.removal(planned.size_b, planned.remarks()), "ready": bool(planned.sources)}


def remove(context: AppContext, key: str) -> dict[str, Any]:
    """Delete a model's files.

    Raises ConfigError while a job needs the model, HubError while it is downloaded.
    """
    own, preset = is_own(context.workspace, key), load_model_preset(key)
    also = () if own else plan_removal(preset).also
    with unneeded(context.queue, (key, *also)):
        if own:
            forget(context.workspace, key)
        else:
            remove_model(preset)
    return model_list(context)


def save_token(context: AppContext, token: str) -> dict[str, Any]:
    """Store an access token; see `engine.hub.access`."""
    name = store_token(token)
    return {**model_list(context), "said": text.user(name)}


def drop_token(context: AppContext) -> dict[str, Any]:
    forget_token()
    return model_list(context)
