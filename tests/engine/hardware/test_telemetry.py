"""Telemetry from executables that print recordings of real tools; none ran on an AMD GPU here."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.hardware.telemetry import command_json
from engine.hardware.telemetry.amd_smi import AmdSmi, gpu_rows, read_gpu
from engine.hardware.telemetry.amdgpu_sysfs import AmdgpuSysfs
from engine.hardware.telemetry.monitor import Telemetry, TelemetryMonitor
from engine.hardware.telemetry.nvml import Nvml
from engine.hardware.telemetry.readings import MIB, GpuReading

FakeTool = Callable[..., None]


@pytest.fixture
def recordings(root: Path) -> Path:
    return root / "tests" / "fixtures" / "telemetry"


@pytest.fixture
def fake_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTool:
    """`fake_tool(name, script)`: an executable on a PATH with only the system's own tools."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(command_json, "PREFERRED_FOLDERS", ())

    def make(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return make


def test_every_recording_says_where_it_is_from(recordings: Path) -> None:
    said = json.loads((recordings / "provenance.json").read_text())
    assert set(said) == {path.name for path in recordings.glob("*smi*.json")}
    assert all(one["provenance"] and one["of"] and one["url"] for one in said.values())


def test_amd_smi_of_rocm_7_with_names(fake_tool: FakeTool, recordings: Path) -> None:
    metric, static = (recordings / name for name in ("amd-smi-7.2.1-mi300x.json", "amd-smi-static-10.1-mi300x.json"))
    fake_tool("amd-smi", f'case "$1" in metric) cat {metric};; static) cat {static};; esac')
    busy, idle = AmdSmi()().gpus
    assert (busy.name, busy.arch, busy.bdf) == ("AMD Instinct MI300X", "gfx942", "0000:83:00.0")
    assert (busy.util_pct, busy.power_w, busy.mem_total_b) == (94, 612, 206141652992)
    assert busy.mem_used_b == 17153 * MIB
    assert (idle.util_pct, idle.power_w, idle.temp_c, idle.name) == (0, None, None, None)


@pytest.mark.parametrize(
    ("recording", "expected"),
    [
        ("amd-smi-6-w7700.json", [(42.0, None, None)]),
        ("amd-smi-7.0.2-mi300x-dpx.json", [(55.0, 61.0, 2100.0), (None, None, None)]),
    ],
)
def test_amd_smi_of_other_versions(
    fake_tool: FakeTool, recordings: Path, recording: str, expected: list[object]
) -> None:
    fake_tool("amd-smi", f'[ "$1" = metric ] && cat {recordings / recording} || exit 1')
    reading = AmdSmi()()
    assert reading.state == "ok"
    assert [(gpu.util_pct, gpu.temp_c, gpu.clock_mhz) for gpu in reading.gpus] == expected


def test_amd_smi_with_words_around_its_json(fake_tool: FakeTool, recordings: Path) -> None:
    file = recordings / "amd-smi-7.2.1-mi300x.json"
    words = "echo \"'CTRL' + 'C' to stop watching output:\"; echo '[WARNING] {driver} [1]'"
    fake_tool("amd-smi", f"{words}; cat {file}; cat {file}")
    assert [gpu.util_pct for gpu in AmdSmi()().gpus] == [94, 0]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo Invalid platform; exit 0", "printed no JSON: Invalid platform"),
        ("exit 0", "printed no JSON: nothing"),
        ("echo '{\"error\": 3}'", "without a GPU"),
        ('echo \'{"gpu_data": "N/A"}\'', "without a GPU"),
        ("echo 'amdsmi_cli_exceptions.X: {\"error\": 1}' >&2; exit 1", "exited with code 1: amdsmi_cli_exceptions"),
        ("printf '\\377\\376{'", "printed no JSON"),
    ],
)
def test_amd_smi_that_talks_nonsense(fake_tool: FakeTool, script: str, reason: str) -> None:
    fake_tool("amd-smi", script)
    reading = AmdSmi()()
    assert reading.state == "error" and reason in reading.sentence, reading


def test_a_tool_that_hangs_is_ended_with_what_it_started(fake_tool: FakeTool, tmp_path: Path) -> None:
    note = tmp_path / "child"
    fake_tool("amd-smi", f"sleep 60 & echo $! > {note}; wait")
    began = time.monotonic()
    with pytest.raises(command_json.ToolError, match="did not answer within 1 s"):
        command_json.run_tool([str(command_json.find_tool("amd-smi"))], timeout_s=1.0)
    assert time.monotonic() - began < 30, "half of the time that the tool takes"
    child = Path(f"/proc/{note.read_text().strip()}")
    deadline = time.monotonic() + 20
    while child.exists() and "Z" not in (child / "status").read_text().split("State:")[1][:4]:
        assert time.monotonic() < deadline, "what the tool started still runs"
        time.sleep(0.01)


