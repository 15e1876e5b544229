"""Record what the product does today, or compare it with what was recorded.

    python tests/goldens/record.py            compare; prints every difference, exit code 1 where there is one
    python tests/goldens/record.py --write    record anew; say in the commit why

Files beside this one:

    numbers.json        training, generation, seeds, ids and rewards (a minute)
    numbers_all.json    further forms of them (with --all; some mixes need the weights of DAILIES_WEIGHTS)
    stored.json         the files of runs and clips with the keys of their JSON
    schema.json         tables, columns and indexes of the database; the fields of presets, requests and settings
    help.json           the help text of every command
    errors.json         exit code and sentence of bad input
    page.json           components, labels, choices and events of the page
    routes.json         the routes of its server

Numbers are equal to the last bit on a machine with the CPU and the library versions that numbers.json names under
"machine", and within a tolerance elsewhere (see `differences` in measure_numbers.py). Everything else is
equal everywhere.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before torch and gradio are loaded.
FIXED = {
    "OMP_NUM_THREADS": "1",
    "DAILIES_DEVICE": "cpu",
    "DAILIES_TRACKIO": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "TOKENIZERS_PARALLELISM": "false",
    "COLUMNS": "100",
    "LC_ALL": "C.UTF-8",
}
os.environ |= FIXED
os.environ.pop("DAILIES_DATABASE_URL", None)

HERE = Path(__file__).resolve().parent
NUMBERS = ("numbers", "numbers_all")


def measure_numbers(folder: Path) -> dict[str, Any]:
    import measure_numbers
    import measure_stored

    numbers = measure_numbers.measure_quick(folder)
    return {"numbers": {"machine": measure_numbers.machine(), **numbers}, "stored": measure_stored.measure(folder)}


def measure_all(folder: Path) -> dict[str, Any]:
    import measure_numbers

    return {"numbers_all": {"machine": measure_numbers.machine(), **measure_numbers.measure_others(folder)}}


def measure_texts(folder: Path) -> dict[str, Any]:
    import measure_page
    import measure_stored
    import measure_texts

    page = measure_page.measure(folder / "page")
    return {
        "schema": measure_stored.schema(folder / "page"),
        "help": measure_texts.help_texts(),
        "errors": measure_texts.errors(folder / "errors"),
        **page,
    }


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "numbers": measure_numbers,
    "texts": measure_texts,
    "all": measure_all,
}


def compare(name: str, found: Any) -> list[str]:
    """The differences of one file, a line each."""
    from measure_numbers import differences

    recorded = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    found = json.loads(json.dumps(found))
    exact = True
    if name in NUMBERS:
        exact = recorded.pop("machine") == found.pop("machine")
    return [f"{name}{line}" for line in differences(recorded, found, exact=exact)]


def write(name: str, found: Any) -> None:
    text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False)
    (HERE / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record anew")
    parser.add_argument("--all", action="store_true", help="also what takes minutes")
    parser.add_argument("--only", choices=list(PARTS), action="append", help="one part")
    options = parser.parse_args()
    parts = options.only or [part for part in PARTS if part != "all" or options.all]
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        from measure_numbers import prepare

        prepare(folder)
        for part in parts:
            for file, found in PARTS[part](folder).items():
                if options.write:
                    write(file, found)
                else:
                    lines += compare(file, found)
    sys.stdout.write("\n".join(lines) if lines else f"{', '.join(parts)}: {'recorded' if options.write else 'equal'}.")
    sys.stdout.write("\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
