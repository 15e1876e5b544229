"""Texts of the System tab."""

from app.text.numbers import size

SYSTEM = "System"
TELEMETRY_WORDS = {
    "devices": "Devices",
    "use": "Use",
    "memory": "Memory",
    "power": "Power",
    "temperature": "Temperature",
    "clock": "Clock",
    "processor": "CPU and main memory",
    "not_told": "n/a",
}
NO_GPU = "No GPU detected: jobs run on the CPU."
ASK_TORCH = "Run PyTorch checks"
ASK_TORCH_HINT = "Queues a job that lists the devices with PyTorch and times attention and a VAE convolution."
FINDINGS = "PyTorch diagnostics"
NO_FINDINGS = "Not run yet."
VERSIONS = "Versions"
ENVIRONMENT = "ROCm environment"
NO_ROCM = "This PyTorch is not built for ROCm ({build}): no variables are set."
WEIGHTS = "Reward model weights"
DISK = "Disk"
MEASURE = "Refresh"
MEASURING = "Measuring the workspace…"
TABLE_WORDS = {"really": "Confirm", "no": "Back"}
WEIGHT_COLUMNS = ("Network", "Used by", "Size", "Licence", "State", "")
WEIGHT_STATES = {"present": "installed", "downloadable": "downloadable", "missing": "not installed"}
DOWNLOAD = "Download"
DISK_COLUMNS = ("Part", "Size", "Files")
CLEAN_COLUMNS = ("Reclaimable", "Size", "Files", "")
CLEAN = "Clean up"
CLEARING = "Cleaning up…"
SETTING_COLUMNS = ("Variable", "Value", "Set by", "Why")
ORIGINS = {"user": "user", "preset": "Dailies"}
FINDING_COLUMNS = ("Question", "Answer")
VERSION_COLUMNS = ("Package", "Version")
PARTS = {
    "clips": "Clips",
    "runs": "Runs: checkpoints, samples, metrics",
    "trash": "Deleted runs",
    "adapters": "Adapters",
    "uploads": "Uploads waiting for their job",
    "pictures": "Pictures and keyframes",
    "prompts": "Prompt embeddings (cache)",
    "cache": "Metric and kernel caches",
    "trackio": "Trackio data",
    "jobs": "Job logs",
    "worker": "Worker",
    "backups": "Database backups",
    "dailies.db": "Database",
    "tmp": "Temporary files",
    "curricula": "Curricula",
    "saved": "Saved presets",
    "spread": "Cluster transfer files",
    "tensorboard": "TensorBoard exports",
    "campaigns": "Labelling campaigns",
}
CLEANABLE = {
    "deleted": "Deleted clips and runs (permanent: they can no longer be restored)",
    "prompts": "Prompt embeddings (computed again when needed)",
    "cache": "Caches (metrics are read again, kernels are tuned again)",
    "half_written": "Temporary files of processes that have ended",
    "rejected": "Checkpoints discarded by a rollback",
    "checkpoints": "Older checkpoints of runs that are not training (the last one, samples and the adapter are kept)",
    "old_logs": "Job logs older than 30 days",
}
CAPTIONS = {"devices": "Devices", "attention": "Attention", "convolutions": "VAE convolution"}


def freed(size_b: int) -> str:
    return f"{size(size_b)} freed."


def really(size_b: int) -> str:
    return f"Frees {size(size_b)}."


def user_set(value: str, preset: str) -> str:
    return f"{value} (Dailies would set {preset})" if preset and preset != value else value


def whole(size_b: int, free_b: int, total_b: int) -> str:
    return f"The workspace uses {size(size_b)}; {size(free_b)} of {size(total_b)} on this disk are free."


def no_rocm(version: str, cuda: str) -> str:
    return NO_ROCM.format(build=", ".join(part for part in (version, f"CUDA {cuda}" if cuda else "CPU only") if part))


def source(name: str, problems: list[str]) -> str:
    """Source of the telemetry, and the problems of better sources."""
    return " ".join([f"Read from {name}." if name != "none" else NO_GPU, *problems])
