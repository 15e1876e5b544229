"""The short tour from end to end, with a kill and an interruption.

Every number in its report is compared with the source that the report names.
"""

import base64
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.labelling.campaigns import Campaigns
from engine.runs.curriculum_state import list_curricula
from engine.runs.run import list_runs
from engine.storage.library import Library
from engine.video.reader import read_video
from engine.workspace import Workspace
from examples.tour.report import write_report
from examples.tour.state import Journal, TourFiles
from examples.tour.steps import STEPS

from .report_read_again import Page, Toured, Views, resolve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
DEADLINE_S = 1200


def start(python: str, root: Path, workspace: Path, log: Path) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "DAILIES_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    environment.pop("DAILIES_PRESETS", None)
    with log.open("ab") as out:
        command = [python, "-m", "examples.tour", "--short", "--workspace", str(workspace)]
        return subprocess.Popen(command, cwd=root, env=environment, stdout=out, stderr=out)


def end(tour: "subprocess.Popen[bytes]") -> int:
    """Return the exit code within the deadline; kill the process afterwards."""
    try:
        return tour.wait(DEADLINE_S)
    finally:
        tour.kill()
        tour.wait()


def wait_for_training(tour: "subprocess.Popen[bytes]", files: TourFiles, preset: str, log: Path) -> Journal:
    """Wait until a run of the preset trains, and return the journal at that time."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        assert tour.poll() is None, log.read_text()[-3000:]
        runs = [run for run in list_runs(files.workspace) if run.preset().key == preset]
        if runs and runs[0].log.is_file() and not runs[0].adapter.is_dir():
            journal = files.journal()
            assert journal is not None
            return journal
        time.sleep(0.05)
    end(tour)
    raise AssertionError(f"no run of {preset} in {DEADLINE_S} s: {log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def toured(root: Path, python: str, mini_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Toured:
    """Run the tour; kill it during DPO, interrupt it during the distillation, and resume it each time."""
    folder = tmp_path_factory.mktemp("tour")
    workspace, log = Workspace(folder / "workspace"), folder / "log"
    files = TourFiles(workspace)
    first = start(python, root, workspace.root, log)
    journal = wait_for_training(first, files, "mini_dpo", log)
    first.kill()
    found = Toured(workspace, journal, votes_of(workspace, journal.made("votes")["campaign"]))
    found.codes["killed"] = first.wait()
    second = start(python, root, workspace.root, log)
    wait_for_training(second, files, "mini_distill", log)
    second.send_signal(signal.SIGINT)
    found.codes["interrupted"] = end(second)
    found.codes["done"] = end(start(python, root, workspace.root, log))
    assert found.codes["done"] == 0, log.read_text()[-3000:]
    return found


def conditions_of(tried: Any) -> Any:
    """Return the conditions of the gate of an attempt; none if it was not checked."""
    return tried.result.conditions if tried.result is not None else ()


def votes_of(workspace: Workspace, campaign: str) -> list[str]:
    store = Library(workspace)
    try:
        return [one.vote.client_uuid for one in Campaigns(store).votes(campaign, history=True)]
    finally:
        store.close()


@pytest.fixture
def tour_store(toured: Toured) -> Any:
    store = Library(toured.workspace)
    yield store
    store.close()


@pytest.fixture(scope="module")
def page(toured: Toured) -> Page:
    found = Page()
    found.feed(toured.files.report.read_text(encoding="utf-8"))
    return found


# ------------------------------------------------------------------------------------------------------------- resuming


def test_it_is_done_after_a_kill_and_an_interruption(toured: Toured) -> None:
    assert toured.codes == {"killed": -signal.SIGKILL, "interrupted": 130, "done": 0}
    assert [record.key for record in toured.journal.steps] == [step.key for step in STEPS]
    assert all(record.is_done and record.seconds > 0 for record in toured.journal.steps)


def test_nothing_was_done_twice(toured: Toured, tour_store: Library) -> None:
    before, after = toured.at_the_kill, toured.journal
    finished = [record for record in before.steps if record.is_done]
    assert [record.key for record in finished] == ["generate", "score", "campaign", "votes"]
    assert [after.step(record.key) for record in finished] == finished
    assert {key: after.step(key).begun for key in ("dpo", "grpo", "student", "ranking")} == {
        "dpo": 2,
        "grpo": 1,
        "student": 2,
        "ranking": 1,
    }
    campaigns = Campaigns(tour_store).list()
    assert len(campaigns) == 2
    assert votes_of(toured.workspace, after.made("votes")["campaign"]) == toured.votes_at_the_kill
    for campaign in campaigns:
        votes = Campaigns(tour_store).votes(campaign.id, history=True)
        shown = {(one.vote.pair_id, one.vote.labeller, one.is_repeat) for one in votes}
        assert len(shown) == len(votes) and all(one.ended_as is None for one in votes)


def test_each_training_is_one_run_that_went_on(toured: Toured) -> None:
    runs = [run.preset().key for run in list_runs(toured.workspace)]
    assert {key: runs.count(key) for key in ("mini_dpo", "mini_grpo", "mini_distill")} == {
        "mini_dpo": 1,
        "mini_grpo": 1,
        "mini_distill": 1,
    }
    (curriculum,) = list_curricula(toured.workspace)
    assert runs.count("mini_nft") == len(curriculum.state().attempts)
    assert curriculum.state().attempts[0].num_frames == 33


def test_there_are_no_clips_but_those_that_were_asked_for(toured: Toured, tour_store: Library) -> None:
    made = toured.journal.made
    wanted = {*made("generate")["clips"], made("generate")["long"]}
    wanted |= {clip for own in made("ranking")["clips"].values() for clip in own}
    wanted |= {clip for pair in made("curriculum")["clips"] for clip in pair}
    pairs = Campaigns(tour_store).pairs(made("campaign")["campaign"])
    wanted |= {clip for pair in pairs for clip in (pair.clip_a, pair.clip_b)}
    assert {clip.id for clip in tour_store.clips(limit=10_000)} == wanted


def test_another_size_is_refused_in_one_sentence(toured: Toured, root: Path, python: str) -> None:
    command = [python, "-m", "examples.tour", "--workspace", str(toured.workspace.root)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 2
    assert "holds a tour of the size 'short', but 'full' was asked for" in done.stderr


# ------------------------------------------------------------------------------------------------- the report's numbers


@pytest.fixture
def lookup(toured: Toured, tour_store: Library) -> Any:
    """Return a function that reads the value of a source from the workspace."""
    views = Views(toured, tour_store)
    return lambda source: resolve(source, toured.workspace.root, views)


def test_every_number_is_where_the_report_says(page: Page, lookup: Any) -> None:
    assert len(page.numbers) > 300
    for one in page.numbers:
        there = lookup(one["title"])
        assert float(one["value"]) == pytest.approx(float(there), abs=1e-12), one["title"]


def test_every_sentence_that_it_quotes_stands_there(page: Page, toured: Toured, lookup: Any) -> None:
    curricula = list_curricula(toured.workspace)
    conditions = [one.wanted for made in curricula for tried in made.state().attempts for one in conditions_of(tried)]
    quoted = [one["text"] for one in page.said]
    assert len(conditions) >= 2 and all(quoted.count(words) >= conditions.count(words) for words in conditions)
    for one in page.said:
        assert one["text"] == str(lookup(one["title"])), one["title"]


def test_every_number_is_shown_as_it_is(page: Page) -> None:
    for one in page.numbers:
        shown = float(re.sub(r"(%| s| min)$", "", one["text"]))
        value = float(one["value"]) / float(one.get("data-per", 1)) * (100 if one["text"].endswith("%") else 1)
        places = len(one["text"].partition(".")[2].rstrip("% smin"))
        assert shown == pytest.approx(value, abs=0.5001 * 10**-places), one


def test_the_text_has_no_numbers_of_its_own(page: Page) -> None:
    left = " ".join(page.text).replace("95 %", "")
    assert re.findall(r"\S*\d\S*", left) == []


def test_plots_end_where_the_metrics_end(page: Page, toured: Toured) -> None:
    assert len(page.plots) >= 6
    runs = {run.id: run for run in list_runs(toured.workspace)}
    for plot in page.plots:
        points = []
        for source in plot["source"].split(" | "):
            _, run, column = source.split("/", 2)
            name = column.partition("#")[2]
            points += [(row["step"], row[name]) for row in runs[run].metrics() if name in row]
        steps, values = np.array(points).T
        ends = [values.max(), values.min(), steps.min(), steps.max()]
        assert plot["labels"] == [f"{end:.3g}" for end in ends], plot["source"]


def test_the_page_holds_its_clips_and_asks_for_nothing(page: Page, toured: Toured, tmp_path: Path) -> None:
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    text = toured.files.report.read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", text)
    made = toured.journal.made
    entrants = made("ranking")["entrants"]
    assert {"base", "dpo", "grpo", "student"} <= set(entrants)
    assert ("curriculum" in entrants) == (made("curriculum")["adapter"] is not None)
    assert len(page.videos) >= len(entrants) * len(made("ranking")["prompts"]) + len(made("generate")["clips"])
    for index, video in enumerate(page.videos):
        head, _, content = video["src"].partition(",")
        assert head == "data:video/mp4;base64" and video["aria-label"]
        path = tmp_path / f"{index}.mp4"
        path.write_bytes(base64.b64decode(content))
    assert read_video(path)[0].shape[1:] == (256, 256, 3)


def test_it_says_what_is_simulated_and_what_did_not_improve(page: Page) -> None:
    text = " ".join(" ".join(page.text).split())
    assert "The people are simulated." in text
    assert "Improved" in text and "Not improved, or uncertain" in text
    assert "This is not the full tour" in text


# ------------------------------------------------------------------------------------ a function of the workspace alone


def test_it_is_made_again_from_the_workspace_alone(toured: Toured, tmp_path: Path) -> None:
    first = toured.files.report.read_bytes()
    moved = Workspace(shutil.copytree(toured.workspace.root, tmp_path / "moved"))
    TourFiles(moved).report.unlink()
    write_report(TourFiles(moved))
    assert TourFiles(moved).report.read_bytes() == first


@pytest.mark.parametrize("steps", [0, 1, 4, 5, 7])
def test_a_tour_that_is_not_done_has_a_report_too(steps: int, toured: Toured, tmp_path: Path) -> None:
    moved = TourFiles(Workspace(shutil.copytree(toured.workspace.root, tmp_path / "moved")))
    moved.keep(toured.journal.model_copy(update={"steps": toured.journal.steps[:steps]}))
    write_report(moved)
    text = moved.report.read_text(encoding="utf-8")
    assert "This tour is not done yet" in text
    assert ('id="votes"' in text) == (steps >= 4)
    assert ('id="grpo"' in text) == (steps >= 6)
