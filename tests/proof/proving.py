"""What the proofs share: held-out prompts, the judge on both sides, and what they write down.

The judge never trains anything, but for the proof of DPO, where it plays the person who votes, with mistakes.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.config.presets import load_preset
from engine.config.prompts import read_prompts
from engine.families.registry import open_model
from engine.mini.judge import judge
from engine.request import GenerationRequest
from engine.seeds import seed_for
from engine.training.data.prompt_embeddings import PromptEmbeddings
from engine.training.evaluation.intervals import change_interval
from engine.training.rollout.rollouts import generate_rollouts
from rewards.clip import Clip

MINUTES = 25
"""What a proof may take by itself on two cores."""
OUT = Path(os.environ.get("DAILIES_PROOF", "build/proof"))


def options(description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--short", action="store_true", help="a minute or two: shows that it works, not how well")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


class Proof:
    """Writes one JSON line for each thing said; `ended` tells whether every floor was reached."""

    def __init__(self, name: str) -> None:
        OUT.mkdir(parents=True, exist_ok=True)
        self.name, self._file, self._began = name, OUT / f"{name}.jsonl", time.monotonic()
        self._file.write_text("", encoding="utf-8")
        self.missed: list[str] = []

    def say(self, kind: str, **values: Any) -> None:
        line = json.dumps({"proof": self.name, "kind": kind, "s": round(time.monotonic() - self._began, 1), **values})
        with self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def claim(self, what: str, value: float, *, floor: float, above: bool = False, **more: Any) -> None:
        """A result with the least that it must be, or with what it must be `above`."""
        reached = value > floor if above else value >= floor
        self.say("claim", what=what, value=round(value, 4), floor=floor, reached=reached, **more)
        if not reached:
            self.missed.append(what)

    def ended(self) -> int:
        """The exit code. How long it took is told, not judged: that tells of what else the machine does as well."""
        minutes = round((time.monotonic() - self._began) / 60, 1)
        self.say("end", missed=self.missed, minutes=minutes, allowed=MINUTES, cores=os.cpu_count())
        return int(bool(self.missed))


def open_mini() -> Any:
    return open_model(load_preset("models", "mini"), device="cpu")


def requests(prompts: Sequence[str], takes: int, **shape: Any) -> list[GenerationRequest]:
    return [
        GenerationRequest(prompt=prompt, seed=seed_for(99, prompt=f"proof of {prompt}", sample=take), **shape)
        for prompt in prompts
        for take in range(takes)
    ]


def held_out(count: int) -> list[str]:
    return read_prompts("mini_held_out")[:count]


def make(family: Any, wanted: Sequence[GenerationRequest]) -> tuple[list[Clip], float]:
    """The clips by the family's present weights, and seconds for each."""
    began = time.perf_counter()
    clips = generate_rollouts(family, wanted, PromptEmbeddings(family, wanted[0].fps)).clips
    return clips, (time.perf_counter() - began) / len(clips)


def judged(clips: Sequence[Clip]) -> list[float | None]:
    return [judge(clip.frames, clip.prompt).score for clip in clips]


def interval(before: Sequence[float | None], after: Sequence[float | None], clips: Sequence[Clip]) -> dict[str, float]:
    """The paired change with its 95 % interval over prompts, as JSON."""
    found = change_interval(before, after, [clip.prompt for clip in clips])
    return {name: round(value, 4) for name, value in found.model_dump().items()}


def mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def rows_of(trainer: Any, proof: Proof, *names: str) -> None:
    """The logged course of some metrics, as points of a plot."""
    for entry in trainer.state.log_history:
        found = {name: round(entry[name], 5) for name in names if name in entry}
        if found:
            proof.say("point", step=entry["step"], **found)


Reward = Callable[..., list[float | None]]
