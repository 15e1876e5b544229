"""The first chapters of the report: clips, their rewards, and what the simulated people said of pairs."""

from collections.abc import Iterator

from engine.storage.clip_files import shown_files
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
    """A clip with the total of its rewards and the judge's score below."""
    record, report = facts.store.clip(clip), facts.report(clip)
    told = [f"rewards {num(report['total'], '.2f')}"] if report else []
    told += [f"judge {num(facts.judged[clip], '.2f')}"] if clip in facts.judged.value else []
    head = f"<b>{esc(caption)}</b>" if caption else prompt(record.prompt)
    spoken = f"{caption}: {record.prompt}" if caption else record.prompt
    return player(shown_files(facts.workspace, clip), spoken, f"{head}<br>{', '.join(told)}")


def chapter_clips(facts: Facts) -> str:
    if not facts.done("generate"):
        return ""
    made = facts.made("generate")
    long = facts.store.clip(made["long"])
    length = Traced(long.num_frames, f"dailies.db#/clips/{long.id}/num_frames")
    shown = "".join(clip_figure(facts, clip) for clip in [*made["clips"], long.id])
    return section(
        "clips",
        "Clips of the model as it ships",
        paragraph(
            "The embedded model was given prompts that it was not trained on. It is tiny: it knows coloured shapes "
            "that move over simple grounds, in pictures so small that they are shown enlarged. The last clip is the "
            "first prompt once more, ",
            num(length, "d"),
            " frames long and made in windows, because some rewards have something to say about long clips only. Each "
            "clip's rewards (the mix's total) and the judge's score go from nothing to one.",
        ),
        f'<div class="clips">{shown}</div>',
    )


def chapter_rewards(facts: Facts) -> str:
    if not facts.done("score"):
        return ""
    return section(
        "rewards",
        "Why each clip scored as it did",
        paragraph(
            "Twelve rewards look at every clip, without knowing the judge. Below is the mean over the clips above (but "
            "the long one, which stands beside them); a reward that has nothing to say about a clip says why instead "
            "of counting as nothing."
        ),
        table(("reward", "asks", "", ">mean, with its interval", ">the long clip"), _reward_rows(facts)),
    )


def _reward_rows(facts: Facts) -> Iterator[tuple[str, ...]]:
    showing, long = facts.showing(), facts.report(facts.made("generate")["long"])
    for key, spec in specs().items():
        found = showing[key]["value"] if key in showing.value else None
        beside = long["results"].get(key) if long else None
        mean = _reason(facts, key) if found is None else spanned(found)
        last = num(beside["value"]) if beside is not None and beside else ""
        asks = f'<span class="said">{esc(spec.question)}</span>'
        yield esc(spec.title), asks, bar(found["mean"] if found else None), mean, last
    total = showing[TOTAL]["value"] if TOTAL in showing.value else None
    yield "<b>Total</b>", "the mix of all, after its gates", bar(total["mean"] if total else None), spanned(total), ""
    judge = showing[JUDGE]["value"] if JUDGE in showing.value else None
    asks = "Is it what the prompt says? No reward knows what it knows."
    yield "<b>Judge</b>", asks, bar(judge["mean"] if judge else None), spanned(judge), ""


def _reason(facts: Facts, key: str) -> str:
    """Why a reward had nothing to say about the first clips."""
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
        "Which take is better: a campaign of votes",
        paragraph(
            "The model made several takes of training prompts, and every two takes of a prompt were shown as a pair, "
            "sides by chance: ",
            num(far["pairs"], "d"),
            " pairs, ",
            num(far["votes"], "d"),
            " votes that count. ",
            '<strong class="simulated">The people are simulated.</strong> Each is the judge, which reads off the '
            "pixels whether a clip shows what its prompt says, with a person's noise; one of them also likes the left "
            "side. They vote through the same calls as the voting page does.",
        ),
        people_table(facts, campaign),
    )


def people_table(facts: Facts, campaign: str) -> str:
    """Who voted in a campaign, and how far that can be trusted."""
    trust = facts.agreement(campaign)
    alpha = trust["alpha"]
    words = paragraph(
        "Agreement between them (Krippendorff's alpha; one is perfect, nothing is chance): ",
        num(alpha, ".2f"),
        f" <small>({span(trust, '.2f')})</small>." if alpha.value is not None else ".",
    )
    head = (
        "simulated person",
        ">noise",
        ">liking for the left",
        ">votes",
        ">chose the left",
        ">like the others",
        ">same answer again",
        "found out",
    )
    return table(head, _people(facts, trust)) + words


def _people(facts: Facts, trust: Traced) -> Iterator[tuple[str, ...]]:
    for index, person in enumerate(facts.journal.size.people):
        asked = facts.tour["size"]["people"][index]
        found = trust["people"].get(person.name)
        if not found:
            continue
        left = f"{share(found['left']['value'])} <small>({span(found['left'], '.0%')})</small>"
        biased = '<span class="worse">leans to a side</span>' if found["is_biased"].value else "no bias to be seen"
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
