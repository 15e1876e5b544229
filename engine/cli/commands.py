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
        "adapters", "list adapters (LoRA), and bring in those made elsewhere", "engine.cli.adapters:build_adapters"
    ),
    CliCommand(
        "campaigns",
        "label clips in pairs: make, look at, export and import campaigns",
        "engine.cli.campaigns:build_campaigns",
    ),
    CliCommand("database", "copy, restore or rebuild the workspace's database", "engine.cli.database:build_database"),
    CliCommand("generate", "make clips of a prompt and score them", "engine.cli.generate:build_generate"),
    CliCommand("score", "import a video, or a folder of videos, and score it", "engine.cli.generate:build_score"),
    CliCommand("demo", "the main job once: prompt, clip, reward report, files", "engine.cli.generate:build_demo"),
    CliCommand("jobs", "list, look at, order, pause and cancel background jobs", "engine.cli.jobs:build_jobs"),
    CliCommand("worker", "look at, release or stop the process that runs jobs", "engine.cli.jobs:build_worker"),
    CliCommand(
        "evaluate",
        "measure what a run changed, on prompts that it was not trained on",
        "engine.cli.learning:build_evaluate",
    ),
    CliCommand("export", "copy a run's adapter, with what is known of it", "engine.cli.learning:build_export"),
    CliCommand(
        "pairs",
        "make pairs for DPO of a model's own clips, the best take of a prompt against the worst",
        "engine.cli.learning:build_pairs",
    ),
    CliCommand("curriculum", "train stage after stage, each behind its gate", "engine.cli.learning:build_curriculum"),
    CliCommand("models", "list the models that can be used", "engine.cli.presets:build_models"),
    CliCommand(
        "presets", "list and show presets: models, rewards, train, curricula", "engine.cli.presets:build_presets"
    ),
    CliCommand("rewards", "list the rewards, and measure them under known damage", "engine.cli.rewards:build_rewards"),
    CliCommand("extend", "queue more updates for a run, finished or stopped", "engine.cli.runs:build_extend"),
    CliCommand("clone", "start another run with a run's settings", "engine.cli.runs:build_clone"),
    CliCommand("train", "train an adapter by a recipe", "engine.cli.train:build_train"),
    CliCommand("resume", "go on with a run from its last checkpoint", "engine.cli.train:build_resume"),
    CliCommand("runs", "the runs of the workspace", "engine.cli.runs:build_runs"),
    CliCommand("weights", "list, get and check the networks that rewards use", "engine.cli.weights:build_weights"),
)


def command_help(name: str) -> str:
    """Return the help line of a command of the table. Raises KeyError for an unknown name."""
    return {command.name: command.help for command in COMMANDS}[name]
