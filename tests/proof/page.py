"""`build/proof/index.html`: every proof's claims as a table and its course as plots, in one file without scripts."""

import html
import json
from collections import defaultdict
from typing import Any

from proving import OUT

from examples.tour.plots import PLOT_STYLE, curves

STYLE = """:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}td,th{padding:.3rem .8rem;text-align:left;border-bottom:1px solid #ccc}
figure{margin:.5rem 1rem .5rem 0}.no{color:#c4362f}.yes{color:#2c8a50}"""


def section(name: str, lines: list[dict[str, Any]]) -> str:
    courses: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(dict)
    for line in (line for line in lines if line["kind"] == "point"):
        for key in line.keys() - {"proof", "kind", "s", "step", "run"}:
            courses[key].setdefault(line.get("run", key), []).append((line["step"], line[key]))
    claims = "".join(claim(line) for line in lines if line["kind"] == "claim")
    other = [line for line in lines if line["kind"] not in ("claim", "point", "end")]
    rest = html.escape("\n".join(json.dumps(line) for line in other))
    plots = "".join(curves(key, runs) for key, runs in sorted(courses.items()) if max(map(len, runs.values())) > 1)
    head = "<tr><th>claim</th><th>measured</th><th>floor</th><th>95 % interval of the change</th><th></th></tr>"
    return (
        f"<h2>{html.escape(name)}</h2><p>{lines[-1]['s']:.0f} s</p><table>{head}{claims}</table>{plots}"
        f"<details><summary>everything else</summary><pre>{rest}</pre></details>"
    )


def claim(line: dict[str, Any]) -> str:
    span = f"{line['low']:+.3f} to {line['high']:+.3f}" if "low" in line else ""
    mark = '<td class="yes">reached</td>' if line["reached"] else '<td class="no">missed</td>'
    cells = (html.escape(line["what"]), line["value"], line["floor"], span)
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}{mark}</tr>"


def main() -> None:
    found = {}
    for path in sorted(OUT.glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if lines:
            found[path.stem] = section(path.stem, lines)
    head = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Proofs</title><style>{STYLE}{PLOT_STYLE}</style>'
    )
    body = "<h1>Proofs</h1>" + "".join(found.values())
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "index.html").write_text(head + body + "</html>\n", encoding="utf-8")


if __name__ == "__main__":
    main()
