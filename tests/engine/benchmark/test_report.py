"""Reports of `dailies bench`: file round trip, bad files, comparison."""

import json

import pytest

from engine.benchmark.report import BenchmarkReport, Machine, Measurement, compare, read_report, summary, write_report
from engine.errors import ConfigError

MACHINE = Machine(
    device="cpu",
    backend="cpu",
    name="x",
    memory_gib=8,
    cores=2,
    torch="2",
    runtime="",
    python="3.11",
    dailies="0.1",
)


def report_of(**seconds: list[float]) -> BenchmarkReport:
    rows = [Measurement(name=name, unit="s", **summary(values)) for name, values in seconds.items()]
    return BenchmarkReport(machine=MACHINE, measurements=tuple(rows))


def test_summary_is_median_and_range():
    assert summary([3.0, 1.0, 2.0]) == {"value": 2.0, "low": 1.0, "high": 3.0, "repeats": 3}
    assert summary([4.0, 1.0])["value"] == 2.5


def test_written_report_is_read_back(tmp_path):
    report = report_of(decode=[1.0, 2.0])
    write_report(tmp_path / "a.json", report)
    assert read_report(tmp_path / "a.json") == report


def test_comparison_gives_ratio_and_noise():
    before, after = report_of(a=[1.0, 1.2], b=[2.0], gone=[1.0]), report_of(a=[1.1, 1.3], b=[1.0], new=[1.0])
    changes = {change.name: change for change in compare(before, after)}
    assert list(changes) == ["a", "b", "new", "gone"]
    assert changes["a"].overlaps and changes["a"].ratio == pytest.approx(1.2 / 1.1)
    assert not changes["b"].overlaps and changes["b"].ratio == 0.5
    assert changes["new"].ratio is None and changes["new"].before is None
    assert changes["gone"].ratio is None and changes["gone"].after is None


def test_other_settings_have_no_ratio():
    before, after = report_of(a=[1.0]), report_of(a=[1.0])
    longer = after.measurements[0].model_copy(update={"settings": {"num_frames": 65}})
    changes = compare(before, after.model_copy(update={"measurements": (longer,)}))
    assert changes[0].ratio is None and not changes[0].overlaps


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff\xfe\x00"])
def test_garbage_is_refused_with_its_path(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ConfigError, match="a.json"):
        read_report(tmp_path / "a.json")


def test_another_format_is_refused(tmp_path):
    fields = json.loads(report_of(a=[1.0]).model_dump_json())
    (tmp_path / "a.json").write_text(json.dumps({**fields, "format": 2}))
    with pytest.raises(ConfigError, match="format 2"):
        read_report(tmp_path / "a.json")


def test_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_report(tmp_path / "file" / "a.json", report_of(a=[1.0]))
