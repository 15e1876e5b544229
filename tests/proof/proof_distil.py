"""Distil on mini: four steps keep 95 % of the judge's score of twenty, in a quarter of the time."""

import sys

from proving import Proof, held_out, judged, make, mean, open_mini, options, requests
from proving_preset import figures, finished, short_form, tell_rest, trained

from engine.training.evaluation.evaluate import JUDGE, evaluate, plan_evaluation

SHORT = {
    "max_steps": 3,
    "rollout_clips": 4,
    "per_device_train_batch_size": 4,
    "num_frames": 17,
    "save_steps": 3,
}


def main() -> int:
    chosen = options(__doc__ or "")
    proof, short = Proof("distil"), chosen.short
    seed = chosen.seed
    run = trained("distil", "mini_distill", proof, short_form(SHORT, seed) if short else {"settings": {"seed": seed}})
    family, settings = open_mini(), run.preset().settings
    shape = {"num_frames": settings["num_frames"], "width": 64, "height": 64, "fps": 8.0}
    plain = make(family, requests(held_out(6 if short else 32), 2, **shape, num_steps=4, guidance=1.0))[0]
    proof.say("before", base_in_4_steps=round(mean(judged(plain)), 4))
    found = finished(evaluate(family, plan_evaluation(run, num_prompts=6 if short else 48, takes=2)))
    run.save_evaluation(found)
    judge = found.measure(JUDGE)
    assert judge is not None, "mini has a judge"
    kept = {**figures(judge), "value": judge.after.mean / judge.before.mean}
    proof.claim("the judge's score of 4 steps against 20", **kept, floor=0 if short else 0.95)
    proof.claim(
        "times faster",
        found.seconds_before / found.seconds_after,
        floor=1 if short else 4,
        s_20=found.seconds_before,
        s_4=found.seconds_after,
    )
    tell_rest(proof, found)
    return proof.ended()


if __name__ == "__main__":
    sys.exit(main())
