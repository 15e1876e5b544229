"""The tables of README.md that come from the code: `make docs` writes them, test_docs.py checks that they are in step.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

import argparse
import ast
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from engine.cli.main import build_parser
from engine.config.presets import load_preset, preset_keys
from engine.families.registry import family_spec
from rewards import REWARDS, reward_spec

README = Path(__file__).resolve().parents[2] / "README.md"
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def markdown(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def number(value: float) -> str:
    return f"{value:g}"


def rewards() -> str:
    """One row a reward: what it asks, what the raw value is, where its weights come from."""
    specs = [reward_spec(key) for key in REWARDS]
    rows = (
        (f"`{spec.key}`", spec.question, f"{spec.unit}: {number(spec.low)} to {number(spec.high)}", spec.licence)
        for spec in specs
    )
    return markdown(("reward", "asks", "raw value, bad to good", "weights and their licence"), rows)


def models() -> str:
    """One row a model preset."""
    presets = [load_preset("models", key) for key in preset_keys("models")]
    rows = (
        (
            f"`{preset.key}`",
            preset.title,
            f"{preset.width}x{preset.height}, {preset.num_frames} frames (at most {preset.max_frames})",
            family_spec(preset.family).conditioning_summary or "nothing",
            f"{number(preset.vram_gib)} GiB" if preset.vram_gib else "not measured",
            preset.licence,
        )
        for preset in presets
    )
    return markdown(("key", "model", "by default", "takes besides the prompt", "device memory", "licence"), rows)


def mixes() -> str:
    """One row a reward mix."""
    loaded = [load_preset("rewards", key) for key in preset_keys("rewards")]
    rows = (
        (f"`{mix.key}`", mix.title, ", ".join(f"{key} {number(weight)}" for key, weight in mix.weights.items()))
        for mix in loaded
    )
    return markdown(("key", "mix", "weights"), rows)


def mini() -> str:
    """What assets/mini/metrics.json holds, one row an attribute."""
    measured = json.loads((README.parent / "assets" / "mini" / "metrics.json").read_text())["held_out_prompts"]
    names = [name for name, rate in measured[0]["rates"].items() if rate["of"] >= measured[0]["clips"] / 10]
    rows = ((name.replace("_", " "), *(percent(one["rates"][name]) for one in measured)) for name in names)
    return markdown(("right", *(f"{one['frames']} frames" for one in measured)), rows)


def percent(rate: dict[str, float]) -> str:
    low, high = rate["low"], rate["high"]
    return f"{rate['rate']:.1%} ({low:.1%} to {high:.1%}, of {rate['of']})"


def recipes() -> str:
    """One row a training preset."""
    presets = [load_preset("train", key) for key in preset_keys("train")]
    rows = ((f"`{p.key}`", p.title, p.algorithm, p.model, p.source, p.notes) for p in presets)
    return markdown(("key", "recipe", "algorithm", "model", "where its numbers come from", "measured"), rows)


def curricula() -> str:
    """One row a curriculum: its stages in order."""
    presets = [load_preset("curricula", key) for key in preset_keys("curricula")]
    rows = ((f"`{p.key}`", p.title, ", ".join(stage.name for stage in p.stages), p.source, p.notes) for p in presets)
    return markdown(("key", "curriculum", "stages", "where its numbers come from", "measured"), rows)


def algorithms() -> str:
    """One row a file of engine/algorithms: what its first line says, and the papers that it names."""
    files = sorted((README.parent / "engine" / "algorithms").glob("[!_]*.py"))
    texts = {file.stem: ast.get_docstring(ast.parse(file.read_text(encoding="utf8"))) or "" for file in files}
    rows = (
        (f"`{name}`", text.splitlines()[0], ", ".join(dict.fromkeys(re.findall(r"arXiv:[\d.]+\d", text))))
        for name, text in texts.items()
    )
    return markdown(("file", "what it is", "papers"), rows)


def leaf_commands(parser: argparse.ArgumentParser, words: str = "") -> Iterator[tuple[str, str]]:
    """Every command that does something, with its help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                path = f"{words} {choice.dest}".strip()
                yield from list(leaf_commands(action.choices[choice.dest], path)) or [(path, choice.help or "")]


def commands() -> str:
    """One row a command of `dailies`."""
    rows = ((f"`dailies {words}`", help_text) for words, help_text in leaf_commands(build_parser()))
    return markdown(("command", "does"), rows)


TABLES = {
    "rewards": rewards,
    "models": models,
    "mini": mini,
    "recipes": recipes,
    "curricula": curricula,
    "algorithms": algorithms,
    "mixes": mixes,
    "commands": commands,
}


def fill(text: str) -> str:
    """The text with every table made anew. Raises KeyError for a place whose table nobody makes."""
    return PLACE.sub(lambda place: place[1] + TABLES[place[2]]() + place[3], text)


def main() -> int:
    before = README.read_text(encoding="utf8")
    after = fill(before)
    README.write_text(after, encoding="utf8")
    sys.stdout.write("README.md is up to date\n" if before == after else "README.md: tables written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
