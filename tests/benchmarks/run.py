"""Run every benchmark in a process of its own: `make bench`. Exits with 1 when a bar is missed or one cannot run."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def main(wanted: list[str]) -> int:
    scripts = sorted(
        path for path in FOLDER.glob("bench_*.py") if not wanted or path.stem.removeprefix("bench_") in wanted
    )
    codes = [subprocess.run([sys.executable, str(path)], cwd=FOLDER.parents[1]).returncode for path in scripts]
    for path, code in zip(scripts, codes, strict=True):
        if code:
            sys.stderr.write(f"{path.name}: bar missed, or it could not run (exit code {code})\n")
    return int(not scripts or any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
