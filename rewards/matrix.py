"""The reward matrix: every perturbation against every reward, on the reference clips, against what must happen.

    python -m rewards.matrix [--domain real] [--write docs/reward-matrix.md]

A perturbation *must lower* some rewards and *must not move* others; the rest is free. A cell gives the change of the
value from the whole clip to the damaged one, as the median over the clips, and holds when every clip does.
Cells that do not hold and are understood stand in `EXPLAINED` with the measured reason.
"""

import argparse
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from rewards.clip import Clip
from rewards.mix import Mix, RewardReport
from rewards.perturb import PERTURBATIONS
from rewards.reference import read_reference
from rewards.suite import RewardSuite

Expectation = Literal["falls", "stays"]
TOTAL = "total"
FALL = 0.03  # a reward that must fall loses at least this much
STAY = 0.10  # a reward that must not move stays within this
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One reward under one perturbation: the change of its value on each clip where both values exist."""

    perturbation: str
    reward: str
    expectation: Expectation
    changes: dict[str, float]

    @property
    def margin(self) -> float:
        """How far the worst clip is on the right side of the bound; negative when the cell does not hold."""
        changes = np.array(list(self.changes.values()))
        if not changes.size:
            return 0.0
        return float((-changes - FALL).min()) if self.expectation == "falls" else float(STAY - np.abs(changes).max())

    @property
    def holds(self) -> bool:
        return self.margin >= 0


FALLS: dict[str, tuple[str, ...]] = {
    "frozen": ("flow_smoothness", "structure_constancy", "novelty_after_k", TOTAL),
    "jitter": ("flow_smoothness", "framing", TOTAL),
    "wobble": ("flow_smoothness", "structure_constancy", TOTAL),
    "flicker": (),
    "noise": ("structure_constancy", "aesthetic", TOTAL),
    "pure_noise": ("flow_smoothness", "structure_constancy", "aesthetic", "novelty_after_k", TOTAL),
    "blur": ("aesthetic", TOTAL),
    "repeat": ("loop_break", "novelty_after_k", TOTAL),
    "ping_pong": ("loop_break", "novelty_after_k", TOTAL),
    "shuffle": ("flow_smoothness", "structure_constancy", TOTAL),
    "cut": ("seam", "structure_constancy", TOTAL),
    "to_the_edge": ("framing",),
    "rolling": ("framing",),
    "double_rate": ("flow_smoothness",),
}
STAYS: dict[str, tuple[str, ...]] = {
    "frozen": ("aesthetic", "framing"),
    "jitter": ("aesthetic", "loop_break"),
    "wobble": ("loop_break",),
    "flicker": ("flow_smoothness", "loop_break"),
    "noise": ("loop_break", "framing"),
    "blur": ("loop_break", "framing"),
    "repeat": ("aesthetic",),
    "ping_pong": ("aesthetic",),
    "reverse": ("flow_smoothness", "structure_constancy", "loop_break", "aesthetic", "framing"),
    "shuffle": ("aesthetic",),
    "cut": ("loop_break",),
    "to_the_edge": ("loop_break",),
    "flip": ("flow_smoothness", "structure_constancy", "seam", "loop_break", "aesthetic", "framing", "novelty_after_k"),
    "double_rate": ("aesthetic", "loop_break"),
}
EXPLAINED: dict[tuple[str, str, str], str] = {}
"""(domain, perturbation, reward) to the measured reason why the cell does not hold there."""


def fill_matrix(suite: RewardSuite, clips: Mapping[str, Clip]) -> list[Cell]:
    """Every cell of the tables above whose reward the suite has, measured on `clips` (at least two, for the cuts)."""
    names = list(clips)
    whole = {name: suite.score(clip, name) for name, clip in clips.items()}
    cells = []
    for key, change in PERTURBATIONS.items():
        damaged = {}
        for name, following in zip(names, names[1:] + names[:1], strict=True):
            clip = clips[name]
            frames = change.apply(clip.frames, clips[following].frames)
            damaged[name] = suite.score(Clip(frames=frames, fps=clip.fps * change.rate, prompt=clip.prompt), name)
        cells += list(_cells(key, suite.mix, whole, damaged))
    return cells


def format_matrix(domain: str, cells: Sequence[Cell]) -> str:
    """A Markdown table: median change and margin of each cell, with ! where it does not hold."""
    rewards = list(dict.fromkeys(cell.reward for cell in cells))
    by_place = {(cell.perturbation, cell.reward): cell for cell in cells}
    rows = [f"| {domain} | " + " | ".join(rewards) + " |", "|---" * (len(rewards) + 1) + "|"]
    for perturbation in dict.fromkeys(cell.perturbation for cell in cells):
        entries = [_entry(by_place.get((perturbation, reward))) for reward in rewards]
        rows.append(f"| {perturbation} | " + " | ".join(entries) + " |")
    return "\n".join(rows)


def broken(domain: str, cells: Sequence[Cell]) -> list[Cell]:
    """The cells that neither hold nor are explained."""
    return [c for c in cells if not c.holds and (domain, c.perturbation, c.reward) not in EXPLAINED]


def weightless_suite(domain: str) -> RewardSuite:
    """The rewards that need no weights, each at 1."""
    keys = {key for table in (FALLS, STAYS) for rewards in table.values() for key in rewards} - {TOTAL}
    return RewardSuite(Mix(key="matrix", title="Matrix", weights=dict.fromkeys(sorted(keys), 1.0), calibration=domain))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", choices=("real", "mini"), action="append")
    parser.add_argument("--write", type=Path, help="also write the tables to this Markdown file")
    options = parser.parse_args()
    text, wrong = matrix_report(options.domain or ["real", "mini"])
    log.info(text)
    if options.write:
        options.write.write_text(text, encoding="utf8")
    if wrong:
        sys.exit(f"{len(wrong)} cells neither hold nor are explained.")


def matrix_report(domains: Sequence[str]) -> tuple[str, list[Cell]]:
    """The tables of all domains as Markdown, with the explained exceptions, and the cells that are simply wrong."""
    parts, wrong = [INTRODUCTION], []
    for domain in domains:
        cells = fill_matrix(weightless_suite(domain), read_reference(domain))
        parts.append(format_matrix(domain, cells))
        parts += [f"- `{p}` / `{r}` ({d}): {why}" for (d, p, r), why in EXPLAINED.items() if d == domain]
        wrong += broken(domain, cells)
    return "\n\n".join(parts) + "\n", wrong


INTRODUCTION = f"""# The reward matrix

