"""A run as a process of its own: cancelled, resumed, killed, resumed to its end, and its adapter used."""

import itertools
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from engine.cli.main import main
from engine.config.presets import load_train_preset
from engine.config.prompts import read_prompts
from engine.errors import ConfigError, TrainingError
from engine.execution.process_runner import load_handle
from engine.files.locks import try_lock
from engine.jobs.context import JobContext
from engine.jobs.kinds import KINDS, kind_of
from engine.jobs.runs.train_process import command
from engine.jobs.spec import JobSpec
from engine.runs.adapters import find_adapter
from engine.runs.checkpoint_series import step_of
from engine.runs.run import Run, list_runs
from engine.storage.library import Library
from engine.training.exit_codes import STOPPED
from engine.workspace import Workspace

STEPS = 16


def until_step(run: Run, process: "subprocess.Popen[bytes]", step: int) -> None:
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if any(row["step"] >= step for row in run.metrics()):
            return
        assert process.poll() is None, run.log.read_text()
        time.sleep(0.05)
    raise AssertionError(f"step {step} was not reached")


def launch(run: Run) -> "subprocess.Popen[bytes]":
    with run.log.open("ab") as log:
        return subprocess.Popen(command(run), stdout=log, stderr=subprocess.STDOUT)


def test_a_run_is_trained_by_one_process_at_a_time(preset: str, space: Workspace) -> None:
    from engine.training.main import Recorder, train

    run = Run.create(space, load_train_preset(preset))
    assert try_lock(run.lock) is not None
    with pytest.raises(TrainingError, match="by another process"):
        train(run, Recorder(run))


def test_metrics_survive_a_torn_line_and_a_repeat(space: Workspace, preset: str) -> None:
    run = Run.create(space, load_train_preset(preset))
    run.append_metrics(1, {"loss": 1.0, "text": "no", "bad": float("nan")})
    run.append_metrics(2, {"loss": 2.0})
    run.append_metrics(2, {"loss": 3.0})
    with run.metrics_file.open("a") as file:
        file.write('{"step": 3, "lo')
    assert run.metrics() == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 3.0}]


