"""The words of the job strip."""

STRIP_WORDS = {
    "jobs": "Work in progress",
    "cancel": "Cancel",
    "retry": "Try again",
    "dismiss": "Dismiss",
    "kill": "Kill",
    "kill_hint": "Ends at once what gives no sign of life; the next job starts a new worker",
    "done": "done",
    "unreachable": "The page's server does not answer. Trying again; nothing is lost.",
}


def silent(moment: str) -> str:
    return f"No sign of life since {moment}: it hangs, or was stopped. Kill ends it."
