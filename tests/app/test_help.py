"""First steps that tick themselves, the glossary, and the documentation."""

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.documentation import DOCS, documentation_routes, page_of
from app.context import AppContext
from app.text.help import GLOSSARY, NO_DOCS, STEPS, VOTES_WANTED, icon
from app.views.training.first_steps import first_steps, glossary
from engine.config.presets import load_train_preset
from engine.labelling.campaign_spec import CampaignSpec
from engine.labelling.campaigns import Campaigns
from engine.labelling.votes import Vote
from engine.runs.results import Evaluation
from engine.runs.run import Run
from engine.storage.library import ClipRecord
from rewards import known_rewards, reward_spec

MakeClip = Callable[..., ClipRecord]


def done(context: AppContext) -> list[str]:
    return [step["id"] for step in first_steps(context)["steps"] if step["done"]]


def vote_on_all(context: AppContext, clips: list[ClipRecord]) -> None:
    campaigns = Campaigns(context.store)
    ids = tuple(clip.id for clip in clips)
    campaign = campaigns.create(CampaignSpec(title="t", clip_ids=ids, repeat_share=0))
    for number, asked in enumerate(campaigns.next_pairs(campaign.id, "ann", VOTES_WANTED + 1)):
        choice: Any = "skip" if number == VOTES_WANTED else "left"
        uuid = f"first-step-{number}"
        campaigns.vote(
            Vote(pair_id=asked.pair_id, labeller="ann", choice=choice, shown_left=asked.left_clip, client_uuid=uuid)
        )
        if number == VOTES_WANTED - 2:
            assert "votes" not in done(context)
            assert [step["note"] for step in first_steps(context)["steps"] if step["id"] == "votes"] == ["19/20"]


def test_each_step_ticks_itself(context: AppContext, make_clip: MakeClip) -> None:
    assert done(context) == [] and [step["id"] for step in first_steps(context)["steps"]] == list(STEPS)
    clips = [make_clip(seed=seed, score=None, files=True) for seed in range(7)]
    assert done(context) == ["clip"]
    make_clip(seed=99)
    assert done(context) == ["clip", "score"]
    vote_on_all(context, clips)
    assert done(context) == ["clip", "score", "votes"]
    run = Run.create(context.workspace, load_train_preset("mini_dpo"))
    assert done(context) == ["clip", "score", "votes", "run"]
    run.save_evaluation(evaluation())
    assert done(context) == ["clip", "score", "votes", "run", "evaluation"]
    make_clip(seed=5, adapter="tuned")
    assert done(context) == list(STEPS)


def evaluation() -> Evaluation:
    return Evaluation(
        run="r",
        step=8,
        mix="mini",
        prompts=2,
        takes=1,
        num_frames=17,
        before={},
        after={},
        seconds_before=1.0,
        seconds_after=1.0,
        measures=(),
    )


def test_an_imported_clip_is_no_generated_one(context: AppContext, make_clip: MakeClip) -> None:
    make_clip(score=None, changes={"source": "imported", "model": None})
    assert done(context) == []


def test_the_glossary_has_every_reward_and_every_icon_a_term() -> None:
    terms = glossary()
    assert {reward_spec(key).title for key in known_rewards()} <= set(terms) and set(GLOSSARY) <= set(terms)
    assert all(meaning.endswith((".", "?")) for meaning in terms.values())
    with pytest.raises(AssertionError, match="no Foo"):
        icon("Foo")


@pytest.fixture(scope="module")
def client() -> TestClient:
    server = FastAPI()
    server.include_router(documentation_routes())
    return TestClient(server)


class Found(HTMLParser):
    """The tags of a page: ids, addresses of links and pictures, names of elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.ids, self.links, self.pictures, self.tags = set[str](), set[str](), set[str](), set[str]()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.ids |= {values["id"]} if "id" in values else set()
        self.links |= {values["href"]} if tag == "a" else set()
        self.pictures |= {values["src"]} if tag == "img" else set()


def test_each_page_of_the_documentation_is_rendered_and_all_its_links_lead_somewhere(client: TestClient) -> None:
    pages = {}
    for path in DOCS.glob("*.md"):
        reply = client.get(f"/docs/{path.name}")
        assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/html")
        pages[path.name] = Found(reply.text)
        assert "<p>&lt;!--" not in reply.text and "{{words" not in reply.text
    for name, found in pages.items():
        assert set(pages) <= found.links, "each page lists all"
        for link in found.links - {"/"}:
            page, _, anchor = link.partition("#")
            if not link.startswith("http"):
                assert (page or name) in pages, f"{name}: {link}"
                assert not anchor or anchor in pages[page or name].ids, f"{name}: {link}"
        for picture in found.pictures:
            assert client.get(f"/docs/{picture}").headers["content-type"] == "image/png", f"{name}: {picture}"
    assert any(found.pictures for found in pages.values()) and "table" in pages["models.md"].tags


def test_the_documentation_runs_no_html_of_its_files() -> None:
    hostile = "# A <b>page</b>\n\n<script>alert(1)</script>\n\n[x](javascript:alert(1)) <img src=x onerror=alert(1)>\n"
    found = Found(page_of("index.md", hostile, (("index.md", "<i>Title</i>"),)))
    assert not {"b", "i", "img"} & found.tags and not any("javascript" in link for link in found.links)
    assert page_of("index.md", hostile, ()).count("<script") == 1, "the theme's"


def test_headings_with_one_title_have_different_anchors() -> None:
    page = page_of("a.md", "# A\n\n## Use `it`, now\n\n## Use it now\n", (("a.md", "A"),))
    assert {"use-it-now", "use-it-now_1"} <= Found(page).ids


def test_nothing_else_is_served_as_documentation(client: TestClient) -> None:
    names = ("none.md", "..%2fREADME.md", "screenshots", "index.MD", "index.md%00")
    for name in (*names, "screenshots/none.png", "screenshots/..%2findex.md"):
        refused = client.get(f"/docs/{name}")
        assert refused.status_code == 404 and (refused.text == NO_DOCS or "Not Found" in refused.text)
