"""The words of the System tab."""

SYSTEM = "System"
TELEMETRY_WORDS = {
    "devices": "Devices",
    "use": "Use",
    "memory": "Memory",
    "power": "Power",
    "temperature": "Temperature",
    "clock": "Clock",
    "processor": "Processor and main memory",
    "not_told": "not told",
    "unreachable": "The page's server does not answer. Trying again.",
}
NO_GPU = "No GPU is seen: jobs run on the processor."
ASK_TORCH = "Ask PyTorch"
ASK_TORCH_HINT = "A job looks at the devices with PyTorch, and times attention and a VAE's convolution."
FINDINGS = "What PyTorch finds"
NO_FINDINGS = "Nobody has asked yet."
VERSIONS = "Versions"
ENVIRONMENT = "Settings in force for ROCm"
NO_ROCM = "This PyTorch is not built for ROCm ({build}): nothing is set."
WEIGHTS = "Weights of the rewards' networks"
DISK = "Disk"
MEASURE = "Measure again"
MEASURING = "Measuring the workspace…"
TABLE_WORDS = {"really": "Really?", "no": "Keep", "nothing": "Nothing"}
WEIGHT_COLUMNS = ("Network", "Used by", "Size", "Licence", "State", "")
WEIGHT_STATES = {"present": "here", "downloadable": "downloadable", "missing": "missing"}
DOWNLOAD = "Download"
DISK_COLUMNS = ("Part", "Size", "Files")
CLEAN_COLUMNS = ("What can go", "Size", "Files", "")
CLEAN = "Clean up"
CLEARING = "Cleaning up…"
SETTING_COLUMNS = ("Variable", "Value", "Set by", "Why")
ORIGINS = {"user": "you", "preset": "Dailies"}
FINDING_COLUMNS = ("Question", "Answer")
VERSION_COLUMNS = ("Package", "Version")
PARTS = {
    "clips": "Clips",
    "runs": "Runs: checkpoints, samples, metrics",
    "adapters": "Adapters",
    "uploads": "Uploads that wait for their job",
    "pictures": "Pictures and keyframes",
    "prompts": "Encoded prompts (a cache)",
    "cache": "Caches of metrics and kernels",
    "trackio": "Trackio's store",
    "jobs": "Logs of jobs",
    "worker": "Worker",
    "backups": "Copies of the database",
    "dailies.db": "Database",
    "tmp": "Half-written files",
    "curricula": "Curricula",
    "saved": "Saved recipes",
    "spread": "On its way to a cluster and back",
    "tensorboard": "Exported for TensorBoard",
    "campaigns": "Labelling campaigns",
}
CLEANABLE = {
    "deleted": "Deleted clips, for good: they cannot be brought back",
    "prompts": "Encoded prompts: encoded again when they are needed",
    "cache": "Caches: metrics are read again, kernels found again",
    "half_written": "What processes that are gone left half written",
    "rejected": "Checkpoints that were rolled back",
    "checkpoints": "Older checkpoints of runs that nobody trains: each keeps its last, its samples and its adapter",
    "old_logs": "Logs of jobs older than 30 days",
}
CAPTIONS = {"devices": "Devices", "attention": "Attention", "convolutions": "VAE convolution"}


def freed(size_b: int) -> str:
    return f"{size(size_b)} freed."


def really(size_b: int) -> str:
    return f"Frees {size(size_b)}."


def size(size_b: float) -> str:
    """Bytes as people read them, e.g. "3.2 GB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_b >= scale:
            return f"{size_b / scale:.1f} {unit}"
    return f"{size_b:.0f} B"


def user_set(value: str, preset: str) -> str:
    return f"{value} (Dailies would say {preset})" if preset and preset != value else value


def whole(size_b: int, free_b: int, total_b: int) -> str:
    return f"The workspace takes {size(size_b)}; {size(free_b)} of {size(total_b)} on this disk are free."


def no_rocm(version: str, cuda: str) -> str:
    return NO_ROCM.format(build=", ".join(part for part in (version, f"CUDA {cuda}" if cuda else "CPU only") if part))


def source(name: str, problems: list[str]) -> str:
    """Where the numbers come from, and which better source failed."""
    return " ".join([f"Read from {name}." if name != "none" else NO_GPU, *problems])
