"""The table of the commands of `dailies`; only the chosen command's module is imported."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CliCommand:
    """A command's name, its line in `--help`, and the function that adds its arguments to a parser."""

    name: str
    help: str
    builder: str
    """As "module:function"; the function takes the command's `argparse.ArgumentParser`."""


COMMANDS = (
    CliCommand(
        "adapters", "list LoRA adapters, and import those of other programs", "engine.cli.adapters:build_adapters"
    ),
    CliCommand("bench", "measure this machine, and compare measurements", "engine.cli.bench:build_bench"),
    CliCommand(
        "campaigns",
        "create, show, export and import labelling campaigns",
        "engine.cli.campaigns:build_campaigns",
    ),
    CliCommand(
        "database", "back up, restore or rebuild the workspace's database", "engine.cli.database:build_database"
    ),
    CliCommand("generate", "generate clips of a prompt and score them", "engine.cli.generate:build_generate"),
    CliCommand("score", "import and score a video or a folder of videos", "engine.cli.generate:build_score"),
    CliCommand("demo", "generate and score one clip with the embedded model", "engine.cli.generate:build_demo"),
    CliCommand("jobs", "list, show, order, pause and cancel background jobs", "engine.cli.jobs:build_jobs"),
    CliCommand("worker", "show, release or stop the process that runs jobs", "engine.cli.jobs:build_worker"),
    CliCommand(
        "evaluate",
        "evaluate a run on prompts that it was not trained on",
        "engine.cli.results.evaluate:build_evaluate",
    ),
    CliCommand("export", "export a run's adapter with its metadata", "engine.cli.results.export:build_export"),
    CliCommand(
        "pairs",
        "make pairs for DPO from a model's own clips: the best and the worst clip of each prompt",
        "engine.cli.training.pairs:build_pairs",
    ),
    CliCommand(
        "curriculum",
        "train the stages of a curriculum, with a gate after each",
        "engine.cli.training.curriculum:build_curriculum",
    ),
    CliCommand(
        "datasets",
        "list, download and remove data sets of the Hugging Face Hub",
        "engine.cli.downloads.datasets:build_datasets",
    ),
    CliCommand(
        "hub", "upload adapters, campaigns and folders to the Hugging Face Hub", "engine.cli.downloads.hub:build_hub"
    ),
    CliCommand("models", "list, download, verify, add and remove models", "engine.cli.downloads.models:build_models"),
    CliCommand(
        "presets", "list and show presets: models, rewards, train, curricula", "engine.cli.presets:build_presets"
    ),
    CliCommand("rewards", "list the rewards, and measure them on damaged clips", "engine.cli.rewards:build_rewards"),
    CliCommand("extend", "queue more updates for a finished or stopped run", "engine.cli.training.runs:build_extend"),
    CliCommand("clone", "start a new run with the settings of a run", "engine.cli.training.runs:build_clone"),
    CliCommand(
        "preflight",
        "check a run before it is started, without training",
        "engine.cli.training.preflight:build_preflight",
    ),
    CliCommand("train", "train an adapter with a training preset", "engine.cli.training.train:build_train"),
    CliCommand("resume", "resume a run from its last checkpoint", "engine.cli.training.train:build_resume"),
    CliCommand("runs", "list, show, train and manage the runs of the workspace", "engine.cli.training.runs:build_runs"),
    CliCommand("system", "show devices, PyTorch and its environment", "engine.cli.system:build_system"),
    CliCommand(
        "vbench", "make the videos of VBench for a run, and read its scores", "engine.cli.results.vbench:build_vbench"
    ),
    CliCommand(
        "weights", "list, download and check the networks of the rewards", "engine.cli.downloads.weights:build_weights"
    ),
)


def command_help(name: str) -> str:
    """Return the help line of a command of the table. Raises KeyError for an unknown name."""
    return {command.name: command.help for command in COMMANDS}[name]
