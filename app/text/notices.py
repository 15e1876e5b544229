"""The words of the bell at the top of the page, and of what it tells."""

BELL = {
    "off": "Tell me when a job ends or an alarm is raised",
    "on": "You are told when a job ends or an alarm is raised while this page is out of sight",
    "title": "Told by the number in this tab's title: the browser does not let this page show notifications",
}
ENDS = {"done": "finished", "failed": "failed", "lost": "was lost"}


def ended(what: str, status: str) -> str:
    return f"{what} {ENDS[status]}"


def alarmed(run: str, step: int) -> str:
    return f"Alarm in run {run} at step {step}"


def more(count: int) -> str:
    return f"And {count} more"
