"""Steps of a tour. Each step runs a few jobs, and reuses the results of an interrupted attempt.

The journal stores the result of each step for later steps and the report.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.config.curriculum_preset import CurriculumPreset, Stage
from engine.config.presets import load_curriculum, load_preset, load_train_preset, overlay
from engine.config.schema import TrainPreset
from engine.errors import ConfigError
from engine.families.registry import family_spec
from engine.generation.clip_plan import at_least
from engine.generation.validation import read_request
from engine.jobs.context import JobContext
from engine.jobs.handlers.train import publish
from engine.jobs.kinds import KINDS, JobSteps, kind_of
from engine.jobs.spec import REQUEST_LIMIT, JobProgress
from engine.labelling.campaign_spec import Campaign, CampaignSpec, Entrant
from engine.labelling.campaigns import Campaigns
from engine.labelling.run_dataset import read_lineage
from engine.request import GenerationRequest
from engine.runs.adapters import find_adapter
from engine.runs.curriculum_state import Curriculum, CurriculumState, list_curricula
from engine.runs.run import Run, list_runs
from engine.seeds import seed_for
from engine.storage.library import Library
from engine.training.run_creation import create_run
from engine.workspace import Workspace
from examples.tour.settings import Lengthening, TourSize, Training
from examples.tour.state import Journal
from examples.tour.voting import Judging, labellers, vote_all

VOTES_TITLE, RANKING_TITLE = "Tour: which take is better", "Tour: which model is better"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tour:
    """Context of a step. `journal` is its state at the start of the step."""

    size: TourSize
    journal: Journal
    context: JobContext
    judging: Judging

    @property
    def store(self) -> Library:
        return self.context.store

    @property
    def workspace(self) -> Workspace:
        return self.context.store.workspace

    def adapter(self, start: str) -> str | None:
        """Return the adapter of a finished step; None for the base model, or if the step made no adapter."""
        return None if start == "base" else self.journal.made(start).get("adapter")


@dataclass(frozen=True, slots=True, kw_only=True)
class TourStep:
    key: str
    title: str
    run: Callable[[Tour], JobSteps]


def generate(tour: Tour) -> JobSteps:
    """Generate clips of the first prompts with the base model, and one long clip in windows."""
    requests = [request_of(tour, prompt, {}) for prompt in tour.size.show.read()]
    long = requests[0].model_copy(update={"mode": "windows", "num_frames": long_frames(tour)})
    yield from make(tour, [*requests, long])
    return {"clips": [request.id for request in requests], "long": long.id}


def score(tour: Tour) -> JobSteps:
    """Score the generated clips with all rewards of the mix."""
    made = tour.journal.made("generate")
    clips = [*made["clips"], made["long"]]
    yield from score_rest(tour, clips)
    return {"clips": clips, "mix": tour.size.mix}


def campaign(tour: Tour) -> JobSteps:
    """Create a campaign of clips of the base model, with the sampling settings of the DPO preset."""
    preset = training_preset(tour.size.dpo, {"campaign": "to come", "pairs": None})
    names = ("num_frames", "width", "height", "fps", "num_steps", "guidance")
    settings = {name: value for name in names if isinstance(value := preset.settings.get(name), int | float)}
    spec = CampaignSpec(
        title=VOTES_TITLE,
        prompts=tuple(tour.size.votes.read()),
        entrants=(Entrant(model=tour.size.model),),
        takes=tour.size.votes.takes,
        settings=settings,
        labellers_per_pair=len(tour.size.people),
        seed=tour.size.seed,
    )
    found = campaign_of(tour, spec)
    yield from make(tour, Campaigns(tour.store).missing_requests(found.id))
    return {"campaign": found.id}


def votes(tour: Tour) -> JobSteps:
    campaign_id = tour.journal.made("campaign")["campaign"]
    yield from vote_all(Campaigns(tour.store), campaign_id, labellers(tour.size.people, tour.size.seed), tour.judging)
    return {"campaign": campaign_id}


def dpo(tour: Tour) -> JobSteps:
    chosen = {"campaign": tour.journal.made("campaign")["campaign"], "pairs": None}
    return (yield from learn(tour, tour.size.dpo, chosen))


def grpo(tour: Tour) -> JobSteps:
    return (yield from learn(tour, tour.size.grpo, {}))


def curriculum(tour: Tour) -> JobSteps:
    """Train the curriculum of lengths, then generate clips at the last length, before and after."""
    preset, start = curriculum_of(tour), tour.adapter(tour.size.curriculum.start)
    known = (one for one in list_curricula(tour.workspace) if one.preset() == preset)
    made = next(known, None) or Curriculum.create(tour.workspace, preset)
    if start is not None and not made.state().attempts:
        made.save(CurriculumState(start=start))
    result = yield from job(tour, "curriculum", {"curriculum": made.id})
    pairs = [long_pair(tour, preset, prompt, result["adapter"]) for prompt in long_prompts(tour)]
    yield from make(tour, [request for pair in pairs for request in pair])
    clips = [[request.id for request in pair] for pair in pairs]
    yield from score_rest(tour, [clip for pair in clips for clip in pair])
    return {"curriculum": made.id, "adapter": result["adapter"], "start": start, "clips": clips}


def student(tour: Tour) -> JobSteps:
    return (yield from learn(tour, tour.size.student, {}))


def ranking(tour: Tour) -> JobSteps:
    """Generate the same prompts and seeds with every model; score, judge and vote on the clips."""
    entrants = {"base": None, **{key: tour.journal.made(key).get("adapter") for key in LEARNING}}
    there = {key: adapter for key, adapter in entrants.items() if key == "base" or adapter is not None}
    prompts = tour.size.ranking.read()
    requests = {
        key: [request_of(tour, prompt, contest_settings(tour, key, name), name) for prompt in prompts]
        for key, name in there.items()
    }
    yield from make(tour, [request for own in requests.values() for request in own])
    clips = {key: [request.id for request in own] for key, own in requests.items()}
    everything = [clip for own in clips.values() for clip in own]
    yield from score_rest(tour, everything)
    spec = CampaignSpec(
        title=RANKING_TITLE,
        clip_ids=tuple(everything),
        labellers_per_pair=len(tour.size.people),
        seed=tour.size.seed + 1,
    )
    found = campaign_of(tour, spec)
    people = labellers(tour.size.people, tour.size.seed + 1)
    yield from vote_all(Campaigns(tour.store), found.id, people, tour.judging)
    return {"campaign": found.id, "entrants": there, "clips": clips, "prompts": prompts}


STUDENT = "student"
LEARNING = ("dpo", "grpo", "curriculum", STUDENT)
STEPS = (
    TourStep(key="generate", title="Generate clips", run=generate),
    TourStep(key="score", title="Score the clips with all twelve rewards", run=score),
    TourStep(key="campaign", title="Create a campaign of pairs of takes", run=campaign),
    TourStep(key="votes", title="Label the campaign with simulated people", run=votes),
    TourStep(key="dpo", title="Train with DPO on the votes", run=dpo),
    TourStep(key="grpo", title="Train with GRPO on rewards", run=grpo),
    TourStep(key="curriculum", title="Train a curriculum of lengths with gates", run=curriculum),
    TourStep(key="student", title="Distil a four-step student", run=student),
    TourStep(key="ranking", title="Rank all models by judge and by votes", run=ranking),
)


# ------------------------------------------------------------------------------------------------- calls of the engine


def job(tour: Tour, kind: str, config: Mapping[str, Any]) -> JobSteps:
    """Run a job in this process, as the command line does."""
    return (yield from kind_of(kind, KINDS).start(dict(config), tour.context))


def make(tour: Tour, requests: list[GenerationRequest]) -> Generator[JobProgress, None, None]:
    """Generate clips; requests whose clip exists are skipped."""
    for start in range(0, len(requests), REQUEST_LIMIT):
        part = [request.model_dump(mode="json") for request in requests[start : start + REQUEST_LIMIT]]
        yield from job(tour, "generate", {"requests": part})


def score_rest(tour: Tour, clips: list[str]) -> Generator[JobProgress, None, None]:
    """Score the clips that have no report of the mix yet, and judge all of them."""
    known = set(tour.store.scored_by(tour.size.mix))
    rest = [clip for clip in clips if clip not in known]
    if rest:
        yield from job(tour, "score", {"clip_ids": rest, "mix": tour.size.mix})
    for clip in clips:
        tour.judging.score(clip)


def campaign_of(tour: Tour, spec: CampaignSpec) -> Campaign:
    """Return the campaign with the title of `spec`; create it if there is none."""
    campaigns = Campaigns(tour.store)
    return next((one for one in campaigns.list() if one.title == spec.title), None) or campaigns.create(spec)


def learn(tour: Tour, training: Training, chosen: Mapping[str, Any]) -> JobSteps:
    """Train a run to its end, publish its adapter and evaluate it."""
    run = run_of(tour, training, chosen)
    if run.adapter.is_dir():
        publish(run, tour.workspace)
    else:
        yield from job(tour, "train", {"run": run.id})
    if run.evaluation() is None:
        yield from job(tour, "evaluate", {"run": run.id, **tour.size.measure.model_dump()})
    return {"run": run.id, "adapter": run.id, "start": tour.adapter(training.start)}


def run_of(tour: Tour, training: Training, chosen: Mapping[str, Any]) -> Run:
    """Return the run of exactly this preset; create it if there is no complete one."""
    start = tour.adapter(training.start)
    rank = {"settings": {"lora_rank": rank_of(tour, start)}} if start else {}
    preset = training_preset(training, overlay({"settings": {"seed": tour.size.seed}}, overlay(chosen, rank)))
    for run in list_runs(tour.workspace):
        whole = preset.campaign is None or read_lineage(run) is not None
        if whole and run.preset() == preset:
            return run
    folder = find_adapter(tour.workspace, start, tour.size.model).folder if start else None
    return create_run(tour.store, preset, folder)


def training_preset(training: Training, chosen: Mapping[str, Any]) -> TrainPreset:
    return load_train_preset(training.preset, overlay(training.changes, chosen))


def rank_of(tour: Tour, adapter: str) -> Any:
    """Return the LoRA rank of an adapter; a run that starts from it needs the same rank."""
    return Run.find(tour.workspace, adapter).preset().settings["lora_rank"]


# ---------------------------------------------------------------------------------------------- requests and settings


def request_of(tour: Tour, prompt: str, settings: Mapping[str, Any], adapter: str | None = None) -> GenerationRequest:
    """Build the request of a prompt. The seed depends on the prompt alone, not on the model."""
    fields = {**settings, "prompt": prompt, "seed": seed_for(tour.size.seed, prompt=prompt)}
    return read_request({**fields, "model": tour.size.model, "adapter": adapter})


def contest_settings(tour: Tour, key: str, adapter: str | None) -> dict[str, Any]:
    """Return the sampling settings of the ranking; the student samples in its own number of steps."""
    own = find_adapter(tour.workspace, adapter, tour.size.model).card.recommended if adapter else {}
    return {**tour.size.ranking.settings, **(own if key == STUDENT else {})}


def long_frames(tour: Tour) -> int:
    family = load_preset("models", tour.size.model).family
    return at_least(family_spec(family), tour.size.show.long_frames)


def curriculum_of(tour: Tour) -> CurriculumPreset:
    """Return the preset with the settings of the tour, and the rank of the adapter that it starts from."""
    wanted, preset = tour.size.curriculum, load_curriculum(tour.size.curriculum.preset)
    start = tour.adapter(wanted.start)
    stages = with_settings(preset, wanted, {"lora_rank": rank_of(tour, start)} if start else {})
    back = preset.step_backs if wanted.step_backs is None else wanted.step_backs
    return preset.model_copy(update={"stages": stages, "step_backs": back})


def with_settings(
    preset: CurriculumPreset, wanted: Lengthening, settings: Mapping[str, Any] | None = None
) -> tuple[Stage, ...]:
    """Return the stages of the preset with the changes of the tour and `settings`.

    Raises ConfigError if the tour has updates for more or fewer stages.
    """
    if len(wanted.updates) != len(preset.stages):
        raise ConfigError(
            f"The tour has updates for {len(wanted.updates)} stages, but the curriculum '{preset.key}' has "
            f"{len(preset.stages)}: set `updates` for each of them in examples/tour/tour.toml."
        )
    changes = overlay(wanted.changes, {"settings": settings or {}})
    return tuple(
        Stage.model_validate({**overlay(stage.model_dump(), changes), "updates": updates})
        for stage, updates in zip(preset.stages, wanted.updates, strict=True)
    )


def long_prompts(tour: Tour) -> list[str]:
    return tour.size.ranking.read()[: tour.size.curriculum.num_clips]


def long_pair(tour: Tour, preset: CurriculumPreset, prompt: str, adapter: str | None) -> list[GenerationRequest]:
    """Build the requests of a prompt with the settings of the last stage of the curriculum.

    The first is by the base model. The second is by `adapter`, and is absent if there is no adapter.
    """
    last = preset.stages[-1]
    settings = {**load_train_preset(last.preset).settings, **last.settings, "num_frames": last.frames}
    names = ("num_frames", "num_steps", "guidance")
    fields = {name: settings[name] for name in names if settings.get(name) is not None}
    return [request_of(tour, prompt, fields, side) for side in ([None, adapter] if adapter else [None])]
