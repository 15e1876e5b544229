"""Gates that noise cannot pass, and a state that always comes to an end."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.curriculum_preset import CurriculumGate, CurriculumPreset, GateCondition, Stage
from engine.config.presets import load_curriculum, preset_keys
from engine.errors import ConfigError, JobCancelled, StoreError
from engine.jobs.context import JobContext
from engine.jobs.handlers import curriculum as driver
from engine.jobs.spec import CurriculumConfig
from engine.runs.curriculum_state import Curriculum, CurriculumState, GateResult, list_curricula
from engine.runs.results import Interval
from engine.runs.run import list_runs
from engine.storage.library import Library
from engine.training.curriculum import (
    advance_state,
    begin_attempt,
    condition_verdict,
    evaluate_gate,
    never_restarts,
    num_previous_attempts,
)
from engine.training.evaluation.intervals import bonferroni_interval, change_interval
from engine.workspace import Workspace

number = st.floats(-2, 2, allow_nan=False)


def interval(mean: float, low: float, high: float, of: int = 16) -> Interval:
    return Interval(mean=mean, low=low, high=high, of=of)


def gate(**others: Any) -> CurriculumGate:
    return CurriculumGate(conditions=(GateCondition(metric="m", of="change", at_least=0.0),), **others)


def preset(*gates: CurriculumGate, step_backs: int = 1) -> CurriculumPreset:
    stages = tuple(Stage(name=f"s{i}", preset="mini_nft", updates=5, gate=one) for i, one in enumerate(gates))
    return CurriculumPreset(key="c", title="C", stages=stages, step_backs=step_backs)


@given(bounds=st.tuples(number, number).map(sorted), bound=number, least=st.booleans())
def test_noise_never_advances(bounds: list[float], bound: float, least: bool) -> None:
    """Whatever the mean, a bound inside the interval is not passed; one wholly beyond it is failed."""
    low, high = bounds
    side = {"at_least": bound} if least else {"at_most": bound}
    found = condition_verdict(GateCondition(metric="m", **side), interval((low + high) / 2, low, high))
    surely = low >= bound if least else high <= bound
    never = high < bound if least else low > bound
    assert found == ("pass" if surely else "fail" if never else "unsure")
    one = CurriculumGate(conditions=(GateCondition(metric="m", **side),), retries=0)
    result = evaluate_gate(one, {("m", "value"): interval((low + high) / 2, low, high)}, attempt=0, step_backs_left=0)
    assert (result.action == "advance") == surely


def test_pure_noise_passes_one_time_in_forty() -> None:
    """Clips before and after of one and the same model: the gate asks for a change above 0, and there is none."""
    rng = np.random.default_rng(0)
    passed = 0
    for seed in range(400):
        before, after = rng.normal(0.5, 0.1, (2, 32))
        change = change_interval(list(before), list(after), [str(n // 2) for n in range(32)], seed)
        result = evaluate_gate(gate(), {("m", "change"): change}, attempt=0, step_backs_left=0)
        passed += result.action == "advance"
    assert passed / 400 <= 0.06


@pytest.mark.parametrize(("retries", "step_backs"), [(2, 0), (2, 1)])
def test_asking_again_does_not_make_noise_pass(retries: int, step_backs: int) -> None:
    """L10: each attempt is the same model on other clips, and the change that is asked for is the true one."""
    rng = np.random.default_rng(0)
    asked, passed, runs = (1 + retries) * (1 + step_backs), 0, 300
    for seed in range(runs):
        for attempt in range(asked):
            before, after = rng.normal(0.5, 0.1, (2, 32))
            change = change_interval(list(before), list(after), [str(n // 2) for n in range(32)], seed)
            measured = {("m", "change"): change}
            one = gate(retries=retries)
            found = evaluate_gate(one, measured, attempt=attempt, step_backs_left=0, step_backs=step_backs)
            if found.action == "advance":
                passed += 1
                break
    assert passed / runs <= 0.04


def test_an_interval_over_looks_is_students() -> None:
    """Of 16 prompts and 4 looks: t(0.00625) / t(0.025) with 15 degrees of freedom is 2.837 / 2.131."""
    found = bonferroni_interval(interval(1.0, 0.0, 3.0), 4)
    assert (found.low, found.high) == pytest.approx((1 - 1.331, 1 + 2 * 1.331), abs=2e-3)
    assert bonferroni_interval(interval(1.0, 0.0, 3.0), 1) == interval(1.0, 0.0, 3.0)


@pytest.mark.parametrize(
    ("metric", "of", "side", "found", "verdict"),
    [
        ("mix", "value", {"at_least": 0.0}, (0.05, 0.01, 0.2), "pass"),
        ("clip_vid", "value", {"at_most": 1.0}, (0.95, 0.8, 0.99), "pass"),
        ("mix", "ratio", {"at_least": 0.0}, (0.1, 0.02, 0.4), "pass"),
        ("mix", "value", {"at_least": 0.02}, (0.05, 0.03, 0.2), "unsure"),
        ("mix", "change", {"at_least": 0.0}, (0.05, 0.01, 0.2), "unsure"),
        ("monitor/loopiness", "value", {"at_least": 0.0}, (0.05, 0.01, 0.2), "unsure"),
    ],
)
def test_longer_intervals_stay_within_what_a_measure_can_be(
    metric: str, of: Any, side: dict[str, float], found: tuple[float, float, float], verdict: str
) -> None:
    """A gate that every value passes is passed, however often it may be asked again."""
    one = CurriculumGate(conditions=(GateCondition(metric=metric, of=of, **side),), retries=3)
    result = evaluate_gate(one, {(metric, of): interval(*found)}, attempt=0, step_backs_left=2, step_backs=2)
    assert result.conditions[0].verdict == verdict


def test_what_was_not_measured_never_advances() -> None:
    for measured in ({}, {("m", "change"): interval(1, 1, 1, of=1)}, {("m", "value"): interval(1, 1, 1)}):
        result = evaluate_gate(gate(), measured, attempt=0, step_backs_left=0)
        assert (result.verdict, result.action) == ("unsure", "train_on")
        assert "not measured" in result.sentence


@pytest.mark.parametrize(
    ("attempt", "on_failure", "left", "action"),
    [(0, "stop", 1, "train_on"), (1, "stop", 1, "stop"), (1, "step_back", 1, "step_back"), (1, "step_back", 0, "stop")],
)
def test_a_gate_that_is_not_passed(attempt: int, on_failure: Any, left: int, action: str) -> None:
    bad = {("m", "change"): interval(-0.2, -0.3, -0.1)}
    assert evaluate_gate(gate(on_failure=on_failure), bad, attempt=attempt, step_backs_left=left).action == action


def result(action: Any) -> GateResult:
    return GateResult(verdict="pass" if action == "advance" else "fail", action=action, sentence="So.")


def test_stages_follow_each_other_from_run_to_run() -> None:
    plan, state = preset(gate(), gate()), CurriculumState()
    state = advance_state(begin_attempt(state, "run-a", 33), plan, result("train_on"))
    assert (state.stage, state.attempt, state.start) == (0, 1, "run-a")
    state = advance_state(begin_attempt(state, "run-b", 33), plan, result("advance"))
    assert (state.stage, state.attempt, state.start) == (1, 0, "run-b")
    state = advance_state(begin_attempt(state, "run-c", 65), plan, result("step_back"))
    assert (state.stage, state.start, state.step_backs) == (0, "run-b", 1)
    state = advance_state(begin_attempt(state, "run-d", 33), plan, result("advance"))
    state = advance_state(begin_attempt(state, "run-e", 65), plan, result("advance"))
    assert (state.status, state.start) == ("done", "run-e")
    assert [one.run for one in state.attempts] == ["run-a", "run-b", "run-c", "run-d", "run-e"]


def test_no_student_becomes_its_own_teacher() -> None:
    """A stage that learns from its start begins there again, whether it is tried again or gone back to."""
    plan, state = preset(gate(), gate(), gate()), CurriculumState(stage=1, start="run-0")

    def anew(stage: Stage) -> bool:
        return stage.name == "s1"

    state = advance_state(begin_attempt(state, "run-a", 33), plan, result("train_on"), anew)
    assert (state.attempt, state.start, num_previous_attempts(state)) == (1, "run-0", 1)
    state = advance_state(begin_attempt(state, "run-b", 33), plan, result("advance"), anew)
    assert (state.stage, state.start, num_previous_attempts(state)) == (2, "run-b", 0)
    state = advance_state(begin_attempt(state, "run-c", 33), plan, result("step_back"), anew)
    assert (state.stage, state.start, num_previous_attempts(state)) == (1, None, 2), (
        "no run passed the first stage here"
    )
    bad = {("m", "change"): interval(-0.2, -0.3, -0.1)}
    assert "starts again" in evaluate_gate(gate(), bad, attempt=0, step_backs_left=0, from_start=True).sentence


@pytest.mark.parametrize(
    ("preset", "retry_updates", "updates"),
    [("mini_distill", None, 15), ("mini_distill", 7, 19), ("mini_nft", 7, 7), ("mini_nft", None, 5)],
)
def test_what_begins_anew_has_the_updates_of_all_its_attempts(
    preset: str, retry_updates: int | None, updates: int
) -> None:
    stage = Stage(name="s", preset=preset, updates=5, gate=gate(retry_updates=retry_updates))
    assert driver.restarts_from_start(stage) == (preset == "mini_distill") and not never_restarts(stage)
    assert driver.stage_preset(stage).settings["max_steps"] == 5
    assert driver.stage_preset(stage, attempt=2, tries=2).settings["max_steps"] == updates


def test_a_curriculum_whose_run_is_paused_says_so_and_goes_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, store = Curriculum.create(workspace, preset(gate())), Library(workspace)

    def paused(run: Any, context: Any) -> Any:
        yield from ()
        assert made.state().sentence == f"Training {run.id}."
        raise JobCancelled("Paused by its alarm.")

    monkeypatch.setattr(driver, "train_run", paused)
    for _ in range(2):
        with pytest.raises(JobCancelled, match="alarm"):
            list(driver.run_curriculum(CurriculumConfig(curriculum=made.id), JobContext(store=store)))
        state = made.state()
        assert (state.status, state.sentence, len(state.attempts)) == ("running", "Paused by its alarm.", 1)
    store.close()


def test_an_attempt_whose_state_was_not_saved_finds_its_run(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, store = Curriculum.create(workspace, preset(gate())), Library(workspace)

    def died(self: Curriculum, state: CurriculumState) -> None:
        raise SystemExit

    for _ in range(2):
        with monkeypatch.context() as patched, pytest.raises(SystemExit):
            patched.setattr(Curriculum, "save", died)
            list(driver.run_curriculum(CurriculumConfig(curriculum=made.id), JobContext(store=store)))
    assert len(list_runs(workspace)) == 1
    store.close()


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=60, max_size=60), st.integers(0, 2), st.integers(0, 2))
def test_every_curriculum_ends(means: list[float], retries: int, step_backs: int) -> None:
    """However the measurements fall, it is done or stopped after a bounded number of attempts."""
    one = gate(retries=retries, on_failure="step_back")
    plan, state = preset(one, one, one, step_backs=step_backs), CurriculumState()
    for count, mean in enumerate(means):
        if state.status != "running":
            break
        state = begin_attempt(state, f"run-{count}", 33)
        left = plan.step_backs - state.step_backs
        measured = {("m", "change"): interval(mean, mean - 0.5, mean + 0.5)}
        state = advance_state(state, plan, evaluate_gate(one, measured, attempt=state.attempt, step_backs_left=left))
    assert state.status != "running"
    assert len(state.attempts) <= (3 + 2 * step_backs) * (retries + 1)


def test_its_file_is_whole_and_goes_on_anywhere(workspace: Workspace) -> None:
    made = Curriculum.create(workspace, preset(gate()))
    state = begin_attempt(made.state(), "run-a", 33)
    made.save(state)
    again = Curriculum.find(workspace, made.id)
    assert again.state() == state
    assert again.state().under_way == state.attempts[0]
    assert again.preset() == preset(gate())
    assert list_curricula(workspace) == [made]
    made.state_file.write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        made.state()
    with pytest.raises(ConfigError, match=r"no curriculum 'x'.*c-"):
        Curriculum.find(workspace, "x")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ('preset = "mini_nft"\ngate = { conditions = [{ metric = "m" }] }', "needs either at_least or at_most"),
        ('preset = "mini_nf"\ngate = { conditions = [{ metric = "m", at_least = 0 }] }', "mini_nft"),
        ('preset = "mini_nft"\ngate = { conditions = [] }', "conditions"),
    ],
)
def test_a_curriculum_that_contradicts_itself_is_refused(
    stages: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "presets" / "curricula"
    folder.mkdir(parents=True)
    (folder / "bad.toml").write_text(f'title = "Bad"\n[[stages]]\nname = "a"\n{stages}\n')
    monkeypatch.setenv("DAILIES_PRESETS", str(tmp_path / "presets"))
    with pytest.raises(ConfigError, match=message):
        load_curriculum("bad")


def test_no_shipped_gate_asks_what_is_always_so() -> None:
    """A bound at the end of a measure's range passes or fails by the length of the interval alone."""
    for key in preset_keys("curricula"):
        for stage in load_curriculum(key).stages:
            for one in stage.gate.conditions:
                bound = one.at_least if one.at_least is not None else one.at_most
                ends = {"value": (0.0, 1.0), "ratio": (0.0,), "change": (-1.0, 1.0)}[one.of]
                assert bound not in ends, f"{key}, {stage.name}: {one.words}"


