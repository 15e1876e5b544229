"""Samples at fixed prompts and seeds: the same noise at each checkpoint, asked for or due, and no trace in training."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from engine.config.presets import load_preset, load_train_preset
from engine.errors import ConfigError
from engine.jobs.context import JobContext
from engine.jobs.kinds import KINDS, kind_of
from engine.jobs.maintenance_configs import samples_job
from engine.request import GenerationRequest
from engine.runs.run import Run, list_runs
from engine.runs.samples import RunSamples, set_name
from engine.storage.library import Library
from engine.training.evaluation.evaluate import MONITORED, MONITORS
from engine.training.evaluation.sample_scores import SampleScores
from engine.training.evaluation.sample_sets import sample_requests
from engine.training.main import Recorder, train
from engine.training.trainer_settings import VideoNFTConfig
from engine.video.reader import read_header, read_video
from engine.workspace import Workspace
from rewards import Clip
from rewards.suite import RewardSuite

SETTINGS = {"learning_rate": 1e-2, "max_steps": 4, "sample_clips": 2}


@pytest.fixture
def new_run(preset: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """`new_run(**settings)`: a run of a tiny model, not yet begun."""
    monkeypatch.setenv("DAILIES_TRACKIO", "0")
    return lambda **settings: Run.create(workspace, load_train_preset(preset, {"settings": {**SETTINGS, **settings}}))


@pytest.fixture(scope="module")
def kept_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs a trained run puts its workspace for the others."""
    return tmp_path_factory.mktemp("kept") / "workspace"


@pytest.fixture
def trained_run(new_run: Callable[..., Run], kept_workspace: Path, workspace: Workspace) -> Run:
    """A run of four steps with samples at the base, step 2 and step 4: trained once, a copy for each test."""
    if kept_workspace.is_dir():
        shutil.copytree(kept_workspace, workspace.root, dirs_exist_ok=True)
        return list_runs(workspace)[0]
    run = new_run()
    assert train(run, Recorder(run))
    shutil.copytree(workspace.root, kept_workspace)
    return run


def trained(run: Run) -> dict[str, torch.Tensor]:
    (file,) = run.adapter.glob("*.safetensors")
    return dict(load_file(file))


def test_requests_are_spread_over_the_prompts_and_repeat_themselves() -> None:
    template = GenerationRequest(prompt="-", num_steps=20)
    prompts = [{"prompt": f"prompt {index}"} for index in range(8)]
    found = sample_requests(template, prompts, seed=3, num_clips=4, num_steps=6)
    assert [one.prompt for one in found] == ["prompt 0", "prompt 2", "prompt 4", "prompt 6"]
    assert {one.num_steps for one in found} == {6}
    assert found == sample_requests(template, prompts, seed=3, num_clips=4, num_steps=6)
    more = sample_requests(template, prompts[:2], seed=3, num_clips=5)
    assert len({(one.prompt, one.seed) for one in more}) == 5
    assert sample_requests(template, prompts, seed=3, num_clips=0) == ()


def test_a_set_at_each_checkpoint_beside_the_base(trained_run: Run) -> None:
    run, kept = trained_run, RunSamples(trained_run)
    base, *later = kept.sets()
    assert base.step is None and [one.step for one in later] == [2, 4]
    assert kept.names() == ["00000002", "00000004", "base"]
    for found in (base, *later):
        assert [(one.prompt, one.seed) for one in found.samples] == [(one.prompt, one.seed) for one in kept.requests()]
        file = kept.file(found.name, found.samples[0].file)
        assert file is not None and read_header(file).num_frames == 9
        report = found.samples[0].report
        assert set(report["results"]) == {"flow_smoothness", "loop_break", *MONITORED}
        assert set(report["weights"]) <= {"flow_smoothness", "loop_break"}  # what is monitored besides does not count
    rows = {row["step"]: row for row in run.metrics()}
    assert sorted(rows) == [1, 2, 3, 4]
    assert [step for step in rows if "samples/total" in rows[step]] == [2, 4]
    assert all(rows[step]["time/step"] > 0 and rows[step]["time/update"] > 0 for step in rows)
    assert "samples/flow_smoothness" in rows[2]
    assert not any(name.startswith("samples/held_out/") for name in rows[2]), "it watches no other mix"
    assert rows[1]["at"] < rows[4]["at"] and rows[4]["memory/process"] > 0


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """Two clips in which something moves, one of them cut in its middle."""
    rng = np.random.default_rng(3)
    texture = rng.integers(0, 255, (64, 96, 3), np.uint8)
    moving = np.stack([texture[:, at : at + 64] for at in range(17)])
    return [Clip(frames=frames, fps=8.0, prompt="a red circle") for frames in (moving, np.roll(moving, 8, axis=0))]


def test_samples_are_measured_by_what_is_trained_on_what_is_not_and_the_six_metrics(clips: list[Clip]) -> None:
    preset = load_train_preset("mini_grpo")
    scores = SampleScores(preset)
    reports = scores.reports(clips)
    found = scores.means(reports)
    trained = load_preset("rewards", str(preset.mix)).weights
    assert {"samples/clip_vid", "samples/flow_smoothness"} <= set(found) and "samples/t_lpips" not in found
    held_out = {name.removeprefix("samples/held_out/") for name in found if name.startswith("samples/held_out/")}
    assert held_out and not held_out & set(trained)
    lacking = {f"monitor/{name}" for name in MONITORS} - set(found)
    assert lacking == {"monitor/seam", "monitor/identity_drift"}, "noise has no windows, and no subject"
    raw = [report.results["t_lpips"].raw for report in reports]
    assert found["monitor/t_lpips"] == pytest.approx(sum(one for one in raw if one is not None) / 2)
    own = RewardSuite(load_preset("rewards", str(preset.mix))).score_many(clips)
    assert [report.total for report in reports] == pytest.approx([report.total for report in own])
    assert [report.weights for report in reports] == [report.weights for report in own]


