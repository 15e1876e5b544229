"""Chapters about the trainings: the metrics of each run, and its changes on held-out prompts."""

from collections.abc import Iterator, Sequence

from examples.tour.chapters_votes import clip_figure
from examples.tour.facts import Facts, RunFacts
from examples.tour.html_parts import (
    bullets,
    common_scale,
    drawn,
    esc,
    mark,
    name,
    num,
    paragraph,
    said,
    section,
    spanned,
    table,
)
from examples.tour.plots import curves
from examples.tour.traced import Traced, count, ratio
from rewards import REWARDS, reward_spec

CURVES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Loss", ("loss",)),
    ("Accuracy on pairs", ("rewards/accuracies",)),
    ("Margin between chosen and rejected", ("rewards/margins",)),
    ("Training rewards", tuple(f"rewards/{key}/mean" for key in REWARDS)),
    ("Distance from the base model", ("kl", "watch/drift")),
    ("Loss of each step of the student", tuple(f"segment/{number}" for number in range(8))),
)
ROLES = {
    "judge": "the judge",
    "trained": "trained on",
    "held_out": "not trained on",
    "monitor": "monitored",
}


def chapter_dpo(facts: Facts) -> str:
    run = facts.run("dpo")
    if run is None or run.lineage is None:
        return ""
    lineage = Traced(run.lineage.model_dump(mode="json"), f"runs/{run.id}/lineage.json#")
    told = paragraph(
        "Diffusion-DPO trains the model to denoise the preferred clip of a pair better than the other one. The votes "
        "gave ",
        num(count(lineage["pair_ids"]), "d"),
        " pairs with a preference; the run started from ",
        _beginning(facts, "dpo"),
        ". The voters are the judge with noise, so this training, and every training that starts from it, depends on "
        "the judge. No other training uses it, and this one uses no rewards.",
    )
    return section("dpo", "DPO: learning from the votes", told, learned(run))


def chapter_grpo(facts: Facts) -> str:
    run = facts.run("grpo")
    if run is None:
        return ""
    told = paragraph(
        "Flow-GRPO generates several clips of each prompt and makes those with the higher rewards more likely. The "
        "training rewards are ",
        ", ".join(esc(reward_spec(one).title) for one in trained_rewards(run)),
        "; the other rewards and the judge are only measured. The run started from ",
        _beginning(facts, "grpo"),
        ". Before is the base model; after is the result of all training so far.",
    )
    return section("grpo", "GRPO: learning from rewards", told, learned(run))


def chapter_student(facts: Facts) -> str:
    run = facts.run("student")
    if run is None:
        return ""
    before, after = run.evaluation["before"]["num_steps"], run.evaluation["after"]["num_steps"]
    told = paragraph(
        "A student learns to generate in ",
        num(after, "d"),
        " steps what its teacher generates in ",
        num(before, "d"),
        ". The teacher is ",
        _beginning(facts, "student"),
        "; before is the teacher, after is the student. A clip took ",
        num(run.evaluation["seconds_before"], ".2f", " s"),
        " before and ",
        num(run.evaluation["seconds_after"], ".2f", " s"),
        " after, which is ",
        num(ratio(run.evaluation["seconds_before"], run.evaluation["seconds_after"]), ".1f"),
        " times as fast.",
    )
    return section("student", "Distillation: a student with few steps", told, learned(run))


def _beginning(facts: Facts, key: str) -> str:
    start = facts.made(key).get("start")
    if start is None:
        return "the base model"
    made_by = next((one for one in ("dpo", "grpo", "curriculum") if facts.made(one).get("adapter") == start), "")
    titles = {
        "dpo": "the result of DPO",
        "grpo": "the result of GRPO",
        "curriculum": "the result of the curriculum",
    }
    return titles.get(made_by, name(start))


def trained_rewards(run: RunFacts) -> list[str]:
    return [key for key in REWARDS if key in run.measures and run.measures[key].role == "trained"]


def learned(run: RunFacts) -> str:
    """Render the metrics of a run, its measured changes and its alarms."""
    evaluation = run.evaluation
    if not evaluation:
        return plots(run)
    caption = (
        f"Run {name(run.id)}, updates: {num(evaluation['step'], 'd')}. Held-out prompts: "
        f"{num(evaluation['prompts'], 'd')}, variations of each: {num(evaluation['takes'], 'd')}, frames: "
        f"{num(evaluation['num_frames'], 'd')}; the same noise before and after. Intervals: 95 %, over prompts."
    )
    head = ("measure", "", ">before", ">after", ">change", "", "")
    return plots(run) + table(head, differences(run), caption) + alarms(run)


def plots(run: RunFacts) -> str:
    found = []
    for title, columns in CURVES:
        series = {_label(one): run.columns[one] for one in columns if len(run.columns.get(one, ())) > 1}
        if series:
            source = " | ".join(run.source_of(one) for one in columns if len(run.columns.get(one, ())) > 1)
            found.append(curves(title, series, across="update", source=source))
    return f'<div class="plots">{"".join(found)}</div>'


