"""Report of a tour: one self-contained HTML file, built from the workspace alone."""

import re
from pathlib import Path

from engine.files.atomic import write_text_atomic
from engine.storage.library import Library
from examples.tour.chapters_learning import chapter_curriculum, chapter_dpo, chapter_grpo, chapter_student
from examples.tour.chapters_outcome import chapter_honesty, chapter_ranking, chapter_side_by_side, chapter_steps
from examples.tour.chapters_summary import chapter_summary
from examples.tour.chapters_votes import chapter_clips, chapter_rewards, chapter_votes
from examples.tour.facts import Facts
from examples.tour.html_parts import esc, num, paragraph, said
from examples.tour.plots import PLOT_STYLE
from examples.tour.state import TourFiles

HERE = Path(__file__).parent
CHAPTERS = (
    chapter_summary,
    chapter_side_by_side,
    chapter_steps,
    chapter_clips,
    chapter_rewards,
    chapter_votes,
    chapter_dpo,
    chapter_grpo,
    chapter_curriculum,
    chapter_student,
    chapter_ranking,
    chapter_honesty,
)
HEADING = re.compile(r'<section id="([\w-]+)"><h2>(.*?)</h2>')


def write_report(files: TourFiles) -> None:
    """Write the report; a tour that is not done is reported so far."""
    store = Library(files.workspace)
    try:
        write_text_atomic(files.report, page(Facts(files, store)))
    finally:
        store.close()


def page(facts: Facts) -> str:
    style = (HERE / "report.css").read_text(encoding="utf-8") + PLOT_STYLE
    script = (HERE / "report.js").read_text(encoding="utf-8")
    chapters = "".join(chapter(facts) for chapter in CHAPTERS)
    links = "".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in HEADING.findall(chapters))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>From a prompt to a better model</title><style>{style}</style></head><body><main>"
        f"{head(facts)}<nav>{links}</nav>{chapters}</main><script>{script}</script></body></html>\n"
    )


def head(facts: Facts) -> str:
    machine = facts.tour["machine"]
    where = (
        f"Started on <time>{facts.journal.began_at:%d %B %Y, %H:%M} UTC</time> on {num(machine['cores'], 'd')} cores "
        f"({said(machine['processor'])}), device {esc(machine['device'].value)}; "
        f'<span class="said">torch {esc(machine["torch"].value)}, Dailies {esc(machine["dailies"].value)}</span>.'
    )
    short = facts.journal.size.name != "full"
    warning = paragraph(f"<b>This is not the full tour:</b> {esc(facts.journal.size.about)}.")
    return (
        "<header><h1>From a prompt to a better model</h1>"
        + paragraph(
            "A tour of Dailies, the workbench for fine-tuning text-to-video models with reinforcement learning. It "
            "generates and scores clips, collects votes on pairs, trains the model on the votes and on rewards and at "
            "growing clip lengths, distils a faster student, and compares all models with the base model."
        )
        + f'<p class="facts">{where}</p></header>'
        + (f'<section class="short">{warning}</section>' if short else "")
    )
