"""Texts of the job list."""

STRIP_WORDS = {
    "jobs": "Jobs",
    "cancel": "Cancel",
    "retry": "Retry",
    "dismiss": "Dismiss",
    "kill": "Kill",
    "kill_hint": "Ends a job that no longer responds; the next job starts a new worker",
    "done": "done",
    "unreachable": "The server is not responding. Retrying; nothing is lost.",
}


def silent(moment: str) -> str:
    return f"No heartbeat since {moment}: the job hangs or was suspended. Kill ends it."
