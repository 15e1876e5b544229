"""A short curriculum on mini: it reaches 129 frames behind its gates, and a broken reward is refused by them.

Broken is a reward of the twelve that does not mean the prompt. It is learned in haste, or so few updates would do no
harm; the preset's own mix is learned in the same haste as a control, so that it is not the haste that is refused.

The judge compares: its score at 129 frames must be 95 % of that at 33, of clips as Generate makes them (20 steps,
guidance 3); what it says of clips as the rollouts had them (8 steps, no guidance) is told too. No gate knows the judge.
"""

import os
import sys
import tempfile
from pathlib import Path

from proving import Proof, held_out, judged, make, mean, open_mini, options, requests

from engine.config.curriculum_preset import CurriculumPreset
from engine.config.presets import load_curriculum, load_preset, load_train_preset, overlay
from engine.families.lora import activate_adapter
from engine.jobs.context import JobContext
from engine.jobs.handlers.curriculum import run_curriculum
from engine.jobs.spec import CurriculumConfig
from engine.runs.curriculum_state import Curriculum
from engine.runs.run import Run
from engine.storage.library import Library
from engine.workspace import Workspace

HASTE = 3e-3
BROKEN_MIX = """
title = "Broken"
description = "Rewards only that the picture is framed and pretty: the prompt may be forgotten."
calibration = "mini"
[weights]
framing = 1.0
[gates]
motion = 0.0
sharpness = 0.0
cut = 0.0
loop = 0.0
"""


def drive(preset: CurriculumPreset, workspace: Workspace, proof: Proof) -> Curriculum:
    """To its end, telling each decision."""
    made, store = Curriculum.create(workspace, preset), Library(workspace)
    try:
        for _ in run_curriculum(CurriculumConfig(curriculum=made.id), JobContext(store=store)):
            pass
    finally:
        store.close()
    for attempt in made.state().attempts:
        result = attempt.result
        stage = preset.stages[attempt.stage].name
        proof.say("gate", stage=stage, attempt=attempt.attempt, **(result.model_dump() if result else {}))
    return made


def shortened(preset: CurriculumPreset, short: bool) -> CurriculumPreset:
    """For the short form one stage of one step, measured on four clips."""
    if not short:
        return preset
    gate = overlay(preset.stages[0].gate.model_dump(), {"num_prompts": 4, "takes": 1, "retries": 0})
    stage = overlay(preset.stages[0].model_dump(), {"frames": 17, "updates": 1, "gate": gate})
    small = {"num_steps": 2, "num_generations": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1}
    stage["settings"] = {**small, "sample_clips": 0}
    return CurriculumPreset.model_validate({**preset.model_dump(), "stages": [stage]})


def hasty(preset: CurriculumPreset, mix: str) -> CurriculumPreset:
    """The first stage alone, on a mix of the proof's choice, at a rate that shows what the mix is worth."""
    stage = overlay(
        preset.stages[0].model_dump(),
        {"changes": {"mix": mix}, "settings": {"learning_rate": HASTE}, "gate": {"retries": 0}},
    )
    return CurriculumPreset.model_validate({**preset.model_dump(), "stages": [stage]})


def scores_of(run: Run | None) -> dict[str, dict[int, float]]:
    """The judge's mean by length, of clips made as in Generate and as in the rollouts; None: by the base model."""
    family, settings = open_mini(), load_train_preset("mini_nft").settings
    if run is not None:
        activate_adapter(family.network, "last", run.weights())
    model = load_preset("models", "mini")
    ways = {
        "generate": {"num_steps": model.num_steps, "guidance": model.guidance},
        "rollouts": {name: settings[name] for name in ("num_steps", "guidance")},
    }
    return {
        way: {
            frames: round(mean(judged(make(family, requests(held_out(32), 1, num_frames=frames, **shape))[0])), 4)
            for frames in (33, 129)
        }
        for way, shape in ways.items()
    }


def main() -> int:
    chosen = options(__doc__ or "")
    proof, preset = Proof("curriculum"), shortened(load_curriculum("mini_lengths"), chosen.short)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DAILIES_TRACKIO"] = "0"
        workspace = Workspace(Path(folder)).prepare()
        made = drive(preset, workspace, proof)
        state = made.state()
        reached = state.status == "done"
        proof.claim("all gates are passed", float(reached), floor=0 if chosen.short else 1, sentence=state.sentence)
        if state.start and not chosen.short:
            scores = {
                name: scores_of(run) for name, run in (("base", None), ("after", Run.find(workspace, state.start)))
            }
            proof.say("before", judge=scores["base"])
            last = scores["after"]["generate"]
            proof.say("after", judge=scores["after"])
            proof.claim("the judge at 129 frames against 33", last[129] / last[33], floor=0.95, scores=last)
        mixes = Path(folder) / "presets" / "rewards"
        mixes.mkdir(parents=True)
        (mixes / "broken.toml").write_text(BROKEN_MIX)
        os.environ["DAILIES_PRESETS"] = str(mixes.parent)
        own = str(load_train_preset("mini_nft").mix)
        told = {"broken": ("a broken reward is refused", "stopped"), own: ("the preset's own is not", "done")}
        for mix in ("broken",) if chosen.short else told:
            what, status = told[mix]
            ended = drive(hasty(preset, mix), workspace, proof).state()
            proof.claim(what, float(ended.status == status), floor=0 if chosen.short else 1, sentence=ended.sentence)
    return proof.ended()


if __name__ == "__main__":
    sys.exit(main())
