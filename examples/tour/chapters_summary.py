"""Summary chapter of the report: a table of all models, what improved, and what did not."""

from collections.abc import Iterator

from examples.tour.chapters_learning import measure_title
from examples.tour.facts import BASE, JUDGE, TOTAL, Facts, RunFacts
from examples.tour.html_parts import bullets, esc, mark, num, paragraph, section, share, spanned, table
from examples.tour.traced import Traced, count, ratio

TITLES = {
    BASE: "base model",
    "dpo": "after DPO",
    "grpo": "after GRPO",
    "curriculum": "after the curriculum",
    "student": "the student",
}
Sentence = tuple[bool, str]
"""True if it reports an improvement, and its text as HTML."""


def chapter_summary(facts: Facts) -> str:
    if not facts.done("ranking"):
        words = "<b>This tour is not done yet.</b> The report shows the steps so far."
        return section("summary", "Results", paragraph(words))
    told = [*_by_judge(facts), *_as_trained(facts), *_lengths(facts), *_speed(facts), *_absent(facts)]
    told += [*_fallen(facts), *_alarms(facts)]
    better = [sentence for improved, sentence in told if improved]
    worse = [sentence for improved, sentence in told if not improved]
    return section(
        "summary",
        "Results",
        _everybody(facts),
        f"<h3>Improved</h3>{bullets(better) or paragraph('No significant improvement.')}",
        f"<h3>Not improved, or uncertain</h3>{bullets(worse) or paragraph('Everything measured improved.')}",
    )


def entrants(facts: Facts) -> dict[str, str]:
    """Return the key of each entrant by its name in the campaign."""
    model, made = facts.journal.size.model, facts.made("ranking")["entrants"]
    return {f"{model} + {adapter}" if adapter else model: key for key, adapter in made.items()}


def _everybody(facts: Facts) -> str:
    ranking, keys = facts.ranking(facts.made("ranking")["campaign"]), entrants(facts)
    places = {keys[one["entrant"].value]: one for one in ranking["standings"]}
    rows = []
    for key, found in facts.contest().items():
        place = places.get(key)
        plausible = f"{num(place['rank_low'], 'd')} to {num(place['rank_high'], 'd')}" if place else ""
        rows.append(
            (
                f"<b>{esc(TITLES[key])}</b>",
                f"{num(place['rank'], 'd')} <small>({plausible})</small>" if place else "",
                num(found[JUDGE]["value"]["mean"]),
                *_change(found, key, JUDGE),
                num(found[TOTAL]["value"]["mean"]),
                *_change(found, key, TOTAL),
            )
        )
    head = ("model", ">rank by votes (95 % range)", ">judge", ">change", "", ">rewards", ">change", "")
    return table(
        head,
        rows,
        "On prompts that no run was trained on, with the same noise for all models. Changes are from the base model, "
        "with intervals of 95 % over prompts. The voters are simulated: the judge with noise.",
    )


def _change(found: Traced, key: str, column: str) -> tuple[str, str]:
    if key == BASE:
        return "", ""
    return spanned(found[column]["change"], "+.3f"), mark(found[column]["verdict"].value)


def _by_judge(facts: Facts) -> Iterator[Sentence]:
    words = {"better": "significantly better", "worse": "significantly worse", "unsure": "no significant change"}
    for key, found in facts.contest().items():
        if key != BASE:
            verdict = found[JUDGE]["verdict"].value
            change = spanned(found[JUDGE]["change"], "+.3f")
            yield verdict == "better", f"<b>{_capital(TITLES[key])}</b>, by the judge: {words[verdict]}, {change}."


def _as_trained(facts: Facts) -> Iterator[Sentence]:
    """Report the evaluation of each run, on clips with the sampling settings of its training."""
    for key in ("dpo", "grpo"):
        run = facts.run(key)
        for name, who in ((JUDGE, "the judge's score"), ("mix", "the total reward")):
            measure = run.measure(name) if run is not None else None
            if run is None or measure is None:
                continue
            verdict = run.verdict(name)
            words = {
                "better": "rose significantly",
                "worse": "fell significantly",
                "unsure": "did not change significantly",
            }
            yield (
                verdict == "better",
                f"<b>{_capital(TITLES[key])}</b>, in its evaluation ({_made_as(run)}): {who} {words[verdict]}, "
                f"{spanned(measure['change'], '+.3f')}.",
            )


def _made_as(run: RunFacts) -> str:
    frames, steps = run.evaluation["num_frames"], run.evaluation["after"]["num_steps"]
    return (
        f"{num(frames, 'd')} frames, {num(steps, 'd')} steps, guidance {num(run.evaluation['after']['guidance'], 'g')}"
    )


def _lengths(facts: Facts) -> Iterator[Sentence]:
    state = facts.curriculum_state
    assert state is not None, "the curriculum is done"
    passed = [one for one in state["attempts"] if one["result"] and one["result"]["action"].value == "advance"]
    done = state["status"].value == "done"
    if passed:
        reached = num(passed[-1]["num_frames"], "d")
        yield (
            done,
            f"The curriculum {'passed every gate and ' if done else 'stopped after it '}reached {reached} frames.",
        )
    else:
        yield False, "The curriculum passed none of its gates."


def _speed(facts: Facts) -> Iterator[Sentence]:
    run = facts.run("student")
    if run is None or not run.evaluation:
        return
    before, after, judge = run.evaluation["seconds_before"], run.evaluation["seconds_after"], run.measure(JUDGE)
    kept = f" and keeps {share(judge['ratio']['mean'])} of its judge score" if judge else ""
    speed = num(ratio(before, after), ".1f")
    yield after.value < before.value, f"<b>The student</b> is {speed} times as fast as its teacher{kept}."


def _absent(facts: Facts) -> Iterator[Sentence]:
    for key, title in TITLES.items():
        if key not in facts.made("ranking")["entrants"]:
            yield False, f"<b>{_capital(title)}</b>: not ranked, because that step made no adapter."


def _fallen(facts: Facts) -> Iterator[Sentence]:
    """Report the rewards that are significantly lower than those of the base model."""
    for key, found in facts.contest().items():
        lost = [one for one in found.value if one not in (JUDGE, TOTAL) and found.value[one].get("verdict") == "worse"]
        if lost:
            yield (
                False,
                f"<b>{_capital(TITLES[key])}</b>: significantly lower are "
                f"{', '.join(measure_title(one) for one in lost)}.",
            )


def _alarms(facts: Facts) -> Iterator[Sentence]:
    for key in ("dpo", "grpo", "student"):
        run = facts.run(key)
        if run is not None and run.alarms:
            yield False, f"{_capital(TITLES[key])}: {num(count(run.alarms), 'd')} alarms during its training."


def _capital(words: str) -> str:
    return esc(words[0].upper() + words[1:])
