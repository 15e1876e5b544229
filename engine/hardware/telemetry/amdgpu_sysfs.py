"""The amdgpu driver's files under /sys.

They need no tool and no privilege, and exist in containers too.

Power is in microwatts, temperature in thousandths of a degree, clock in hertz (kernel documentation, gpu/amdgpu).
"""

from collections.abc import Iterable
from pathlib import Path

from engine.hardware.telemetry.readings import GpuReading, GpuSample

SOURCE = "amdgpu sysfs"
CARDS = Path("/sys/class/drm")
AMD = "0x1002"
HOTTEST = ("junction", "hotspot", "edge")


class AmdgpuSysfs:
    """Telemetry source that reads the files of all AMD cards under `cards`."""

    def __init__(self, cards: Path = CARDS) -> None:
        self._cards = cards

    def __call__(self) -> GpuReading:
        folders = (card / "device" for card in self._cards.glob("card[0-9]*") if "-" not in card.name)
        devices = sorted((folder for folder in folders if _text(folder / "vendor") == AMD), key=_slot)
        gpus = tuple(_gpu(index, device) for index, device in enumerate(devices))
        readable = [gpu for gpu in gpus if gpu.mem_total_b is not None or gpu.util_pct is not None]
        if not readable:
            why = "the amdgpu driver shows no GPU" if not gpus else "the driver's files are empty or unreadable"
            return GpuReading(source=SOURCE, state="absent", sentence=f"Under {self._cards} {why}.")
        return GpuReading(source=SOURCE, state="ok", gpus=gpus)


def _gpu(index: int, device: Path) -> GpuSample:
    power = _first(device.glob("hwmon/hwmon*/power1_average"), device.glob("hwmon/hwmon*/power1_input"))
    clock = _first(device.glob("hwmon/hwmon*/freq1_input"))
    temperature = _hottest(device)
    return GpuSample(
        index=index,
        vendor="amd",
        name=_text(device / "product_name") or None,
        uuid=_text(device / "unique_id") or None,
        bdf=_slot(device) or None,
        util_pct=_number(device / "gpu_busy_percent"),
        mem_used_b=_whole(device / "mem_info_vram_used"),
        mem_total_b=_whole(device / "mem_info_vram_total"),
        power_w=None if power is None else power / 1e6,
        temp_c=None if temperature is None else temperature / 1e3,
        clock_mhz=None if clock is None else clock / 1e6,
    )


def _hottest(device: Path) -> float | None:
    by_label = {
        _text(file.with_name(file.name.replace("input", "label"))): _number(file)
        for file in device.glob("hwmon/hwmon*/temp*_input")
    }
    return next((value for name in HOTTEST if (value := by_label.get(name)) is not None), None)


def _first(*files: Iterable[Path]) -> float | None:
    return next((value for group in files for file in group if (value := _number(file)) is not None), None)


def _slot(device: Path) -> str:
    lines = _text(device / "uevent").splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("PCI_SLOT_NAME=")), "")


def _number(file: Path) -> float | None:
    try:
        return float(_text(file))
    except ValueError:
        return None


def _whole(file: Path) -> int | None:
    value = _number(file)
    return None if value is None else int(value)


def _text(file: Path) -> str:
    """Read a file; "" if it is missing or the driver refuses to read it now."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
