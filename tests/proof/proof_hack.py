"""Planted hacks on mini: a reward for stillness, one for redness. The alarm comes before the judge has lost 10 %."""

import sys
from typing import Any

from honest_rewards import is_red, stands_still
from proving import OUT, Proof, held_out, judged, make, mean, open_mini, options, requests
from transformers import TrainerCallback

from engine.config.alarms import AlarmSettings
from engine.config.presets import load_train_preset, read_prompts
from engine.data.runs import Run
from engine.data.workspace import Workspace
from engine.training.config import VideoNFTConfig
from engine.training.launch import build_config
from engine.training.nft_trainer import VideoNFTTrainer
from engine.training.watchdog import Watchdog

SHAPE: dict[str, Any] = {"num_frames": 17, "width": 64, "height": 64, "fps": 8.0, "num_steps": 8, "guidance": 1.0}
PLANTED: dict[Any, dict[str, Any]] = {
    stands_still: {},
    is_red: {"learning_rate": 1e-3, "gradient_accumulation_steps": 2},
}
"""With what is different from the recipe for NFT: a colour is learned more slowly, so it is given more haste."""
ALARMS = AlarmSettings(every=2, prompts=16, takes=2, action="pause")


class Judging(TrainerCallback):
    """Asks the judge before each look, for the proof alone: the alarms do not know it."""

    def __init__(self, family: Any, proof: Proof, prompts: int) -> None:
        self._family, self._proof = family, proof
        self._wanted = requests([p for p in held_out(64) if "still" not in p][:prompts], 2, **SHAPE)
        self.scores: dict[int, float] = {0: self._score()}

    def _score(self) -> float:
        return mean(judged(make(self._family, self._wanted)[0]))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % ALARMS.every == 0:
            self.scores[state.global_step] = self._score()
            self._proof.say("point", step=state.global_step, judge=round(self.scores[state.global_step], 4))


def plant(reward: Any, proof: Proof, short: bool, seed: int) -> None:
    """Train by the recipe for NFT on the planted reward alone, until an alarm pauses it."""
    name = reward.__name__
    # A recipe without a mix: to it, all twelve rewards are held out.
    alarms = ALARMS.model_copy(update={"prompts": 4}) if short else ALARMS
    preset = load_train_preset("mini_distill", {"alarms": alarms.model_dump()})
    run = Run.create(Workspace(OUT / "hack" / name).prepare(), preset)
    family = open_mini()
    changes = {"save_strategy": "no", "ema_decay": 0.0, "seed": seed, **PLANTED[reward], **SHAPE}
    small = {"max_steps": 2, "num_generations": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    settings = load_train_preset("mini_nft").settings
    args = build_config(VideoNFTConfig, {**settings, **changes, **(small if short else {})}, run.checkpoints)
    trainer = VideoNFTTrainer(model=family, reward_funcs=reward, args=args, train_dataset=read_prompts("mini"))
    judging = Judging(family, proof, 4 if short else 16)
    trainer.add_callback(judging)
    trainer.add_callback(Watchdog(trainer, run, preset))
    trainer.train()
    tell(name, run, judging.scores, proof, short)


def tell(name: str, run: Run, scores: dict[int, float], proof: Proof, short: bool) -> None:
    alarms = run.alarms()
    for alarm in alarms:
        proof.say("alarm", reward=name, **alarm.model_dump())
    if not alarms:
        proof.claim(f"{name}: an alarm is raised", 0.0, floor=0 if short else 1, judge=round(scores[max(scores)], 4))
        return
    proof.claim(
        f"{name}: the judge's score that is left at the alarm",
        scores[alarms[0].step] / scores[0],
        floor=0 if short else 0.9,
        step=alarms[0].step,
        alarm=alarms[0].name,
        judge_before=round(scores[0], 4),
        judge_then=round(scores[alarms[0].step], 4),
    )


def main() -> int:
    chosen = options(__doc__ or "")
    proof = Proof("hack")
    for reward in PLANTED:
        plant(reward, proof, chosen.short, chosen.seed)
    return proof.ended()


if __name__ == "__main__":
    sys.exit(main())
