"""What somebody who asked to be told has missed: jobs that ended, and alarms that were raised.

`Seen` is what the browser keeps for the next question: {workspace, journal, alarms: {run: bytes}}; empty at first.
"""

from collections.abc import Mapping
from typing import Any

from app.context import AppContext
from app.text import notices as text
from app.text import training
from app.views.jobs import title
from engine.jobs.spec import Job
from engine.runs.run import alarms_since

Seen = Mapping[str, Any]
SHOWN = 5


def news(desk: AppContext, seen: Seen) -> dict[str, Any]:
    """`seen` for the next time, and `notices` {key, title, body}, none at first. A cancelled job is nobody's news."""
    here = str(desk.workspace.root)
    known = seen if seen.get("workspace") == here else None
    jobs, number = desk.queue.ended_since(int(known["journal"]) if known else None)
    alarms, bytes_seen = alarms_since(desk.workspace, known["alarms"] if known else {})
    notices = [_ended(job) for job in jobs if job.status in text.ENDS]
    for run, alarm in alarms:
        key = f"{run}/{alarm.name}/{alarm.step}"
        notices.append({"key": key, "title": text.alarmed(run, alarm.step), "body": alarm.sentence})
    if len(notices) > SHOWN:
        rest = {"key": "more", "title": text.more(len(notices) - SHOWN), "body": ""}
        notices = [*notices[:SHOWN], rest]
    return {
        "seen": {"workspace": here, "journal": number, "alarms": bytes_seen},
        "notices": notices if known else [],
    }


def _ended(job: Job) -> dict[str, str]:
    what = f"{training.kind(job.kind)}: {title(job)}"
    return {"key": job.id, "title": text.ended(what, job.status), "body": job.error or ""}
