"""What follows a run, on a tiny model: looks and alarms that end it, its evaluation, its export, and the next stage."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.cli.main import main
from engine.config.presets import load_train_preset
from engine.errors import ConfigError
from engine.jobs.handlers.train import publish
from engine.request import GenerationRequest
from engine.runs.adapters import AdapterCard, write_card
from engine.runs.curriculum_state import list_curricula
from engine.runs.results import Alarm
from engine.runs.run import Run
from engine.training.build import build_trainer
from engine.training.evaluation import alarm_callback
from engine.training.main import Recorder, train
from engine.workspace import Workspace

PRESET = """
title = "Tiny NFT"
algorithm = "nft"
model = "tiny"
mix = "tiny"
watch = "watched"
rewards = "total"
prompts = "mini"
test_prompts = "mini_held_out"
[alarms]
every = 2
prompts = 2
takes = 2
drift = 1e-6
[settings]
num_frames = 9
width = 32
height = 32
num_steps = 2
lora_rank = 2
learning_rate = 1e-2
max_steps = 4
num_generations = 2
per_device_train_batch_size = 2
gradient_accumulation_steps = 1
save_steps = 1
save_total_limit = 9
logging_steps = 1
sample_clips = 0
"""
STUDENT = """
title = "Tiny student"
algorithm = "distill"
model = "tiny"
prompts = "mini"
watch = "tiny"
[alarms]
every = 0
[settings]
num_frames = 9
width = 32
height = 32
num_steps = 4
guidance = 2.0
student_steps = 2
rollout_clips = 2
per_device_train_batch_size = 2
lora_rank = 2
max_steps = 2
sample_clips = 0
"""
CURRICULUM = """
title = "Tiny lengths"
[[stages]]
name = "short"
preset = "tiny_nft"
frames = 9
steps = 1
[stages.gate]
num_prompts = 4
takes = 1
retries = 0
conditions = [{ metric = "flow_smoothness", at_least = BOUND }]
[[stages]]
name = "long"
preset = "tiny_nft"
frames = 12
steps = 1
[stages.gate]
num_prompts = 4
takes = 1
conditions = [{ metric = "flow_smoothness", at_least = -1.0 }]
"""
NewRun = Callable[..., Run]


@pytest.fixture
def presets(tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAILIES_TRACKIO", "0")
    folder = tmp_path / "presets"
    for kind in ("train", "curricula"):
        (folder / kind).mkdir()
    (folder / "train" / "tiny_nft.toml").write_text(PRESET)
    (folder / "train" / "tiny_student.toml").write_text(STUDENT)
    weights = "weights = { flow_smoothness = 1.0, loop_break = 1.0, aesthetic = 1.0 }\n"
    (folder / "rewards" / "watched.toml").write_text(f'title = "Watched"\n{weights}')
    return folder


@pytest.fixture
def new_run(presets: Path, workspace: Workspace) -> NewRun:
    def make(key: str = "tiny_nft", start: Path | None = None, **changes: Any) -> Run:
        return Run.create(workspace, load_train_preset(key, changes), start=start)

    return make


@pytest.fixture
def quick_looks(presets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks that take the brightness of their clips for every reward, and hold none out: for alarms by drift."""

    def brightness(prompts: list[str], completions: list[Any], **_: Any) -> list[float]:
        return [float(clip.frames.mean()) / 255 for clip in completions]

    monkeypatch.setattr("engine.training.build._rewards", lambda preset: [brightness])
    (presets / "train" / "tiny_nft.toml").write_text(PRESET.replace('watch = "watched"\n', ""))


def trained(run: Run) -> bool:
    return train(run, Recorder(run))


def last_step(run: Run) -> int:
    checkpoint = run.last_checkpoint()
    return int(checkpoint.name.split("-")[-1]) if checkpoint else 0


def test_an_alarm_that_is_only_logged_lets_the_run_end(new_run: NewRun) -> None:
    run = new_run()
    assert trained(run)
    alarms = run.alarms()
    assert [(alarm.step, alarm.name) for alarm in alarms if alarm.name == "drift"] == [(n, "drift") for n in (2, 4)]
    assert all(alarm.action == "log" for alarm in alarms)
    looked = next(row for row in run.metrics() if row["step"] == 2)
    assert {"watch/reward", "watch/held_out/aesthetic", "watch/motion", "watch/diversity", "watch/drift"} <= set(looked)
    assert "watch/held_out/flow_smoothness" not in looked, "what is trained on is not held out"
    assert 0 < looked["watch/drift"]


