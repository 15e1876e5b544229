"""Numbers with their units."""


def size(size_b: float) -> str:
    """Format a number of bytes, e.g. "3.2 GB" or "512 B"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_b >= scale:
            return f"{size_b / scale:.1f} {unit}"
    return f"{size_b:.0f} B"


def gib(value: float) -> str:
    """Format an amount of memory, e.g. "13.0 GiB" or "300 MiB"."""
    if value < 0.95:
        return f"{1024 * value:.0f} MiB"
    return f"{value:.1f} GiB" if value < 100 else f"{value:.0f} GiB"


def duration(seconds: float) -> str:
    """Format a duration, e.g. "45 s", "12 min", "3.4 h" or "2.5 days"."""
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def about(seconds: float) -> str:
    """Format an estimated duration, e.g. "about 12 min"."""
    return f"about {duration(max(1, seconds))}"


def time_left(seconds: float | None) -> str:
    """Format the estimated rest of a job, "" if it is not known."""
    return "" if seconds is None else f"{about(seconds)} left"
