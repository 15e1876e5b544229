"""`docs/config.md`, made of the classes that read preset files: `make docs` writes it, test_docs.py checks it.

Every field has a sentence of its own, the string below it in its class; one without is an error.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from engine.config.alarm_settings import AlarmSettings
from engine.config.curriculum_preset import CurriculumGate, CurriculumPreset, GateCondition, Stage
from engine.config.form_settings import FormSetting, settings_of
from engine.config.schema import ModelPreset, NetworkShape, TrainPreset
from engine.import_object import import_object
from engine.training.build import ALGORITHMS
from examples.tour.settings import Contest, Lengthening, Measuring, Person, Showing, TourSize, Training, VotingSettings
from rewards.mix import GateStrengths, Mix

FILE = Path(__file__).resolve().parents[2] / "docs" / "config.md"
INTRO = """# What preset files may say

Made by `make docs` from the classes that read the files; whatever is not listed here is refused, with a suggestion.
A file of yours in the folder `DAILIES_PRESETS` (`models/`, `train/`, `rewards/`, `curricula/`, `prompts/`) is found
like the shipped ones, and one of the same name goes before them.
`dailies presets show KIND KEY` prints a preset as it is read. Prompts are text files, a prompt a line.
"""
ROOTS: dict[type[BaseModel], str] = {
    ModelPreset: "Models: `presets/models/*.toml`",
    TrainPreset: "Recipes: `presets/train/*.toml`",
    Mix: "Reward mixes: `presets/rewards/*.toml`",
    CurriculumPreset: "Curricula: `presets/curricula/*.toml`",
    TourSize: "The tour: `examples/tour/tour.toml`",
}
PARTS: dict[type[BaseModel], str] = {
    NetworkShape: "`network` of a model",
    AlarmSettings: "`alarms` of a recipe",
    GateStrengths: "`gates` of a mix",
    Stage: "A stage of a curriculum",
    CurriculumGate: "`gate` of a stage",
    GateCondition: "A condition of a gate",
    Person: "One of the tour's `people`",
    Showing: "The tour's `show`",
    VotingSettings: "The tour's `votes`",
    Measuring: "The tour's `measure`",
    Training: "The tour's `dpo`, `grpo` and `student`",
    Lengthening: "The tour's `curriculum`",
    Contest: "The tour's `ranking`",
}
FEW = 6  # choices that are listed
BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "multiple_of": "a multiple of"}


def text() -> str:
    """The whole page. Raises ValueError for a field that says nothing of itself."""
    return "\n".join([INTRO, *sections()])


def sections() -> Iterator[str]:
    for root, title in ROOTS.items():
        yield f"## {title}\n"
        yield table(root)
        for part in parts_of(root):
            yield f"### {PARTS[part]}\n"
            yield table(part)
        if root is TrainPreset:
            yield from (settings(algorithm) for algorithm in ALGORITHMS)


def parts_of(root: type[BaseModel]) -> list[type[BaseModel]]:
    """The models inside a model, at any depth, in order. Raises KeyError for one that has no title here."""
    found: list[type[BaseModel]] = []
    for field in root.model_fields.values():
        for inner in models_in(field.annotation):
            found += [one for one in (inner, *parts_of(inner)) if one not in found]
    return found


def models_in(hint: Any) -> list[type[BaseModel]]:
    if inspect.isclass(hint) and issubclass(hint, BaseModel):
        return [hint]
    return [model for inner in getattr(hint, "__args__", ()) for model in models_in(inner)]


def table(model: type[BaseModel]) -> str:
    said = sentences(model)
    lines = ["| field | takes | default | |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        if name not in said:
            raise ValueError(f"{model.__name__}.{name} says nothing of itself: write a string below it.")
        kind, meaning = said[name]
        lines.append(f"| `{name}` | {escaped(kind)}{bounds(field)} | {default(field)} | {escaped(meaning)} |")
    return "\n".join(lines) + "\n"


@cache
def sentences(model: type[BaseModel]) -> dict[str, tuple[str, str]]:
    """What each field of a model takes and means, as its class says it or the one that it extends."""
    found: dict[str, tuple[str, str]] = {}
    for cls in reversed([cls for cls in model.__mro__ if issubclass(cls, BaseModel) and cls is not BaseModel]):
        [tree] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(tree, ast.ClassDef)
        for line, below in zip(tree.body, tree.body[1:], strict=False):
            told = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and told:
                found[line.target.id] = ast.unparse(line.annotation), " ".join(str(below.value.value).split())  # type: ignore[attr-defined]
    return found


def bounds(field: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(one, name):g}"
        for one in field.metadata
        for name, sign in BOUNDS.items()
        if hasattr(one, name)
    ]
    return f", {', '.join(limits)}" if limits else ""


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    return "see below" if isinstance(value, BaseModel) else f"`{value!r}`"


def settings(algorithm: str) -> str:
    """The settings of an algorithm's trainer. What a library's field means is said by that library."""
    config_class = import_object(ALGORITHMS[algorithm][1])
    lines = [
        f"### `settings` of the algorithm `{algorithm}`\n",
        "| field | takes | default | |",
        "| --- | --- | --- | --- |",
    ]
    for one in settings_of(algorithm):
        lines.append(f"| `{one.name}` | {taken(one)} | `{one.default}` | {escaped(meaning(config_class, one))} |")
    return "\n".join(lines) + "\n"


def meaning(config_class: Any, one: FormSetting) -> str:
    """Our own words, or whose field it is."""
    for cls in config_class.__mro__:
        field = cls.__dict__.get("__dataclass_fields__", {}).get(one.name)
        if one.name in inspect.get_annotations(cls) and field is not None and not cls.__module__.startswith("engine."):
            package = cls.__module__.partition(".")[0].replace("trl", "TRL")
            ours = one.help and one.help != " ".join(str(field.metadata.get("help", "")).split())
            return one.help if ours else f"as in {package}"
    return one.help


def taken(one: FormSetting) -> str:
    kind: str = one.kind
    if one.kind == "choice":
        few = len(one.choices) <= FEW
        kind = " or ".join(f"`{choice}`" for choice in one.choices) if few else f"one of {len(one.choices)} names"
    return f"{kind}{f', {one.unit}' if one.unit else ''}{', or nothing' if one.optional else ''}"


def escaped(words: str) -> str:
    return words.replace("|", "\\|")


def main() -> int:
    new, old = text(), FILE.read_text(encoding="utf8") if FILE.is_file() else ""
    FILE.write_text(new, encoding="utf8")
    sys.stdout.write(f"docs/config.md {'is up to date' if new == old else 'was written'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