def test_samples_say_what_could_not_be_computed(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (report, _) = SampleScores(load_train_preset("mini_grpo", {"mix": "seed", "watch": None})).reports(clips)
    said = {note.split()[0]: note for note in report.notes}
    assert "could not be computed" in said["t_lpips"] and "does not apply" in said["identity_lock"]
    assert set(report.missing) <= set(report.results) and "t_lpips" in report.missing


def test_pairs_train_on_no_reward_and_their_samples_are_measured_all_the_same(clips: list[Clip]) -> None:
    scores = SampleScores(load_train_preset("mini_dpo"))
    found = scores.means(scores.reports(clips))
    assert "samples/held_out/total" in found and "monitor/t_lpips" in found
    assert not any(name.startswith("samples/") and not name.startswith("samples/held_out/") for name in found)
    neither = SampleScores(load_train_preset("mini_dpo", {"watch": None}))
    assert neither.reports(clips) == [] and neither.means([]) == {}


def test_the_base_is_the_model_before_training(trained_run: Run, new_run: Callable[..., Run]) -> None:
    """The adapter's first set differs from the base; made again by the reference, the base comes out the same."""
    other = new_run(max_steps=2, learning_rate=0.5)
    assert train(other, Recorder(other))
    assert RunSamples(trained_run).requests()[0] == RunSamples(other).requests()[0]

    def frames(run: Run, step: int | None) -> Any:
        file = RunSamples(run).file(set_name(step), "0.mp4")
        assert file is not None
        return read_video(file)[0]

    assert (frames(trained_run, None) == frames(other, None)).all()
    assert (frames(trained_run, 2) != frames(other, 2)).any()


def test_training_is_not_disturbed(trained_run: Run, new_run: Callable[..., Run]) -> None:
    without = new_run(sample_clips=0)
    assert train(without, Recorder(without))
    assert RunSamples(without).sets() == [] and RunSamples(without).requests() == ()
    left, right = trained(trained_run), trained(without)
    assert all(torch.equal(left[name], right[name]) for name in left.keys() | right.keys())


def test_a_set_is_made_when_asked_for(new_run: Callable[..., Run]) -> None:
    run = new_run(max_steps=3, save_steps=100, sample_clips=1)
    kept = RunSamples(run)
    kept.request()
    assert train(run, Recorder(run))
    assert 1 in [one.step for one in kept.sets()]
    assert not kept.take_request()


def test_who_is_to_stop_makes_no_samples_but_those_come_later(new_run: Callable[..., Run]) -> None:
    run = new_run(sample_clips=1)
    recorder = Recorder(run)
    recorder.stop_requested = True
    assert not train(run, recorder)
    assert [one.step for one in RunSamples(run).sets()] == [None]
    run.lock.unlink()  # this process still holds it
    assert train(run, Recorder(run))
    assert [one.step for one in RunSamples(run).sets()] == [None, 1, 2, 4]


def test_every_so_many_steps(new_run: Callable[..., Run]) -> None:
    run = new_run(sample_every=3, sample_clips=1)
    assert train(run, Recorder(run))
    assert [one.step for one in RunSamples(run).sets()] == [None, 3]


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    for wrong in ({"sample_clips": -1}, {"sample_every": 0}, {"sample_steps": 0}):
        with pytest.raises(ConfigError, match="sample_clips must be 0 or more"):
            VideoNFTConfig(output_dir=str(tmp_path), use_cpu=True, **wrong)


def test_names_that_lead_elsewhere_are_no_files(new_run: Callable[..., Run]) -> None:
    run = new_run()
    kept = RunSamples(run)
    (kept.folder / "base").mkdir(parents=True)
    (run.folder / "secret.mp4").write_bytes(b"x")
    (kept.folder / "base" / "0.mp4").write_bytes(b"x")
    assert kept.file("base", "0.mp4") is not None
    for name, sample in (("..", "secret.mp4"), ("base", "../../secret.mp4"), ("base", "set.json"), ("", "secret.mp4")):
        assert kept.file(name, sample) is None


def test_a_torn_set_is_left_out(new_run: Callable[..., Run]) -> None:
    kept = RunSamples(new_run())
    for name, said in (("00000002", '{"step": 2, "samples": ['), ("00000003.part", '{"step": 3, "samples": []}')):
        (kept.folder / name).mkdir(parents=True)
        (kept.folder / name / "set.json").write_text(said)
    assert kept.sets() == []


def test_samples_of_a_finished_run_are_those_that_it_would_have_made(trained_run: Run) -> None:
    kept = RunSamples(trained_run)
    made = kept.sets()[-1]
    file = kept.file("00000004", "0.mp4")
    assert file is not None
    before = file.read_bytes()
    file.unlink()
    store = Library(trained_run.workspace)
    spec = samples_job(trained_run.id)
    list(kind_of(spec.kind, KINDS).start(spec.config, JobContext(store=store)))
    store.close()
    assert kept.sets()[-1].step == 4 == made.step
    assert file.read_bytes() == before
