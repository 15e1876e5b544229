"""The System tab: devices, settings, weights and disk; cleaning frees the announced size."""

import os
import time
from typing import Any

import gradio as gr
import numpy as np
import pytest

from app.context import AppContext
from app.tabs.system import SystemTab
from app.text import system as text
from app.views import system
from engine.config.presets import load_train_preset
from engine.errors import ConfigError
from engine.files.locks import try_lock
from engine.files.manifests import write_manifest
from engine.hardware.telemetry.readings import GpuReading, GpuSample, TelemetrySnapshot
from engine.jobs.maintenance_configs import inspect_job
from engine.runs.checkpoint_series import CHECKPOINT
from engine.runs.disk_usage import clean, disk_use
from engine.runs.run import Run
from engine.storage.clip_files import has_files

pytestmark = pytest.mark.usefixtures("no_worker")


def snapshot(at: float, *gpus: GpuSample) -> TelemetrySnapshot:
    skipped = (GpuReading(source="amd-smi", state="error", sentence="amd-smi did not answer within 5 s."),)
    return TelemetrySnapshot(
        at=at,
        source="amdgpu sysfs" if gpus else "none",
        gpus=gpus,
        skipped=skipped,
        cpu_pct=5,
        ram_used_b=1,
        ram_total_b=2,
    )


def test_telemetry_is_told_from_where_the_browser_is() -> None:
    gpu = GpuSample(index=0, vendor="amd", name="MI300X", util_pct=94.0, power_w=None)
    history = [snapshot(1.0, gpu), snapshot(2.0, gpu), snapshot(3.0)]
    found = system.telemetry(history[:2], since=1.0)
    assert found["rows"] == [{"at": 2.0, "cpu": 5, "ram": 1, "gpus": {"0": [94.0, None, None, None, None]}}]
    assert found["note"] == "Read from amdgpu sysfs. amd-smi did not answer within 5 s."
    assert system.telemetry(history)["note"].startswith(text.NO_GPU)


def test_a_browser_that_knows_a_later_moment_gets_the_whole_history() -> None:
    """The server started again after its clock was set back."""
    history = [snapshot(1.0), snapshot(2.0)]
    found = system.telemetry(history, since=90_000.0)
    assert found["whole"] and [row["at"] for row in found["rows"]] == [1.0, 2.0]
    assert not system.telemetry(history, since=2.0)["whole"]