def _label(column: str) -> str:
    parts = column.split("/")
    if len(parts) == 3 and parts[1] in REWARDS:
        return reward_spec(parts[1]).title
    if parts[0] == "segment":
        return ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")[int(parts[1])]
    return {"kl": "KL", "watch/drift": "drift on held-out prompts"}.get(column, column)


def differences(run: RunFacts) -> Iterator[tuple[str, ...]]:
    """Yield a row for each measure: the judge, the training rewards, then the rest."""
    order = list(ROLES)
    measures = sorted(run.evaluation["measures"], key=lambda one: order.index(one["role"].value))
    scale = common_scale(one["change"] for one in measures if one["role"].value != "monitor")
    for one in measures:
        verdict = run.verdict(one["name"].value)
        monitor = one["role"].value == "monitor"
        yield (
            measure_title(one["name"].value),
            f"{ROLES[one['role'].value]}{', lower is better' if one['wanted'].value == 'down' else ''}",
            num(one["before"]["mean"]),
            num(one["after"]["mean"]),
            spanned(one["change"], "+.3f"),
            "" if monitor else drawn(one["change"], scale, verdict),
            mark(verdict),
        )


def measure_title(measure: str) -> str:
    if measure in REWARDS:
        return esc(reward_spec(measure).title)
    plain = {"mix": "<b>Total</b>", "judge": "<b>Judge</b>", "total": "<b>Total</b>"}
    if measure in plain:
        return plain[measure]
    monitored = measure.removeprefix("monitor/")
    return esc(f"{reward_spec(monitored).title}, raw" if monitored in REWARDS else monitored.replace("_", " "))


def alarms(run: RunFacts) -> str:
    """Render the alarms of a run: signs that its reward rose at the cost of quality."""
    every = run.preset["alarms"]["every"]
    if not every.value:
        return paragraph("No alarms were set for this run.")
    looked = f"checked held-out clips every {num(every, 'd')} updates"
    if not run.alarms:
        return paragraph(f"The alarms {looked}; none was raised.")
    told = [
        f"update {num(one['step'], 'd')}, <b>{esc(one['name'].value)}</b>: {said(one['sentence'])}"
        for one in run.alarms
    ]
    return paragraph(f'<span class="worse">Alarms.</span> The alarms {looked} and reported:') + bullets(told)


# ---------------------------------------------------------------------------------------------------------- curriculum


def chapter_curriculum(facts: Facts) -> str:
    state = facts.curriculum_state
    if state is None:
        return ""
    runs = facts.attempts()
    told = paragraph(
        "The clip length grows from stage to stage. A gate follows each stage; it passes only if the whole interval of "
        "each measure is within its bound, so that a pass is unlikely by chance. No gate uses the judge. The "
        "curriculum started from ",
        _beginning(facts, "curriculum"),
        "; its status is ",
        f"<b>{esc(state['status'].value)}</b>. Its last message: ",
        said(state["sentence"]),
    )
    gates = table(("stage", "condition of the gate", ">measured", "", "action"), _gates(facts, runs))
    return section("curriculum", "A curriculum of lengths", told, gates, _long_clips(facts))


def _gates(facts: Facts, runs: Sequence[RunFacts]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each condition of each attempt, and one for the judge, which no gate uses."""
    state, stages = facts.curriculum_state, facts.curriculum_preset.stages
    assert state is not None, "the caller checks that there is one"
    for attempt, run in zip(state["attempts"], runs, strict=True):
        result, again = attempt["result"], " (retry)" if attempt["attempt"].value else ""
        stage = f'<b class="said">{esc(stages[attempt["stage"].value].name)}{again}</b>'
        then = esc(result["action"].value.replace("_", " ")) if result else "running"
        for condition in result["conditions"] if result else ():
            yield stage, said(condition["wanted"]), _measured(condition), _passed(condition["verdict"].value), then
            stage = then = ""
        judge = run.measure("judge")
        if judge is not None:
            yield stage, "<small>change of the judge (not used)</small>", spanned(judge["change"], "+.3f"), "", then


def _measured(condition: Traced) -> str:
    signed = condition["wanted"].value.startswith("change")
    return spanned(condition["measured"], "+.3f" if signed else ".3f") if condition["measured"] else "not measured"


def _passed(verdict: str) -> str:
    css = {"pass": "better", "fail": "worse"}.get(verdict, "unsure")
    return f'<span class="{css}">{esc(verdict)}</span>'


def _long_clips(facts: Facts) -> str:
    """Render the clips of the last length, before and after training."""
    pairs = facts.made("curriculum").get("clips", [])
    if not any(len(pair) > 1 for pair in pairs):
        return paragraph("No stage passed its gate, so there are no clips of the result.")
    shown = "".join(
        f'<div class="pair">{clip_figure(facts, before, "before")}{clip_figure(facts, after, "after")}</div>'
        for before, after in pairs
    )
    return paragraph("Clips of the last length, with the same prompt and noise:") + f'<div class="clips">{shown}</div>'