def test_a_checkpoint_that_is_not_whole_is_passed_over(space: Workspace, preset: str) -> None:
    run = Run.create(space, load_train_preset(preset))
    for step, whole in ((2, True), (10, True), (12, False)):
        folder = run.checkpoints / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        if whole:
            (folder / "trainer_state.json").write_text("{}")
    assert run.last_checkpoint() == run.checkpoints / "checkpoint-10"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algoritm": "nft"}, "algorithm"),
        ({"algorithm": "ppo"}, "algorithm"),
        ({"mix": ""}, "nft needs mix"),
        ({"algorithm": "dpo"}, "dpo needs pairs"),
    ],
)
def test_a_preset_that_cannot_work_is_refused(changes: dict[str, Any], message: str, preset: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_train_preset(preset, changes)


def test_settings_are_checked_when_a_run_is_built(preset: str, space: Workspace) -> None:
    from engine.training.build import build_config
    from engine.training.trainer_settings import VideoNFTConfig

    for settings, message in (
        ({"max_step": 3}, "max_steps"),
        ({"num_generations": 3, "per_device_train_batch_size": 4}, "cannot work"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_config(VideoNFTConfig, settings, space.root)


def test_pairs_are_read_with_their_place(tmp_path: Path) -> None:
    from engine.labelling.pair_tables import read_pairs

    file = tmp_path / "pairs.jsonl"
    file.write_text(json.dumps({"prompt": "a", "chosen": "b.mkv", "rejected": "c.mkv", "score": 0.5}) + "\n{}\n")
    with pytest.raises(ConfigError, match="line 2"):
        read_pairs(file)
    good = file.read_text().splitlines()[0]
    for change, sentence in (
        ({"margin": 7}, "line 2 is no pair: its margin is '7', but must be a number from 0 to 1"),
        ({"votes": -1}, "line 2 is no pair: its votes is '-1', but must be valid: input should be greater than"),
        ({"chosen": 3}, "line 2 is no pair: its chosen is '3', but must be valid: input should be a valid string"),
        ({"source": "web"}, "its source is 'web', but must be valid: input should be 'human', 'judge', 'reward'"),
        ({"prompt": ""}, "its prompt is '', but must be valid: string should have at least 1 character"),
    ):
        file.write_text(f"{good}\n{json.dumps({**json.loads(good), **change})}\n")
        with pytest.raises(ConfigError, match=re.escape(sentence)):
            read_pairs(file)
    file.write_text(good)
    assert read_pairs(file)[0]["chosen"] == str(tmp_path / "b.mkv")
    with pytest.raises(ConfigError, match="no file of pairs"):
        read_pairs(tmp_path / "none.jsonl")


def test_files_that_a_preset_names_are_found_from_anywhere(
    preset: str, space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page and the command line start where they like, and the process that trains somewhere else."""
    (tmp_path / "mini").mkdir()  # no prompts of that name
    (tmp_path / "words.txt").write_text("a red circle\n")
    monkeypatch.chdir(tmp_path)
    run = Run.create(space, load_train_preset(preset, {"prompts": "words.txt", "test_prompts": "mini"}))
    assert run.preset().prompts == str(tmp_path / "words.txt")
    assert run.preset().test_prompts == "mini"


def test_unknown_prompts_are_refused(tmp_path: Path) -> None:
    assert len(read_prompts("mini")) == 256
    with pytest.raises(ConfigError, match="mini"):
        read_prompts("mimi")
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    with pytest.raises(ConfigError, match="contains no prompt"):
        read_prompts(str(tmp_path / "empty.txt"))


def test_a_workspace_may_be_moved_with_the_pairs_that_its_runs_learn_from(tmp_path: Path) -> None:
    space = Workspace(tmp_path / "here").prepare()
    (space.root / "imports").mkdir()
    for place in (space.root / "imports" / "mine.jsonl", tmp_path / "elsewhere.txt"):
        place.write_text("a red ball\n", encoding="utf-8")
    asked = {"pairs": str(space.root / "imports" / "mine.jsonl"), "prompts": str(tmp_path / "elsewhere.txt")}
    run = Run.create(space, load_train_preset("mini_dpo").model_copy(update={**asked, "test_prompts": "mini"}))
    assert str(space.root) not in run.resolved.read_text(encoding="utf-8")
    assert {name: getattr(run.preset(), name) for name in asked} == asked
    os.rename(space.root, tmp_path / "there")
    moved = Run.find(Workspace(tmp_path / "there"), run.id)
    for _ in range(2):
        assert moved.preset().pairs == str(tmp_path / "there" / "imports" / "mine.jsonl")
        assert (moved.preset().prompts, moved.preset().test_prompts) == (asked["prompts"], "mini")
        moved.replace_preset(moved.preset())


def test_the_path_of_data_is_stored_like_those_of_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to where the command ran, absolute in the run, and within the workspace it moves along."""
    monkeypatch.chdir(tmp_path)
    space = Workspace(tmp_path / "here").prepare()
    for folder in (tmp_path / "films", space.root / "films"):
        folder.mkdir()
    for given, stored in (("films", tmp_path / "films"), ("here/films", tmp_path / "there" / "films")):
        preset = load_train_preset("mini_nft", {"settings": {"data": given}})
        run = Run.create(space, preset, key=given)
        assert run.preset().settings["data"] == str(tmp_path / given)
        os.rename(space.root, tmp_path / "there")
        monkeypatch.chdir("/")
        assert Run.find(Workspace(tmp_path / "there"), run.id).preset().settings["data"] == str(stored)
        monkeypatch.chdir(tmp_path)
        os.rename(tmp_path / "there", space.root)


def test_every_shipped_preset_is_whole() -> None:
    from engine.config.presets import load_preset, preset_keys

    keys = preset_keys("train")
    assert keys
    for key in keys:
        preset = load_train_preset(key)
        load_preset("models", preset.model)
        if preset.mix:
            load_preset("rewards", preset.mix)
        assert preset.source and preset.notes, key


@pytest.mark.timeout(500)
def test_cancelled_killed_and_resumed_to_the_end(
    preset: str, space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a queued run to an adapter that Generate finds; what is cut off keeps a checkpoint and no adapter."""
    store = Library(space)
    run = Run.create(space, load_train_preset(preset, {"settings": {"max_steps": STEPS}}))
    job = kind_of("train", KINDS).start(JobSpec.train(run.id).config, JobContext(store=store))
    phases = {progress.phase: progress for progress in itertools.islice(job, 1)}
    while "train" not in phases or phases["train"].step < 3:
        progress = next(job)
        phases[progress.phase] = progress
    assert phases["train"].of == STEPS
    job.close()
    handle = load_handle(run.folder)
    assert handle is not None and handle.attempt.exit_code() == STOPPED, run.log.read_text()
    cancelled_at = run.last_checkpoint()
    assert cancelled_at is not None and not run.adapter.exists()
    last = step_of(cancelled_at)
    assert last is not None and [row["step"] for row in run.metrics()] == list(range(1, last + 1))
    store.close()

    process = launch(run)
    until_step(run, process, last + 3)  # a checkpoint each second step
    process.kill()
    process.wait()
    killed_at = run.last_checkpoint()
    assert killed_at is not None and killed_at != cancelled_at
    assert list_runs(space) == [run] and not run.adapter.exists()

    assert main(["resume", run.id, "--workspace", str(space.root), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["metrics"][-1]["step"] == STEPS
    assert [row["step"] for row in run.metrics()] == list(range(1, STEPS + 1))
    assert list_runs(space) == [run]
    adapter = find_adapter(space, told["adapter"], "tiny")
    assert (adapter.card.model, adapter.folder) == ("tiny", space.adapters / run.id)
    assert main(["runs", "ls", "--workspace", str(space.root)]) == 0
    assert "finished" in capsys.readouterr().out
    assert main(["resume", "nothing", "--workspace", str(space.root)]) == 2
    assert "There is no run 'nothing'" in capsys.readouterr().err
