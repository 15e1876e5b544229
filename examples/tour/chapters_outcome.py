"""Chapters about the outcome: the ranking by votes, judge and rewards, clips side by side, limits."""

from collections.abc import Mapping

from examples.tour.chapters_learning import measure_title
from examples.tour.chapters_summary import TITLES, entrants
from examples.tour.chapters_votes import clip_figure, people_table
from examples.tour.facts import BASE, JUDGE, Facts
from examples.tour.html_parts import (
    bar,
    bullets,
    common_scale,
    drawn,
    esc,
    mark,
    name,
    num,
    paragraph,
    prompt,
    seconds,
    section,
    share,
    span,
    spanned,
    table,
)
from examples.tour.steps import STEPS
from examples.tour.traced import Traced, count, total

SIDE_BY_SIDE = 4


def chapter_ranking(facts: Facts) -> str:
    if not facts.done("ranking"):
        return ""
    campaign, contest = facts.made("ranking")["campaign"], facts.contest()
    far = facts.progress(campaign)
    return section(
        "ranking",
        "Ranking",
        paragraph(
            "Every model generated a clip of the same ",
            num(count(facts.tour["steps"].find(key="ranking")["made"]["prompts"]), "d"),  # type: ignore[index]
            " prompts, none of which was used in training, with the same noise (",
            contest_words(facts),
            "). The simulated people voted on all pairs of clips of a prompt (",
            num(far["pairs"], "d"),
            " pairs, ",
            num(far["votes"], "d"),
            " votes), and the judge scored every clip. ",
            '<strong class="simulated">Votes and judge are not independent:</strong> the voters are the judge with '
            "noise. The rewards below are independent of both.",
        ),
        by_votes(facts, campaign),
        by_judge(contest),
        by_rewards(contest),
        "<h3>Voters of this campaign</h3>",
        people_table(facts, campaign),
    )


def contest_words(facts: Facts) -> str:
    """Describe the sampling settings of the clips."""
    asked = facts.tour["size"]["ranking"]["settings"]
    shown = [f"{esc(key.removeprefix('num_'))} {num(value, 'g')}" for key, value in asked.items()]
    return f"{', '.join(shown) or 'the settings of the model'}; the student in its own number of steps"


def by_votes(facts: Facts, campaign: str) -> str:
    """Render the table of Bradley-Terry strengths."""
    ranking, keys = facts.ranking(campaign), entrants(facts)
    scale = common_scale(ranking["standings"])
    rows = (
        (
            num(one["rank"], "d"),
            esc(TITLES[keys[one["entrant"].value]]),
            num(one["strength"], "+.2f"),
            f"<small>{span(one, '+.2f')}</small>",
            drawn(Traced({**one.value, "mean": one["strength"].value}, one.source), scale),
            f"{num(one['rank_low'], 'd')} to {num(one['rank_high'], 'd')}",
            share(one["win_rate"]),
            num(one["votes"], "d"),
        )
        for one in ranking["standings"]
    )
    head = (">rank", "entrant", ">strength", ">interval", "", ">95 % range of ranks", ">wins", ">votes")
    words = (
        "By votes: Bradley-Terry strengths in log-odds against the average entrant, with intervals of 95 % over pairs."
    )
    return table(head, rows, words)


def by_judge(contest: Mapping[str, Traced]) -> str:
    scale = common_scale(one[JUDGE]["change"] for one in contest.values())
    rows = (
        (
            esc(TITLES[key]),
            bar(one[JUDGE]["value"]["mean"]),
            spanned(one[JUDGE]["value"]),
            *(_change(one[JUDGE], scale) if key != BASE else ("", "", "")),
        )
        for key, one in contest.items()
    )
    head = ("entrant", "", ">judge", ">change from the base model", "", "")
    return table(
        head,
        rows,
        "By the judge: means over prompts, with intervals of 95 %. Changes are paired: same prompt, same noise.",
    )


def _change(column: Traced, scale: tuple[float, float]) -> tuple[str, str, str]:
    verdict = column["verdict"].value
    return spanned(column["change"], "+.3f"), drawn(column["change"], scale, verdict), mark(verdict)


