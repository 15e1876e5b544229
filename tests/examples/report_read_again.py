"""Parser of the report of a tour, and lookup of its sources in the workspace."""

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from engine.labelling.campaigns import Campaigns
from engine.labelling.stats.agreement import LabellerQuality, agreement
from engine.labelling.stats.ranking import rank, vote_table
from engine.storage.library import Library
from engine.training.evaluation.intervals import change_interval, mean_interval
from engine.workspace import Workspace
from examples.tour.state import Journal, TourFiles


@dataclass
class Toured:
    """A finished tour, and its journal and votes at the time of the kill."""

    workspace: Workspace
    at_the_kill: Journal
    votes_at_the_kill: list[str]
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def files(self) -> TourFiles:
        return TourFiles(self.workspace)

    @property
    def journal(self) -> Journal:
        found = self.files.journal()
        assert found is not None
        return found


class Page(HTMLParser):
    """Parsed report: numbers and quoted sentences with their sources, videos, plots, the other text."""

    OWN_WORDS = ("said", "prompt")
    SILENT = ("script", "style", "data", "time", "code", "svg", "nav")
    NEVER_CLOSED = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[dict[str, str]] = []
        self.said: list[dict[str, str]] = []
        self.videos: list[dict[str, str]] = []
        self.plots: list[dict[str, Any]] = []
        self.addresses: list[str] = []
        self.text: list[str] = []
        self._open: list[tuple[str, bool, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {"text": "", **{key: value or "" for key, value in attrs}}
        self.addresses += [value for key, value in found.items() if key in ("src", "href", "poster", "action")]
        if tag == "video":
            self.videos.append(found)
        if tag == "data":
            self.numbers.append(found)
        if found.get("class") == "said" and "title" in found:
            self.said.append(found)
        if "data-source" in found:
            self.plots.append({"source": found["data-source"], "labels": []})
        if tag not in self.NEVER_CLOSED:
            self._open.append((tag, tag in self.SILENT or found.get("class") in self.OWN_WORDS, found))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Ignore empty tags, which occur only in drawings."""

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        tags = [tag for tag, _, _ in self._open]
        if self._open:
            self._open[-1][2]["text"] += data
        if "figure" in tags and tags[-1] == "text":
            self.plots[-1]["labels"].append(data)
        if not any(silent for _, silent, _ in self._open):
            self.text.append(data)


def resolve(source: str, root: Path, views: "Views") -> Any:
    rule = re.fullmatch(r"(sum|ratio|count): (.*)", source)
    if rule is not None:
        values = [resolve(one, root, views) for one in rule[2].split(" | ")]
        if rule[1] == "count":
            return len(values[0])
        return sum(values) if rule[1] == "sum" else values[0] / values[1]
    name, _, pointer = source.partition("#")
    keys = pointer.strip("/").split("/")
    if name == "dailies.db":
        return follow(views.read(keys[0], keys[1]), keys[2:])
    text = (root / name).read_text(encoding="utf-8")
    tree = [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)
    return follow(tree, keys)


def follow(tree: Any, keys: list[str]) -> Any:
    for key in keys:
        if isinstance(tree, list | tuple):
            tree = tree[int(key)]
        else:
            tree = tree[key] if isinstance(tree, dict) else getattr(tree, key)
    return tree


class Views:
    """Views of the database that the report names, computed independently of the report."""

    def __init__(self, toured: Toured, store: Library) -> None:
        self._toured, self._store = toured, store

    def read(self, view: str, name: str) -> Any:
        return getattr(self, f"_{view}")(name)

    def _progress(self, campaign: str) -> Any:
        votes = [one for one in self._votes(campaign) if not one.is_repeat and one.vote.choice != "skip"]
        return {"pairs": len(Campaigns(self._store).pairs(campaign)), "votes": len(votes)}

    def _ranking(self, campaign: str) -> Any:
        return rank(vote_table(self._votes(campaign)))

    def _agreement(self, campaign: str) -> Any:
        found = agreement(self._votes(campaign))
        people = {one.labeller: {"votes": one.votes, **shares_of(one)} for one in found.labellers}
        return {"alpha": found.alpha, "low": found.low, "high": found.high, "people": people}

    def _reports(self, clip: str) -> Any:
        return self._store.report(clip, "mini")

    def _clips(self, clip: str) -> Any:
        return self._store.clip(clip)

    def _contest(self, entrant: str) -> Any:
        """Return "value" and "change" by column, from the reports of the clips and the file of the judge."""
        made = self._toured.journal.made
        own = made("generate")["clips"] if entrant == "first clips" else made("ranking")["clips"][entrant]
        prompts = [self._store.clip(clip).prompt for clip in own]
        base = made("ranking").get("clips", {}).get("base")  # absent while the tour is unfinished
        after = self._column_values(own)
        before = self._column_values(base) if base else {key: [] for key in after}
        return {
            key: {
                "value": mean_interval(values, prompts),
                "change": change_interval(before[key], values, prompts) if len(before[key]) == len(values) else None,
            }
            for key, values in after.items()
        }

    def _column_values(self, clips: list[str]) -> dict[str, list[float | None]]:
        judged = self._toured.files.judged()
        reports = [self._store.report(clip, "mini") for clip in clips]
        assert all(reports)
        keys = reports[0]["results"]  # type: ignore[index]
        parts = {key: [one["results"][key]["value"] for one in reports if one] for key in keys}
        return {"judge": [judged[clip] for clip in clips], "total": [one["total"] for one in reports if one], **parts}

    def _votes(self, campaign: str) -> Any:
        return Campaigns(self._store).votes(campaign)


def shares_of(person: LabellerQuality) -> dict[str, Any]:
    shares = {name: getattr(person, name) for name in ("left", "consistent", "with_others")}
    ends = {name: dict(zip(("low", "high"), share.interval, strict=True)) for name, share in shares.items()}
    return {name: {"value": share.value, **ends[name]} for name, share in shares.items()}