def test_versions_and_settings(context: AppContext, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {one["key"]: one["cells"][1] for one in system.versions()["rows"]}
    assert versions["gradio"].startswith("6.") and versions["torch"].endswith(")")
    monkeypatch.setattr("engine.hardware.environment.is_rocm", lambda: True)
    monkeypatch.setenv("MIOPEN_FIND_MODE", "NORMAL")
    rows = {one["key"]: one["cells"] for one in system.settings(context.workspace)["rows"]}
    assert rows["MIOPEN_FIND_MODE"][1:3] == ["NORMAL (Dailies would set FAST)", "user"]
    assert rows["PYTORCH_ALLOC_CONF"][2] == "Dailies"


def test_only_what_can_be_downloaded_has_a_button() -> None:
    rows = system.weights()["rows"]
    assert {one["state"] for one in rows} <= set(text.WEIGHT_STATES)
    assert all(bool(one["action"]) == (one["state"] == "downloadable") for one in rows)
    states = [one["state"] == "present" for one in rows]
    assert states == sorted(states)


def test_the_disk_and_what_can_go(context: AppContext, make_clip: Any, database: str) -> None:
    kept, gone = make_clip(seed=1, files=True), make_clip(seed=2, files=True)
    context.store.delete([gone.id])
    context.workspace.prompts.mkdir()
    (context.workspace.prompts / "a").write_bytes(b"x" * 1000)
    old, new = (context.workspace.job_log(name) for name in ("0" * 8, "1" * 8))
    for log in (old, new):
        log.write_bytes(b"x" * 500)
    os.utime(old, (time.time() - 90 * 86400,) * 2)
    beside = [context.workspace.root / f"dailies.db-{ending}" for ending in ("wal", "shm")]
    on_sqlite = database == "sqlite"
    assert all(path.exists() == on_sqlite for path in beside), "SQLite keeps these while the database is open"
    use = disk_use(context.store)
    assert not {path.name for path in beside} & {part.key for part in use.parts}
    assert {part.key: part.num_files for part in use.parts}.get("dailies.db", 0) == (3 if on_sqlite else 0)
    can_go = {one.key: one.size_b for one in use.reclaimable}
    assert (can_go["prompts"], can_go["old_logs"], can_go["cache"]) == (1000, 500, 0)
    assert can_go["deleted"] > 1000
    assert sum(part.size_b for part in use.parts) == use.size_b and use.free_b <= use.total_b
    assert clean(context.store, "deleted") == can_go["deleted"]
    assert has_files(context.workspace, kept.id) and not has_files(context.workspace, gone.id)
    assert clean(context.store, "old_logs") == 500 and new.exists()
    assert clean(context.store, "prompts") == 1000 and clean(context.store, "prompts") == 0
    with pytest.raises(ConfigError, match="nothing called 'clips'"):
        clean(context.store, "clips")


def test_a_run_keeps_the_checkpoint_that_it_goes_on_from(context: AppContext) -> None:
    idle, trained = (Run.create(context.workspace, load_train_preset("mini_nft")) for _ in range(2))
    for run in (idle, trained):
        for step in (5, 10, 9):
            folder = run.checkpoints / f"{CHECKPOINT}{step}"
            folder.mkdir(parents=True)
            (folder / "trainer_state.json").write_text("{}")
            (folder / "optimizer.pt").write_bytes(b"x" * 1000)
            write_manifest(folder)
        (run.checkpoints / f"{CHECKPOINT}7").mkdir()  # torn: nobody knows what it is
    trainer = try_lock(trained.lock)
    assert trainer is not None
    assert {one.key: one.num_files for one in disk_use(context.store).reclaimable}["checkpoints"] == 6
    optimizer = idle.checkpoints / f"{CHECKPOINT}10" / "optimizer.pt"
    optimizer.write_bytes(b"y" * 1000)
    assert clean(context.store, "checkpoints") == 0, "the run would go on from an older one"
    optimizer.write_bytes(b"x" * 1000)
    manifest = (idle.checkpoints / f"{CHECKPOINT}10" / "manifest.json").stat().st_size
    assert clean(context.store, "checkpoints") == 2 * (1002 + manifest)
    os.close(trainer)
    assert sorted(path.name for path in idle.checkpoints.iterdir()) == ["checkpoint-10", "checkpoint-7"]
    assert len(list(trained.checkpoints.iterdir())) == 4, "its process may be about to write"


def test_cleaning_follows_no_links(context: AppContext, tmp_path: Any) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"x" * 10_000)
    context.workspace.prompts.mkdir()
    (context.workspace.prompts / "link").symlink_to(outside)
    assert {one.key: one.size_b for one in disk_use(context.store).reclaimable}["prompts"] < 1000
    clean(context.store, "prompts")
    assert (outside / "precious").exists()


def test_findings_of_the_last_look(context: AppContext) -> None:
    assert system.findings(context.queue)["note"] == text.NO_FINDINGS
    job = context.queue.submit(inspect_job())
    device = {"device": "cuda:0", "name": "MI300X", "architecture": "gfx942", "memory_gib": 192.0, "backend": "rocm"}
    device |= {"torch_version": "2.12", "bfloat16": True}
    found = {
        "devices": {"devices": [device]},
        "attention": {"math": 2.5, "flash_attention": "not here: x", "tokens": 9},
    }
    from engine.process_identity import ProcessIdentity

    assert context.queue.claim(ProcessIdentity.current()) is not None
    context.queue.finish(job.id, "done", result={"found": found})
    rows = system.findings(context.queue)["rows"]
    assert rows[0]["cells"] == ["Devices", "cuda:0, MI300X, gfx942, 192 GiB, rocm, PyTorch 2.12, bfloat16"]
    assert rows[1]["cells"][1] == "math: 2.5 ms; flash attention: not here: x; tokens: 9"


def test_the_tab_files_jobs(context: AppContext, open_tab: Any) -> None:
    made = open_tab(lambda tab: SystemTab(context, tab))
    made.download(gr.EventData(None, {"key": "alexnet"}))
    made.ask_torch()
    assert {job.kind for job in context.queue.list()} == {"weights", "inspect"}
    assert np.all([table is not None for table in made.refresh()])
