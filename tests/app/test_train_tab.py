"""The Train tab's form and board, without a browser."""

import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from app.components.job_queue import queue_functions
from app.components.run_list import functions
from app.context import AppContext
from app.text import general, training
from app.views.queue import queue_state
from app.views.training import curricula, runs, samples, train_form
from engine.cli.training.train import read_changes
from engine.config.presets import load_curriculum, load_train_preset, preset_keys
from engine.errors import ConfigError, DailiesError
from engine.files.locks import try_lock
from engine.jobs.handlers.curriculum import stage_preset
from engine.jobs.spec import JobProgress, JobSpec
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest
from engine.runs.checkpoint_series import CHECKPOINT
from engine.runs.curriculum_state import list_curricula
from engine.runs.results import Alarm
from engine.runs.run import Run, list_runs
from engine.runs.run_notes import read_notes

pytestmark = pytest.mark.usefixtures("no_worker")


def choices(context: AppContext, key: str = "mini_grpo", **settings: str) -> dict[str, Any]:
    """Choices of the form's script for a newly opened preset with some settings changed."""
    return {**train_form.open_form(context, key)["choices"], "settings": settings}


def hands(context: AppContext) -> dict[str, Any]:
    return {function.__name__: function for function in [*functions(context), *queue_functions(context)]}


# ---- The form
@pytest.mark.parametrize("key", preset_keys("train"))
def test_every_preset_opens_and_unchanged_it_is_itself(context: AppContext, key: str) -> None:
    opened = train_form.open_form(context, key)
    sent = {**opened["choices"], "settings": {row["name"]: row["value"] for row in opened["settings"]}}
    assert train_form.read_preset(context, sent) == load_train_preset(key)
    found = train_form.estimate_form(context, sent)
    assert found["command"] == f"dailies train {key} --queue" and found["changed"] == []
    assert found["memory"]["verdict"] in ("fits", "tight", "too_large")


