"""Training from pictures: two updates of each algorithm, and a given first frame that no loss looks at."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.errors import ConfigError
from engine.generation.context import ClipReady, GenerationContext
from engine.generation.pipeline import generate
from engine.request import GenerationRequest
from engine.storage.images import load_picture, save_picture
from engine.training.data.prompt_embeddings import PromptEmbeddings
from engine.training.preflight.picture_checks import picture_problem
from engine.training.rollout.rollouts import generate_rollouts, stack_steps
from engine.training.trainer_settings import VideoAWMConfig, VideoDPOConfig, VideoGRPOConfig, VideoNFTConfig
from engine.training.trainers.awm import VideoAWMTrainer
from engine.training.trainers.dpo import VideoDPOTrainer
from engine.training.trainers.grpo import VideoGRPOTrainer
from engine.training.trainers.nft import VideoNFTTrainer
from engine.training.weights import trainable
from engine.workspace import Workspace
from rewards import Mix, as_reward_funcs

KEPT = pytest.mark.parametrize("tiny", ["wan_ti2v", "ltx_condition_without_pictures"], indirect=True)
# "awm", "rvm" and "dgpo" are one trainer with different weights of its loss.
WEIGHTINGS = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("rvm", "dgpo")]
KINDS = pytest.mark.parametrize("kind", ["grpo", "nft", "awm", "dpo", *WEIGHTINGS])
# One pads prompts to 1,000 tokens; GRPO of two is in test_every_algorithm; AWM gives a batch its pictures as NFT does.
LONG = {("hunyuanvideo15_i2v", kind) for kind in ("grpo", "nft", "awm", "dpo")}
LONG |= {(tiny, kind) for tiny in ("wan_i2v_experts", "wan_flf") for kind in ("grpo", "awm")} | {("ltx_image", "awm")}
FROM_PICTURES = [
    pytest.param(tiny, kind, marks=[pytest.mark.slow] if kind in ("rvm", "dgpo") or (tiny, kind) in LONG else [])
    for tiny in ("wan_ti2v", "wan_i2v_experts", "wan_flf", "hunyuanvideo15_i2v", "ltx_image")
    for kind in ("grpo", "nft", "awm", "dpo", "rvm", "dgpo")
]


def brightness(prompts: Sequence[str], completions: Sequence[Any], **_: Any) -> list[float]:
    return [float(clip.frames.mean()) / 255 for clip in completions]


def rows_of(spec: Any, workspace: Workspace, size: int, count: int = 2) -> list[dict[str, str]]:
    """Prompts with other pictures each."""
    pictures = np.random.default_rng(5).integers(0, 256, (count, 2, size, size, 3), dtype=np.uint8)
    rows = []
    for number, (first, last) in enumerate(pictures):
        row = {"prompt": f"a circle {number}", "image": save_picture(workspace, first)}
        rows.append({**row, "last_image": save_picture(workspace, last)} if spec.requires_last_image else row)
    return rows


def trainer_of(kind: str, family: Any, request: GenerationRequest, workspace: Workspace, folder: Path) -> Any:
    shape = {name: getattr(request, name) for name in ("num_frames", "width", "height", "fps")}
    shared = {"output_dir": str(folder), "use_cpu": True, "disable_tqdm": True, "report_to": "none", "max_steps": 2}
    shared |= {"logging_steps": 1, "save_strategy": "no", "lora_rank": 2, "learning_rate": 1e-3, **shape}
    rows = rows_of(family.spec, workspace, request.width)
    if kind == "dpo":
        clips = np.random.default_rng(0).integers(
            0, 256, (2, *(shape[k] for k in ("num_frames", "height", "width")), 3)
        )
        pairs = [{**row, "chosen": clips[0].astype(np.uint8), "rejected": clips[1].astype(np.uint8)} for row in rows]
        args: Any = VideoDPOConfig(**shared, per_device_train_batch_size=2)
        return VideoDPOTrainer(model=family, args=args, train_dataset=pairs, workspace=workspace)
    online = {"num_generations": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    online["num_steps"] = 8 if family.scheduler_config.get("_grid") == "linear_quadratic" else 3  # see test_marginals
    if kind == "grpo":
        args, trainer = VideoGRPOConfig(**shared, **online, guidance=2.0, beta=0.1), VideoGRPOTrainer
    elif kind in ("awm", "rvm", "dgpo"):
        args = VideoAWMConfig(**shared, **online, beta=0.1, weighting=kind)  # type: ignore[arg-type]
        trainer = VideoAWMTrainer  # type: ignore[assignment]
    else:
        args, trainer = VideoNFTConfig(**shared, **online), VideoNFTTrainer  # type: ignore[assignment]
    return trainer(model=family, reward_funcs=brightness, args=args, train_dataset=rows, workspace=workspace)


@pytest.mark.double("pictures", "kind")
@pytest.mark.parametrize(("tiny", "kind"), FROM_PICTURES, indirect=["tiny"])
def test_two_updates_from_pictures(tiny: SimpleNamespace, kind: str, workspace: Workspace, tmp_path: Path) -> None:
    trainer = trainer_of(kind, tiny.open(), tiny.model.request, workspace, tmp_path)
    before = {name: value.detach().clone() for name, value in trainable(trainer.family.network)}
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert trainer.state.global_step == 2 and len(losses) == 2 and np.isfinite(losses).all()
    assert any((value != before[name]).any() for name, value in trainable(trainer.family.network))


def losses_and_gradient(trainer: Any, batch: Any) -> tuple[Tensor, Tensor]:
    trainer.family.network.zero_grad()
    parts = list(trainer.losses(batch))
    sum(parts).backward()
    found = [value.grad.flatten() for _, value in trainable(trainer.family.network) if value.grad is not None]
    return torch.stack([part.detach() for part in parts]), torch.cat(found)


def with_other_first_frame(kind: str, trainer: Any, batch: Any) -> Any:
    """The same batch with other numbers in the first latent frame of everything that is stored."""

    def other(latents: Tensor) -> Tensor:
        changed = latents.clone()
        changed[:, :, 0] = 7 * torch.randn(changed[:, :, 0].shape, generator=torch.Generator().manual_seed(1))
        return changed

    if kind == "dpo":
        known = trainer.clip_latents._known
        trainer.clip_latents._known = {key: other(latents[None])[0] for key, latents in known.items()}
        return batch
    made = batch.rollouts
    steps = [replace(step, latents=other(step.latents), next_latents=other(step.next_latents)) for step in made.steps]
    return replace(batch, rollouts=replace(made, latents=other(made.latents), steps=steps))


@pytest.mark.double("pictures", "kind")
@KEPT
@KINDS
def test_no_loss_depends_on_the_kept_frame(
    tiny: SimpleNamespace, kind: str, workspace: Workspace, tmp_path: Path
) -> None:
    """Neither does a gradient; both depend on the picture, and on the other frames."""
    trainer = trainer_of(kind, tiny.open(), tiny.model.request, workspace, tmp_path)
    for name, value in trainable(trainer.family.network):
        torch.nn.init.normal_(value.data, std=0.05, generator=torch.Generator().manual_seed(len(name)))
    trainer.optimizer = trainer.optimizer or trainer.create_optimizer()
    batch = list(trainer.train_dataset) if kind == "dpo" else trainer.first_generation_batch()[0]
    loss, gradient = losses_and_gradient(trainer, batch)
    assert gradient.abs().max() > 0
    same, same_gradient = losses_and_gradient(trainer, with_other_first_frame(kind, trainer, batch))
    assert torch.equal(same, loss) and torch.equal(same_gradient, gradient)
    trainer.prompts._shown = {
        key: {name: tensor + 1 for name, tensor in extras.items()} for key, extras in trainer.prompts._shown.items()
    }
    _, changed = losses_and_gradient(trainer, batch)
    assert not torch.equal(changed, gradient)


@KEPT
def test_the_kept_frame_is_in_no_log_probability(tiny: SimpleNamespace, workspace: Workspace, tmp_path: Path) -> None:
    """It is the picture in all latents, and the density is the mean over the other frames alone."""
    trainer = trainer_of("grpo", tiny.open(), tiny.model.request, workspace, tmp_path)
    batch = trainer.first_generation_batch()[0]
    rollouts = batch.rollouts
    first = trainer.prompts.of(rollouts.requests).first_frame
    for step in rollouts.steps:
        assert torch.equal(step.latents[:, :, 0], first) and torch.equal(step.next_latents[:, :, 0], first)
        replayed, std = trainer._replay(stack_steps([step], batch.index), batch.requests), step.noise_std[0]
        free = step.next_latents[batch.index][:, :, 1:]
        z = (free - replayed.mean) / std
        wanted = (-0.5 * z.square() - np.log(std) - 0.5 * np.log(2 * np.pi)).flatten(1).mean(1)
        assert torch.allclose(step.log_prob[batch.index], wanted, atol=1e-4)
    assert torch.equal(rollouts.latents[:, :, 0], first)


@KEPT
def test_clips_begin_with_their_pictures(tiny: SimpleNamespace, workspace: Workspace) -> None:
    """Each with its own; without pictures the same model makes clips from text."""
    family, request = tiny.open(), tiny.model.request
    rows = rows_of(family.spec, workspace, request.width)
    requests = [request.model_copy(update={**row, "guidance": 2.0}) for row in rows]
    prompts = trainer_prompts(family, workspace)
    made = generate_rollouts(family, requests, prompts, decode=False)
    assert not torch.equal(made.latents[0, :, 0], made.latents[1, :, 0])
    assert torch.equal(made.latents[:, :, 0], prompts.of(requests).first_frame)
    plain = generate_rollouts(family, [request], prompts, decode=False)
    assert (plain.latents[0, :, 0] - made.latents[0, :, 0]).abs().max() > 0.1


@pytest.mark.parametrize("tiny", ["wan_ti2v", "wan_i2v"], indirect=True)
def test_rewards_get_the_picture_of_each_clip(tiny: SimpleNamespace, workspace: Workspace, tmp_path: Path) -> None:
    """Generate, rollouts and the reward functions of a trainer; the mix scores it there."""
    family, request = tiny.open(), tiny.model.request
    rows = rows_of(family.spec, workspace, request.width)
    shown = [load_picture(workspace, row["image"]) for row in rows]
    requests = [request.model_copy(update={**row, "num_steps": 1}) for row in rows]
    made = generate(family, requests, GenerationContext(pictures=partial(load_picture, workspace)))
    clips = {event.request.id: event.clip for event in made if isinstance(event, ClipReady)}
    for one, picture in zip(requests, shown, strict=True):
        assert np.array_equal(clips[one.id].first_picture, picture)
    rollouts = generate_rollouts(family, requests, trainer_prompts(family, workspace))
    assert all(np.array_equal(clip.first_picture, p) for clip, p in zip(rollouts.clips, shown, strict=True))

    trainer = trainer_of("grpo", family, request, workspace, tmp_path)
    trainer.reward_funcs = as_reward_funcs(Mix(key="m", title="", weights={"first_frame": 1.0}, calibration="mini"))
    rewards = trainer.first_generation_batch()[0].group_advantages.rewards
    assert len(rewards) == 4 and rewards.isfinite().all()


def trainer_prompts(family: Any, workspace: Workspace) -> PromptEmbeddings:
    return PromptEmbeddings(family, 8.0, load=partial(load_picture, workspace))


@pytest.mark.parametrize("tiny", ["wan_i2v"], indirect=True)
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image": None}, "Row 2 of the data: Wan image-to-video needs a first picture: set image"),
        ({"last_image": "0" * 64}, "Row 2 of the data: Wan image-to-video takes no last picture"),
        ({"image": "none.png"}, "Row 2 of the data, column 'image': there is no file 'none.png'"),
    ],
)
def test_rows_that_do_not_fit_the_model(
    tiny: SimpleNamespace, change: dict[str, Any], sentence: str, workspace: Workspace, tmp_path: Path
) -> None:
    family, request = tiny.open(), tiny.model.request
    rows: list[dict[str, Any]] = [dict(row) for row in rows_of(family.spec, workspace, request.width)]
    rows[1] |= change
    args = VideoNFTConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none", num_frames=request.num_frames)
    with pytest.raises(ConfigError, match=sentence):
        VideoNFTTrainer(family, brightness, args, rows, workspace=workspace)


@pytest.mark.parametrize("tiny", ["wan_ti2v", "wan_i2v"], indirect=True)
def test_preflight_looks_at_the_pictures(tiny: SimpleNamespace, workspace: Workspace, tmp_path: Path) -> None:
    trainer = trainer_of("dpo", tiny.open(), tiny.model.request, workspace, tmp_path)
    fits, sentence = picture_problem(trainer) or (None, "")
    kept = "is kept clean" if trainer.family.spec.keeps_first else "is generated and learnt"
    assert fits and kept in sentence
    wide = save_picture(workspace, np.zeros((64, 192, 3), np.uint8))
    trainer.train_dataset = [*trainer.train_dataset, {"prompt": "x", "image": wide}]
    assert picture_problem(trainer) == (
        False,
        f"{sentence} 1 of 3 lose up to 67% by cropping: set width and height to their aspect, or crop them.",
    )
    trainer.train_dataset = [{"prompt": "x", "image": save_picture(workspace, np.zeros((16, 16, 3), np.uint8))}]
    size = f"{trainer.template.width}x{trainer.template.height}"
    assert f"1 of 1 are smaller than {size}" in (picture_problem(trainer) or (None, ""))[1]
    trainer.train_dataset = [{"prompt": "x"}]
    assert picture_problem(trainer) is None
