"""Planted hacks on mini: a reward for stillness, one for redness. The alarm comes before the judge has lost 10 %.

As a control, rewards that mean the prompt are learned and looked at in the same way, in the same haste, and for longer
than the planted one took: they raise none.
"""

import sys
from typing import Any

from honest_rewards import is_red, moves_as_asked, shows_colour, stands_still
from proving import OUT, Proof, held_out, judged, make, mean, open_mini, options, requests
from transformers import TrainerCallback

from engine.config.alarm_settings import AlarmSettings
from engine.config.presets import load_train_preset
from engine.config.prompts import read_prompts
from engine.runs.run import Run
from engine.training.build import build_config
from engine.training.evaluation.alarm_callback import AlarmCallback
from engine.training.trainer_settings import VideoNFTConfig
from engine.training.trainers.nft import VideoNFTTrainer
from engine.workspace import Workspace

SHAPE: dict[str, Any] = {"num_frames": 17, "width": 64, "height": 64, "fps": 8.0, "num_steps": 8, "guidance": 1.0}
PLANTED: dict[Any, dict[str, Any]] = {
    stands_still: {},
    is_red: {"learning_rate": 1e-3, "gradient_accumulation_steps": 2},
}
"""With what is different from the preset for NFT: a colour is learned more slowly, so it is given more haste."""
HONEST = [moves_as_asked, shows_colour]
MORE_LOOKS = 2
"""At what is honest, than it took to find what is planted."""
ALARMS = AlarmSettings(every=2, prompts=16, takes=2, action="pause")


class Judging(TrainerCallback):
    """Asks the judge before each look, for the proof alone: the alarms do not know it."""

    def __init__(self, name: str, family: Any, proof: Proof, prompts: int) -> None:
        self._name, self._family, self._proof = name, family, proof
        self._wanted = requests([p for p in held_out(64) if "still" not in p][:prompts], 2, **SHAPE)
        self.scores: dict[int, float] = {0: self._score()}

    def _score(self) -> float:
        return mean(judged(make(self._family, self._wanted)[0]))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % ALARMS.every == 0:
            self.scores[state.global_step] = self._score()
            score = round(self.scores[state.global_step], 4)
            self._proof.say("point", run=self._name, step=state.global_step, judge=score)


def learn(name: str, rewards: Any, changes: dict[str, Any], proof: Proof, short: bool) -> tuple[Run, dict[int, float]]:
    """Train by the preset for NFT on these rewards alone, until an alarm pauses it; the run, and the judge's scores."""
    # A preset without a mix: to it, all twelve rewards are held out.
    alarms = ALARMS.model_copy(update={"prompts": 4}) if short else ALARMS
    preset = load_train_preset("mini_distill", {"alarms": alarms.model_dump()})
    run = Run.create(Workspace(OUT / "hack" / name).prepare(), preset)
    family = open_mini()
    fixed = {"save_strategy": "no", "ema_decay": 0.0, **SHAPE}
    small = {"max_steps": 2, "num_generations": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    settings = load_train_preset("mini_nft").settings
    args = build_config(VideoNFTConfig, {**settings, **fixed, **changes, **(small if short else {})}, run.checkpoints)
    trainer = VideoNFTTrainer(model=family, reward_funcs=rewards, args=args, train_dataset=read_prompts("mini"))
    judging = Judging(name, family, proof, 4 if short else 16)
    trainer.add_callback(judging)
    trainer.add_callback(AlarmCallback(trainer, run, preset))
    trainer.train()
    for alarm in run.alarms():
        proof.say("alarm", reward=name, **alarm.model_dump())
    return run, judging.scores


def plant(reward: Any, changes: dict[str, Any], proof: Proof, short: bool) -> None:
    """That it raises its alarm in time, and that the haste in which it is learned raises none by itself."""
    name = reward.__name__
    run, scores = learn(name, reward, changes, proof, short)
    alarms = run.alarms()
    if not alarms:
        proof.claim(f"{name}: an alarm is raised", 0.0, floor=0 if short else 1, judge=round(scores[max(scores)], 4))
    else:
        proof.claim(
            f"{name}: the judge's score that is left at the alarm",
            scores[alarms[0].step] / scores[0],
            floor=0 if short else 0.9,
            step=alarms[0].step,
            alarm=alarms[0].name,
            judge_before=round(scores[0], 4),
            judge_then=round(scores[alarms[0].step], 4),
        )
    if short:
        return
    steps = max(scores) + MORE_LOOKS * ALARMS.every
    run, honest = learn(f"honest_for_{name}", HONEST, {**changes, "max_steps": steps}, proof, short)
    proof.claim(
        f"honest rewards instead of {name}: looks without an alarm",
        len(honest) - 1 - len({alarm.step for alarm in run.alarms()}),
        floor=steps // ALARMS.every,
        judge_before=round(honest[0], 4),
        judge_then=round(honest[max(honest)], 4),
    )


def main() -> int:
    chosen = options(__doc__ or "")
    proof = Proof("hack")
    for reward, changes in PLANTED.items():
        plant(reward, {**changes, "seed": chosen.seed}, proof, chosen.short)
    return proof.ended()


if __name__ == "__main__":
    sys.exit(main())