def test_sysfs(tmp_path: Path) -> None:
    device, other = tmp_path / "card0" / "device", tmp_path / "card1" / "device"
    sensors = device / "hwmon" / "hwmon3"
    sensors.mkdir(parents=True)
    other.mkdir(parents=True)
    (tmp_path / "card0-DP-1").mkdir()
    (other / "vendor").write_text("0x10de\n")
    for name, said in {
        "vendor": "0x1002\n",
        "gpu_busy_percent": "37\n",
        "mem_info_vram_used": "1073741824\n",
        "mem_info_vram_total": "206141652992\n",
        "uevent": "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:83:00.0\n",
        "hwmon/hwmon3/power1_input": "143000000\n",
        "hwmon/hwmon3/temp1_label": "edge\n",
        "hwmon/hwmon3/temp1_input": "40000\n",
        "hwmon/hwmon3/temp2_label": "junction\n",
        "hwmon/hwmon3/temp2_input": "61000\n",
    }.items():
        (device / name).write_text(said)
    (gpu,) = AmdgpuSysfs(tmp_path)().gpus
    assert (gpu.util_pct, gpu.mem_used_b, gpu.power_w, gpu.temp_c, gpu.clock_mhz, gpu.bdf) == (
        37.0,
        2**30,
        143.0,
        61.0,
        None,
        "0000:83:00.0",
    )
    for name in ("gpu_busy_percent", "mem_info_vram_total"):
        (device / name).unlink()
    assert AmdgpuSysfs(tmp_path)().state == "absent"
    assert AmdgpuSysfs(tmp_path / "nothing")().state == "absent"


class NvmlError(Exception):
    """The error class of pynvml."""


def not_supported(*_: object) -> None:
    raise NvmlError("Not Supported")


def nvml(**changes: object) -> SimpleNamespace:
    """Something that answers as pynvml does for one card that tells memory and use, and nothing else."""
    names = (
        "nvmlDeviceGetPowerUsage nvmlDeviceGetPciInfo nvmlDeviceGetUUID nvmlDeviceGetTemperature nvmlDeviceGetClockInfo"
    )
    told = {
        "NVMLError": NvmlError,
        "NVML_TEMPERATURE_GPU": 0,
        "NVML_CLOCK_SM": 1,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda handle: b"H200",
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=1, total=2),
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=5),
    }
    return SimpleNamespace(**{**dict.fromkeys(names.split(), not_supported), **told, **changes})


def test_nvml_leaves_out_what_is_not_supported() -> None:
    (gpu,) = Nvml(nvml())().gpus
    assert (gpu.name, gpu.mem_total_b, gpu.util_pct, gpu.power_w, gpu.temp_c) == ("H200", 2, 5.0, None, None)
    assert Nvml(nvml(nvmlDeviceGetHandleByIndex=not_supported))().state == "absent"
    assert Nvml(nvml(nvmlInit=not_supported))().state == "absent"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(["N/A", "", "7", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "unit", "xcp_0", "gfx_activity", "used_vram", "clk"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)
SECTIONS = st.dictionaries(st.sampled_from(["usage", "power", "temperature", "clock", "mem_usage"]), JSON)


@given(SECTIONS)
def test_whatever_amd_smi_says_nothing_is_made_up(sections: dict[str, object]) -> None:
    (row,) = gpu_rows({"gpu_data": [{"gpu": 0, **sections}]})
    gpu = read_gpu(row, {})
    if '"value"' not in json.dumps(sections) and not any(letter.isdigit() for letter in json.dumps(sections)):
        assert (gpu.util_pct, gpu.power_w, gpu.temp_c, gpu.mem_used_b) == (None,) * 4


def test_sources_in_order_and_a_failing_one_rests() -> None:
    now, asked = [0.0], []

    def failing() -> GpuReading:
        asked.append(now[0])
        return GpuReading(source="a", state="error", sentence="a failed.")

    telemetry = Telemetry([failing, Nvml(nvml())], clock=lambda: now[0])
    for moment in (0.0, 10.0, 31.0, 60.0, 92.0):
        now[0] = moment
        found = telemetry.snapshot()
        assert found.source == "NVML" and [one.sentence for one in found.skipped] == ["a failed."]
    assert asked == [0.0, 31.0, 92.0]


def test_without_any_gpu_there_is_still_the_machine(tmp_path: Path, fake_tool: FakeTool) -> None:
    fake_tool("unrelated", "exit 0")
    found = Telemetry([AmdSmi(), AmdgpuSysfs(tmp_path)]).snapshot()
    assert found.source == "none" and found.gpus == () and found.ram_total_b > 0
    assert {one.state for one in found.skipped} == {"absent"}


def test_the_sampler_keeps_a_history() -> None:
    sampler = TelemetryMonitor(Telemetry([Nvml(nvml())]), viewed_s=0.02, keep=3)
    deadline = time.monotonic() + 20
    while len(found := sampler.history()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [one.at for one in found] == sorted(one.at for one in found)


def test_amdsmi_is_never_imported(root: Path) -> None:
    """The package from PyPI prints to stdout and breaks Ray's import where there is no ROCm."""
    sources = [path.read_text() for folder in ("app", "engine", "rewards") for path in (root / folder).rglob("*.py")]
    assert not [
        line
        for text in sources
        for line in text.splitlines()
        if line.strip().startswith(("import amdsmi", "from amdsmi"))
    ]
