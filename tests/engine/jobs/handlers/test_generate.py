"""What "generate" and "score" jobs do, on a real model of toy size."""

import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from engine.errors import ConfigError, MediaError, StoreError
from engine.files.locks import try_lock
from engine.generation import previews
from engine.generation.validation import read_request
from engine.jobs.context import JobContext, ModelCache
from engine.jobs.handlers import score
from engine.jobs.kinds import KINDS, kind_of
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobProgress, JobSpec
from engine.jobs.worker import IdleTimeouts, Worker
from engine.jobs.worker_control import ensure_worker, release_worker, stop_worker
from engine.jobs.worker_state import worker_state
from engine.request import GenerationRequest, GivenKeyframe, KeyframePlan
from engine.runs.adapters import AdapterCard, write_card
from engine.storage.clip_files import has_files, load_clip, remove_files
from engine.storage.images import load_picture
from engine.storage.video_import import read_record
from engine.video.reader import read_video
from engine.video.writer import write_lossless
from rewards.errors import RewardError


@pytest.fixture
def database():
    """What jobs compute is the same on every database; workers on PostgreSQL are in `test_kills.py`."""
    return "sqlite"


@pytest.fixture(scope="module")
def warm():
    """One loaded model for all tests of this file."""
    model = ModelCache()
    yield model
    assert model.release() and not model.release()


@pytest.fixture
def context(store, warm):
    return JobContext(store=store, model=warm)


@pytest.fixture
def moving_square(tmp_path, tiny_model):
    """A video file: a white square that moves right over grey."""
    frames = np.full((17, 64, 64, 3), 96, np.uint8)
    for index, frame in enumerate(frames):
        frame[20:40, index * 2 : index * 2 + 20] = 255
    path = tmp_path / "square.mkv"
    write_lossless(path, frames, 8.0)
    return path


def drain(spec: JobSpec, context: JobContext) -> tuple[dict, list[JobProgress]]:
    seen = []
    run = kind_of(spec.kind, KINDS).start(spec.config, context)
    while True:
        try:
            seen.append(next(run))
        except StopIteration as end:
            return end.value, seen


def phases(seen: list[JobProgress]) -> list[str]:
    return list(dict.fromkeys(progress.phase for progress in seen))


def test_takes_are_made_kept_and_scored(context, store, request_):
    requests = request_.with_seeds(2)
    result, seen = drain(JobSpec.generate(requests, "tiny"), context)
    assert result == {"clip_ids": [request.id for request in requests], "reused": [], "unscored": {}}
    assert phases(seen)[-3:] == ["denoise", "decode", "score"]
    assert [p.step for p in seen if p.phase == "denoise"] == [1, 2]
    for request in requests:
        record = store.clip(request.id)
        assert GenerationRequest(**record.request) == request and record.source == "generated"
        assert record.mix == "tiny" and set(record.parts) == set(store.report(request.id)["results"])
        clip = load_clip(store.workspace, request.id)
        assert (clip.num_frames, clip.fps, clip.prompt) == (17, 8.0, request.prompt)
    assert not np.array_equal(*(load_clip(store.workspace, request.id).frames for request in requests))


def test_keyframes_are_kept_as_pictures_and_fill_the_clip(context, workspace, request_):
    wanted = request_.model_copy(update={"mode": "keyframes", "keyframes": KeyframePlan(interval=8)})
    result, seen = drain(JobSpec.keyframes(wanted), context)
    kept = [GivenKeyframe(**keyframe) for keyframe in result["keyframes"]]
    assert [keyframe.frame for keyframe in kept] == [0, 8, 16] and "keyframes" in phases(seen)
    pictures = [load_picture(workspace, keyframe.picture) for keyframe in kept]
    filled = wanted.model_copy(update={"keyframes": KeyframePlan(source="given", given=tuple(kept))})
    drain(JobSpec.generate([filled]), context)
    assert np.array_equal(load_clip(workspace, filled.id).frames[[0, 8, 16]], pictures)


