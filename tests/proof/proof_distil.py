"""Distil on mini: four steps keep 95 % of the judge's score of twenty, in a quarter of the time."""

import sys
import tempfile

from proving import Proof, held_out, interval, judged, make, mean, open_mini, options, requests, rows_of

from engine.config.presets import load_train_preset, read_prompts
from engine.training.config import VideoDistillConfig
from engine.training.distill_trainer import VideoDistillTrainer

TEACHER = {"num_frames": 33, "width": 64, "height": 64, "fps": 8.0, "num_steps": 20, "guidance": 3.0}

SHORT = {"max_steps": 3, "rollout_clips": 4, "per_device_train_batch_size": 4, "num_frames": 17, "logging_steps": 1}


def main() -> int:
    chosen = options(__doc__ or "")
    proof, family, short = Proof("distil"), open_mini(), chosen.short
    recipe = load_train_preset("mini_distill")
    settings = {**recipe.settings, **SHORT} if short else recipe.settings
    wanted = requests(
        held_out(6 if short else 48), 1 if short else 2, **{**TEACHER, "num_frames": settings["num_frames"]}
    )
    few = [request.model_copy(update={"num_steps": 4, "guidance": 1.0}) for request in wanted]
    teacher, seconds_teacher = make(family, wanted)
    plain, _ = make(family, few)
    proof.say("before", teacher=round(mean(judged(teacher)), 4), base_in_4_steps=round(mean(judged(plain)), 4))
    with tempfile.TemporaryDirectory() as folder:
        args = VideoDistillConfig(
            output_dir=folder,
            use_cpu=True,
            disable_tqdm=True,
            **{**settings, "save_strategy": "no", "seed": chosen.seed, "width": 64, "height": 64, "fps": 8.0},
        )
        trainer = VideoDistillTrainer(model=family, args=args, train_dataset=read_prompts("mini"))
        trainer.train()
    rows_of(trainer, proof, "loss", *(f"segment/{number}" for number in range(4)))
    with trainer.copies["average"].in_place():
        student, seconds = make(family, few)
    sides = judged(teacher), judged(student)
    proof.claim(
        "the judge's score of 4 steps against 20",
        mean(sides[1]) / mean(sides[0]),
        floor=0 if short else 0.95,
        student=round(mean(sides[1]), 4),
        **interval(*sides, teacher),
    )
    proof.claim(
        "times faster",
        seconds_teacher / seconds,
        floor=1 if short else 4,
        s_20=round(seconds_teacher, 3),
        s_4=round(seconds, 3),
    )
    return proof.ended()


if __name__ == "__main__":
    sys.exit(main())