@pytest.mark.usefixtures("quick_looks")
def test_an_alarm_pauses_a_run_once_and_whoever_resumes_goes_on(new_run: NewRun) -> None:
    run = new_run(alarms={"action": "pause"})
    assert not trained(run)
    assert (last_step(run), run.adapter.exists(), run.alarms()[-1].action) == (2, False, "pause")
    run.lock.unlink()
    assert trained(run)
    assert run.alarms()[-1].action == "log"


@pytest.mark.usefixtures("quick_looks")
def test_an_alarm_rolls_back_to_what_was_good(new_run: NewRun) -> None:
    run = new_run(alarms={"action": "roll_back", "every": 3})
    assert not trained(run)
    assert run.last_checkpoint() is None, "nothing was good since the beginning"
    assert len(list(run.checkpoints.glob("rejected-*"))) == 2
    assert run.alarms()[0].step == 3


@pytest.mark.usefixtures("quick_looks")
def test_a_pause_waits_for_the_end_of_its_clips(new_run: NewRun) -> None:
    run = new_run(alarms={"action": "pause"}, settings={"num_iterations": 3})
    assert not trained(run)
    assert (run.alarms()[0].step, last_step(run)) == (2, 3)


@pytest.mark.usefixtures("quick_looks")
def test_a_roll_back_finds_what_was_good_however_few_checkpoints_are_kept(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarm = Alarm(step=6, name="motion", sentence="So.", value=0.1, limit=0.6)
    monkeypatch.setattr(
        alarm_callback, "detect_alarms", lambda looks, settings, planned: [alarm] if looks[-1].step == 6 else []
    )
    changes = {"max_steps": 6, "save_total_limit": 2}
    run = new_run(alarms={"action": "roll_back", "every": 3, "drift": 0.5}, settings=changes)
    assert not trained(run)
    assert last_step(run) == 3


@pytest.mark.usefixtures("quick_looks")
def test_a_suspicion_is_looked_at_more_closely(new_run: NewRun) -> None:
    """On as many prompts again, with the base's clips of them made once; they are not what every look is of."""
    run = new_run()
    trainer = build_trainer(run.preset(), run)
    callback = alarm_callback.AlarmCallback(trainer, run, run.preset())
    first = callback.observe(0, base=True)
    seen = callback.observe(2)
    base, now = callback._with_more(first, seen)
    again, _ = callback._with_more(first, seen)
    assert len(set(first.prompts)) == 2 and len(set(base.prompts)) == 4 and base.prompts == now.prompts
    assert base.prompts[:4] == first.prompts and again.columns == base.columns and now.step == 2
    assert all(len(column) == 8 for column in (*base.columns.values(), *now.columns.values()))
    assert base.columns["motion"] == now.columns["motion"], "nothing was trained"


def test_rewards_get_the_columns_of_the_watched_prompts(new_run: NewRun, tmp_path: Path) -> None:
    rows = [{"prompt": "a red circle", "target": 0.25}, {"prompt": "a blue square"}]
    prompts = tmp_path / "targets.jsonl"
    prompts.write_text("\n".join(json.dumps(row) for row in rows))
    run = new_run(prompts=str(prompts), test_prompts=str(prompts))
    trainer = build_trainer(run.preset(), run)

    def target_reward(prompts: list[str], completions: Any, target: list[float | None], **_: Any) -> list[float | None]:
        assert [prompt == "a red circle" for prompt in prompts] == [value == 0.25 for value in target]
        return target

    trainer.reward_funcs, trainer.reward_weights = [target_reward], torch.ones(1)
    seen = alarm_callback.AlarmCallback(trainer, run, run.preset()).observe(0)
    by_prompt = dict(zip(seen.prompts, seen.columns[alarm_callback.REWARD], strict=True))
    assert by_prompt == {"a red circle": 0.25, "a blue square": None}


def test_a_closer_look_has_other_prompts_or_other_takes(new_run: NewRun) -> None:
    run = new_run()
    preset, template = run.preset(), GenerationRequest(prompt="-", num_frames=9, width=32, height=32)
    for count, others in ((8, True), (10_000, False)):
        settings = preset.alarms.model_copy(update={"prompts": count})
        changed = preset.model_copy(update={"alarms": settings})
        first, more = alarm_callback.watched_requests(template, changed, run.rows)
        assert len(first) == len(more) and not {one.seed for one in first} & {one.seed for one in more}
        assert ({one.prompt for one in first} != {one.prompt for one in more}) == others


def test_alarms_survive_a_torn_line(new_run: NewRun) -> None:
    run = new_run()
    alarm = Alarm(step=3, name="motion", sentence="So.", value=0.1, limit=0.6)
    run.append_alarm(alarm)
    with run.alarms_file.open("a") as file:
        file.write('{"step": 4, "na')
    assert run.alarms() == [alarm]


def test_a_run_is_evaluated_exported_and_gone_on_from(
    new_run: NewRun, workspace: Workspace, tiny_lora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The adapter is one that changes the tiny model much, put there instead of trained."""
    run = new_run()
    where = ["--workspace", str(workspace.root)]
    assert main(["evaluate", run.id, *where]) == 2
    assert "no checkpoint yet" in capsys.readouterr().err
    shutil.copytree(tiny_lora, run.adapter)
    write_card(run.adapter, AdapterCard(model="tiny"))
    assert main(["evaluate", run.id, "--num-prompts", "2", "--variations", "1", "--json", *where]) == 0
    capsys.readouterr()
    found = run.evaluation()
    assert found is not None
    roles = {measure.name: measure.role for measure in found.measures}
    assert (roles["mix"], roles["flow_smoothness"], roles["aesthetic"]) == ("trained", "trained", "held_out")
    assert found.prompts == 2
    changed = found.measure("aesthetic")
    assert changed is not None
    assert changed.change.mean == pytest.approx(changed.after.mean - changed.before.mean, abs=1e-6)
    assert any(measure.change.mean != 0 for measure in found.measures), "the adapter made other clips"

    out = tmp_path / "out"
    assert main(["export", run.id, str(out), *where]) == 0
    assert {path.name for path in out.iterdir()} == {
        "pytorch_lora_weights.safetensors",
        "adapter.json",
        "resolved.json",
        "evaluation.json",
    }
    assert main(["export", run.id, str(out), *where]) == 2

    student = new_run("tiny_student", start=run.weights())
    assert trained(student)
    name = publish(student, workspace)
    card = AdapterCard.model_validate_json((workspace.adapters / name / "adapter.json").read_bytes())
    assert card.recommended == {"num_steps": 2, "guidance": 1.0}
    assert main(["evaluate", student.id, "--num-prompts", "2", "--variations", "1", *where]) == 0
    against = student.evaluation()
    assert against is not None
    assert (against.before["num_steps"], against.before["adapter"]) == (4, "own")
    assert (against.after["num_steps"], against.after["guidance"]) == (2, 1.0)


def test_a_card_says_how_generate_begins(workspace: Workspace, tiny_model: str) -> None:
    from engine.cli.generate import read_requests
    from engine.cli.main import build_parser

    folder = workspace.adapters / "quick"
    folder.mkdir(parents=True)
    (folder / "pytorch_lora_weights.safetensors").touch()
    write_card(folder, AdapterCard(model=tiny_model, num_steps=4, guidance=1.0))
    words = ["generate", "a star", "--model", tiny_model, "--adapter", "quick", "--workspace", str(workspace.root)]
    assert read_requests(build_parser().parse_args(words))[0].num_steps == 4
    assert read_requests(build_parser().parse_args([*words, "--steps", "7"]))[0].num_steps == 7


@pytest.mark.parametrize(
    ("bound", "status", "code_runs"),
    [pytest.param(-1.0, "done", 2, marks=pytest.mark.slow), (1.1, "stopped", 1)],
)
def test_a_curriculum_goes_as_far_as_its_gates_let_it(
    bound: float, status: str, code_runs: int, presets: Path, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    text = CURRICULUM.replace("BOUND", str(bound))
    (presets / "curricula" / "tiny_lengths.toml").write_text(text)
    where = ["--workspace", str(workspace.root)]
    assert main(["curriculum", "tiny_lengths", "--json", *where]) == 0, capsys.readouterr().err
    told = json.loads(capsys.readouterr().out)
    state = told["state"]
    assert told["adapter"] == (state["attempts"][-1]["run"] if status == "done" else None)
    assert (state["status"], len(state["attempts"])) == (status, code_runs)
    (made,) = list_curricula(workspace)
    assert made.state().status == status
    first = Run.find(workspace, state["attempts"][0]["run"])
    assert not first.start.exists()
    if status == "done":
        second = Run.find(workspace, state["attempts"][1]["run"])
        assert second.preset().settings["num_frames"] == 17, "12 frames, rounded up to 8k+1"
        assert second.start.is_dir()
        assert main(["curriculum", made.id, *where]) == 0
        assert "is done" in capsys.readouterr().out


def test_what_is_not_there_is_said(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--workspace", str(workspace.root)]
    for words, message in ((["evaluate", "x"], "no run 'x'"), (["curriculum", "x"], "Unknown preset 'x'")):
        assert main([*words, *where]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no run"):
        Run.find(workspace, "..")