@pytest.mark.parametrize("asked", [True, False])
def test_previews_are_there_while_clips_and_keyframes_are_denoised(
    context, workspace, request_, monkeypatch, tmp_path, asked
):
    monkeypatch.setattr(previews, "PERIOD_S", 0.0)
    monkeypatch.setattr(previews, "SHARE", 1e9)
    watched = replace(context, preview=tmp_path / "job.jpg")
    keyframes = request_.model_copy(update={"mode": "keyframes", "keyframes": KeyframePlan(interval=8)})
    for spec in (JobSpec.generate([request_], preview=asked), JobSpec.keyframes(keyframes, preview=asked)):
        steps = kind_of(spec.kind, KINDS).start(spec.config, watched)
        seen = {watched.preview.exists() for progress in steps if progress.phase in ("denoise", "keyframes")}
        assert (True in seen) is asked and not watched.preview.exists()


def test_a_clip_that_is_there_is_not_made_again(context, store, request_):
    drain(JobSpec.generate([request_]), context)
    store.delete([request_.id])
    other = request_.model_copy(update={"seed": 6})
    result, seen = drain(JobSpec.generate([request_, other, request_]), context)
    assert result["reused"] == [request_.id]
    assert result["clip_ids"] == [request_.id, other.id, request_.id]
    assert store.clip(request_.id).deleted_at is None
    assert max(p.of for p in seen) == 2, "one clip of two steps was made"


def test_the_same_request_gives_the_same_clip_and_a_damaged_one_is_made_again(context, store, request_):
    drain(JobSpec.generate([request_]), context)
    before = load_clip(store.workspace, request_.id).frames
    (store.workspace.clip_folder(request_.id) / "frames.mkv").write_bytes(b"torn")
    result, _ = drain(JobSpec.generate([request_]), context)
    assert result["reused"] == []
    assert np.array_equal(load_clip(store.workspace, request_.id).frames, before)


def test_closing_the_handler_keeps_what_was_finished(context, store, request_, monkeypatch):
    """Two takes that do not fit into one batch: the first is kept, the second is never begun."""
    monkeypatch.setattr("engine.generation.pipeline.BATCH_PIXELS", 1)
    first, second = request_.with_seeds(2)
    run = kind_of("generate", KINDS).start(JobSpec.generate([first, second]).config, context)
    while next(run).step < 3:
        pass
    run.close()
    assert has_files(store.workspace, first.id) and store.clip(first.id)
    assert not has_files(store.workspace, second.id)
    result, _ = drain(JobSpec.generate([first, second]), context)
    assert result["reused"] == [first.id]


def test_a_file_is_imported_and_scored(context, store, moving_square):
    result, seen = drain(JobSpec.score_file(moving_square, "a square", "tiny"), context)
    (clip_id,) = result["clip_ids"]
    assert phases(seen) == ["import", "score"]
    record = store.clip(clip_id)
    assert (record.source, record.prompt, record.mix) == ("imported", "a square", "tiny")
    assert record.parts["flow_smoothness"] is not None
    again, _ = drain(JobSpec.score([clip_id], "tiny"), context)
    assert again == {"clip_ids": [clip_id], "unscored": {}}


def test_an_upload_stays_until_its_job_is_done(store, workspace, moving_square, tiny_model, monkeypatch):
    """A job that failed after the import is submitted again, twice, as the button on the page does."""
    upload = workspace.uploads / "kept-0" / moving_square.name
    upload.parent.mkdir(parents=True)
    shutil.copy(moving_square, upload)
    queue = JobQueue(store)

    def refuse(mix):
        raise RewardError("No memory: free some.")

    def served(*specs):
        jobs = [queue.submit(spec) for spec in specs]
        Worker(queue, IdleTimeouts(exit_s=0)).run(try_lock(workspace.worker_lock))
        return [queue.get(job.id).status for job in jobs]

    with monkeypatch.context() as broken:
        broken.setattr(score, "open_suite", refuse)
        assert served(JobSpec.score_file(upload, "", "tiny")) == ["failed"]
    assert upload.exists(), "the clip is imported, and the job can be submitted again"
    assert served(*[JobSpec.score_file(upload, "", "tiny")] * 2) == ["done", "done"]
    assert not upload.parent.exists()
    assert served(JobSpec.score_file(moving_square, "", "tiny")) == ["done"]
    assert moving_square.exists(), "a person's own file"