Made by `python -m rewards.matrix --write docs/reward-matrix.md` from the reference clips in `assets/calibration/clips`.
Rows: what was done to the clip. Cells: median change of the reward's value over the clips, and in brackets how far the
worst clip is on the right side of its bound (v must fall by {FALL}; = must stay within {STAY}); ! marks a cell that
does not hold. Empty: either may happen."""


def _cells(
    key: str, mix: Mix, whole: Mapping[str, RewardReport], damaged: Mapping[str, RewardReport]
) -> Iterator[Cell]:
    tables: tuple[tuple[Expectation, dict[str, tuple[str, ...]]], ...] = (("falls", FALLS), ("stays", STAYS))
    for expectation, table in tables:
        for reward in table.get(key, ()):
            if reward == TOTAL or mix.weights.get(reward, 0) > 0:
                pairs = {name: (_value(whole[name], reward), _value(damaged[name], reward)) for name in whole}
                changes = {n: b - a for n, (a, b) in pairs.items() if a is not None and b is not None}
                yield Cell(perturbation=key, reward=reward, expectation=expectation, changes=changes)


def _value(report: RewardReport, reward: str) -> float | None:
    return report.total if reward == TOTAL else report.parts[reward]


def _entry(cell: Cell | None) -> str:
    if cell is None:
        return ""
    if not cell.changes:
        return "n/a"
    sign = "v" if cell.expectation == "falls" else "="
    median = float(np.median(list(cell.changes.values())))
    return f"{sign} {median:+.2f} ({cell.margin:+.2f}){'' if cell.holds else ' !'}"


if __name__ == "__main__":
    main()
