"""Texts of the command line, and its exit codes."""

import argparse
import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import access

# Refused before work starts, in this process. {folder} is an empty folder, {text} a file that is no video.
BAD_INPUT = (
    "",
    "nothing",
    "generate",
    "generate x --model mimi",
    "generate x --model wan21_1_3b",
    "generate x --frames 34",
    "generate x --frames many",
    "generate x --steps 0",
    "generate x --mix none --adapter nobody",
    "generate x --mode windows --window 1",
    "generate x --keyframe 3",
    "generate x --keyframe 3={text}",
    "score {folder}/gone.mp4",
    "score {text}",
    "score {folder}",
    "score {text} --mix none",
    "train mini_grop",
    "train mini_grpo --set settings.max_steps=few",
    "train mini_grpo --set settings",
    "train mini_grpo --start nobody",
    "resume nothing",
    "extend nothing 5",
    "clone nothing",
    "evaluate nothing",
    "export nothing {folder}/out",
    "curriculum nothing",
    "jobs show 00000000",
    "jobs ls --status fine",
    "jobs cancel",
    "jobs move 00000000 1",
    "campaigns show nothing",
    "campaigns create t",
    "campaigns create t --clips 0123456789abcdef",
    "campaigns create t --prompts mini --entrant mimi",
    "campaigns import {folder}/gone",
    "presets show models mimi",
    "presets ls modles",
    "rewards frechet {folder} {folder}",
    "rewards matrix --frames 1 --clips {folder}",
    "generate x --workspace {text}",
)


def help_texts() -> dict[str, str]:
    """`--help` of every command, and of the program that serves the page."""
    found = {name: parser.format_help() for name, parser in parsers("dailies", access.build_parser())}
    for words in (["--help"], ["users", "--help"]):
        found[" ".join(["python -m app", *words[:-1]])] = run(access.page_main, words)[1]
    return found


def parsers(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from parsers(f"{name} {word}", below)


def errors(folder: Path) -> dict[str, dict[str, object]]:
    """Exit code and stderr of each bad input, the folder's path replaced by its name in braces."""
    (folder / "empty").mkdir(parents=True)
    text = folder / "notes.mp4"
    text.write_text("no video", encoding="utf-8")
    found = {}
    for line in BAD_INPUT:
        words = [word.format(folder=folder / "empty", text=text) for word in line.split()]
        if words and "--workspace" not in words:
            words += ["--workspace", str(folder / "workspace")]
        code, _, said = run(access.main, words)
        said = said.replace(str(folder / "empty"), "{folder}").replace(str(text), "{text}").replace(str(folder), "{}")
        found[line] = {"exit_code": code, "stderr": said}
    return found


def run(main: "object", words: list[str]) -> tuple[object, str, str]:
    """Exit code, stdout and stderr of a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(words)  # type: ignore[operator]
        except SystemExit as end:
            code = end.code
    return code, out.getvalue(), err.getvalue()
