"""`build/proof/index.html`: every proof's claims as a table and its course as plots, in one file without scripts."""

import html
import json
from collections import defaultdict
from typing import Any

from proving import OUT

WIDTH, HEIGHT, PAD = 360, 150, 34
STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}td,th{padding:.3rem .8rem;text-align:left;border-bottom:1px solid #ccc}
figure{display:inline-block;margin:.5rem 1rem .5rem 0}figcaption{font-size:13px}.no{color:#b00020}.yes{color:#1b7a3d}
polyline{fill:none;stroke:#2457a5;stroke-width:1.5}text{font-size:10px;fill:#555}"""


def plot(name: str, points: list[tuple[float, float]]) -> str:
    """One line as SVG, with the least and the greatest value written at its axis."""
    (left, right), (low, high) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))
    across, up = (right - left) or 1, (high - low) or 1
    places = " ".join(
        f"{PAD + (x - left) / across * (WIDTH - PAD - 8):.1f},{HEIGHT - 16 - (y - low) / up * (HEIGHT - 28):.1f}"
        for x, y in points
    )
    labels = f'<text x="0" y="14">{high:.3g}</text><text x="0" y="{HEIGHT - 14}">{low:.3g}</text>'
    labels += (
        f'<text x="{PAD}" y="{HEIGHT - 2}">{left:g}</text><text x="{WIDTH - 24}" y="{HEIGHT - 2}">{right:g}</text>'
    )
    title = html.escape(name)
    return (
        f'<figure><svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{title}">{labels}'
        f'<polyline points="{places}"/></svg><figcaption>{title} by step</figcaption></figure>'
    )


def section(name: str, lines: list[dict[str, Any]]) -> str:
    courses: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in (line for line in lines if line["kind"] == "point"):
        for key in line.keys() - {"proof", "kind", "s", "step"}:
            courses[key].append((line["step"], line[key]))
    claims = "".join(claim(line) for line in lines if line["kind"] == "claim")
    other = [line for line in lines if line["kind"] not in ("claim", "point", "end")]
    rest = html.escape("\n".join(json.dumps(line) for line in other))
    plots = "".join(plot(key, points) for key, points in sorted(courses.items()) if len(points) > 1)
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
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Proofs</title><style>{STYLE}</style>'
    body = "<h1>Proofs</h1>" + "".join(found.values())
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "index.html").write_text(head + body + "</html>\n", encoding="utf-8")


if __name__ == "__main__":
    main()
