"""Modules of our own are imported at the top. The exceptions are listed here, each with its reason."""

import ast

Sources = dict[str, ast.Module]
OWN = ("app", "engine", "rewards", "presets", "assets", "tools", "examples")
MOST = 10

LOADS_TORCH = "loads torch, which the command's checks and its --help do without"
LATE: dict[tuple[str, str], str] = {
    ("app/__main__.py", "app.page"): "loads gradio, after the port is bound and the arguments are checked",
    ("engine/cli/bench.py", "engine.benchmark.suite"): LOADS_TORCH,
    ("engine/cli/training/pairs.py", "engine.training.data.reward_pairs"): LOADS_TORCH,
    ("engine/cli/results/vbench.py", "engine.training.evaluation.vbench"): LOADS_TORCH,
    ("engine/cli/training/train.py", "engine.training.main"): LOADS_TORCH,
    ("engine/jobs/handlers/evaluate.py", "engine.training.evaluation.evaluate"): "loads torch; see generate.py",
    ("engine/jobs/handlers/generate.py", "engine.generation"): "loads torch; the page imports the module",
    ("engine/jobs/handlers/generate.py", "engine.generation.context"): "loads torch; the page imports the module",
    ("engine/jobs/handlers/maintenance.py", "engine.training.evaluation.sample_sets"): (
        "loads torch, which downloads and inspections do without"
    ),
    ("rewards/networks/perceptual.py", "rewards.networks.mini_video"): "loads torch, which one of two back ends needs",
}
"""(file, module that it imports inside a function) -> reason."""


def late_imports(sources: Sources) -> list[tuple[str, str]]:
    """Return (file, module) of each import of our own modules inside a function, in order."""
    found = []
    for path, tree in sources.items():
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        imports = {node: None for function in functions for node in ast.walk(function)}
        for node in imports:
            if isinstance(node, ast.ImportFrom):
                found += [(path, node.module)] if node.module and node.module.split(".")[0] in OWN else []
            elif isinstance(node, ast.Import):
                found += [(path, alias.name) for alias in node.names if alias.name.split(".")[0] in OWN]
    return found


def test_late_imports_have_a_reason(sources: Sources) -> None:
    found = late_imports(sources)
    assert sorted(set(found) - LATE.keys()) == [], "import it at the top, or add it to LATE with its reason"
    assert sorted(LATE.keys() - set(found)) == [], "remove it from LATE"
    assert all(LATE.values())
    assert len(found) <= MOST


def test_the_rule_can_fail() -> None:
    bad = {"engine/x.py": ast.parse("import engine.y\ndef f():\n  def g():\n    from engine.y import z\n  import os")}
    assert late_imports(bad) == [("engine/x.py", "engine.y")]
    assert late_imports({"app/x.py": ast.parse("async def f():\n  import rewards.mix, json")}) == [
        ("app/x.py", "rewards.mix")
    ]


def test_the_public_names_of_rewards_are_imported_at_their_first_use() -> None:
    import rewards

    assert {name: getattr(rewards, name).__name__ for name in rewards.__all__ if name != "REWARDS"} == {
        name: name for name in rewards.__all__ if name != "REWARDS"
    }
    assert "seam" in rewards.REWARDS
    assert not hasattr(rewards, "no_such_name")