def test_a_missing_network_of_a_reward_blocks_the_run(
    context: AppContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    sent = {**choices(context), "mix": "online"}
    found = train_form.estimate_form(context, sent)
    assert "`dailies weights get clip_b32" in found["blocked"] and found["missing"] == ""
    with pytest.raises(ConfigError, match="dailies weights get clip_b32"):
        train_form.queue(context, sent)


def test_a_model_that_is_not_installed_is_in_its_group_and_blocks_the_run(context: AppContext) -> None:
    groups = {model["key"]: model["group"] for model in train_form.current_options(context)["models"]}
    assert (groups["mini"], groups["wan21_1_3b"]) == general.MODEL_GROUPS
    assert train_form.estimate_form(context, choices(context))["blocked"] == ""
    sent = {**choices(context), "model": "wan21_1_3b"}
    found = train_form.estimate_form(context, sent)
    assert "Wan 2.1 1.3B is not installed" in found["blocked"] and found["memory"]["verdict"] != "unknown"
    with pytest.raises(ConfigError, match="dailies models get wan21_1_3b"):
        train_form.queue(context, sent)
    assert list_runs(context.workspace) == []


def test_a_change_is_in_the_command_the_preset_and_the_estimate(context: AppContext) -> None:
    sent = {**choices(context, learning_rate="1e-5", lr_scheduler_type="cosine"), "mix": "motion"}
    preset = train_form.read_preset(context, sent)
    assert preset.settings["learning_rate"] == 1e-5 and preset.mix == "motion"
    found = train_form.estimate_form(context, sent)
    assert found["changed"] == ["mix", "learning_rate", "lr_scheduler_type"]
    assert found["command"] == (
        "dailies train mini_grpo --set mix=motion --set settings.learning_rate=1e-05 "
        "--set settings.lr_scheduler_type=cosine --queue"
    )


def test_the_estimate_follows_the_knobs(context: AppContext) -> None:
    small, large = (
        train_form.estimate_form(context, choices(context, per_device_train_batch_size=size))["memory"]
        for size in ("16", "4096")
    )
    assert small["share"] < large["share"] and small["sentence"] != large["sentence"]


def test_the_time_is_learned_from_runs_that_told_their_pace(context: AppContext) -> None:
    assert train_form.estimate_form(context, choices(context))["time"] == training.NO_TIME
    run = Run.create(context.workspace, load_train_preset("mini_grpo"))
    for step in range(1, 4):
        run.append_metrics(step, {"time/step": 30.0, "of": 40})
    assert (
        train_form.estimate_form(context, choices(context, max_steps="40"))["time"]
        == "About 20 min, estimated from 1 run of this model on this machine"
    )
    assert train_form.estimate_form(context, choices(context, max_steps="80"))["time"].startswith("About 40 min")
    fourfold = 4 * int(str(run.preset().settings["gradient_accumulation_steps"]))
    larger_batch = choices(context, max_steps="40", gradient_accumulation_steps=str(fourfold))
    larger = train_form.estimate_form(context, larger_batch)["time"]
    source = "1 run of this model on this machine with much smaller updates"
    assert larger == f"At most about 80 min, extrapolated from {source}."


def test_a_campaign_takes_the_place_of_a_file_of_pairs(context: AppContext) -> None:
    sent = {**choices(context, "mini_dpo"), "campaign": "abcd1234"}
    preset = train_form.read_preset(context, sent)
    assert (preset.campaign, preset.pairs) == ("abcd1234", None)
    with pytest.raises(DailiesError, match="abcd1234"):
        train_form.queue(context, sent)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"max_steps": "many"}, "max_steps must be a whole number, but got 'many'"),
        ({"learning_rate": ""}, "learning_rate is empty"),
        ({"lr_scheduler_type": "cosin"}, "Did you mean 'cosine'"),
        ({"output_dir": "/etc"}, "There is no setting 'output_dir'"),
    ],
)
def test_nonsense_is_refused_before_a_run_is_made(
    context: AppContext, settings: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        train_form.queue(context, choices(context, **settings))
    assert list_runs(context.workspace) == [] and context.queue.list() == []


@pytest.mark.parametrize(("field", "value"), [("preset", "mini_grop"), ("adapter", "none such"), ("model", "nothing")])
def test_what_is_not_there_is_named(context: AppContext, field: str, value: str) -> None:
    with pytest.raises(DailiesError, match=value):
        train_form.queue(context, {**choices(context), field: value})


def test_the_page_names_no_data_outside_the_opened_folders(context: AppContext, tmp_path: Path) -> None:
    for folder in (tmp_path / "closed", tmp_path / "nowhere"):
        sent = choices(context, data=str(folder))
        assert "may not read" in train_form.estimate_form(context, sent)["fields"]["data"]
        with pytest.raises(ConfigError, match="may not read"):
            train_form.queue(context, sent)
    opened = next(iter(context.folders), context.workspace.pairs) / "clips"
    preset = train_form.read_preset(context, choices(context, data=f" {opened} "))
    assert preset.settings["data"] == str(opened.resolve())


def test_a_queued_run_has_what_the_form_said(context: AppContext) -> None:
    submitted = train_form.queue(context, choices(context, max_steps="7"))
    [run] = list_runs(context.workspace)
    assert run.id == submitted["run"] and run.preset().settings["max_steps"] == 7
    [job] = context.queue.list("queued")
    assert (job.kind, job.config) == ("train", {"run": run.id})


def test_a_run_that_is_named_has_its_name_in_lists_jobs_samples_and_alarms(context: AppContext) -> None:
    submitted = train_form.queue(context, {**choices(context), "name": " bolder "})
    run = Run.find(context.workspace, submitted["run"])
    assert read_notes(run).name == "bolder"
    assert [row["title"] for row in runs.run_list(context)["runs"]] == ["bolder"]
    run.append_alarm(Alarm(step=3, name="motion", sentence="Motion fell by half.", value=0.1, limit=0.2))
    state = queue_state(context, with_alarms=True)
    assert [row["title"] for row in state["jobs"]] == ["bolder"]
    assert [row["title"] for row in state["alarms"]] == ["Alarm in run bolder at step 3"]
    assert samples.slider(run)["title"] == "bolder"


def test_a_check_is_a_job_and_its_verdicts_come_back(context: AppContext) -> None:
    job_id = train_form.queue_preflight(context, choices(context))["job"]
    assert train_form.preflight_result(context, job_id)["waits"]
    context.queue.claim(ProcessIdentity.current())
    row = {"name": "frames", "level": "ok", "sentence": "It can."}
    context.queue.finish(job_id, "done", result={"verdicts": [row]})
    assert train_form.preflight_result(context, job_id)["verdicts"] == [row]


def test_a_preset_is_saved_once_and_opened(context: AppContext) -> None:
    sent = {**choices(context, learning_rate="0.002"), "key": "my_own"}
    saved = train_form.save_preset(context, sent)
    assert saved["form"]["choices"]["preset"] == "my_own"
    assert load_train_preset("my_own").settings["learning_rate"] == 0.002
    with pytest.raises(ConfigError, match="A preset named 'my_own' exists already"):
        train_form.save_preset(context, {**sent, "settings": {"learning_rate": "0.003"}})
    assert train_form.save_preset(context, sent)["note"] == saved["note"]  # the same again is no other
    for key in ("", "../up", "a b", "x" * 9 + "/y"):
        with pytest.raises(ConfigError, match="key"):
            train_form.save_preset(context, {**sent, "key": key})


def test_a_runs_settings_fill_the_form(context: AppContext) -> None:
    run = Run.create(context.workspace, load_train_preset("mini_nft", {"settings": {"max_steps": 9}}))
    opened = train_form.open_form(context, run=run.id)
    found = train_form.estimate_form(context, {**opened["choices"], "settings": {"max_steps": "10"}})
    assert found["command"] == f"dailies clone {run.id} --set settings.max_steps=10 --queue"


# ---- A curriculum
@pytest.mark.parametrize("key", preset_keys("curricula"))
def test_every_curriculum_opens_with_its_stages_gates_and_what_it_needs(context: AppContext, key: str) -> None:
    [name] = [one["key"] for one in train_form.open_form(context)["curricula"] if one["key"].endswith(f":{key}")]
    opened, preset = curricula.open_form(name), load_curriculum(key)
    assert [stage["name"] for stage in opened["stages"]] == [stage.name for stage in preset.stages]
    assert all(stage["gate"] and "updates" in stage["told"] for stage in opened["stages"])
    found = curricula.estimate_form(context, opened["choices"])
    assert found["command"] == f"dailies curriculum {key} --queue"
    assert found["memory"]["verdict"] in ("fits", "tight", "too_large") and found["time"] == training.NO_TIME
    assert any(f"'{stage.name}'" in found["memory"]["sentence"] for stage in preset.stages)


def test_the_time_of_a_curriculum_is_that_of_its_stages(context: AppContext) -> None:
    opened = curricula.open_form("curriculum:mini_lengths")
    stages = [stage_preset(stage) for stage in load_curriculum("mini_lengths").stages]
    for stage in stages:
        Run.create(context.workspace, stage).append_metrics(1, {"time/step": 60.0})
    minutes = sum(int(str(stage.settings["max_steps"])) for stage in stages)
    assert curricula.estimate_form(context, opened["choices"])["time"] == training.time_of_stages(60.0 * minutes)


def test_a_curriculum_is_queued_from_the_form(context: AppContext) -> None:
    submitted = curricula.queue(context, curricula.open_form("curriculum:mini_lengths")["choices"])
    [made] = list_curricula(context.workspace)
    assert made.id == submitted["run"] and made.preset() == load_curriculum("mini_lengths")
    [job] = context.queue.list("queued")
    assert (job.kind, job.config) == ("curriculum", {"curriculum": made.id})
    assert [row["title"] for row in queue_state(context)["jobs"]] == [made.id]
    with pytest.raises(ConfigError, match="mini_lengthz"):
        curricula.open_form("curriculum:mini_lengthz")


# ---- The board
def test_the_board_shows_the_queue_in_its_order_and_obeys(context: AppContext) -> None:
    first, second, third = (train_form.queue(context, choices(context))["run"] for _ in range(3))
    do = hands(context)
    shown = do["read_jobs"]({"ended": 20, "alarms": False})
    assert [row["title"] for row in shown["jobs"]] == [first, second, third]
    shown = do["move_job"]({"id": shown["jobs"][2]["id"], "to": 1})
    assert [row["title"] for row in shown["jobs"]] == [third, first, second]
    assert do["pause"]()["paused"] and not do["go_on"]()["paused"]
    shown = do["cancel_job"](shown["jobs"][0]["id"])
    assert [row["title"] for row in shown["jobs"]] == [first, second]
    assert do["cancel_pending"]()["jobs"] == []
    assert {row["state"] for row in runs.run_list(context)["runs"]} == {"new"}


def test_runs_are_resumed_and_extended_from_the_board(context: AppContext) -> None:
    run = Run.create(context.workspace, load_train_preset("mini_grpo"))
    (run.checkpoints / f"{CHECKPOINT}3").mkdir(parents=True)
    (run.checkpoints / f"{CHECKPOINT}3" / "trainer_state.json").write_text("{}")
    run.append_metrics(3, {"of": 40})
    do = hands(context)
    [row] = do["news"]()["runs"]
    assert (row["state"], row["where"], row["can_resume"], row["can_extend"]) == ("stopped", "3 / 40", True, True)
    assert do["resume"](run.id)["runs"][0]["state"] == "queued"
    do["cancel_pending"]()
    with pytest.raises(ConfigError, match="a whole number of updates, but got 1.5"):
        do["extend"]({"id": run.id, "steps": 1.5})
    assert do["extend"]({"id": run.id, "steps": 1000})["runs"][0]["state"] == "queued"
    assert run.preset().settings["max_steps"] == 1000 + int(load_train_preset("mini_grpo").settings["max_steps"])


def test_a_run_that_the_queue_does_not_train_is_no_business_of_its_buttons(context: AppContext) -> None:
    run = Run.create(context.workspace, load_train_preset("mini_nft"))
    trainer = try_lock(run.lock)
    assert trainer is not None
    [row] = runs.run_list(context)["runs"]
    assert (row["state"], row["job"], row["problem"]) == ("training", "", training.OUTSIDE)
    assert not row["can_resume"] and not row["can_extend"]
    os.close(trainer)
    [row] = runs.run_list(context)["runs"]
    assert (row["state"], row["problem"]) == ("new", "")


def test_a_log_is_read_from_its_end_and_searched(context: AppContext) -> None:
    run = Run.create(context.workspace, load_train_preset("mini_grpo"))
    assert runs.log(context, run.id, "")["lines"] == ""
    run.log.write_text("".join(f"line {number} {'x' * 80}\n" for number in range(5000)) + "torn")
    whole = runs.log(context, run.id, "")
    assert whole["lines"].endswith("torn") and "line 1 " not in whole["lines"] and whole["part"]["shown"] == "65.5 kB"
    assert runs.log(context, run.id, "LINE 17 ")["lines"].startswith("line 17 x")
    with pytest.raises(ConfigError, match="There is no run"):
        runs.log(context, "../..", "")


def test_a_run_is_given_a_share_of_the_device(context: AppContext) -> None:
    asked = {**choices(context), "share": "0.5"}
    assert train_form.estimate_form(context, asked)["command"].endswith("--gpus 0.5 --queue")
    whole, half = (train_form.estimate_form(context, one)["memory"]["share"] for one in (choices(context), asked))
    assert half == pytest.approx(2 * whole)
    train_form.queue(context, asked)
    train_form.queue(context, asked)
    train_form.queue(context, asked)
    started = [context.queue.claim(ProcessIdentity.current()) for _ in range(3)]
    assert [job.resources if job else None for job in started] == [{"gpus": 0.5}, {"gpus": 0.5}, None]
    with pytest.raises(ConfigError, match="gpus"):
        train_form.estimate_form(context, {**asked, "share": "most"})


def test_a_clip_beside_a_run_with_a_share_does_not_wait(context: AppContext) -> None:
    train_form.queue(context, {**choices(context), "share": "0.5"})
    context.queue.claim(ProcessIdentity.current())
    context.submit(JobSpec.generate([GenerationRequest(prompt="a red circle")]))
    card = queue_state(context)["jobs"][-1]
    assert card["line"] == general.waiting(1)


def test_the_priority_of_what_waits(context: AppContext) -> None:
    context.queue.pause()
    train_form.queue(context, choices(context))
    train_form.queue(context, choices(context))
    second, first = context.queue.list("queued")
    do = hands(context)
    rows = do["prioritise"]({"id": second.id, "priority": "high"})["jobs"]
    assert (rows[0]["id"], rows[0]["priority"]) == (second.id, "high")
    with pytest.raises(ConfigError, match="A priority is one of high, normal, low, but got 'urgent'"):
        do["prioritise"]({"id": first.id, "priority": "urgent"})


def test_a_clip_that_waits_for_a_run_says_so(context: AppContext) -> None:
    run = train_form.queue(context, choices(context))["run"]
    job = context.queue.claim(ProcessIdentity.current())
    assert job is not None
    context.queue.heartbeat(job.id, JobProgress(phase="train", step=3, of=40))
    context.submit(JobSpec.generate([GenerationRequest(prompt="a red circle")]))
    card = queue_state(context)["jobs"][-1]
    assert card["line"] == f"Waiting: run {run} (step 3 of 40) uses the device. This job is next."
    context.queue.pause()
    assert queue_state(context)["jobs"][-1]["line"] == training.HELD


def test_a_log_of_a_missing_file_is_empty(tmp_path: Path) -> None:
    from engine.files.log_tail import read_log

    assert read_log(tmp_path / "none.txt").lines == ()


@pytest.mark.parametrize("key", ["2024", "null", "true", "1e3", "motion", "a b"])
def test_the_shown_command_means_the_chosen_preset(key: str) -> None:
    """The shell reads `--set mix=VALUE` as JSON first: a mix may be called 2024."""
    words = shlex.split(
        train_form.command({"preset": "mini_nft", "run": ""}, {"mix": key, "settings": {"max_steps": 5}})
    )
    sets = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    assert read_changes(sets) == {"mix": key, "settings": {"max_steps": 5}}
    assert read_changes([f"mix={train_form._json(None)}"]) == {"mix": None}
