"""The command line: what it prints, where, and with which exit code."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from engine.cli.commands import COMMANDS, CliCommand
from engine.cli.jobs import print_from
from engine.cli.main import build_parser, main
from engine.jobs.queue import JobQueue
from engine.jobs.spec import JobSpec
from engine.jobs.worker_control import stop_worker
from engine.process_identity import ProcessIdentity
from engine.request import GenerationRequest
from engine.storage.clip_files import load_clip
from engine.storage.library import Library
from engine.video.reader import read_video
from engine.video.writer import write_lossless

SEED = ["--seed", "3"]


@pytest.fixture
def queue(workspace):
    store = Library(workspace)
    yield JobQueue(store)
    store.close()


@pytest.fixture
def submitted(queue):
    """A job that waits."""
    return queue.submit(JobSpec.generate([GenerationRequest(prompt="a red ball")], "mini"))


def run_json(capsys, *arguments: str):
    """What a command that succeeds prints with --json."""
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def commands():
    """Every command and subcommand, from the parser itself."""

    def walk(parser, path):
        action = next((action for action in parser._actions if hasattr(action, "choices") and action.choices), None)
        children = action.choices if action is not None and isinstance(action.choices, dict) else {}
        return [path] + [found for name, child in children.items() for found in walk(child, [*path, name])]

    return walk(build_parser(), [])


@pytest.mark.parametrize("path", commands(), ids=lambda path: " ".join(path) or "dailies")
def test_every_command_has_help(path, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*path, "--help"])
    assert caught.value.code == 0 and "usage: dailies" in capsys.readouterr().out


def needed(parser):
    """What must be said to it, by its own account; None for a group of commands."""
    said = []
    one_of = [group._group_actions[0] for group in parser._mutually_exclusive_groups if group.required]
    for action in parser._actions:
        if isinstance(action.choices, dict):
            return None
        if action.required or action in one_of:
            value = next(iter(action.choices or ["1"]))
            said += [*action.option_strings[:1], str(value)]
    return said


def test_every_command_that_does_something_prints_json_on_request():
    parser = build_parser()
    asked = {" ".join(path): needed(parser_of(parser, path)) for path in commands()}
    assert asked["generate"] == [] and asked["jobs"] is None and asked["jobs ls"] == []
    for path, extra in asked.items():
        if extra is not None:
            assert parser.parse_args([*path.split(), *extra, "--json"]).json


def parser_of(parser, path):
    for name in path:
        parser = next(action.choices[name] for action in parser._actions if isinstance(action.choices, dict))
    return parser


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "arguments are required: COMMAND"),
        (["generat"], "invalid choice: 'generat'"),
        (["generate"], "Give either a prompt or --prompts FILE."),
        (["generate", "a", "--frames", "many"], "--frames: invalid int value: 'many'"),
        (["generate", "a", "--frames", "34"], "got num_frames = 34: the nearest is 33"),
        (["generate", "a", "--width", "65"], "multiple of 16 px, but got 65"),
        (["generate", "a", "--guidance", "nan"], "guidance"),
        (["generate", "a", "--seed", "-1"], "seed"),
        (["generate", "a", "--variations", "0"], "at least 1, but got 0"),
        (["generate", "a", "--model", "mnii"], "Did you mean 'mini'"),
        (["generate", "a", "--adapter", "nobody"], "Unknown adapter 'nobody'"),
        (["generate", "a", "--adapter", "nobody", "--adapter-scale", "0.5"], "Unknown adapter 'nobody'"),
        (["generate", "a", "--adapter-scale", "0.5"], "1 --adapter-scale for 0 --adapter"),
        (["generate", "a", "--mix", "mnii"], "Did you mean 'mini'"),
        (["generate", ""], "prompt"),
        (["generate", "   "], "Enter a prompt"),
        (["generate", "x" * 10_000], "10,000 characters"),
        (["score", "/nowhere.mp4"], "no file /nowhere.mp4"),
        (["score", "/nowhere.mp4", "--mix", "none"], "needs a mix of rewards"),
        (["jobs", "show", "beef"], "no job 'beef'"),
        (["jobs", "cancel", "beef"], "no job 'beef'"),
        (["jobs", "logs", "beef"], "no job 'beef'"),
        (["jobs", "ls", "--status", "runing"], "Did you mean 'running'"),
        (["models", "show"], "invalid choice: 'show'"),
        (["presets", "ls", "modles"], "Did you mean 'models'"),
        (["presets", "show", "models", "mnii"], "Did you mean 'mini'"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else None,
)
def test_bad_usage_is_one_sentence_and_exit_code_2(arguments, sentence, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and sentence in printed.err
    assert len(printed.err.strip().splitlines()) == 1 and printed.err.startswith("dailies: ")


@pytest.mark.parametrize(("content", "sentence"), [(b"", "0 bytes"), (b"notes" * 999, "not a video")])
def test_a_file_that_is_no_video_is_one_sentence(tmp_path, capsys, content, sentence):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert main(["score", str(path), "--prompt", "a"]) == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]


def test_a_workspace_that_cannot_be_used_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["jobs", "ls", "--workspace", str(tmp_path / "file")]) == 2
    assert "cannot be used: Not a directory" in capsys.readouterr().err


def test_a_real_process_ends_with_code_2_and_no_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "presets", "show", "models", "mnii"], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr


def test_a_reader_that_leaves_early_is_no_error():
    """`dailies presets show ... | head -0`"""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "engine.cli", "presets", "show", "models", "mini"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_looking_needs_no_torch():
    """Listings answer at once."""
    program = (
        "import sys; from engine.cli.main import main\n"
        "for command in ('jobs ls', 'models ls', 'presets show rewards mini', 'worker show'):\n"
        "    assert main(command.split()) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, stdout=subprocess.DEVNULL).returncode == 0


def test_help_is_quick_and_imports_no_command():
    program = (
        "import sys; from engine.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'pydantic', 'sqlalchemy', 'numpy', 'cv2', 'engine.config.presets'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert os.times().children_user - before.children_user < 2, "0.1 s on a machine with nothing else to do"
    listed = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert {command.name for command in COMMANDS} <= listed


def test_only_the_module_of_the_chosen_command_is_imported():
    program = (
        "import sys; from engine.cli.main import main\n"
        "assert main(['presets', 'ls']) == 0\n"
        "sys.exit('engine.cli.training.train' in sys.modules or 'engine.cli.presets' not in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, stdout=subprocess.DEVNULL).returncode == 0


def build_greet(parser):
    parser.add_argument("name")
    parser.set_defaults(run=lambda options: sys.stdout.write(f"Good day, {options.name}.\n"))


def test_other_packages_can_add_commands(capsys):
    greet = CliCommand("greet", "say good day", f"{__name__}:build_greet")
    assert main(["greet", "Ada"], extra_commands=[greet]) == 0
    assert capsys.readouterr().out == "Good day, Ada.\n"
    assert "say good day" in build_parser([greet]).format_help()
    assert main(["greet", "Ada"]) == 2 and "invalid choice: 'greet'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["train", "resume", "extend", "evaluate", "export", "clone"])
def test_verbs_of_runs_are_commands_of_their_own_too(name):
    parser = build_parser()
    short, long = parser_of(parser, [name]), parser_of(parser, ["runs", name])
    assert short.format_help().replace(f"dailies {name}", f"dailies runs {name}").split() == long.format_help().split()
    assert short.get_default("run") is long.get_default("run")


def test_models_and_presets(capsys):
    (mini,) = [model for model in run_json(capsys, "models", "ls") if model["key"] == "mini"]
    assert (mini["num_frames"], mini["family"]) == (33, "ltx")
    assert "mini" in run_json(capsys, "presets", "ls")["rewards"]
    assert run_json(capsys, "presets", "show", "rewards", "mini")["weights"]
    for command in (["models", "ls"], ["presets", "ls"], ["presets", "ls", "models"]):
        assert main(command) == 0
        assert "mini" in capsys.readouterr().out
    assert main(["presets", "show", "models", "mini"]) == 0
    assert 'source = "assets/mini"' in capsys.readouterr().out


def test_one_broken_preset_does_not_hide_the_others(tmp_path, monkeypatch, capsys):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "broken.toml").write_text("titel = 'x'")
    monkeypatch.setenv("DAILIES_PRESETS", str(tmp_path))
    assert main(["presets", "ls", "models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("broken" in line and "unusable" in line for line in lines) and any("mini" in line for line in lines)


def test_jobs_are_listed_shown_and_cancelled(queue, submitted, capsys):
    assert [job["id"] for job in run_json(capsys, "jobs", "ls")] == [submitted.id]
    assert run_json(capsys, "jobs", "ls", "--status", "done") == []
    assert main(["jobs", "ls"]) == 0
    assert "number 1 in the queue" in capsys.readouterr().out
    assert main(["jobs", "show", submitted.id[:6]]) == 0
    assert "a red ball" in capsys.readouterr().out
    assert run_json(capsys, "jobs", "cancel", submitted.id)["status"] == "cancelled"
    assert queue.get(submitted.id).status == "cancelled"


def test_listing_tells_the_truth_about_a_job_whose_worker_is_gone(queue, submitted, capsys):
    gone = ProcessIdentity(**{**vars_of(ProcessIdentity.current()), "started_s": 0.0})
    queue.claim(gone)
    (job,) = run_json(capsys, "jobs", "ls")
    assert job["status"] == "lost" and "ended before the job did" in job["error"]


def vars_of(identity: ProcessIdentity) -> dict:
    return {name: getattr(identity, name) for name in ("host", "boot_id", "pid", "started_s")}


def test_logs(queue, submitted, workspace, capsys):
    assert main(["jobs", "logs", submitted.id]) == 2
    assert "has no log: it is queued" in capsys.readouterr().err
    workspace.job_log(submitted.id).write_text("step one\nstep two\n")
    assert main(["jobs", "logs", submitted.id]) == 0
    assert capsys.readouterr().out == "step one\nstep two\n"
    queue.cancel(submitted.id)
    assert main(["jobs", "logs", "--follow", submitted.id]) == 0
    assert capsys.readouterr().out == "step one\nstep two\n"


def test_a_log_is_printed_on_from_where_it_ended(tmp_path, capsys):
    """A sign that was cut in the middle is printed when it is whole."""
    path, text = tmp_path / "log", "schön\n".encode()
    path.write_bytes(text[:4])
    offset = print_from(path, 0)
    assert capsys.readouterr().out == "sch" and offset == 3
    path.write_bytes(text)
    assert print_from(path, offset) == len(text)
    assert capsys.readouterr().out == "ön\n"


def test_priorities_and_what_a_job_went_through(queue, submitted, capsys):
    behind = queue.submit(JobSpec.generate([GenerationRequest(prompt="a blue ball")]))
    assert run_json(capsys, "jobs", "priority", submitted.id, "low")["priority"] == "low"
    assert queue.get(behind.id).position == 1
    assert main(["jobs", "cancel", submitted.id]) == 0
    capsys.readouterr()
    assert [entry["event"] for entry in run_json(capsys, "jobs", "show", submitted.id)["history"]] == [
        "queued",
        "cancelled",
    ]
    assert main(["jobs", "show", submitted.id]) == 0
    assert "history       queued 20" in capsys.readouterr().out
    assert main(["jobs", "priority", submitted.id, "high"]) == 2
    assert "only queued jobs have a priority" in capsys.readouterr().err


def test_a_worker_that_is_not_there(workspace, capsys):
    assert run_json(capsys, "worker", "show") == {"lives": False}
    assert run_json(capsys, "worker", "release") == {"released": False}
    assert main(["worker", "stop"]) == 0
    assert "No worker runs" in capsys.readouterr().out


def test_generate_makes_scores_and_copies(tiny_model, workspace, tmp_path, capsys):
    out = tmp_path / "out"
    shown = run_json(
        capsys, "generate", "a red circle", "--model", tiny_model, *SEED, "--takes", "2", "--out", str(out)
    )
    assert [clip["seed"] for clip in shown["clips"]] == [3, 4] and shown["unscored"] == {}
    for clip in shown["clips"]:
        files = clip["files"]
        assert set(files) == {"clip.mp4", "frames.mkv", "poster.jpg", "request.json", "report.json"}
        assert all(path.startswith(str(out)) for path in files.values())
        exact, *_ = read_video(out / clip["id"] / "frames.mkv")
        assert np.array_equal(exact, load_clip(workspace, clip["id"]).frames)
        assert json.loads((out / clip["id"] / "report.json").read_text()) == clip["report"]


def test_generate_tells_a_person_what_came_of_it(tiny_model, workspace, capsys):
    command = ["generate", "a red circle", "--model", tiny_model, *SEED]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "17 frames, 64x64 px, seed 3" in printed.out and "Total by mix tiny:" in printed.out
    assert str(workspace.clips) in printed.out and "denoise" in printed.err and "denoise" not in printed.out
    assert main(command) == 0
    assert "it already existed" in capsys.readouterr().out


def test_a_seed_is_drawn_and_said(tiny_model, capsys):
    command = ["generate", "a", "--model", tiny_model, "--mix", "none"]
    (first,), (second,) = (run_json(capsys, *command)["clips"] for _ in range(2))
    assert first["seed"] != second["seed"] and first["report"] is None


def test_a_copy_that_cannot_be_made_says_where_the_clip_is(tiny_model, workspace, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    command = ["generate", "a", "--model", tiny_model, "--mix", "none", "--out", str(tmp_path / "file")]
    assert main(command) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"is saved in {workspace.clips}" in error and "Not a directory" in error


@pytest.fixture
def square(tmp_path):
    """A video file: a white square that moves right over grey."""
    frames = np.full((17, 64, 64, 3), 96, np.uint8)
    for index, frame in enumerate(frames):
        frame[20:40, index * 2 : index * 2 + 20] = 255
    write_lossless(tmp_path / "square.mkv", frames, 8.0)
    return str(tmp_path / "square.mkv")


def test_score_takes_a_folder_and_says_what_could_not_be_read(tiny_model, square, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(square, folder / "a.mkv")
    (folder / "a.txt").write_text("a square")
    (folder / "b.mp4").touch()
    assert main(["score", str(folder), "--mix", "tiny"]) == 1, "a video could not be scored"
    printed = capsys.readouterr().out
    assert "Prompt: a square" in printed and "b.mp4 could not be scored: 'b.mp4' is empty" in printed


def test_score_imports_a_file(tiny_model, square, capsys):
    (clip,) = run_json(capsys, "score", square, "--prompt", "a square", "--mix", "tiny")["clips"]
    assert (clip["source"], clip["prompt"]) == ("imported", "a square")
    assert 0 <= clip["total"] <= 1 and clip["report"]["mix"] == clip["mix"] == "tiny"


def test_queueing_files_a_job_and_starts_the_worker(tiny_model, square, queue, workspace, monkeypatch, capsys):
    monkeypatch.chdir(os.path.dirname(square))
    try:
        job = run_json(capsys, "score", "square.mkv", "--prompt", "a square", "--mix", "tiny", "--queue")
        assert queue.get(job["id"]).config["prompt"] == "a square"
        assert main(["jobs", "logs", "--follow", job["id"]]) == 0
        assert "is done" in capsys.readouterr().out
        (clip_id,) = queue.get(job["id"]).result["clip_ids"]
        assert queue.store.clip(clip_id).mix == "tiny"
        assert run_json(capsys, "worker", "show")["lives"]
        assert run_json(capsys, "worker", "stop") == {"stopped": True}
    finally:
        stop_worker(workspace)


def test_interrupting_is_exit_code_130_without_a_traceback(submitted, workspace):
    workspace.job_log(submitted.id).write_text("waiting\n")
    command = [sys.executable, "-m", "engine.cli", "jobs", "logs", "--follow", submitted.id]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A shell's background jobs, and what they start, ignore the signal.
    process = subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **pipes)
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=120)[1] == "dailies: interrupted; finished results are kept.\n"
    assert process.returncode == 130
