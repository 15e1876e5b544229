"""Texts of the list of models in the System tab."""

from app.text.numbers import gib, size
from engine.estimation.model_forecast import Fit
from engine.hub.access import TokenSource

MODELS = "Models"
MANAGE = "Manage models"
LINK = f'<a href="?tab=system" data-to="models">{MANAGE}</a>'
GROUPS = {"installed": "Installed", "missing": "Not installed", "unusable": "Cannot be used"}
STATES = {
    "installed": "installed",
    "missing": "not downloaded",
    "incomplete": "partly downloaded",
    "incompatible": "incompatible",
}
NO_SIZE, NO_LICENCE = "size unknown", "unknown: read the model card"
NO_FORECAST = "no forecast"
GENERATION_ONLY = "generation only"
TOKENS: dict[TokenSource, str] = {
    "environment": "The access token of HF_TOKEN is used for gated models.",
    "stored": "An access token is stored for gated models.",
    "none": "No access token is stored. Gated models need one.",
}
FORBIDDEN = (
    "DAILIES_ALLOW_DOWNLOAD=0 forbids downloads: models that are not installed must be put into the hub's cache, or a "
    "preset must name a local folder."
)
OFFLINE = (
    "HF_HUB_OFFLINE is set, so nothing can be downloaded: unset it and start Dailies again, or name a local folder in "
    "a preset."
)
NEEDS_TOKEN = "This model is gated: accept its licence at {page}, and enter an access token."
FORGET = "Takes the model from the list. Its files stay where they are."
LIST_WORDS = {
    "add": "Add a model of this machine",
    "kind": "Kind",
    "folder": "Local folder (diffusers)",
    "file": "Single file (.safetensors, .gguf)",
    "path": "Path on the machine that runs Dailies",
    "key": "Name",
    "like": "Default clip of",
    "like_any": "the preset that fits (folders only)",
    "add_it": "Add model",
    "models": MODELS,
    "columns": ["Model", "State", "Memory of a clip", "Licence", ""],
    "get": "Download",
    "resume": "Resume",
    "again": "Try again",
    "cancel": "Cancel",
    "remove": "Remove",
    "confirm": "Delete files",
    "back": "Back",
    "asking": "Asking the hub…",
    "token": "Access token",
    "token_hint": "A token of your account on the hub, with read access; the hub's client stores it on the server",
    "save_token": "Save",
    "forget_token": "Forget",
}


def machine(memory_gib: float, free_b: int) -> str:
    return f"This machine: {memory_gib:.0f} GiB of device memory, {size(free_b)} of free disk for models."


def downloading(done_mb: int, total_mb: int) -> str:
    return f"downloading, {size(done_mb * 1e6)} of {size(total_mb * 1e6)}" if total_mb else "starting the download"


def partly(cached_b: int, total_gb: float | None) -> str:
    return f"partly downloaded, {size(cached_b)}" + (f" of about {total_gb:.0f} GB" if total_gb else "")


def to_download(total_gb: float | None) -> str:
    return f"not downloaded, about {total_gb:.0f} GB" if total_gb else f"not downloaded, {NO_SIZE}"


def failed(error: str) -> str:
    return f"Download failed: {error}"


def fitting(fit: Fit) -> str:
    """Memory of a default clip on this machine, e.g. "13.0 GiB with offload_blocks"."""
    options = f" with {', '.join(fit.options)}" if fit.options else ""
    return f"{gib(fit.peak)}{options}" if fit.fits else f"at least {gib(fit.peak)}: more than this machine has"


def too_large(title: str, peak: float, total: float) -> str:
    return (
        f"A clip of {title} needs at least {gib(peak)} of memory, and this machine has {gib(total)}: choose a smaller "
        "model."
    )


def training(fit: Fit) -> str:
    return f"training {fitting(fit)}"


def question(remaining_b: int, total_b: int, free_b: int, licence: str) -> str:
    """Question before a download: its size, the free disk and the licence."""
    here = f" ({size(total_b - remaining_b)} of {size(total_b)} are here)" if remaining_b < total_b else ""
    return f"Download {size(remaining_b)}{here}? Free disk: {size(free_b)}. Licence: {licence or NO_LICENCE}."


def no_room(remaining_b: int, free_b: int) -> str:
    return (
        f"{size(remaining_b)} remain to be downloaded, but the disk of the hub's cache has {size(free_b)} free: free "
        "space, or set HF_HOME to a folder on another disk."
    )


def removal(size_b: int, remarks: str) -> str:
    return f"Frees {size(size_b)}.{remarks}"


def added(title: str) -> str:
    return f"{title} was added."


def user(name: str) -> str:
    return f"The token of {name} is stored."
