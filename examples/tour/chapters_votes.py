"""First chapters of the report: clips, their rewards, and the votes of the simulated people."""

from collections.abc import Iterator

from engine.storage.clip_files import MP4, POSTER
from examples.tour.facts import JUDGE, TOTAL, Facts, specs
from examples.tour.html_parts import (
    bar,
    esc,
    num,
    paragraph,
    player,
    prompt,
    said,
    section,
    share,
    span,
    spanned,
    table,
)
from examples.tour.traced import Traced


def clip_figure(facts: Facts, clip: str, caption: str = "") -> str:
    """Render a clip with its total reward and its judge score."""
    record, report = facts.store.clip(clip), facts.report(clip)
    told = [f"rewards {num(report['total'], '.2f')}"] if report else []
    told += [f"judge {num(facts.judged[clip], '.2f')}"] if clip in facts.judged.value else []
    head = f"<b>{esc(caption)}</b>" if caption else prompt(record.prompt)
    spoken = f"{caption}: {record.prompt}" if caption else record.prompt
    folder = facts.workspace.clip_folder(clip)
    return player((folder / MP4, folder / POSTER), spoken, f"{head}<br>{', '.join(told)}")


def chapter_clips(facts: Facts) -> str:
    if not facts.done("generate"):
        return ""
    made = facts.made("generate")
    long = facts.store.clip(made["long"])
    length = Traced(long.num_frames, f"dailies.db#/clips/{long.id}/num_frames")
    shown = "".join(clip_figure(facts, clip) for clip in [*made["clips"], long.id])
    return section(
        "clips",
        "Clips of the base model",
        paragraph(
            "These prompts were not in the training data of the embedded model. The model is tiny: it generates "
            "coloured shapes that move over simple backgrounds, in small frames that are shown enlarged here. The last "
            "clip repeats the first prompt with ",
            num(length, "d"),
            " frames, generated in windows, because some rewards apply only to long clips. The rewards (the total of "
            "the mix) and the judge's score range from zero to one.",
        ),
        f'<div class="clips">{shown}</div>',
    )


def chapter_rewards(facts: Facts) -> str:
    if not facts.done("score"):
        return ""
    return section(
        "rewards",
        "Rewards of the clips",
        paragraph(
            "Twelve rewards score every clip, independently of the judge. The table shows their means over the clips "
            "above, and the values of the long clip in a separate column. A reward that does not apply to a clip gives "
            "the reason instead of a value, and does not count as zero."
        ),
        table(("reward", "question", "", ">mean with interval", ">long clip"), _reward_rows(facts)),
    )


def _reward_rows(facts: Facts) -> Iterator[tuple[str, ...]]:
    showing, long = facts.showing(), facts.report(facts.made("generate")["long"])
    for key, spec in specs().items():
        found = showing[key]["value"] if key in showing.value else None
        of_long = long["results"].get(key) if long else None
        mean = _reason(facts, key) if found is None else spanned(found)
        last = num(of_long["value"]) if of_long is not None and of_long else ""
        asks = f'<span class="said">{esc(spec.question)}</span>'
        yield esc(spec.title), asks, bar(found["mean"] if found else None), mean, last
    total = showing[TOTAL]["value"] if TOTAL in showing.value else None
    yield (
        "<b>Total</b>",
        "weighted sum of the mix, after its gates",
        bar(total["mean"] if total else None),
        spanned(total),
        "",
    )
    judge = showing[JUDGE]["value"] if JUDGE in showing.value else None
    asks = "Does the clip show what the prompt describes? Not available to any reward."
    yield "<b>Judge</b>", asks, bar(judge["mean"] if judge else None), spanned(judge), ""


def _reason(facts: Facts, key: str) -> str:
    """Render the reason why a reward does not apply to the first clips."""
    report = facts.report(facts.made("generate")["clips"][0])
    if not report or key not in report["results"].value:
        return "not in this mix"
    return f'<small class="reason">{said(report["results"][key]["reason"])}</small>'


def chapter_votes(facts: Facts) -> str:
    if not facts.done("votes"):
        return ""
    campaign = facts.made("votes")["campaign"]
    far = facts.progress(campaign)
    return section(
        "votes",
        "Campaign: votes on pairs of takes",
        paragraph(
            "The base model generated several clips of training prompts. Every two clips of a prompt were shown as a "
            "pair, with random sides: ",
            num(far["pairs"], "d"),
            " pairs, ",
            num(far["votes"], "d"),
            " valid votes. ",
            '<strong class="simulated">The people are simulated.</strong> Each uses the judge, which '
            "detects from the pixels whether a clip shows what its prompt describes, and adds noise; one of them also "
            "prefers the left side. They vote through the same calls as the voting page.",
        ),
        people_table(facts, campaign),
    )


def people_table(facts: Facts, campaign: str) -> str:
    """Render the voters of a campaign with their biases, and the agreement between them."""
    trust = facts.agreement(campaign)
    alpha = trust["alpha"]
    words = paragraph(
        "Agreement between them (Krippendorff's alpha; one is perfect, zero is chance): ",
        num(alpha, ".2f"),
        f" <small>({span(trust, '.2f')})</small>." if alpha.value is not None else ".",
    )
    head = (
        "simulated person",
        ">noise",
        ">left bias",
        ">votes",
        ">chose the left",
        ">agrees with others",
        ">same answer on repeats",
        "detected bias",
    )
    return table(head, _people(facts, trust)) + words


def _people(facts: Facts, trust: Traced) -> Iterator[tuple[str, ...]]:
    for index, person in enumerate(facts.journal.size.people):
        asked = facts.tour["size"]["people"][index]
        found = trust["people"].get(person.name)
        if not found:
            continue
        left = f"{share(found['left']['value'])} <small>({span(found['left'], '.0%')})</small>"
        biased = '<span class="worse">prefers a side</span>' if found["is_biased"].value else "none"
        yield (
            esc(person.name),
            num(asked["noise"], ".2f"),
            num(asked["left_bias"], ".1f"),
            num(found["votes"], "d"),
            left,
            share(found["with_others"]["value"]),
            share(found["consistent"]["value"]),
            biased,
        )
