"""Samples of a run, as values for the slider, the player and the bars."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from app.plots.scores import reward_bars
from app.text import general
from app.text import monitor as text
from app.views.scores import scores
from engine.errors import StoreError
from engine.runs.adapters import newest_of_runs
from engine.runs.run import Run
from engine.runs.run_notes import name_of
from engine.runs.samples import BASE, RunSamples, Sample, SampleSet

NOTHING: dict[str, Any] = {"run": None, "sets": [], "prompts": [], "set": 0, "prompt": 0, "note": ""}
NOTHING |= {"can_ask": False, "can_use": False, "files": [], "with": []}
MAX_OTHER_RUNS = 2  # runs, in addition to the base model and the run that is shown


def slider(run: Run, at: str | None = None, prompt: int = 0, others: Sequence[str] = ()) -> dict[str, Any]:
    """Return the value of a `SampleBrowser` with all sets, positioned at the set `at` or at the newest.

    `others` are ids of runs whose clips of the same prompt and seed are shown as well.
    """
    kept = RunSamples(run)
    names = [name for name in kept.names() if name != BASE]
    note = ""
    try:
        prompts = [request.prompt for request in kept.requests()]
    except StoreError as error:
        prompts, note = [], str(error)
    position = names.index(at) if at in names else max(0, len(names) - 1)
    off = text.SAMPLES_WORDS["off"] if run.preset().settings.get("sample_clips") == 0 else ""
    return {
        "run": run.id,
        "title": name_of(run),
        "sets": [{"name": name, "label": text.step(int(name))} for name in names],
        "prompts": [f"{number}. {prompt}" for number, prompt in enumerate(prompts, start=1)],
        "set": position,
        "prompt": min(prompt, max(0, len(prompts) - 1)),
        "note": note or off or ("" if names or kept.has(None) else text.SAMPLES_WORDS["empty"]),
        "can_ask": bool(prompts),
        "can_use": run.id in newest_of_runs(run.workspace),
        "files": [],
        "with": list(others),
    }


def shown(run: Run, value: dict[str, Any]) -> tuple[dict[str, Any], go.Figure | None]:
    """Return the synchronised clips of base model, set, and runs in comparison, and their bars.

    Clips of neighbouring sets are prefetched.
    """
    names = [sample_set["name"] for sample_set in value["sets"]]
    at, prompt = value["set"], value["prompt"]
    sets = {sample_set.name: sample_set for sample_set in RunSamples(run).sets()}
    chosen = [sample_set for name in (BASE, *names[at : at + 1]) if (sample_set := sets.get(name)) is not None]
    pairs = [(sample_set, sample_set.samples[prompt]) for sample_set in chosen if prompt < len(sample_set.samples)]
    others = [found for name in value["with"][:MAX_OTHER_RUNS] if pairs and (found := _same(run, name, pairs[-1][1]))]
    near = [name for name in names[max(0, at - 3) : at + 4] if name in sets]
    player = {
        "clips": [
            *(_clip(run, sample_set, sample) for sample_set, sample in pairs),
            *(_clip(other, sample_set, sample, named=True) for other, sample_set, sample in others),
        ],
        "prefetch": [url(run, name, sets[name].samples[prompt]) for name in near if prompt < len(sets[name].samples)],
    }
    reports = [(text.step(sample_set.step), scores(sample.report)) for sample_set, sample in pairs]
    bars = reward_bars([*reports, *((name_of(other), scores(sample.report)) for other, _, sample in others)])
    if bars is not None:
        bars.update_xaxes(range=[0, 1.34])  # room for "Step 12000  1.00" next to a full bar
    return player, bars


def _same(run: Run, other_id: str, sample: Sample) -> tuple[Run, SampleSet, Sample] | None:
    """Return the newest sample of another run with the prompt and seed of `sample`; None if it has none."""
    other = Run.find(run.workspace, other_id)
    for sample_set in reversed(RunSamples(other).sets()):
        for found in sample_set.samples:
            if (found.prompt, found.seed) == (sample.prompt, sample.seed) and sample_set.name != BASE:
                return other, sample_set, found
    return None


def files(player: dict[str, Any]) -> list[dict[str, str]]:
    """Return download links of the clips in the player, with file names that identify run, set and clip."""
    clips = player["clips"]
    names = [clip["id"].replace("/", "-") for clip in clips]
    return [
        {"label": text.download(clip["name"]), "url": clip["url"], "file": name}
        for clip, name in zip(clips, names, strict=True)
    ]


def url(run: Run, name: str, sample: Sample) -> str:
    return f"/media/runs/{run.id}/{name}/{sample.file}"


def _clip(run: Run, sample_set: SampleSet, sample: Sample, *, named: bool = False) -> dict[str, Any]:
    total = general.score(sample.report["total"]) if sample.report else ""
    name = name_of(run) if named else ""
    parts = [name, text.step(sample_set.step), total, general.seed(sample.seed)]
    return {
        "id": f"{run.id}/{sample_set.name}/{sample.file}",
        "url": url(run, sample_set.name, sample),
        "caption": "  ·  ".join(word for word in parts if word),
        "name": text.step(sample_set.step),
        "num_frames": sample.num_frames,
        "fps": sample.fps,
        "width": sample.width,
        "height": sample.height,
    }
