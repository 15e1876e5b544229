"""What came of a tour, first of all: a table of everybody, what improved, and what did not."""

from collections.abc import Iterator

from examples.tour.chapters_learning import measure_title
from examples.tour.facts import BASE, JUDGE, TOTAL, Facts, RunFacts
from examples.tour.html_parts import bullets, esc, mark, num, paragraph, section, share, spanned, table
from examples.tour.traced import Traced, count, ratio

TITLES = {
    BASE: "as it ships",
    "dpo": "after DPO",
    "grpo": "after GRPO",
    "curriculum": "after the curriculum",
    "student": "the student",
}
Sentence = tuple[bool, str]
"""Whether it speaks of something that improved, and what it says."""


def chapter_summary(facts: Facts) -> str:
    if not facts.done("ranking"):
        words = "<b>This tour is not done yet.</b> Below is what there is so far."
        return section("summary", "What came of it", paragraph(words))
    told = [*_by_judge(facts), *_as_trained(facts), *_lengths(facts), *_speed(facts), *_absent(facts)]
    told += [*_fallen(facts), *_alarms(facts)]
    better = [sentence for improved, sentence in told if improved]
    worse = [sentence for improved, sentence in told if not improved]
    return section(
        "summary",
        "What came of it",
        _everybody(facts),
        f"<h3>What improved</h3>{bullets(better) or paragraph('Nothing that can be told from noise.')}",
        f"<h3>What did not, or not surely</h3>{bullets(worse) or paragraph('Nothing of what was measured.')}",
    )


def entrants(facts: Facts) -> dict[str, str]:
    """What a campaign calls an entrant, and its key here."""
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
    head = ("the model", ">place by votes (plausible)", ">judge", ">change", "", ">rewards", ">change", "")
    return table(
        head,
        rows,
        "On prompts that nothing was trained on, the same noise for everybody; changes are from the model as it ships, "
        "with intervals of 95 % over prompts. Simulated people voted: the judge with noise.",
    )


def _change(found: Traced, key: str, column: str) -> tuple[str, str]:
    if key == BASE:
        return "", ""
    return spanned(found[column]["change"], "+.3f"), mark(found[column]["verdict"].value)


def _by_judge(facts: Facts) -> Iterator[Sentence]:
    words = {"better": "surely better", "worse": "surely worse", "unsure": "a change that may be noise"}
    for key, found in facts.contest().items():
        if key != BASE:
            verdict = found[JUDGE]["verdict"].value
            change = spanned(found[JUDGE]["change"], "+.3f")
            yield verdict == "better", f"<b>{_capital(TITLES[key])}</b>, by the judge: {words[verdict]}, {change}."


def _as_trained(facts: Facts) -> Iterator[Sentence]:
    """Each run's own evaluation, on clips made as it made them in training."""
    for key in ("dpo", "grpo"):
        run = facts.run(key)
        for name, who in ((JUDGE, "the judge's score"), ("mix", "the total of the rewards")):
            measure = run.measure(name) if run is not None else None
            if run is None or measure is None:
                continue
            verdict = run.verdict(name)
            words = {"better": "surely rose", "worse": "surely fell", "unsure": "did not surely change"}[verdict]
            yield (
                verdict == "better",
                f"<b>{_capital(TITLES[key])}</b>, in its evaluation ({_made_as(run)}): {who} {words}, "
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
        yield done, f"The curriculum {'passed every gate and ' if done else 'stopped, but '}reached {reached} frames."
    else:
        yield False, "The curriculum passed none of its gates."


def _speed(facts: Facts) -> Iterator[Sentence]:
    run = facts.run("student")
    if run is None or not run.evaluation:
        return
    before, after, judge = run.evaluation["seconds_before"], run.evaluation["seconds_after"], run.measure(JUDGE)
    kept = f", and keeps {share(judge['ratio']['mean'])} of the judge's score of its teacher" if judge else ""
    speed = num(ratio(before, after), ".1f")
    yield after.value < before.value, f"<b>The student</b> is {speed} times as fast as its teacher{kept}."


def _absent(facts: Facts) -> Iterator[Sentence]:
    for key, title in TITLES.items():
        if key not in facts.made("ranking")["entrants"]:
            yield False, f"<b>{_capital(title)}</b> there is no model to rank: that step made no adapter."


def _fallen(facts: Facts) -> Iterator[Sentence]:
    """Rewards that are surely lower than the base's."""
    for key, found in facts.contest().items():
        lost = [one for one in found.value if one not in (JUDGE, TOTAL) and found.value[one].get("verdict") == "worse"]
        if lost:
            yield (
                False,
                f"<b>{_capital(TITLES[key])}</b>, surely lower: {', '.join(measure_title(one) for one in lost)}.",
            )


def _alarms(facts: Facts) -> Iterator[Sentence]:
    for key in ("dpo", "grpo", "student"):
        run = facts.run(key)
        if run is not None and run.alarms:
            yield False, f"{_capital(TITLES[key])}: {num(count(run.alarms), 'd')} alarms while it trained."


def _capital(words: str) -> str:
    return esc(words[0].upper() + words[1:])
