"""Tables in the documentation's pages that are made from the code.

`make docs` writes them; tests/architecture/test_docs.py checks that they are up to date. A table is placed between the
lines `<!-- table: NAME -->` and `<!-- end -->` of a page.
"""

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

from engine.config.presets import load_preset, preset_keys
from engine.estimation.model_forecast import (
    CARDS,
    Fit,
    fit_generation,
    fit_training,
    forecast_model,
    memory_summary,
)
from engine.families.exchange.exporting import FORMATS
from engine.families.registry import FAMILIES, family_spec
from engine.family_interface import FamilySpec
from engine.labelling.pair_tables import PairLine
from rewards import REWARDS, reward_spec
from tools.docs.configuration_page import table
from tools.docs.markdown import markdown
from tools.docs.training_tables import (
    checks,
    curricula,
    environment_variables,
    grpo_defaults,
    metrics,
    mix_weights,
    preset_sources,
    presets,
)

ROOT = Path(__file__).resolve().parents[2]
TIMED = CARDS[2]
DOUBLES = ROOT / "tools" / "docs" / "doubles.json"
NOT_CHECKED = "not checked"
COLUMNS = ("parity", "algorithms", *(f"export {form}" for form in FORMATS), "import", "pictures", "memory law")
PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def number(value: float) -> str:
    return f"{value:g}"


def rewards() -> str:
    """Return one row per reward: its question, the range of the raw value, the licence of its weights."""
    specs = [reward_spec(key) for key in REWARDS]
    rows = (
        (f"`{spec.key}`", spec.question, f"{spec.unit}: {number(spec.low)} to {number(spec.high)}", spec.licence)
        for spec in specs
    )
    return markdown(("reward", "question", "raw value, bad to good", "weights and their licence"), rows)


def models() -> str:
    """Return one row per model preset."""
    presets = [load_preset("models", key) for key in preset_keys("models")]
    rows = (
        (
            f"`{preset.key}`",
            preset.title,
            f"{preset.width}x{preset.height}, {preset.num_frames} frames (at most {preset.max_frames})",
            family_spec(preset.family).conditioning_summary or "nothing",
            memory_summary(preset),
            preset.licence,
        )
        for preset in presets
    )
    head = ("key", "model", "default clip", "conditioning other than the prompt", "memory: weights / peak", "licence")
    return markdown(head, rows)


def forecasts() -> str:
    """Return one row per model preset: memory by part, and times on one card, for a default clip."""
    rows = []
    for key in preset_keys("models"):
        preset = load_preset("models", key)
        found = forecast_model(preset)
        if found is None:
            continue
        clip, training = found.clip, found.training
        parts = (clip.network, clip.vae, clip.others, clip.text, clip.passes, clip.decoding, clip.peak)
        update = (training.training + training.update, training.peak) if training else ()
        trained = [gib(part) for part in update] or ["none", "generation only"]
        seconds = found.update_seconds(TIMED) if training else None
        times = (duration(found.clip_seconds(TIMED)), duration(seconds) if seconds is not None else "none")
        assert preset.network is not None
        lender = f"`{preset.network.decoding_of}`" if preset.network.decoding_of else "own"
        rows.append((f"`{key}`", *(gib(part) for part in parts), *trained, *times, lender))
    return markdown(
        (
            "key",
            "network",
            "VAE",
            "other parts",
            "prompts",
            "a pass",
            "decoding",
            "**peak of a clip**",
            "update",
            "**peak of training**",
            "a clip",
            "an update",
            "decoding fitted for",
        ),
        rows,
    )


def cards() -> str:
    """Return one row per model preset and one column per card: what runs, and with which options."""
    rows = []
    for key in preset_keys("models"):
        preset = load_preset("models", key)
        if preset.network is None:
            continue
        for use, fit in (("generate", fit_generation), ("train", fit_training)):
            cells = [_cell(fit(preset, card.memory_gib)) for card in CARDS]
            rows.append((f"`{key}`", use, *cells))
    return markdown(("key", "use", *(f"{card.memory_gib:g} GB" for card in CARDS)), rows)


def _cell(fit: Fit | None) -> str:
    if fit is None:
        return "generation only"
    if not fit.fits:
        return f"no: {gib(fit.peak)}"
    return f"yes: {gib(fit.peak)}" + "".join(f", `{option}`" for option in fit.options)


