"""Run every proof in a process of its own: `make proof`, or one with `make proof ONLY=nft`.

Each writes JSON lines to `build/proof/<name>.jsonl`; `build/proof/index.html` shows all of them.
"""

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]


def main(wanted: list[str]) -> int:
    scripts = sorted(p for p in FOLDER.glob("proof_*.py") if not wanted or p.stem.removeprefix("proof_") in wanted)
    places = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in places if place)}
    codes = [subprocess.run([sys.executable, str(script)], cwd=ROOT, env=environment).returncode for script in scripts]
    subprocess.run([sys.executable, str(FOLDER / "page.py")], cwd=ROOT, env=environment, check=False)
    for script, code in zip(scripts, codes, strict=True):
        if code:
            sys.stderr.write(f"{script.name}: {'a floor was missed' if code == 1 else f'exit code {code}'}\n")
    return int(not scripts or any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
