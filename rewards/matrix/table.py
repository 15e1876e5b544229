"""The reward matrix as Markdown for the documentation, and as JSON-safe data."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rewards import REWARDS
from rewards.matrix.measure import FALL, GATES, LEAST_TO_LOSE, TOTAL, Cell, Filled
from rewards.matrix.perturbations import PERTURBATIONS
from rewards.matrix.rows import STAY

MINUS = "\N{MINUS SIGN}"
INTRODUCTION = f"""# Rewards under known damage

`dailies rewards matrix --write docs/rewards-matrix.md` (`make matrix`) makes this page from the clips in
`assets/calibration/clips`. Do not edit it: a remark on figures that are
older than the code, below this introduction, stays until the command is run again.

Each row is a damage that is applied to every clip, each column a reward, a gate, or the total of a mix. A cell contains
the requirement and the measured change:

- `falls {MINUS}0.40 (+0.12)`: the value had to fall by {FALL} or more (a total: at all). The median change over the
  clips was {MINUS}0.40, and the clip with the smallest fall exceeded the limit by 0.12. Clips with a value below
  {LEAST_TO_LOSE} are left out.
- `stays +0.01 (+0.08)`: the value had to stay within {STAY} (0.05 under `flip`, exactly under `wrong_prompt`).
- `!` marks a cell that does not hold on every clip; each is explained below the table.
- An empty cell has no requirement; `no clip` means that the reward has a value on none of the clips.

Clips whose subject leaves the picture end on an empty one, so they count only where a value must fall. Framing is
measured on clips with one subject that stays. Every clip is scored as two windows that meet in its middle; `cut` cuts
there, `cut_elsewhere` at three quarters. The rewards of the filmed clips ("real") are computed with the mix `seed`,
those of the rendered ones ("mini") with the mix `mini`. Where a total has a cell, it must fall on every clip."""


def to_markdown(filled: Sequence[Filled]) -> str:
    """Return the whole page."""
    return "\n\n".join([INTRODUCTION, _meanings(), *(part for one in filled for part in _section(one))]) + "\n"


def attacks_to_markdown(filled: Sequence[Filled]) -> str:
    """Return one table a domain: of each attack and mix, the largest change of the total on any clip."""
    totals = [cell for one in filled for cell in one.totals]
    return "\n\n".join(
        part
        for domain in dict.fromkeys(cell.domain for cell in totals)
        for part in _attack_section(domain, [cell for cell in totals if cell.domain == domain])
    )


def _attack_section(domain: str, cells: Sequence[Cell]) -> Iterator[str]:
    yield f"The {len(cells[0].changes)} clips of `{domain}`:\n\n{_table(cells, _largest_change)}"
    beaten = [
        f"- `{c.row}`, `{c.column}`: {-c.margin:+.3f} on `{c.worst}`. {c.explained}" for c in cells if not c.holds
    ]
    if beaten:
        yield "Attacks with a higher total than the honest clip:\n\n" + "\n".join(line.rstrip() for line in beaten)


def _largest_change(cell: Cell) -> str:
    return f"{-cell.margin:+.2f}{'' if cell.holds else ' !'}".replace("-", MINUS) if cell.changes else "no clip"


def to_data(filled: Sequence[Filled]) -> list[dict[str, Any]]:
    """Return JSON-safe matrices with their cells, the changes of each clip, margins and reasons."""
    return [
        {
            "domain": one.domain,
            "mixes": list(one.mixes),
            "calibration": one.calibration,
            "absent": one.absent,
            "cells": [_cell_data(cell) for cell in one.cells],
        }
        for one in filled
    ]


def describe(cell: Cell) -> str:
    """Return one cell as a sentence."""
    worst = {name: f"{change:+.3f}" for name, change in cell.changes.items()}
    return f"{cell.domain}: under {cell.row}, {cell.column} {_demand(cell)}, but it changed by {worst}."


def _section(one: Filled) -> Iterator[str]:
    yield f"## The clips of `{one.domain}` with calibration `{one.calibration}`"
    for title, dotted in (("Rewards", False), ("Gates and totals", True)):
        cells = [cell for cell in one.cells if ("." in cell.column) == dotted]
        if cells:
            yield f"{title}:\n\n{_table(cells, _entry)}"
    reasons = [f"- `{c.row}`, `{c.column}`: {c.explained}" for c in one.cells if not c.holds]
    if reasons:
        yield "Cells that do not hold:\n\n" + "\n".join(reasons)
    if one.absent:
        yield "Not measured:\n\n" + "\n".join(f"- `{key}`: {reason}" for key, reason in one.absent.items())


def _meanings() -> str:
    rows = [f"| `{change.key}` | {change.title} |" for change in PERTURBATIONS.values()]
    return "\n".join(["| damage | description |", "|---|---|", *rows])


def _table(cells: Sequence[Cell], entry: Callable[[Cell], str]) -> str:
    found = {cell.column for cell in cells}
    columns = [key for key in (*REWARDS, *GATES) if key in found]
    columns += [column for column in dict.fromkeys(cell.column for cell in cells) if column.startswith(TOTAL)]
    by_place = {(cell.row, cell.column): cell for cell in cells}
    lines = ["| | " + " | ".join(f"`{column}`" for column in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in dict.fromkeys(cell.row for cell in cells):
        entries = [entry(by_place[row, column]) if (row, column) in by_place else "" for column in columns]
        lines.append(f"| `{row}` | " + " | ".join(entries) + " |")
    return "\n".join(lines)


def _entry(cell: Cell) -> str:
    if not cell.changes:
        return "no clip"
    text = f"{cell.kind} {cell.median:+.2f} ({cell.margin:+.2f}){'' if cell.holds else ' !'}"
    return text.replace("-", MINUS)


def _demand(cell: Cell) -> str:
    if cell.kind == "stays":
        return f"must stay within {cell.bound:g}"
    return "must fall" if cell.column.startswith(TOTAL) else f"must fall by {cell.bound:g}"


def _cell_data(cell: Cell) -> dict[str, Any]:
    return {
        "row": cell.row,
        "column": cell.column,
        "expected": cell.kind,
        "bound": cell.bound,
        "median": cell.median,
        "margin": cell.margin,
        "holds": cell.holds,
        "explained": cell.explained,
        "changes": cell.changes,
    }