def gib(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def duration(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds / 60:.2g} min"


def doubles() -> str:
    """Return one row per family: the checks of `make doubles` that passed, or why there is none."""
    found = read_doubles()
    rows = (
        (f"`{key}`", *(_checked(found.get(key, {}).get(column), family_spec(key), column) for column in COLUMNS))
        for key in FAMILIES
    )
    return markdown(("family", *COLUMNS), rows)


def read_doubles() -> dict[str, Any]:
    """Return the results of `make doubles` by family and column."""
    return json.loads(DOUBLES.read_text(encoding="utf8")) if DOUBLES.is_file() else {}


def _checked(cell: dict[str, Any] | None, spec: FamilySpec, column: str) -> str:
    names, form = spec.layer_names, column.removeprefix("export ")
    if cell is None and form in FORMATS[1:] and form not in names.formats:
        return f"none: {names.otherwise}"
    if cell is None:
        return "takes no picture" if column == "pictures" and not spec.takes_image else NOT_CHECKED
    passed = str(cell["of"]) if cell["passed"] == cell["of"] else f"**{cell['passed']} of {cell['of']}**"
    limits = f", {names.limits}" if form in FORMATS[1:] and names.limits else ""
    return passed + (f": {', '.join(cell['kinds'])}" if cell["kinds"] else "") + limits


def mixes() -> str:
    """Return one row per reward mix."""
    loaded = [load_preset("rewards", key) for key in preset_keys("rewards")]
    rows = (
        (f"`{mix.key}`", mix.title, ", ".join(f"{key} {number(weight)}" for key, weight in mix.weights.items()))
        for mix in loaded
    )
    return markdown(("key", "mix", "weights"), rows)


def mini() -> str:
    """Return one row an attribute of assets/mini/metrics.json."""
    measured = json.loads((ROOT / "assets" / "mini" / "metrics.json").read_text())["held_out_prompts"]
    names = [name for name, rate in measured[0]["rates"].items() if rate["of"] >= measured[0]["clips"] / 10]
    rows = ((name.replace("_", " "), *(percent(length["rates"][name]) for length in measured)) for name in names)
    return markdown(("right", *(f"{length['frames']} frames" for length in measured)), rows)


def percent(rate: dict[str, float]) -> str:
    low, high = rate["low"], rate["high"]
    return f"{rate['rate']:.1%} ({low:.1%} to {high:.1%}, of {rate['of']})"


def algorithms() -> str:
    """Return one row per file of engine/algorithms: its first line and the papers that it cites."""
    files = sorted((ROOT / "engine" / "algorithms").glob("[!_]*.py"))
    texts = {file.stem: ast.get_docstring(ast.parse(file.read_text(encoding="utf8"))) or "" for file in files}
    rows = (
        (f"`{name}`", text.splitlines()[0], ", ".join(dict.fromkeys(re.findall(r"arXiv:[\d.]+\d", text))))
        for name, text in texts.items()
    )
    return markdown(("file", "what it is", "papers"), rows)


def pairs() -> str:
    """Return one row per field of a row of `pairs.jsonl`."""
    return table(PairLine)


TABLES = {
    "doubles": doubles,
    "rewards": rewards,
    "models": models,
    "forecasts": forecasts,
    "cards": cards,
    "mini": mini,
    "presets": presets,
    "preset_sources": preset_sources,
    "curricula": curricula,
    "algorithms": algorithms,
    "mixes": mixes,
    "pairs": pairs,
    "checks": checks,
    "grpo_defaults": grpo_defaults,
    "mix_weights": mix_weights,
    "metrics": metrics,
    "environment_variables": environment_variables,
}


def pages() -> list[Path]:
    """Return the pages that may hold tables: README.md and all of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def fill(text: str) -> str:
    """Return the text with every table made again. Raises KeyError for an unknown table."""
    return PLACE.sub(lambda place: place[1] + TABLES[place[2]]() + place[3], text)


def main() -> int:
    for page in pages():
        before = page.read_text(encoding="utf8")
        after = fill(before)
        if after != before:
            page.write_text(after, encoding="utf8")
            sys.stdout.write(f"{page.relative_to(ROOT)}: tables written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
