"""Notifications: jobs that ended and alarms that were raised since the browser's last request.

`Seen` is the browser's position, sent with its next request: {workspace, journal, alarms: {run: bytes}}; first empty.
"""

from collections.abc import Mapping
from typing import Any

from app.context import AppContext
from app.text import notices as text
from app.text import training
from app.views.jobs import title
from engine.jobs.spec import Job
from engine.runs.run import Run, alarms_since
from engine.runs.run_notes import name_of

Seen = Mapping[str, Any]
SHOWN = 5


def news(context: AppContext, seen: Seen) -> dict[str, Any]:
    """Return `seen` for the next request, and `notices` {key, title, body}: none at first.

    Cancelled jobs are not reported.
    """
    workspace = str(context.workspace.root)
    previous = seen if seen.get("workspace") == workspace else None
    jobs, number = context.queue.ended_since(int(previous["journal"]) if previous else None)
    alarms, bytes_seen = alarms_since(context.workspace, previous["alarms"] if previous else {})
    notices = [_ended(job) for job in jobs if job.status in text.ENDS]
    for run, alarm in alarms:
        key = f"{run}/{alarm.name}/{alarm.step}"
        notices.append(
            {
                "key": key,
                "title": text.alarmed(name_of(Run.find(context.workspace, run)), alarm.step),
                "body": alarm.sentence,
            }
        )
    if len(notices) > SHOWN:
        rest = {"key": "more", "title": text.more(len(notices) - SHOWN), "body": ""}
        notices = [*notices[:SHOWN], rest]
    return {
        "seen": {"workspace": workspace, "journal": number, "alarms": bytes_seen},
        "notices": notices if previous else [],
    }


def _ended(job: Job) -> dict[str, str]:
    what = f"{training.kind(job.kind)}: {title(job)}"
    return {"key": job.id, "title": text.ended(what, job.status), "body": job.error or ""}
