"""The oracle table on a few of the calibration clips (`make matrix` takes all of them), and how the table is kept."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from rewards import REWARDS, RewardError, read_mix
from rewards.calibration import read_calibration, report_calibration
from rewards.matrix.measure import GATES, HOME, TOTAL, Cell, Filled, fill_matrix, read_set
from rewards.matrix.perturbations import PERTURBATIONS
from rewards.matrix.reasons import EXPLAINED
from rewards.matrix.rows import ALL_ROWS, HACKS, ROWS
from rewards.matrix.table import INTRODUCTION, describe, to_data, to_markdown
from rewards.weights.catalog import PRESENT, status
from tests.rewards.conftest import hide_weights

ROOT = Path(__file__).resolve().parents[3]
MIXES = {key: read_mix(ROOT / "presets" / "rewards" / f"{key}.toml") for key in ("seed", "motion", "long", "mini")}
QUICK_CLIPS = {"real": ("carphone", "bunny"), "mini": ("mini_2", "mini_4")}
QUICK_FRAMES = {"real": 49, "mini": 65}
QUICK_ROWS = ("frozen", "noise", "blur", "repeat", "shuffle", "cut", "wrong_prompt")
NETWORKS = ("i3d", "alexnet")
NEVER_PAYS = ("frozen", "blur", "repeat", "ping_pong", "cut", "cut_elsewhere", "noise", "pure_noise")


class Case(NamedTuple):
    """What is measured: a domain's clips under some rows, with or without networks that have to be downloaded."""

    domain: str
    networks: bool
    rows: tuple[str, ...]


# In two halves, since with networks the rows of a domain take a minute even on quiet cores; films take twice as long as
# the clips of mini.
HALVES = (QUICK_ROWS[:4], QUICK_ROWS[4:])
CASES = [
    pytest.param(
        Case(domain, networks, rows),
        id=f"{domain}{'-networks' * networks}-{rows[0]}",
        marks=[] if (domain, networks, rows) == ("mini", False, HALVES[0]) else [pytest.mark.slow],
    )
    for networks in (False, True)
    for domain in QUICK_CLIPS
    for rows in HALVES
]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def measured(case: Case, tmp_path_factory: pytest.TempPathFactory) -> list[Filled]:
    """The clips measured with all mixes."""
    reference = read_set(case.domain).only(QUICK_CLIPS[case.domain], QUICK_FRAMES[case.domain])
    with pytest.MonkeyPatch.context() as patch:
        if not case.networks:
            hide_weights(patch, tmp_path_factory.mktemp("no_weights"))
        elif missing := [key for key in NETWORKS if status(key).state != PRESENT]:
            pytest.skip(f"no weights of {', '.join(missing)}: name their folder in DAILIES_WEIGHTS")
        return fill_matrix(reference, list(MIXES.values()), case.rows)


@pytest.fixture
def filled(measured: list[Filled]) -> Filled:
    """As the domain's home mix computes it."""
    return next(one for one in measured if HOME[one.domain] in one.mixes)


def test_damage_does_what_it_must(filled: Filled, case: Case) -> None:
    assert [describe(cell) for cell in filled.broken if not cell.column.startswith(TOTAL)] == []
    measured = {cell.row for cell in filled.cells if cell.changes}
    assert measured == set(case.rows)


def test_no_damage_raises_the_total_of_a_mix(measured: list[Filled], case: Case) -> None:
    totals = [cell for one in measured for cell in one.cells if cell.column.startswith(TOTAL)]
    expected = {(row, f"{TOTAL}{mix}") for row in set(case.rows) & set(HACKS) for mix in MIXES}
    assert {(cell.row, cell.column) for cell in totals} == expected
    assert all(len(cell.changes) == 2 for cell in totals)
    assert [describe(cell) for cell in totals if not cell.holds] == []


def test_what_needs_no_weights_is_measured(filled: Filled) -> None:
    needs_none = ("flow_smoothness", "structure_constancy", "seam", "loop_break", "aesthetic", "novelty_after_k")
    assert not set(needs_none) & filled.absent.keys()
    assert all(reason.endswith(".") for reason in filled.absent.values())


def test_the_page_shows_every_cell(filled: Filled, case: Case) -> None:
    text, data = to_markdown([filled]), json.loads(json.dumps(to_data([filled]), allow_nan=False))
    assert all(f"| `{row}` |" in text for row in case.rows) and f"`{filled.calibration}`" in text
    assert [cell["column"] for cell in data[0]["cells"]] == [cell.column for cell in filled.cells]