def test_uploads_of_a_folder_stay_until_their_job_is_done(store, workspace, moving_square, tiny_model):
    folder = workspace.uploads / "kept-0"
    folder.mkdir(parents=True)
    (folder / "cut.gif").write_bytes(b"GIF89a" + bytes(20))
    (folder / "torn.gif").write_bytes(b"GIF89a" + bytes(20))
    queue, spec = JobQueue(store), JobSpec.score_folder(folder, "", "tiny")
    for status, is_kept in (("failed", True), ("done", False)):
        job = queue.submit(spec)
        Worker(queue, IdleTimeouts(exit_s=0)).run(try_lock(workspace.worker_lock))
        assert (queue.get(job.id).status, folder.exists()) == (status, is_kept), queue.get(job.id).error
        if is_kept:
            shutil.copy(moving_square, folder)


def test_an_adapter_changes_the_clip_and_leaves_the_model_as_it_was(context, store, workspace, request_, tiny_lora):
    folder = workspace.adapters / "run-1"
    shutil.copytree(tiny_lora, folder)
    write_card(folder, AdapterCard(model=request_.model))
    trained = request_.model_copy(update={"adapter": "run-1"})
    again = request_.model_copy(update={"seed": 9})
    drain(JobSpec.generate([trained, request_]), context)
    drain(JobSpec.generate([again]), context)
    frames = {one.id: load_clip(workspace, one.id).frames for one in (request_, trained)}
    assert not np.array_equal(frames[request_.id], frames[trained.id])
    assert store.clip(trained.id).adapter == "run-1" and store.clip(again.id).adapter is None
    remove_files(workspace, request_.id)
    drain(JobSpec.generate([request_]), context)
    assert np.array_equal(load_clip(workspace, request_.id).frames, frames[request_.id]), "the base model, bit for bit"


def test_several_adapters_are_stored_with_their_scales(context, store, workspace, request_, tiny_lora):
    for name in ("film", "motion"):
        shutil.copytree(tiny_lora, workspace.adapters / name)
        write_card(workspace.adapters / name, AdapterCard(model=request_.model))
    asked = [
        GenerationRequest(
            **{**request_.model_dump(), "adapters": [{"name": name, "scale": scale} for name, scale in used]}
        )
        for used in ([("film", 0.3)], [("film", 0.1), ("motion", 0.2)], [("film", 0.5), ("motion", 0.5)], [("film", 1)])
    ]
    alone = request_.model_copy(update={"adapter": "film"})
    drain(JobSpec.generate([*asked, alone, request_]), context)
    made = [load_clip(workspace, one.id).frames.astype(float) for one in [*asked, alone]]
    assert np.abs(made[0] - made[1]).max() <= 1, "the same LoRA twice: 0.1 + 0.2 are 0.3"
    assert max(np.abs(made[4] - one).max() for one in made[2:4]) <= 1, "0.5 + 0.5, and 1, are the adapter alone"
    assert np.abs(made[0] - made[4]).max() > 1
    assert [store.clip(one.id).adapter for one in asked[:2]] == ["film 0.3", "film 0.1 + motion 0.2"]
    assert GenerationRequest(**store.clip(asked[1].id).request) == asked[1]
    assert len({one.id for one in [*asked, alone, request_]}) == 6
    older = {name: value for name, value in alone.model_dump(mode="json").items() if name != "adapters"}
    assert GenerationRequest(**older).id == alone.id, "clips of earlier versions keep their ids"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"adapter": "a", "adapters": [{"name": "b"}]}, "exclude each other"),
        ({"adapters": [{"name": "a"}, {"name": "a"}]}, "an adapter is named twice"),
        ({"adapters": [{"name": "a", "scale": float("nan")}]}, "adapters.0.scale"),
        ({"adapters": [{"name": "a", "scale": 11}]}, "adapters.0.scale = 11 is invalid"),
    ],
)
def test_adapters_that_contradict_each_other(request_, fields, sentence):
    with pytest.raises(ConfigError, match=sentence):
        read_request({**request_.model_dump(), **fields})


