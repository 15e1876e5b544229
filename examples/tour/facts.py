"""Data of the report, read from the files and the database of a tour alone.

Views of the database (`dailies.db#/...`), each a tree of values:

progress/<campaign>     numbers of pairs and votes
agreement/<campaign>    agreement and biases of the labellers
ranking/<campaign>      Bradley-Terry strengths and the numbers of comparisons
reports/<clip>          the report of the mix for a clip
contest/<entrant>       means of the clips of an entrant, with intervals, and changes from the base model, for each
                        reward and for the judge (whose scores are in judged.json)
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

from engine.config.curriculum_preset import CurriculumPreset
from engine.errors import ConfigError
from engine.labelling.campaigns import Campaigns
from engine.labelling.run_dataset import Lineage, read_lineage
from engine.labelling.stats.agreement import Agreement, Proportion, agreement
from engine.labelling.stats.ranking import rank, vote_table
from engine.runs.curriculum_state import Curriculum
from engine.runs.results import Measure
from engine.runs.run import Run
from engine.storage.library import Library
from engine.training.evaluation.intervals import change_interval, mean_interval
from examples.tour.state import Journal, TourFiles
from examples.tour.traced import Traced
from rewards import REWARDS, reward_spec
from rewards.spec import RewardSpec

DATABASE = "dailies.db#"
JUDGE, TOTAL = "judge", "total"
BASE = "base"


class RunFacts:
    """Data of one run, read from its folder."""

    def __init__(self, run: Run) -> None:
        self.id = run.id
        self.columns = _columns(run)
        self.preset = Traced(run.preset().model_dump(mode="json"), f"runs/{run.id}/resolved.json#")
        alarms = [alarm.model_dump(mode="json") for alarm in run.alarms()]
        self.alarms = Traced(alarms, f"runs/{run.id}/alarms.jsonl#")
        self.lineage: Lineage | None = read_lineage(run)
        found = run.evaluation()
        self.measures: dict[str, Measure] = {one.name: one for one in found.measures} if found else {}
        self.evaluation = Traced(found.model_dump(mode="json") if found else None, f"runs/{run.id}/evaluation.json#")

    def measure(self, name: str) -> Traced | None:
        return self.evaluation["measures"].find(name=name) if self.evaluation else None

    def verdict(self, name: str) -> str:
        return self.measures[name].verdict if name in self.measures else "unsure"

    def source_of(self, column: str) -> str:
        return f"runs/{self.id}/metrics.jsonl#{column}"


class Facts:
    """Data of one tour, finished or not. Raises ConfigError if the workspace has no tour."""

    def __init__(self, files: TourFiles, store: Library) -> None:
        journal = files.journal()
        if journal is None:
            raise ConfigError(f"There is no tour in {files.workspace.root} to report on. Run the tour first.")
        self.journal: Journal = journal
        self.tour = Traced(journal.model_dump(mode="json"), "tour.json#")
        self.judged = Traced(files.judged(), "judged.json#")
        self.store, self.workspace, self.mix = store, files.workspace, journal.size.mix

    # ------------------------------------------------------------------------------------------------------ steps

    def done(self, key: str) -> bool:
        return self.journal.step(key).is_done

    def made(self, key: str) -> dict[str, Any]:
        return self.journal.made(key)

    def run(self, key: str) -> RunFacts | None:
        """Return the run of a finished training step; None otherwise."""
        name = self.made(key).get("run")
        return RunFacts(Run.find(self.workspace, name)) if name else None

    def attempts(self) -> list[RunFacts]:
        """Return the runs of the curriculum in order."""
        state = self.curriculum_state
        found = state["attempts"].value if state is not None else []
        return [RunFacts(Run.find(self.workspace, attempt["run"])) for attempt in found]

    @cached_property
    def curriculum_state(self) -> Traced | None:
        name = self.made("curriculum").get("curriculum")
        if name is None:
            return None
        state = Curriculum.find(self.workspace, name).state().model_dump(mode="json")
        return Traced(state, f"curricula/{name}/state.json#")

    @cached_property
    def curriculum_preset(self) -> CurriculumPreset:
        return Curriculum.find(self.workspace, self.made("curriculum")["curriculum"]).preset()

    # --------------------------------------------------------------------------------------------------- campaigns

    def progress(self, campaign: str) -> Traced:
        far = asdict(Campaigns(self.store).progress(campaign))
        return Traced(far, f"{DATABASE}/progress/{campaign}")

    def agreement(self, campaign: str) -> Traced:
        found = agreement(Campaigns(self.store).votes(campaign))
        return Traced(_trust(found), f"{DATABASE}/agreement/{campaign}")

    def ranking(self, campaign: str) -> Traced:
        found = rank(vote_table(Campaigns(self.store).votes(campaign)))
        return Traced(asdict(found), f"{DATABASE}/ranking/{campaign}")

    # -------------------------------------------------------------------------------------------- clips and contest

    def report(self, clip: str) -> Traced:
        """Return the report of the mix for a clip; None if it has not scored the clip."""
        return Traced(self.store.report(clip, self.mix), f"{DATABASE}/reports/{clip}")

    def contest(self) -> dict[str, Traced]:
        """Return, for each entrant, each reward, the total and the judge over its clips of the ranking."""
        clips, prompts = self.made("ranking")["clips"], self.made("ranking")["prompts"]
        base = self._columns_of(clips[BASE])
        return {
            name: Traced(compared(base, self._columns_of(own), prompts), f"{DATABASE}/contest/{name}")
            for name, own in clips.items()
        }

    def showing(self) -> Traced:
        """Return the same for the first clips without the long one; they have no base to compare with."""
        clips = self.made("generate")["clips"]
        prompts = [self.store.clip(clip).prompt for clip in clips]
        return Traced(compared({}, self._columns_of(clips), prompts), f"{DATABASE}/contest/first clips")

    def _columns_of(self, clips: Sequence[str]) -> dict[str, list[float | None]]:
        reports = self.store.reports(clips, self.mix)
        rows = [reports.get(clip) or {"results": {}, "total": None} for clip in clips]
        parts = {key: [row["results"].get(key, {}).get("value") for row in rows] for key in REWARDS}
        totals = [row["total"] for row in rows]
        return {JUDGE: [self.judged.value.get(clip) for clip in clips], TOTAL: totals, **parts}


def compared(
    base: Mapping[str, Sequence[float | None]], own: Mapping[str, Sequence[float | None]], prompts: Sequence[str]
) -> dict[str, Any]:
    """Return `value` of each column that has values, and if `base` has it, `change` and its `verdict`."""
    found: dict[str, Any] = {}
    for name, values in own.items():
        value = mean_interval(values, prompts)
        if not value.of:
            continue
        found[name] = {"value": value.model_dump()}
        if name in base:
            change = change_interval(base[name], values, prompts)
            verdict = "better" if change.low > 0 else "worse" if change.high < 0 else "unsure"
            found[name] |= {"change": change.model_dump(), "verdict": verdict}
    return found


def specs() -> dict[str, RewardSpec]:
    return {key: reward_spec(key) for key in REWARDS}


def _trust(found: Agreement) -> dict[str, Any]:
    people = {
        one.labeller: {
            "votes": one.votes,
            "left": _share(one.left),
            "is_biased": one.is_biased,
            "consistent": _share(one.consistent),
            "with_others": _share(one.with_others),
            "ties": _share(one.ties),
        }
        for one in found.labellers
    }
    return {"alpha": found.alpha, "low": found.low, "high": found.high, "pairs": found.pairs, "people": people}


def _share(share: Proportion) -> dict[str, Any]:
    low, high = share.interval
    return {"value": share.value, "low": low, "high": high, "hits": share.hits, "count": share.count}


def _columns(run: Run) -> dict[str, list[tuple[float, float]]]:
    """Return the metrics of a run by name, as points of step and value."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in run.metrics():
        for name, value in row.items():
            found.setdefault(name, []).append((row["step"], value))
    return found
