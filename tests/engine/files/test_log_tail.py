"""Logs of any size are read at their end, and never as a whole."""

import tracemalloc
from pathlib import Path

import pytest

from engine.files.log_tail import LINE_CHARS, LINES, PIECE_BYTES, SEARCHED_BYTES, TAIL_BYTES, read_log
from engine.runs.run import Run

GIB = 2**30
LINE = "step {:06d} loss 0.5 and some more words to fill a line of a log as long as they are\n"


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """A gibibyte, of which only the end was ever written: 40 MiB of lines behind a hole."""
    path = tmp_path / "log.txt"
    with path.open("wb") as file:
        file.seek(GIB - 40 * 2**20)
        number, lines = 0, []
        while number * len(LINE.format(0)) < 40 * 2**20:
            lines.append(LINE.format(number))
            number += 1
        file.write("".join(lines).encode())
    assert path.stat().st_size >= GIB
    return path


def peak_of(path: Path, word: str) -> int:
    tracemalloc.start()
    read_log(path, word)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_the_tail_of_a_gibibyte(huge: Path) -> None:
    part = read_log(huge)
    assert len(part.lines) == LINES and part.lines[-1].startswith("step ")
    assert part.size == huge.stat().st_size and part.size - part.skipped_bytes == TAIL_BYTES
    assert peak_of(huge, "") < 3 * PIECE_BYTES


def test_a_search_of_a_gibibyte_looks_at_its_end_a_piece_at_a_time(huge: Path) -> None:
    with huge.open("ab") as file:
        file.write(b"Needle: found\n")
    part = read_log(huge, "nEEdle")
    assert part.lines == ("Needle: found",) and part.size - part.skipped_bytes == SEARCHED_BYTES
    everywhere = read_log(huge, "loss")
    assert len(everywhere.lines) == LINES and everywhere.lines[-1].startswith("step ")
    assert peak_of(huge, "needle") < 12 * PIECE_BYTES < SEARCHED_BYTES


def test_a_log_without_line_ends_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(b"x" * (3 * PIECE_BYTES) + b" end")
    part = read_log(path, "end")
    assert len(part.lines) == 1 and len(part.lines[0]) < LINE_CHARS + 50
    assert peak_of(path, "end") < 12 * PIECE_BYTES


def test_the_first_line_that_is_looked_at_is_torn_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("".join(LINE.format(number) for number in range(2000)))
    lines = read_log(path).lines
    assert all(line.startswith("step ") for line in lines)
    path.write_text("one\nzwei é\nthree")
    assert read_log(path).lines == ("one", "zwei é", "three")
    assert read_log(path, "É").lines == ("zwei é",)
    path.write_bytes(b"10%\r20%\r30%\r\ndone\r\n")
    assert read_log(path).lines == ("10%", "20%", "30%", "done")


def test_where_a_run_is_stands_at_the_end_of_its_metrics(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    assert run.progress() == (0, 0)
    run.append_metrics(3, {"loss": 1.0, "of": 10})
    run.append_metrics(3, {"watch/motion": 1.0})
    assert run.progress() == (3, 10)
    with run.metrics_file.open("ab") as file:
        file.write(b'{"step": 4, "los')  # torn by a crash
    assert run.progress() == (3, 10)
    run.append_metrics(2, {"loss": 1.0})  # resumed from an older checkpoint
    assert run.progress() == (2, 10)
    assert [row["step"] for row in run.metrics()] == [2, 3]
