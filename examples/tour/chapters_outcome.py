"""The chapters about the outcome: who is better by votes, judge and rewards; side by side; what to make of it."""

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
        "Who is better",
        paragraph(
            "Everybody made a clip of the same ",
            num(count(facts.tour["steps"].find(key="ranking")["made"]["prompts"]), "d"),  # type: ignore[index]
            " prompts, none of which was trained on, with the same noise (",
            contest_words(facts),
            "). All clips of a prompt were shown in pairs to the simulated people (",
            num(far["pairs"], "d"),
            " pairs, ",
            num(far["votes"], "d"),
            " votes), and the judge read every clip. ",
            '<strong class="simulated">Votes and judge are one source:</strong> the people here are the judge with '
            "noise. The rewards below are another.",
        ),
        by_votes(facts, campaign),
        by_judge(contest),
        by_rewards(contest),
        "<h3>The people of this campaign</h3>",
        people_table(facts, campaign),
    )


def contest_words(facts: Facts) -> str:
    """How everybody's clips were made."""
    asked = facts.tour["size"]["ranking"]["settings"]
    shown = [f"{esc(key.removeprefix('num_'))} {num(value, 'g')}" for key, value in asked.items()]
    return f"{', '.join(shown) or 'the settings of the model'}; the student in its own few steps"


def by_votes(facts: Facts, campaign: str) -> str:
    """Bradley-Terry strengths."""
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
    head = (">place", "entrant", ">strength", ">interval", "", ">plausible places", ">wins", ">votes")
    words = (
        "By votes: Bradley-Terry strengths, in log-odds against the average entrant, with intervals of 95 % over pairs."
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
    head = ("entrant", "", ">judge", ">change from the model as it ships", "", "")
    return table(
        head, rows, "By the judge: the mean over prompts, with intervals of 95 %; the change is clip against clip."
    )


def _change(column: Traced, scale: tuple[float, float]) -> tuple[str, str, str]:
    verdict = column["verdict"].value
    return spanned(column["change"], "+.3f"), drawn(column["change"], scale, verdict), mark(verdict)


def by_rewards(contest: Mapping[str, Traced]) -> str:
    """Every reward of every entrant; coloured where the change from the base is sure."""
    columns = [one for one in contest[BASE].value if one != JUDGE]
    rows = ((measure_title(one), *(_cell(found, one) for found in contest.values())) for one in columns)
    head = ("reward", *(f">{TITLES[key]}" for key in contest))
    words = "By the rewards: means over prompts, with the change below. Coloured is what surely changed (95 %)."
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
        "The same prompt and the same noise in each row. The first of the ranking's prompts, not the best."
    )
    return section("side-by-side", "Side by side", told, *rows)


def chapter_steps(facts: Facts) -> str:
    """What was done, in order, and what each step took."""
    records = facts.tour["steps"]
    longest = max((one["seconds"].value for one in records), default=0.0)
    rows = []
    for step in STEPS:
        found = records.find(key=step.key)
        if found is None:
            rows.append((esc(step.title), "", "not begun", ""))
            continue
        part = Traced(found["seconds"].value / longest if longest else 0.0, "")
        begun = f"{num(found['begun'], 'd')} times" if found["begun"].value > 1 else ""
        state = begun if found["done_at"].value else "<b>not done yet</b>"
        rows.append((esc(step.title), bar(part), seconds(found["seconds"]), state))
    rows.append(("<b>All</b>", "", seconds(total([one["seconds"] for one in records])) if records else "", ""))
    caption = "The time that each step was worked on; said where it was begun more than once."
    return section("steps", "What was done, in order", table(("step", "", ">took", ""), rows, caption))


def chapter_honesty(facts: Facts) -> str:
    """What is simulated, and what this says nothing of."""
    return section(
        "honesty",
        "What to make of this",
        bullets(
            [
                "<b>Simulated:</b> everybody who voted, in both campaigns, is the judge with noise. The judge is code "
                "that reads colour, shape, direction, count and looping off the pixels, which only a world that code "
                "draws allows. With people instead, everything else would be the same.",
                "<b>Not simulated:</b> the model, its clips, the twelve rewards, every training, every gate and every "
                "interval. They are the product's own, run by the same calls as the page's and the command line's.",
                "<b>Held out:</b> evaluations, the ranking and what is shown use prompts of scenes that neither the "
                "model nor any run was trained on. DPO's votes and the online runs use the training prompts.",
                "<b>Intervals</b> are of 95 %, over prompts (of the ranking, over pairs). Many are looked at here: of "
                "twenty that mean nothing, one looks as if it did.",
                "<b>The model is tiny.</b> What is better here says that the workbench works, and nothing of large "
                "models.",
            ]
        ),
        _means(facts),
    )


def _means(facts: Facts) -> str:
    names = ", ".join(name(run.id) for key in ("dpo", "grpo", "student") if (run := facts.run(key)) is not None)
    return paragraph(
        "Point at a number to see which file of the workspace it is from. Runs: ",
        names,
        ". The page is made again from the workspace alone by ",
        name("python -m examples.tour --report"),
        "; to look around in it, start the page there: ",
        name("DAILIES_WORKSPACE=build/tour make app"),
        ".",
    )