def cell(kind: str, bound: float, *changes: float, row: str = "blur", column: str = "aesthetic") -> Cell:
    named = {f"clip_{i}": change for i, change in enumerate(changes)}
    return Cell(domain="real", row=row, column=column, kind=kind, bound=bound, changes=named)


@pytest.mark.parametrize(
    ("kind", "changes", "margin"),
    [
        ("falls", (-0.5, -0.2), 0.1),
        ("falls", (-0.5, 0.1), -0.2),
        ("stays", (0.04, -0.03), 0.06),
        ("stays", (0.3,), -0.2),
    ],
)
def test_the_margin_is_that_of_the_worst_clip(kind: str, changes: tuple[float, ...], margin: float) -> None:
    found = cell(kind, 0.1, *changes)
    assert found.margin == pytest.approx(margin) and found.holds == (margin >= 0)


def test_a_cell_that_fails_says_so() -> None:
    broken = cell("falls", 0.03, 0.01)
    filled = Filled(domain="real", mixes=("seed",), calibration="real-1", cells=(broken,), absent={"clip_vid": "No."})
    assert filled.broken == (broken,)
    assert "must fall by 0.03" in describe(broken) and "+0.010" in describe(broken)
    text = to_markdown([filled])
    assert "falls +0.01 (−0.04) !" in text and "- `clip_vid`: No." in text


@pytest.mark.parametrize(("rise", "is_explained"), [(0.18, True), (0.25, False)])
def test_a_reason_explains_no_larger_rise_than_was_measured(rise: float, is_explained: bool) -> None:
    found = Cell(
        domain="clips",
        row="vignette",
        column="total.semantic",
        kind="falls",
        bound=0.0,
        changes={"arm_wrestling.mp4": rise, "pillow.mp4": 0.01},
    )
    assert not found.holds and bool(found.explained) == is_explained


def test_the_table_names_what_exists() -> None:
    gates = {*GATES}
    later = {"t_lpips", "fvd_lite", "identity_lock", "clip_vid", "caption_consistency"}
    for key, row in ALL_ROWS.items():
        assert key in PERTURBATIONS
        assert {*row.falls, *row.stays} <= {*REWARDS, *gates, *later} and not {*row.falls} & {*row.stays}
    for domain, row, column in EXPLAINED:
        assert domain in HOME and row in ALL_ROWS
        assert column in {*ALL_ROWS[row].falls, *ALL_ROWS[row].stays} or (
            column.startswith(TOTAL) and row not in NEVER_PAYS
        )


def test_a_row_that_is_not_there_is_said() -> None:
    with pytest.raises(RewardError, match="no row 'melt'"):
        fill_matrix(read_set("mini"), [MIXES["mini"]], ["melt"])


def test_the_page_in_the_docs_has_every_row_of_both_domains() -> None:
    page = (ROOT / "docs" / "rewards-matrix.md").read_text(encoding="utf8")
    for domain in ("real", "mini"):
        measured = f"## The clips of `{domain}` with calibration `{report_calibration(read_calibration(domain))}`"
        assert measured in page, "the calibration changed since: run `make matrix`"
        section = page.split(f"## The clips of `{domain}` with calibration `{domain}-")[1].split("\n## ")[0]
        assert all(f"| `{row}` |" in section for row in ROWS)
    assert page.startswith(INTRODUCTION), "the introduction changed since: run `make matrix`"


def test_every_cell_of_the_page_that_does_not_hold_has_a_reason() -> None:
    page, domain, given = (ROOT / "docs" / "rewards-matrix.md").read_text(encoding="utf8"), "", {}
    for line in page.splitlines():
        if line.startswith("## The clips of"):
            domain = line.split("`")[1]
        if found := re.match(r"- `(\w+)`, `([\w.]+)`: (.+)", line):
            given[domain, found[1], found[2]] = found[3]
    assert page.count(" ! |") == len(given) > 0
    assert not [cell for cell, reason in given.items() if "not analysed" in reason]
    assert {cell: reason for cell, reason in given.items() if EXPLAINED.get(cell, reason) != reason} == {}
    assert {cell for cell in EXPLAINED if cell[0] != "clips"} <= given.keys()