def by_rewards(contest: Mapping[str, Traced]) -> str:
    """Render every reward of every entrant, coloured where it changed significantly from the base model."""
    columns = [one for one in contest[BASE].value if one != JUDGE]
    rows = ((measure_title(one), *(_cell(found, one) for found in contest.values())) for one in columns)
    head = ("reward", *(f">{TITLES[key]}" for key in contest))
    words = "By the rewards: means over prompts, with the change below. Significant changes (95 %) are coloured."
    return table(head, rows, words)


def _cell(found: Traced, column: str) -> str:
    if column not in found.value:
        return ""
    value, verdict = num(found[column]["value"]["mean"]), found[column]["verdict"].value
    if found.source.endswith(f"/{BASE}"):
        return value
    return f'{value}<br><small class="{esc(verdict)}">{num(found[column]["change"]["mean"], "+.3f")}</small>'


def chapter_side_by_side(facts: Facts) -> str:
    if not facts.done("ranking"):
        return ""
    made = facts.made("ranking")
    rows = []
    for index, words in enumerate(made["prompts"][:SIDE_BY_SIDE]):
        clips = "".join(clip_figure(facts, own[index], TITLES[key]) for key, own in made["clips"].items())
        rows.append(f'<div class="row"><h3>{prompt(words)}</h3><div class="clips">{clips}</div></div>')
    told = paragraph(
        "Each row has the same prompt and the same noise. The prompts are the first of the ranking, not selected."
    )
    return section("side-by-side", "Side by side", told, *rows)


def chapter_steps(facts: Facts) -> str:
    """Render the steps in order, with the time of each."""
    records = facts.tour["steps"]
    longest = max((one["seconds"].value for one in records), default=0.0)
    rows = []
    for step in STEPS:
        found = records.find(key=step.key)
        if found is None:
            rows.append((esc(step.title), "", "not started", ""))
            continue
        part = Traced(found["seconds"].value / longest if longest else 0.0, "")
        begun = f"{num(found['begun'], 'd')} starts" if found["begun"].value > 1 else ""
        state = begun if found["done_at"].value else "<b>not done yet</b>"
        rows.append((esc(step.title), bar(part), seconds(found["seconds"]), state))
    rows.append(("<b>Total</b>", "", seconds(total([one["seconds"] for one in records])) if records else "", ""))
    caption = "Run time of each step, over all its starts if it was interrupted."
    return section("steps", "Steps", table(("step", "", ">time", ""), rows, caption))


def chapter_honesty(facts: Facts) -> str:
    """Render what is simulated, and what the results do not show."""
    return section(
        "honesty",
        "Limits of these results",
        bullets(
            [
                "<b>Simulated:</b> all voters, in both campaigns, are the judge with noise. The judge is code that "
                "detects colour, shape, direction, count and looping from the pixels, which works only for the "
                "synthetic clips of this model. Votes of real people would go through the same steps.",
                "<b>Not simulated:</b> the model, its clips, the twelve rewards, all trainings, gates and intervals. "
                "They run through the same calls as on the page and on the command line.",
                "<b>Held out:</b> evaluations, the ranking and the clips shown use prompts of scenes that neither the "
                "model nor any run was trained on. The votes for DPO and the online runs use the training prompts.",
                "<b>Intervals</b> have a level of 95 %, over prompts (in the ranking by votes, over pairs). This "
                "report shows many: about one in twenty is significant by chance.",
                "<b>The model is tiny.</b> An improvement here shows that the workbench works; it does not predict "
                "results with large models.",
            ]
        ),
        _means(facts),
    )


def _means(facts: Facts) -> str:
    names = ", ".join(name(run.id) for key in ("dpo", "grpo", "student") if (run := facts.run(key)) is not None)
    return paragraph(
        "Hover over a number to see its source file in the workspace. Runs: ",
        names,
        ". To write this report again from the workspace, run ",
        name("python -m examples.tour --report"),
        ". To open the workspace in the browser, run ",
        name("DAILIES_WORKSPACE=build/tour make app"),
        ".",
    )
