"""DMD2: its losses by hand, and its trainer on a tiny model: who learns when, from whom, and what is kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from engine.algorithms.dmd import distribution_gradient, student_loss
from engine.errors import ConfigError
from engine.seeds import generator_for
from engine.training.preflight.checks import preflight
from engine.training.prompt_settings import VideoDMDConfig
from engine.training.trainers.dmd import VideoDMDTrainer
from engine.training.weights import trainable

PROMPTS = ["a red circle moving left", "a blue square", "the green star", "a circle over the meadow"]
Open = Callable[[], Any]


def make(family: Any, folder: Path, start: Path | None = None, **others: Any) -> VideoDMDTrainer:
    plain = {
        "output_dir": str(folder),
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_steps": 1,
        "save_steps": 1,
        "max_steps": 2,
        "seed": 3,
        "lr_scheduler_type": "constant",
        "learning_rate": 1e-3,
        "num_frames": 9,
        "width": 32,
        "height": 32,
        "num_steps": 6,
        "guidance": 2.0,
        "student_steps": 2,
        "critic_updates": 1,
        "per_device_train_batch_size": 2,
        "lora_rank": 4,
    }
    args = VideoDMDConfig(**{**plain, **others})
    return VideoDMDTrainer(model=family, args=args, train_dataset=PROMPTS, start=start)


def weights_of(trainer: Any) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainable(trainer.family.network)}


def moved(before: dict[str, Tensor], trainer: Any) -> set[str]:
    """Which of the two adapters changed."""
    after = weights_of(trainer)
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    return {"critic" if ".critic." in name else "student" for name in changed}


def test_the_losses_are_those_of_the_hand() -> None:
    sample = torch.tensor([[1.0, 2.0], [0.0, 4.0]], requires_grad=True)
    critic = torch.tensor([[2.0, 2.0], [1.0, 1.0]])
    teacher = torch.tensor([[0.0, 4.0], [1.0, 1.0]])
    gradient = distribution_gradient(sample.detach(), critic, teacher)
    expected = torch.tensor([[2 / 1.5, -2 / 1.5], [0.0, 0.0]])  # mean |x - teacher| is 1.5 and 2
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=0)
    loss = student_loss(sample, gradient)
    torch.testing.assert_close(loss.detach(), torch.tensor([0.5 * (2 / 1.5) ** 2, 0.0]), atol=1e-6, rtol=0)
    loss.sum().backward()
    assert sample.grad is not None
    torch.testing.assert_close(sample.grad, gradient / 2, atol=1e-6, rtol=0)  # two elements a clip


def test_critic_and_student_take_turns_and_the_teacher_stays(open_tiny: Open, tmp_path: Path) -> None:
    family = open_tiny()
    teacher = {name: value.detach().clone() for name, value in family.network.named_parameters()}
    for steps, expected in ((1, {"critic"}), (2, {"critic", "student"})):
        trainer = make(open_tiny() if steps == 1 else family, tmp_path / str(steps), max_steps=steps)
        before = weights_of(trainer)
        trainer.train()
        assert moved(before, trainer) == expected
    for name, value in family.network.named_parameters():
        if "lora" not in name:
            assert torch.equal(value, teacher[name.replace(".base_layer", "")]), name
    rates = {group["lr"] for group in trainer.optimizer.param_groups}
    assert rates == {1e-3, trainer.args.critic_learning_rate}


def test_a_critic_that_is_the_teacher_moves_the_student_by_guidance_alone(open_tiny: Open, tmp_path: Path) -> None:
    """At the start critic and teacher are one network: without guidance the gradient is 0."""
    for guidance, still in ((1.0, True), (2.0, False)):
        trainer = make(open_tiny(), tmp_path / str(guidance), guidance=guidance)
        requests = [trainer.template.model_copy(update={"prompt": PROMPTS[0], "seed": 5})]
        loss = trainer.student_loss(requests, generator_for(1))
        assert (float(loss.detach()) < 1e-10) == still


def test_an_initial_adapter_is_teacher_student_and_critic(open_tiny: Open, tiny_lora: Path, tmp_path: Path) -> None:
    """So the student keeps what the adapter has learnt. Without guidance its first gradient is 0."""
    trainer = make(open_tiny(), tmp_path, guidance=1.0, lora_rank=2, start=tiny_lora)
    requests = [trainer.template.model_copy(update={"prompt": PROMPTS[0], "seed": 5})]
    latents, level = trainer.family.init_latents(requests[0], [generator_for(1)]), torch.tensor([0.5])

    def predicted() -> Tensor:
        with torch.no_grad():
            return trainer.family.predict(latents, level, trainer.prompts.of(requests))

    started, network = predicted(), trainer.family.network
    with trainer._critic():
        torch.testing.assert_close(predicted(), started)
    with trainer.base.applied():
        assert (predicted() - started).abs().max() > 1e-2
    assert float(trainer.student_loss(requests, generator_for(1)).detach()) < 1e-10
    with torch.no_grad():
        for name, weight in trainable(network):
            weight += 0.0 if ".critic." in name else 0.1
    with trainer.reference.applied():
        torch.testing.assert_close(predicted(), started)
    assert trainer.args.learns_from_start, "so that an evaluation compares with it"


def test_updates_of_the_critic_alone_are_refused(open_tiny: Open, tmp_path: Path) -> None:
    for steps, level in ((2, "stop"), (3, None), (4, "warning")):
        trainer = make(open_tiny(), tmp_path / str(steps), max_steps=steps, critic_updates=2)
        found = {check.name: check for check in preflight(trainer)}
        assert getattr(found.get("updates"), "level", None) == level
    assert "The last 1 of 4 updates are the critic's, which is not exported: set max_steps to 3." in (
        found["updates"].sentence
    )


def test_the_critic_learns_the_students_clips(open_tiny: Open, tmp_path: Path) -> None:
    trainer = make(open_tiny(), tmp_path, max_steps=20, critic_updates=1000, critic_learning_rate=1e-2, save_steps=100)
    trainer.train()
    errors = [row["dmd/critic"] for row in trainer.state.log_history if "dmd/critic" in row]
    assert sum(errors[-5:]) < 0.9 * sum(errors[:5])


def test_the_students_adapter_alone_is_exported_and_the_checkpoint_has_both(open_tiny: Open, tmp_path: Path) -> None:
    trainer = make(open_tiny(), tmp_path)
    trainer.train()
    kept = load_file(tmp_path / "checkpoint-2" / "trained.safetensors")
    assert {".critic." in name for name in kept} == {True, False}
    trainer.export(tmp_path / "out")
    written = load_file(tmp_path / "out" / "pytorch_lora_weights.safetensors")
    students = [value for name, value in trainable(trainer.family.network) if ".critic." not in name]
    assert len(written) == len(students)
    assert trainer.args.sampled_with() == {"num_steps": 2, "guidance": 1.0}
    assert trainer.template.num_steps == 2


def test_the_average_follows_the_students_updates_alone(open_tiny: Open, tmp_path: Path) -> None:
    """Two updates of the student, of which the first replaces the start: decay 1 / 11 at the second."""
    trainer = make(open_tiny(), tmp_path, max_steps=6, critic_updates=2, ema_decay=0.9, save_steps=3)
    trainer.train()
    first, last = (load_file(tmp_path / f"checkpoint-{step}" / "trained.safetensors") for step in (3, 6))
    average = load_file(tmp_path / "checkpoint-6" / "trained.average.safetensors")
    for name, value in average.items():
        if ".critic." not in name:
            torch.testing.assert_close(value, first[name] / 11 + last[name] * 10 / 11)


@pytest.mark.parametrize("checkpointed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_resumed_is_the_run_that_was_never_stopped(checkpointed: bool, open_tiny: Open, tmp_path: Path) -> None:
    others = {"max_steps": 4, "gradient_checkpointing": checkpointed}
    whole = make(open_tiny(), tmp_path / "whole", **others)
    whole.train()
    make(open_tiny(), tmp_path / "parts", **{**others, "max_steps": 3}).train()
    again = make(open_tiny(), tmp_path / "parts", **others)
    again.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-3"))
    wanted = weights_of(whole)
    for name, value in weights_of(again).items():
        assert torch.equal(value, wanted[name]), name


@pytest.mark.parametrize("learner", ["critic", "student"])
def test_recomputed_blocks_give_the_same_gradient(learner: str, open_tiny: Open, tmp_path: Path) -> None:
    """A block that is computed again in the backward pass must use the adapter that learns, not the other one."""
    found = []
    for checkpointed in (False, True):
        trainer = make(open_tiny(), tmp_path / str(checkpointed), gradient_checkpointing=checkpointed)
        trainer.state.global_step = ["critic", "student"].index(learner)
        with torch.no_grad():
            for name, weight in trainable(trainer.family.network):
                weight += 0.1 if ".critic." in name else 0.05
        for part in trainer.losses([{"prompt": PROMPTS[0]}]):
            part.backward()
        found.append({name: p.grad for name, p in trainable(trainer.family.network)})
    for name, gradient in found[0].items():
        assert (gradient is None) == ((".critic." in name) != (learner == "critic")), name
        torch.testing.assert_close(found[1][name], gradient)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"student_steps": 0}, "student_steps must be 1 or more"),
        ({"num_steps": 1}, "fewer than its student's 2"),
        ({"critic_updates": 0}, "critic_updates must be 1 or more"),
        ({"lora_rank": 0}, "dmd trains two adapters on the teacher: set lora_rank"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    others: dict[str, Any], message: str, open_tiny: Open, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(open_tiny(), tmp_path, **others)