def test_an_adapter_that_is_gone_is_a_sentence(context, request_):
    gone = request_.model_copy(update={"adapter": "run-1"})
    with pytest.raises(ConfigError, match="Unknown adapter 'run-1' for model 'tiny'"):
        drain(JobSpec.generate([gone]), context)


def test_a_prompt_that_is_not_read_to_its_end_is_noted(context, store, request_):
    long = request_.model_copy(update={"prompt": "a red circle " * 10})
    drain(JobSpec.generate([long]), context)
    (note,) = store.clip(long.id).notes
    assert "longer than the model reads" in note


@pytest.fixture
def folder(tmp_path, moving_square):
    """Three videos, one of them cut off, and a prompt beside the first."""
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(moving_square, folder / "a.mkv")
    (folder / "a.txt").write_text("a square that\nmoves right\n")
    write_lossless(folder / "b.mkv", np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8), 8.0)
    (folder / "c.mkv").write_bytes(moving_square.read_bytes()[:2000])
    (folder / "notes.pdf").write_bytes(b"no video")
    return folder


def test_a_folder_is_scored_and_what_cannot_be_read_is_said(context, store, folder, tiny_model):
    result, seen = drain(JobSpec.score_folder(folder, "something", tiny_model), context)
    assert [store.clip(clip_id).prompt for clip_id in result["clip_ids"]] == ["a square that moves right", "something"]
    assert list(result["unread"]) == ["c.mkv"] and "damaged" in result["unread"]["c.mkv"]
    assert set(store.reports(result["clip_ids"], tiny_model)) == set(result["clip_ids"])
    assert [(p.step, p.of) for p in seen] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_video_that_cannot_be_stored_does_not_stop_the_others(context, store, folder, tiny_model):
    record, _ = read_record(folder / "b.mkv", "something")
    store.workspace.clip_folder(record.id).parent.write_text("in the way")
    result, _ = drain(JobSpec.score_folder(folder, "something", tiny_model), context)
    assert len(result["clip_ids"]) == 1 and "was not kept" in result["unread"]["b.mkv"]


def test_a_folder_that_was_cut_short_goes_on_where_it_was(context, store, folder, tiny_model):
    run = kind_of("score_folder", KINDS).start(JobSpec.score_folder(folder, "", tiny_model).config, context)
    next(run), next(run)
    run.close()
    (first,) = store.clips()
    report = {**store.report(first.id), "total": 0.123}
    store.save_report(first.id, tiny_model, report)
    result, _ = drain(JobSpec.score_folder(folder, "", tiny_model), context)
    assert len(result["clip_ids"]) == 2
    assert store.report(first.id, tiny_model)["total"] == 0.123, "what was scored is not scored again"


def test_a_folder_of_nothing_readable_fails_with_the_first_reason(context, folder, tiny_model):
    for name in ("a.mkv", "b.mkv"):
        (folder / name).write_bytes(b"no video" * 50)
    with pytest.raises(MediaError):
        drain(JobSpec.score_folder(folder, "", tiny_model), context)


