"""The list of models: groups, forecasts, and what a download or a removal is refused for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from app.context import AppContext
from app.text import models as text
from app.views import models
from engine.config.presets import load_model_preset
from engine.config.schema import ModelPreset
from engine.errors import ConfigError, HubError, JobError
from engine.files.locks import locked
from engine.hub.download import free_b
from engine.jobs.maintenance_configs import inspect_job, model_job
from engine.jobs.spec import JobProgress, JobSpec
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest
from tests.stub_hub import StubHub, running_hub, use_hub

SOURCE = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"


pytestmark = pytest.mark.usefixtures("no_worker")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("DAILIES_ALLOW_DOWNLOAD", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    with running_hub() as hub:
        use_hub(hub, monkeypatch)
        yield hub


def rows(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["key"]: {**row, "group": group["key"]} for group in found["groups"] for row in group["rows"]}


def test_each_preset_is_in_one_group_with_what_can_be_done(
    context: AppContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own" / "models").mkdir(parents=True)
    (tmp_path / "own" / "models" / "broken.toml").write_text('titel = "x"\n')
    gone = (Path(models.__file__).parents[2] / "presets" / "models" / "mini.toml").read_text()
    (tmp_path / "own" / "models" / "gone.toml").write_text(gone.replace('"assets/mini"', f'"{tmp_path}/nothing"'))
    monkeypatch.setenv("DAILIES_PRESETS", str(tmp_path / "own"))
    blobs = cache_of(tmp_path) / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "a").write_bytes(b"x" * 3_000_000)
    found = rows(models.model_list(context))
    assert (found["mini"]["group"], found["mini"]["can_remove"], found["mini"]["get"]) == ("installed", False, "")
    assert (found["wan22_5b"]["group"], found["wan22_5b"]["get"]) == ("missing", "get")
    assert found["wan21_1_3b"]["line"] == "partly downloaded, 3.0 MB of about 29 GB"
    assert (found["wan21_1_3b"]["get"], found["wan21_1_3b"]["can_remove"]) == ("resume", True)
    assert found["broken"]["group"] == "unusable" and "lacks 'title'" in found["broken"]["line"]
    assert (found["gone"]["group"], found["gone"]["get"]) == ("missing", "") and "put its weights at" in found["gone"][
        "line"
    ]


def cache_of(tmp_path: Path) -> Path:
    return tmp_path / "hub" / f"models--{SOURCE.replace('/', '--')}"


def test_the_forecast_is_of_this_machine(preset: ModelPreset, monkeypatch: pytest.MonkeyPatch) -> None:
    def memory(total_gib: float) -> tuple[str, str]:
        monkeypatch.setattr(models, "device_gib", lambda: total_gib)
        models._memory.cache_clear()
        found = models._memory(preset.model_dump_json())
        return found["verdict"], found["memory"]

    verdicts = {total: memory(total) for total in (8.0, 24.0, 80.0)}
    models._memory.cache_clear()
    assert verdicts[80.0][0] == "fits" and verdicts[8.0][0] == "too_large"
    assert verdicts[8.0][1].startswith("at least ") and verdicts[8.0][1].endswith("more than this machine has")


@pytest.fixture
def preset() -> ModelPreset:
    return load_model_preset("wan21_1_3b")


def test_a_running_download_and_its_end_are_read_from_the_queue(context: AppContext) -> None:
    job = context.queue.submit(model_job("wan22_5b"))
    assert rows(models.model_list(context))["wan22_5b"]["line"] == "Next in the queue"
    assert context.queue.claim(ProcessIdentity.current()) is not None
    context.queue.heartbeat(job.id, JobProgress(phase="download", step=2300, of=23000, eta_s=600))
    row = rows(models.model_list(context))["wan22_5b"]
    assert (row["line"], row["fraction"], row["eta"]) == ("downloading, 2.3 GB of 23.0 GB", 0.1, "about 10 min left")
    context.queue.finish(job.id, "failed", error="The hub answers 500.")
    row = rows(models.model_list(context))["wan22_5b"]
    assert (row["get"], row["failed"], row["line"]) == ("again", True, "Download failed: The hub answers 500.")
    with pytest.raises(JobError, match="downloads no model"):
        models.cancel(context, context.queue.submit(inspect_job()).id)


@pytest.mark.parametrize(("variable", "sentence"), [("0", text.FORBIDDEN), (None, text.OFFLINE)])
def test_what_cannot_be_downloaded_has_no_button(
    context: AppContext, monkeypatch: pytest.MonkeyPatch, variable: str | None, sentence: str
) -> None:
    if variable:
        monkeypatch.setenv("DAILIES_ALLOW_DOWNLOAD", variable)
    else:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = models.model_list(context)
    assert found["note"] == sentence and {row["get"] for row in rows(found).values()} == {""}
    with pytest.raises(HubError):
        models.ask_get("wan22_5b")


def test_a_disk_without_room_is_told_before(hub: StubHub, mini_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("Lightricks/LTX-Video", mini_folder)
    answer = models.ask_get("ltx")
    assert answer["ready"] and "Free disk: " in answer["question"] and "Licence: Lightricks" in answer["question"]
    monkeypatch.setattr("engine.config.model_downloads.free_b", lambda: 1_000_000)
    answer = models.ask_get("ltx")
    assert not answer["ready"] and "1.0 MB free: free space, or set HF_HOME" in answer["question"]
    assert free_b() > 1_000_000


def test_a_gated_model_asks_for_a_token(hub: StubHub, mini_folder: Path) -> None:
    hub.add("Lightricks/LTX-Video", mini_folder)
    hub.gated.add("Lightricks/LTX-Video")
    answer = models.ask_get("ltx")
    assert answer["needs_token"] and not answer["ready"]
    assert f"accept its licence at {hub.address}/Lightricks/LTX-Video" in answer["question"]


def test_a_model_that_is_needed_is_not_removed(
    context: AppContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = cache_of(tmp_path) / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "a").write_bytes(b"x" * 2_000_000)
    assert models.ask_remove(context, "wan21_1_3b") == {"key": "wan21_1_3b", "question": "Frees 2.0 MB.", "ready": True}
    monkeypatch.setenv("DAILIES_ALLOW_DOWNLOAD", "1")
    job = context.queue.submit(JobSpec.generate([GenerationRequest(prompt="p", model="wan21_1_3b")]))
    with pytest.raises(ConfigError, match=f"'wan21_1_3b' is needed by the job {job.id} "):
        models.remove(context, "wan21_1_3b")
    context.queue.cancel(job.id)
    locks = cache_of(tmp_path).parent / ".locks" / cache_of(tmp_path).name
    locks.mkdir(parents=True)
    with locked(locks / "a.lock"), pytest.raises(HubError, match="is being downloaded"):
        models.remove(context, "wan21_1_3b")
    assert (blobs / "a").exists()
    models.remove(context, "wan21_1_3b")
    assert not blobs.exists()
