"""The first steps of the short tour in this process; `test_tour.py` (slow) runs all of it."""

from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.labelling.campaigns import Campaigns
from engine.storage.library import Library
from engine.workspace import Workspace
from examples.tour import driving
from examples.tour.report import write_report
from examples.tour.settings import TourSize, load_tour
from examples.tour.state import TourFiles
from examples.tour.steps import STEPS

from .report_read_again import Page, Toured, Views, resolve

FIRST = ("generate", "score", "campaign", "votes")


def small() -> TourSize:
    """The short size with a shorter long clip and two prompts to vote on."""
    size = load_tour("short")
    show, votes = size.show.model_copy(update={"long_frames": 49}), size.votes.model_copy(update={"num_prompts": 2})
    return TourSize.model_validate({**size.model_dump(), "show": show, "votes": votes})


@pytest.fixture(scope="module")
def toured(mini_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Toured:
    """A tour that stopped after its second step, and was continued up to the training."""
    files = TourFiles(Workspace(tmp_path_factory.mktemp("tour") / "workspace").prepare())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAILIES_DEVICE", "cpu")
        patch.setenv("DAILIES_WORKSPACE", str(files.workspace.root))
        for count in (2, len(FIRST)):
            patch.setattr(driving, "STEPS", STEPS[:count])
            driving.drive(files, small())
    write_report(files)
    journal = files.journal()
    assert journal is not None
    return Toured(files.workspace, journal, votes_at_the_kill=[])


@pytest.fixture(scope="module")
def page(toured: Toured) -> Page:
    found = Page()
    found.feed(toured.files.report.read_text(encoding="utf-8"))
    return found


def test_a_continued_tour_repeats_no_step(toured: Toured) -> None:
    assert [(record.key, record.begun, record.is_done) for record in toured.journal.steps] == [
        (key, 1, True) for key in FIRST
    ]
    store = Library(toured.workspace)
    try:
        campaigns = Campaigns(store)
        [campaign] = campaigns.list()
        pairs, votes = campaigns.pairs(campaign.id), campaigns.votes(campaign.id)
        made = toured.journal.made("generate")
        wanted = {*made["clips"], made["long"], *(clip for pair in pairs for clip in (pair.clip_a, pair.clip_b))}
        assert {clip.id for clip in store.clips(limit=10_000)} == wanted
        first = [one for one in votes if not one.is_repeat]
        assert len(first) == len(pairs) * len(toured.journal.size.people) > 0
    finally:
        store.close()


def test_each_number_of_the_unfinished_report_has_its_source(toured: Toured, page: Page) -> None:
    assert "This tour is not done yet" in toured.files.report.read_text(encoding="utf-8")
    assert len(page.numbers) > 30 and len(page.videos) >= 2
    store = Library(toured.workspace)
    try:
        views = Views(toured, store)
        for one in page.numbers:
            value = resolve(one["title"], toured.workspace.root, views)
            assert float(one["value"]) == pytest.approx(float(value), abs=1e-12), one["title"]
    finally:
        store.close()


def test_another_size_is_refused(toured: Toured) -> None:
    with pytest.raises(ConfigError, match="holds a tour of the size 'short', but 'full' was asked for"):
        driving.drive(toured.files, load_tour("full"))
