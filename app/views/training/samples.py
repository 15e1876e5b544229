"""A run's samples as the slider, the player and the bars show them."""

from typing import Any

import plotly.graph_objects as go

from app.plots.scores import reward_bars
from app.text import general
from app.text import monitor as words
from app.views.scores import scores
from engine.errors import StoreError
from engine.runs.adapters import newest_of_runs
from engine.runs.run import Run
from engine.runs.samples import BASE, RunSamples, Sample, SampleSet

NOTHING: dict[str, Any] = {"run": None, "sets": [], "prompts": [], "set": 0, "prompt": 0, "note": ""}
NOTHING |= {"can_ask": False, "can_use": False, "files": []}


def slider(run: Run, at: str | None = None, prompt: int = 0, *, note: str = "") -> dict[str, Any]:
    """The value of a `SampleBrowser`: all sets, standing at the one called `at`, or at the newest."""
    kept = RunSamples(run)
    names = [name for name in kept.names() if name != BASE]
    try:
        prompts = [request.prompt for request in kept.requests()]
    except StoreError as error:
        prompts, note = [], note or str(error)
    position = names.index(at) if at in names else max(0, len(names) - 1)
    off = words.SAMPLES_WORDS["off"] if run.preset().settings.get("sample_clips") == 0 else ""
    return {
        "run": run.id,
        "sets": [{"name": name, "label": words.step(int(name))} for name in names],
        "prompts": [f"{number}. {prompt}" for number, prompt in enumerate(prompts, start=1)],
        "set": position,
        "prompt": min(prompt, max(0, len(prompts) - 1)),
        "note": note or off or ("" if names or kept.has(None) else words.SAMPLES_WORDS["empty"]),
        "can_ask": bool(prompts),
        "can_use": run.id in newest_of_runs(run.workspace),
        "files": [],
    }


def shown(run: Run, value: dict[str, Any]) -> tuple[dict[str, Any], go.Figure | None]:
    """The base's clip and that of the set, in step, with the bars of both; the sets around it are fetched ahead."""
    names = [one["name"] for one in value["sets"]]
    at, prompt = value["set"], value["prompt"]
    sets = {one.name: one for one in RunSamples(run).sets()}
    wanted = [one for name in (BASE, *names[at : at + 1]) if (one := sets.get(name)) is not None]
    pairs = [(one, one.samples[prompt]) for one in wanted if prompt < len(one.samples)]
    near = [name for name in names[max(0, at - 3) : at + 4] if name in sets]
    player = {
        "clips": [_clip(run, one, sample) for one, sample in pairs],
        "prefetch": [url(run, name, sets[name].samples[prompt]) for name in near if prompt < len(sets[name].samples)],
    }
    bars = reward_bars([(words.step(one.step), scores(sample.report)) for one, sample in pairs])
    if bars is not None:
        bars.update_xaxes(range=[0, 1.34])  # room for "Step 12000  1.00" beside a full bar
    return player, bars


def files(player: dict[str, Any]) -> list[dict[str, str]]:
    """Links to the files of the clips that are shown, each under a name that says whose it is."""
    clips = player["clips"]
    names = [one["id"].replace("/", "-") for one in clips]
    return [
        {"label": words.download(one["name"]), "url": one["url"], "file": name}
        for one, name in zip(clips, names, strict=True)
    ]


def url(run: Run, name: str, sample: Sample) -> str:
    return f"/media/runs/{run.id}/{name}/{sample.file}"


def _clip(run: Run, one: SampleSet, sample: Sample) -> dict[str, Any]:
    total = general.score(sample.report["total"]) if sample.report else ""
    said = [words.step(one.step), total, general.seed(sample.seed)]
    return {
        "id": f"{run.id}/{one.name}/{sample.file}",
        "url": url(run, one.name, sample),
        "caption": "  ·  ".join(word for word in said if word),
        "name": words.step(one.step),
        "num_frames": sample.num_frames,
        "fps": sample.fps,
        "width": sample.width,
        "height": sample.height,
    }