def test_overlays_show_what_the_rewards_saw(context, store, workspace, moving_square, tiny_model):
    (clip_id,) = drain(JobSpec.score_file(moving_square, "", tiny_model), context)[0]["clip_ids"]
    result, _ = drain(JobSpec.overlays(clip_id, tiny_model), context)
    names = result["overlays"]
    assert names and all(name.split(".")[0] in ("flow_smoothness", "loop_break") for name in names)
    for file in names.values():
        frames, fps, _ = read_video(workspace.clip_folder(clip_id) / "overlays" / file)
        assert len(frames) == 17 and fps == 8


def test_one_clip_that_cannot_be_scored_does_not_stop_the_others(context, store, moving_square):
    good = drain(JobSpec.score_file(moving_square, "", "tiny"), context)[0]["clip_ids"][0]
    missing = "f" * 16
    result, _ = drain(JobSpec.score([missing, good], "tiny"), context)
    assert list(result["unscored"]) == [missing] and "missing or damaged" in result["unscored"][missing]
    with pytest.raises(StoreError, match="missing or damaged"):
        drain(JobSpec.score([missing], "tiny"), context)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (JobSpec(kind="generate", config={"requests": []}), "requests"),
        (JobSpec(kind="generate", config={"requests": [{"prompt": "a", "num_frames": 34}]}), "the nearest is 33"),
        (JobSpec(kind="generate", config={"requests": [{"prompt": "a", "model": "mni"}]}), "Did you mean 'mini'"),
        (JobSpec(kind="generate", config={"requests": [{"prompt": "x" * 10_000}]}), "10000|10002"),
        (JobSpec(kind="generate", config={"requests": [{"prompt": "a"}], "mix": "mni"}), "Did you mean 'mini'"),
        (JobSpec(kind="keyframes", config={"request": {"prompt": "a"}}), "must be 'keyframes'"),
        (
            JobSpec(kind="keyframes", config={"request": {"prompt": "a", "mode": "keyframes", "num_frames": 1}}),
            "no frames between keyframes|the nearest is",
        ),
        (JobSpec(kind="score", config={"mix": "mini"}), "either clip_ids or a path"),
        (JobSpec(kind="score", config={"mix": "mini", "path": "/nowhere.mp4"}), "no file /nowhere.mp4"),
        (JobSpec(kind="score_folder", config={"mix": "mini", "folder": "/nowhere"}), "no folder /nowhere"),
        (JobSpec(kind="score_folder", config={"mix": "mini", "folder": "/"}), "The folder / has no video"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_filed(store, spec, sentence):
    queue = JobQueue(store)
    with pytest.raises(ConfigError, match=sentence):
        queue.submit(spec)
    assert queue.list() == []


def test_filing_a_job_loads_no_torch(workspace):
    program = (
        "import sys; from engine.storage.library import Library; from engine.workspace import Workspace\n"
        "from engine.jobs.queue import JobQueue; from engine.jobs.spec import JobSpec\n"
        "from engine.request import GenerationRequest\n"
        "JobQueue(Library(Workspace.from_env())).submit(JobSpec.generate([GenerationRequest(prompt='a')], 'mini'))\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_worker_makes_the_same_clip_and_lets_go_when_asked(store, workspace, request_, context, until):
    """The whole path through a real worker process: queue, model, clip, report, release."""
    queue = JobQueue(store)
    job = queue.submit(JobSpec.generate([request_], "tiny"))
    ensure_worker(workspace)
    try:
        until(lambda: queue.get(job.id).is_over, "the clip", timeout_s=240)
        assert queue.get(job.id).status == "done", queue.get(job.id).error
        frames = load_clip(workspace, request_.id).frames
        until(lambda: worker_state(workspace).state == "idle", "the worker to be idle")
        assert worker_state(workspace).model == request_.model, "the model stays loaded"
        assert release_worker(workspace)
        until(lambda: worker_state(workspace).model is None, "the worker to let go of the model")
    finally:
        stop_worker(workspace)
    (workspace.clip_folder(request_.id) / "frames.mkv").unlink()
    drain(JobSpec.generate([request_]), context)
    assert np.array_equal(load_clip(workspace, request_.id).frames, frames), "here as there"
