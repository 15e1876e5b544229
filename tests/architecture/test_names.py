"""What differs between families, models, algorithms and rewards is data in their specs, never a comparison of names."""

import ast
from pathlib import Path

import pytest

VAGUE = {"utils", "util", "helpers", "common", "manager", "misc", "types"}
Sources = dict[str, ast.Module]


def constants(node: ast.AST) -> set[str]:
    """Texts written in an expression: a constant, or the elements of a literal collection."""
    return {child.value for child in ast.walk(node) if isinstance(child, ast.Constant) and isinstance(child.value, str)}


def is_literal(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant | ast.Tuple | ast.List | ast.Set)


def compared_texts(node: ast.AST) -> set[str]:
    """The texts that `==`, `!=`, `in`, `not in`, `case` or `startswith` compare something with."""
    if isinstance(node, ast.Compare):
        return set().union(*(constants(side) for side in (node.left, *node.comparators) if is_literal(side)))
    if isinstance(node, ast.MatchValue):
        return constants(node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in ("startswith", "endswith"):
            return set().union(*(constants(argument) for argument in node.args))
    return set()


def name_comparisons(sources: Sources, owners: dict[str, str]) -> list[str]:
    """Comparisons with a key outside the file that owns it; `owners` maps key -> path of its own file."""
    return [
        f"{path}:{getattr(node, 'lineno', 0)} compares with {key!r}"
        for path, tree in sources.items()
        for node in ast.walk(tree)
        for key in sorted(compared_texts(node) & owners.keys())
        if path != owners[key]
    ]


LIBRARY_CONFIGS = (  # derived from TRL's config classes, whose trainers set their fields
    "engine/training/clip_settings.py",
    "engine/training/prompt_settings.py",
    "engine/training/trainer_settings.py",
    "engine/training/video_arguments.py",
)
OPEN_MODELS = ("PairNumbers",)  # a row of pairs.jsonl may have columns of its author, which are kept


def loose_values(sources: Sources) -> list[str]:
    """Dataclasses that are not frozen and slotted."""
    found = []
    for path, tree in sources.items():
        for node in (
            child for child in ast.walk(tree) if isinstance(child, ast.ClassDef) and path not in LIBRARY_CONFIGS
        ):
            marks = [ast.unparse(mark) for mark in node.decorator_list if "dataclass" in ast.unparse(mark)]
            if marks and not ("frozen=True" in marks[0] and "slots=True" in marks[0]):
                found.append(f"{path}:{node.lineno} {node.name}")
    return found


def loose_models(sources: Sources) -> list[str]:
    """Pydantic models that can be changed, or that swallow fields they do not know."""
    found = []
    for path, tree in sources.items():
        for node in (child for child in ast.walk(tree) if isinstance(child, ast.ClassDef)):
            if "BaseModel" in [ast.unparse(base).split(".")[-1] for base in node.bases]:
                text = ast.unparse(node)
                if node.name in OPEN_MODELS and "frozen=True" in text:
                    continue
                if not ("frozen=True" in text and ("extra='forbid'" in text or 'extra="forbid"' in text)):
                    found.append(f"{path}:{node.lineno} {node.name}")
    return found


def mocking(sources: Sources) -> list[str]:
    """Tests that replace code by a mock: the seam here is the small model, made of the real classes."""
    return [
        f"{path}:{node.lineno}"
        for path, tree in sources.items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("unittest.mock"))
        or (isinstance(node, ast.ImportFrom) and node.module == "unittest" and "mock" in {a.name for a in node.names})
        or (isinstance(node, ast.Import) and "unittest.mock" in {alias.name for alias in node.names})
    ]


@pytest.fixture(scope="module")
def owners() -> dict[str, str]:
    """Every key of a registry or a model preset, and the file where its name may be asked for."""
    from engine.config.algorithms import ALGORITHMS
    from engine.config.presets import preset_keys
    from engine.families.registry import FAMILIES
    from rewards import REWARDS

    found = {key: "" for key in preset_keys("models")}
    found |= {key: path.split(":")[0].replace(".", "/") + ".py" for key, path in FAMILIES.items()}
    found |= {key: one.trainer.split(":")[0].replace(".", "/") + ".py" for key, one in ALGORITHMS.items()}
    del found["sft"]  # also one of TRL's losses, which the settings of DPO ask for
    return found | {key: path.replace(".", "/") + ".py" for key, path in REWARDS.items()}


def test_no_code_asks_for_a_family_algorithm_or_reward_by_name(sources: Sources, owners: dict[str, str]) -> None:
    assert len(owners) > 3
    assert name_comparisons(sources, owners) == []


def test_the_name_rule_can_fail() -> None:
    bad = """
if family.key == "ltx": pass
if "seam" in ("seam", "framing"): pass
if key not in {"seam"}: pass
match key:
    case "ltx": pass
if key.startswith("lt" + "x") or key.startswith("ltx"): pass
fine = REWARDS["seam"]
"""
    owners = {"ltx": "engine/families/ltx.py", "seam": "rewards/metrics/seam.py"}
    found = name_comparisons({"engine/x.py": ast.parse(bad)}, owners)
    assert sorted({int(place.split(":")[1].split()[0]) for place in found}) == [2, 3, 4, 6, 7]
    assert name_comparisons({"engine/families/ltx.py": ast.parse("a = b == 'ltx'")}, owners) == []


def test_values_are_frozen_and_configs_strict(sources: Sources) -> None:
    assert loose_values(sources) == []
    assert loose_models(sources) == []


def test_the_value_rules_can_fail() -> None:
    bad = """
@dataclass
class A: pass
@dataclass(frozen=True)
class B: pass
@dataclass(frozen=True, slots=True, kw_only=True)
class C: pass
class D(BaseModel): model_config = ConfigDict(frozen=True)
class E(BaseModel): model_config = ConfigDict(frozen=True, extra="forbid")
"""
    tree = {"engine/x.py": ast.parse(bad)}
    assert [place.split()[1] for place in loose_values(tree)] == ["A", "B"]
    assert [place.split()[1] for place in loose_models(tree)] == ["D"]


def test_files_say_what_they_hold(sources: Sources) -> None:
    assert [path for path in sources if Path(path).stem in VAGUE] == []


def test_nothing_is_mocked(test_sources: Sources) -> None:
    assert mocking(test_sources) == []


def test_the_mock_rule_can_fail() -> None:
    bad = ast.parse("from unittest import mock\nimport unittest.mock\nfrom unittest.mock import patch\nimport unittest")
    assert mocking({"tests/x.py": bad}) == ["tests/x.py:1", "tests/x.py:2", "tests/x.py:3"]