def test_every_shipped_curriculum_is_whole() -> None:
    from engine.jobs.handlers.curriculum import stage_preset

    keys = preset_keys("curricula")
    assert keys
    for key in keys:
        plan = load_curriculum(key)
        assert plan.source and plan.notes, key
        for stage in plan.stages:
            preset = stage_preset(stage)
            assert json.loads(preset.model_dump_json())["settings"]["num_frames"] >= (stage.frames or 1)


def test_a_stage_is_read_by_its_former_names() -> None:
    former, current = (
        Stage.model_validate(
            {
                "name": "s",
                preset: "mini_nft",
                updates: 3,
                "gate": {"conditions": [{"metric": "m", "at_least": 0}], retry: 2},
            }
        )
        for preset, updates, retry in (("recipe", "steps", "retry_steps"), ("preset", "updates", "retry_updates"))
    )
    assert former == current and (former.preset, former.updates, former.gate.retry_updates) == ("mini_nft", 3, 2)
    assert not {"recipe", "steps"} & former.model_dump().keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"lora_rank": 8}}, "The stage '65 frames' has lora_rank = 8 and the stage before it 32: set one"),
        ({"changes": {"model": "wan21_1_3b"}}, "trains the model 'wan21_1_3b', but the stage before it 'mini'"),
        ({"settings": {"lora_targets": "to_q"}}, "has lora_targets, but the adapter that it continues keeps its"),
    ],
)
def test_stages_that_cannot_continue_each_others_adapters_are_refused_at_once(
    changes: dict[str, Any], message: str
) -> None:
    """Not when their turn comes, after the stages before have trained."""
    preset = load_curriculum("mini_lengths")
    driver.check_stages(preset)
    stages = [preset.stages[0], preset.stages[1].model_copy(update=changes), preset.stages[2]]
    with pytest.raises(ConfigError, match=message):
        driver.check_stages(preset.model_copy(update={"stages": tuple(stages)}))
    driver.check_stages(load_curriculum("seed_full"))
