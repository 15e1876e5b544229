"""RL on a model that is distilled to a few steps, and on one under a frozen adapter."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from engine.config.algorithms import few_step_settings
from engine.config.presets import load_train_preset
from engine.errors import ConfigError
from engine.families.lora import activate_adapters
from engine.jobs.handlers.train import publish
from engine.runs.adapters import AdapterCard, add_adapter, find_adapter
from engine.runs.run import Run
from engine.runs.run_inputs import few_steps
from engine.training.build import build_trainer
from engine.training.evaluation.alarm_callback import AlarmCallback
from engine.training.evaluation.evaluate import evaluate, plan_evaluation
from engine.training.evaluation.sample_sets import SampleCallback
from engine.training.main import Recorder, train
from engine.training.preflight.checks import preflight
from engine.training.weights import trainable
from engine.workspace import Workspace

STUDENT = """
title = "Tiny student"
algorithm = "distill"
model = "tiny"
prompts = "mini"
[alarms]
every = 0
[settings]
num_frames = 9
width = 32
height = 32
num_steps = 8
guidance = 2.0
student_steps = 4
rollout_clips = 2
per_device_train_batch_size = 2
lora_rank = 2
max_steps = 2
sample_clips = 0
"""
QUICK = {"num_steps": None, "beta": 1e-4, "save_steps": 1, "max_steps": 2, "lr_scheduler_type": "constant"}
Changes = dict[str, Any]


@pytest.fixture
def new_run(preset: str, space: Workspace, tmp_path: Path) -> Callable[..., Run]:
    (tmp_path / "presets" / "train" / "tiny_student.toml").write_text(STUDENT)

    def make(name: str = preset, start: Path | None = None, **changes: Any) -> Run:
        settings = {**(QUICK if name == preset else {}), **changes.pop("settings", {})}
        changes = {"alarms": {"every": 0}, **changes, "settings": settings}
        return Run.create(space, load_train_preset(name, changes), start=start)

    return make


@pytest.fixture
def student(new_run: Callable[..., Run], space: Workspace) -> Path:
    run = new_run("tiny_student")
    assert train(run, Recorder(run))
    return find_adapter(space, str(publish(run, space)), "tiny").folder


@pytest.fixture
def fast(space: Workspace, tiny_lora: Path) -> str:
    """The name of an imported adapter that is for four steps."""
    card = AdapterCard(model="tiny", num_steps=4, guidance=1.0, distilled=True)
    weights = (tiny_lora / "pytorch_lora_weights.safetensors").read_bytes()
    add_adapter(space, "fast", card, lambda path: (path / "pytorch_lora_weights.safetensors").write_bytes(weights))  # type: ignore[arg-type, return-value]
    return "fast"


@pytest.mark.parametrize("algorithm", ["nft", "awm", "grpo"])
def test_a_student_is_trained_and_evaluated_in_its_own_steps(
    algorithm: str, new_run: Callable[..., Run], space: Workspace, fast: str, request: pytest.FixtureRequest
) -> None:
    student = request.getfixturevalue("student") if algorithm == "nft" else space.adapters / fast
    run = new_run(start=student, algorithm=algorithm)
    settings = run.preset().settings
    assert (settings["num_steps"], settings["guidance"]) == (4, 1.0)
    assert settings.get("sde_form") == ("cps" if algorithm == "grpo" else None)
    assert train(run, Recorder(run))
    distances = [row["student/distance"] for row in run.metrics() if "student/distance" in row]
    assert len(distances) == 2 and distances[0] == 0 < distances[1]
    plan = plan_evaluation(run, num_prompts=2, takes=1)
    assert plan.before.adapter == run.start, "it is compared with the student, not with the undistilled base"
    assert {request.num_steps for side in (plan.before, plan.after) for request in side.requests} == {4}
    card = AdapterCard.model_validate_json((run.adapter / "adapter.json").read_bytes())
    assert (card.num_steps, card.guidance, card.distilled) == (4, 1.0, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "grpo", "settings": {"sde_form": "flow_grpo"}}, "needs sde_form = cps, but got flow_grpo"),
        ({"settings": {"num_steps": 8}}, "The initial adapter is distilled to 4 steps .* num_steps = 4, but got 8"),
        ({"settings": {"guidance": 3.0}}, r"nft then needs guidance = 1.0, but got 3.0"),
        ({"algorithm": "distill", "mix": None, "settings": {}}, "which distill would undo: use one of grpo, nft, awm"),
    ],
)
def test_what_would_undo_the_distillation_is_refused(
    changes: Changes, message: str, new_run: Callable[..., Run], fast: str, space: Workspace
) -> None:
    before = set(space.runs.glob("*"))
    with pytest.raises(ConfigError, match=message) as refused:
        new_run(start=space.adapters / fast, **changes)
    assert str(refused.value).count(". ") == 0
    assert set(space.runs.glob("*")) == before


def test_a_distilled_model_is_trained_by_the_same_rules() -> None:
    from engine.training.trainer_settings import VideoDPOConfig, VideoNFTConfig

    common = {"output_dir": "unused", "use_cpu": True}
    template = VideoNFTConfig(**common).template("animatediff_lightning")
    assert (template.num_steps, template.guidance) == (4, 1.0)
    with pytest.raises(ConfigError, match="'animatediff_lightning' is distilled to 4 steps .* which dpo would undo"):
        VideoDPOConfig(**common).template("animatediff_lightning")
    assert few_step_settings("awm", {"num_steps": 4}, "It", 4) == {"num_steps": 4, "guidance": 1.0}
    assert few_step_settings("awm", {}, "It", 4, 6.0) == {"num_steps": 4, "guidance": 6.0}


def test_preflight_warns_when_nothing_holds_the_policy_near_the_student(
    new_run: Callable[..., Run], fast: str, space: Workspace
) -> None:
    for beta, level in ((0.0, "warning"), (1e-4, "ok")):
        run = new_run(start=space.adapters / fast, settings={"beta": beta})
        found = {check.name: check for check in preflight(build_trainer(run.preset(), run))}
        assert found["student"].level == level
        assert "4 steps of the distilled model" in found["student"].sentence


def test_a_frozen_adapter_stays_as_it_is_and_generate_with_both_gives_what_the_run_saw(
    new_run: Callable[..., Run], fast: str, space: Workspace, open_tiny: Callable[[], Any]
) -> None:
    run = new_run(settings={"frozen_adapter": fast, "frozen_scale": 0.5, "learning_rate": 1e-2})
    assert few_steps(run, run.preset()) == ("The frozen adapter", 4, 1.0)
    assert run.preset().settings["num_steps"] == 4
    trainer = build_trainer(run.preset(), run)
    network: Any = trainer.family.network
    under = {n: p.detach().clone() for n, p in network.named_parameters() if ".frozen." in n}
    assert under and all(".default." in name for name, _ in trainable(network))
    latents, level = torch.randn(1, 8, 2, 2, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0.5])
    prompt = trainer.prompts.rows(["a red circle"])

    def seen(family: Any) -> torch.Tensor:
        with torch.no_grad():
            result: torch.Tensor = family.predict(latents, level, prompt)
        return result

    first = seen(trainer.family)
    trainer.train()
    for name, parameter in network.named_parameters():
        if ".frozen." in name:
            assert torch.equal(parameter, under[name]) and not parameter.requires_grad, name
    last = seen(trainer.family)
    assert not torch.equal(first, last)
    with trainer.base.applied():
        assert torch.equal(seen(trainer.family), first), "the base keeps the frozen adapter"

    out = run.folder / "out"
    trainer.export(out)
    assert all(".frozen." not in key for key in load_file(out / "pytorch_lora_weights.safetensors"))
    family = open_tiny()
    folders = {"fast": space.adapters / fast, "own": out}
    activate_adapters(family.network, {"fast": 0.5}, folders)
    torch.testing.assert_close(seen(family), first)
    activate_adapters(family.network, {"fast": 0.5, "own": 1.0}, folders)
    torch.testing.assert_close(seen(family), last)


def test_a_run_over_a_frozen_adapter_is_evaluated_with_it(new_run: Callable[..., Run], fast: str) -> None:
    run = new_run(settings={"frozen_adapter": fast, "max_steps": 1})
    assert train(run, Recorder(run))
    plan = plan_evaluation(run, num_prompts=1, takes=1)
    assert plan.before.frozen == plan.after.frozen == (run.frozen, 1.0)
    family = build_trainer(run.preset(), run).family
    *_, _ = evaluate(family, plan)
    card = AdapterCard.model_validate_json((run.adapter / "adapter.json").read_bytes())
    assert "Use it with the adapter fast at scale 1." in card.note and not card.distilled


def test_a_resumed_run_over_a_frozen_adapter_is_the_run_that_was_never_stopped(
    new_run: Callable[..., Run], fast: str
) -> None:
    whole, parts = (new_run(settings={"frozen_adapter": fast}) for _ in range(2))
    expected = build_trainer(whole.preset(), whole)
    expected.train()
    first = build_trainer(
        parts.preset().model_copy(update={"settings": {**parts.preset().settings, "max_steps": 1}}), parts
    )
    first.train()
    again = build_trainer(parts.preset(), parts)
    again.train(resume_from_checkpoint=str(parts.checkpoints / "checkpoint-1"))
    wanted = dict(trainable(expected.family.network))
    for name, parameter in trainable(again.family.network):
        assert torch.equal(parameter, wanted[name]), name


def test_an_unknown_frozen_adapter_is_refused(new_run: Callable[..., Run], fast: str) -> None:
    with pytest.raises(ConfigError, match="Unknown adapter 'fats' for model 'tiny'. Did you mean 'fast'"):
        new_run(settings={"frozen_adapter": "fats"})


def test_a_student_is_compared_with_its_teacher_at_its_own_steps(new_run: Callable[..., Run]) -> None:
    """An undistilled model at the student's steps makes poor clips, than which any student is better."""
    alarms = {"every": 1, "prompts": 2, "takes": 2}
    run = new_run("tiny_student", alarms=alarms, settings={"sample_clips": 1})
    trainer = build_trainer(run.preset(), run)
    passes: list[int] = []
    trainer.family.network.register_forward_pre_hook(lambda *_: passes.append(1))

    def counted(act: Callable[[], Any]) -> tuple[int, Any]:
        passes.clear()
        result = act()
        return len(passes), result

    watch = AlarmCallback(trainer, run, run.preset())
    assert counted(lambda: watch.observe(0, base=True))[0] == 8
    count, look = counted(lambda: watch.observe(1))
    assert count == 4 and set(look.columns["drift"]) == {None}
    samples = SampleCallback(trainer, run, run.preset(), stopping=lambda: False)
    assert counted(lambda: samples.on_train_begin(trainer.args, trainer.state, None))[0] == 8
    assert counted(lambda: samples.on_save(trainer.args, trainer.state, None))[0] == 4
