"""The first steps with a workspace and which of them are done; the glossary."""

from typing import Any

from app.context import AppContext
from app.text.help import GLOSSARY, STEPS, VOTES_WANTED
from app.views.scores import spec_of
from engine.labelling.progress import count_votes
from engine.runs.run import list_runs
from engine.storage.library import ClipFilter
from rewards import known_rewards


def first_steps(context: AppContext) -> dict[str, Any]:
    """Return the steps of the loop in order, each {key, title, hint, tab, done, note}."""
    store, runs = context.store, list_runs(context.workspace)
    votes = count_votes(store)
    done = {
        "clip": bool(store.count(ClipFilter(source="generated"))),
        "score": bool(store.mixes()),
        "votes": votes >= VOTES_WANTED,
        "run": bool(runs),
        "evaluation": any(run.evaluation_file.is_file() for run in runs),
        "adapter": bool(store.adapters()),
    }
    notes = {"votes": f"{min(votes, VOTES_WANTED)}/{VOTES_WANTED}"}
    steps = [
        {"id": key, "title": title, "hint": hint, "tab": tab, "done": done[key], "note": notes.get(key, "")}
        for key, (title, hint, tab) in STEPS.items()
    ]
    return {"steps": steps}


def glossary() -> dict[str, str]:
    """Return the terms of the glossary with the rewards, sorted."""
    rewards = {spec_of(key).title: spec_of(key).question for key in known_rewards()}
    return dict(sorted({**rewards, **GLOSSARY}.items(), key=lambda entry: entry[0].lower()))
