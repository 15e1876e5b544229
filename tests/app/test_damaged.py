"""One damaged file of many: the page's lists show all the others, and name the damaged one."""

from pathlib import Path

import pytest

from app.context import AppContext
from app.views.training import runs as run_board
from app.views.training.metric_charts import CurveFeed
from engine.config.presets import load_train_preset
from engine.runs.run import Run

DAMAGES = {
    "a byte": ("metrics.jsonl", b"\xff\n"),
    "a step": ("metrics.jsonl", b'{"step": 1e400, "loss": 1.0}\n'),
    "a number": ("metrics.jsonl", b'{"step": 3, "loss": NaN}\n'),
    "alarms": ("alarms.jsonl", b"\xff\n"),
    "evaluation": ("evaluation.json", b"\xff"),
    "preset": ("resolved.json", b"\xff"),
    "verdicts": ("preflight.json", b"\xff"),
    "lineage": ("lineage.json", b"\xff"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_train_and_monitor_show_every_run(context: AppContext, damage: str) -> None:
    runs = [Run.create(context.workspace, load_train_preset("mini_nft")) for _ in range(3)]
    for run in runs:
        run.append_metrics(2, {"loss": 1.0, "of": 4})
    name, content = DAMAGES[damage]
    with Path(runs[1].folder / name).open("ab") as file:
        file.write(content)
    board = {row["id"]: row for row in run_board.run_list(context)["runs"]}
    assert {board[run.id]["where"] for run in (runs[0], runs[2])} == {"2 / 4"}
    assert not board[runs[0].id]["problem"]
    assert bool(board[runs[1].id]["problem"]) == (damage == "preset")
    ids = [run.id for run in runs]
    news = CurveFeed(context).news({"runs": ids, "axis": "step"})
    assert set(news["series"]) == set(ids) and all("loss" in one["data"] for one in news["series"].values())
    card = next(row for row in news["runs"] if row["id"] == runs[1].id)
    assert ("damaged" in card["where"]) == (damage in ("a byte", "a step"))
