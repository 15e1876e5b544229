"""Who may import whom. Layers and gradio are import-linter's (`make check`); here is what a run or a registry shows."""

import ast
import json
import subprocess
from pathlib import Path

import pytest

MODEL_LIBRARIES = ("torch", "torchvision", "diffusers", "transformers", "peft", "trl", "accelerate", "ray", "submitit")

# Loaded by the page and by every command line before there is a reason to load a model.
TORCH_FREE = (
    "app",
    "engine.cli",
    "engine.config",
    "engine.estimation",
    "engine.execution",
    "engine.errors",
    "engine.files",
    "engine.families",
    "engine.request",
    "engine.jobs.handlers.campaign_clips",
    "engine.jobs.worker_control",
    "engine.jobs.queue",
    "engine.jobs.spec",
    "engine.labelling",
    "engine.runs",
    "engine.seeds",
    "engine.storage",
    "engine.video",
    "rewards.spec",
    "rewards.clip",
    "rewards.errors",
    "rewards.mix",
)

PROBE = """
import importlib, json, sys
offenders = {}
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
    loaded = [library for library in json.loads(sys.argv[2]) if sys.modules.get(library)]
    if loaded:
        offenders[name] = loaded
        break
print(json.dumps(offenders))
"""


def modules_under(root: Path, name: str) -> list[str]:
    """The module `name` and, when it is a package, every module in it."""
    folder = root / name.replace(".", "/")
    paths = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    names = [path.relative_to(root).with_suffix("").as_posix().replace("/", ".") for path in paths]
    return [module.removesuffix(".__init__") for module in names]


def first_to_load_models(python: str, root: Path, modules: list[str]) -> dict[str, list[str]]:
    """Import the modules one after another in a fresh process; the first that brings a model library, and which."""
    command = [python, "-c", PROBE, json.dumps(modules), json.dumps(MODEL_LIBRARIES)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def imported_modules(tree: ast.Module) -> set[str]:
    """Everything a module imports anywhere, as dotted names; `from a import b` gives both `a` and `a.b`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def sibling_imports(sources: dict[str, ast.Module], siblings: set[str]) -> list[str]:
    """Imports of one sibling by another."""
    found = []
    for path, tree in sources.items():
        module = path.removesuffix(".py").replace("/", ".")
        if module in siblings:
            found += [f"{path} imports {other}" for other in sorted(imported_modules(tree) & siblings - {module})]
    return found


def future_annotations(sources: dict[str, ast.Module]) -> list[str]:
    """jaxtyping and pydantic read annotations at run time, so none may be turned into strings."""
    return [path for path, tree in sources.items() if "__future__.annotations" in imported_modules(tree)]


def relative_imports(sources: dict[str, ast.Module]) -> list[str]:
    return [
        f"{path}:{node.lineno}"
        for path, tree in sources.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]


def registered_siblings(kind: str, root: Path) -> set[str]:
    if kind == "rewards":
        from rewards import REWARDS

        return set(REWARDS.values())
    if kind == "families":
        from engine.families.registry import FAMILIES

        return {path.split(":")[0] for path in FAMILIES.values()}
    folder = {"algorithms": "engine.algorithms", "tabs": "app.tabs"}[kind]
    return {name for name in modules_under(root, folder) if name != folder and not name.endswith(".base")}


def test_the_page_and_the_specs_leave_torch_out(root: Path, python: str) -> None:
    found = [module for name in TORCH_FREE for module in modules_under(root, name)]
    modules = [module for module in found if ".migrations." not in module]  # scripts that only Alembic can run
    assert first_to_load_models(python, root, modules) == {}


def test_the_probe_notices_torch(root: Path, python: str) -> None:
    found = first_to_load_models(python, root, ["engine.seeds", "tools.mini.autoencoder"])
    assert list(found) == ["tools.mini.autoencoder"]
    assert "torch" in found["tools.mini.autoencoder"]


@pytest.mark.parametrize("kind", ["rewards", "families", "algorithms", "tabs"])
def test_siblings_never_import_each_other(kind: str, sources: dict[str, ast.Module], root: Path) -> None:
    assert sibling_imports(sources, registered_siblings(kind, root)) == []


def test_the_sibling_rule_can_fail() -> None:
    bad = {
        "rewards/a.py": ast.parse("def f():\n    from rewards.b import g"),
        "rewards/b.py": ast.parse("import rewards.a"),
        "rewards/c.py": ast.parse("from rewards import b"),
        "rewards/suite.py": ast.parse("from rewards import a"),
    }
    found = sibling_imports(bad, {"rewards.a", "rewards.b", "rewards.c"})
    assert found == [
        "rewards/a.py imports rewards.b",
        "rewards/b.py imports rewards.a",
        "rewards/c.py imports rewards.b",
    ]


def test_imports_are_absolute_and_annotations_are_real(sources: dict[str, ast.Module]) -> None:
    assert future_annotations(sources) == []
    assert relative_imports(sources) == []


def test_the_import_style_rules_can_fail() -> None:
    bad = {"engine/x.py": ast.parse("from __future__ import annotations\nfrom . import errors")}
    assert future_annotations(bad) == ["engine/x.py"]
    assert relative_imports(bad) == ["engine/x.py:2"]


START = """
import json, sys
written = []
sys.addaudithook(lambda event, args: event == "open" and str(args[0]).endswith(".pyi") and written.append(args))
from app.gradio_import import without_stub_files
with without_stub_files():
    import app.page
print(json.dumps([sorted({name.split(".")[0] for name in sys.modules} & {"scipy", "torch", "transformers"}), written]))
"""


def test_the_page_starts_without_scipy_and_without_stub_files(root: Path, python: str) -> None:
    """Both would take half a second or more; the stub files are written by a private function of Gradio."""
    done = subprocess.run([python, "-c", START], cwd=root, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [[], []]
