"""There is one loop over noise levels, one place for optimiser steps, one owner of paths and one broad except."""

import ast
import re

SAMPLER = "engine/sampling/sampler.py"
TRAINS = ("engine/training/", "tools/")  # the trainers, and what trains the shipped assets
OWNS_PATHS = (
    "engine/workspace.py",
    "engine/files/",
    "engine/storage/",
    "engine/runs/",
    "engine/labelling/",
    "engine/execution/",
)
TOP_FRAME = "engine/jobs/worker.py"
USER_CODE = "rewards/external/python_worker.py"  # its process calls a function of the user, which may raise anything

NOISE_LEVELS = re.compile(r"(^|_)(sigmas?|timesteps?)$")
NEIGHBOURS = re.compile(r"^((next|prev)_(sigma|timestep|t)|(sigma|timestep|t)_(next|prev))$")
Sources = dict[str, ast.Module]


def names_in(node: ast.AST) -> set[str]:
    """Variables and attributes mentioned in an expression."""
    found = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
    return found | {child.attr for child in ast.walk(node) if isinstance(child, ast.Attribute)}


def bound_names(statements: list[ast.stmt]) -> set[str]:
    """Variables that the statements assign."""
    nodes = [node for statement in statements for node in ast.walk(statement)]
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def is_loop_over_noise(node: ast.AST) -> bool:
    """A `for` over noise levels, a loop that goes from one level to its neighbour, or a comprehension over levels that
    calls the network. A training loop that draws one random level a batch is none of these.
    """
    if isinstance(node, ast.For) and any(NOISE_LEVELS.search(name) for name in names_in(node.iter)):
        return True
    if isinstance(node, ast.For | ast.While):
        return any(NEIGHBOURS.search(name) for name in bound_names(node.body))
    if isinstance(node, ast.ListComp | ast.GeneratorExp):
        loops = any(NOISE_LEVELS.search(name) for generator in node.generators for name in names_in(generator.iter))
        return loops and bool(names_in(node.elt) & {"predict", "network", "transformer", "unet"})
    return False


def noise_loops(sources: Sources) -> list[str]:
    """Loops over sigmas or timesteps."""
    return [
        f"{path}:{node.lineno}"
        for path, tree in sources.items()
        for node in ast.walk(tree)
        if is_loop_over_noise(node) and isinstance(node, ast.stmt | ast.expr)
    ]


def is_optimiser_step(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    owner = ast.unparse(node.func.value)
    steps = node.func.attr == "step" and ("optim" in owner.lower() or "scaler" in owner.lower())
    return steps or owner in ("torch.optim", "optim")


def optimiser_steps(sources: Sources) -> list[str]:
    """Optimisers made or stepped outside the places that train."""
    return [
        f"{path}:{node.lineno}"
        for path, tree in sources.items()
        if not path.startswith(TRAINS)
        for node in ast.walk(tree)
        if is_optimiser_step(node) and isinstance(node, ast.Call)
    ]


def is_broad(node: ast.AST) -> bool:
    """`except:`, `except Exception`, `except BaseException`, alone or in a tuple, and `suppress` of them."""
    broad = {"Exception", "BaseException"}
    if isinstance(node, ast.ExceptHandler):
        return node.type is None or bool(names_in(node.type) & broad)
    if isinstance(node, ast.Call) and names_in(node.func) & {"suppress"}:
        return any(names_in(argument) & broad for argument in node.args)
    return False


def broad_excepts(sources: Sources) -> list[str]:
    return [
        f"{path}:{node.lineno}"
        for path, tree in sources.items()
        for node in ast.walk(tree)
        if is_broad(node) and isinstance(node, ast.ExceptHandler | ast.Call)
    ]


def text_constants(tree: ast.Module) -> dict[str, str]:
    """Module-level names that stand for a text: `A = "x"`, and `A, B = "x", "y"`."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            values = value.elts if isinstance(value, ast.Tuple) and isinstance(target, ast.Tuple) else [value]
            for name, text in zip(names, values, strict=False):
                if isinstance(name, ast.Name) and isinstance(text, ast.Constant) and isinstance(text.value, str):
                    found[name.id] = text.value
    return found


def part_of(node: ast.expr, constants: dict[str, str]) -> str | None:
    """What a path component certainly begins with: a text, a constant's text, an f-string up to its first field; the
    name itself for a constant that another module defines.
    """
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return constants.get(name, name if name.isupper() else None)


def path_parts(tree: ast.Module) -> dict[str, int]:
    """Components joined to a path with `/` or `joinpath`, each with a line where that happens."""
    constants = text_constants(tree)
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        operands: list[ast.expr] = []
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            operands = [node.right]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "joinpath":
            operands = node.args
        found |= {text: operand.lineno for operand in operands if (text := part_of(operand, constants))}
    return found


def owned_parts(sources: Sources) -> set[str]:
    """Folders and files of a workspace or a run, as their owner writes them, and the constants that name them."""
    owned: set[str] = set()
    for path, tree in sources.items():
        if path.startswith(OWNS_PATHS):
            parts = path_parts(tree).keys()
            owned |= parts | {name for name, text in text_constants(tree).items() if text in parts}
    return owned


def foreign_paths(sources: Sources, owned: set[str]) -> list[str]:
    """Workspace and run paths put together outside their owner. Rewards know of no workspace."""
    return [
        f"{path}:{line} builds {part!r}"
        for path, tree in sources.items()
        if not path.startswith((*OWNS_PATHS, "rewards/"))
        for part, line in path_parts(tree).items()
        if part in owned
    ]


def test_one_loop_over_noise_levels(sources: Sources) -> None:
    assert [place.split(":")[0] for place in noise_loops(sources)] == [SAMPLER]


def test_the_noise_rule_can_fail() -> None:
    bad = """
for sigma, following in pairwise(self.sigmas):
    pass
for i, t in enumerate(scheduler.timesteps):
    pass
clips = [family.predict(x, sigma, c) for sigma in sigmas]
labels = [f"{sigma:.2f}" for sigma in sigmas]
for index in range(num_steps):
    sigma, sigma_next = levels[index], levels[index + 1]
for step in range(num_steps):
    sigma = torch.rand(batch)
"""
    assert sorted(noise_loops({"engine/x.py": ast.parse(bad)})) == [f"engine/x.py:{line}" for line in (2, 4, 6, 8)]


def test_optimiser_steps_only_where_training_is(sources: Sources) -> None:
    assert optimiser_steps(sources) == []


def test_the_optimiser_rule_can_fail() -> None:
    bad = ast.parse("optimizer.step()\nself.optim.step()\nscaler.step(o)\nx = torch.optim.AdamW(p)\nscheduler.step(x)")
    assert optimiser_steps({"engine/generation/x.py": bad}) == [f"engine/generation/x.py:{n}" for n in (1, 2, 3, 4)]
    assert optimiser_steps({"engine/training/x.py": bad}) == []


def test_broad_except_only_in_the_workers_top_frame(sources: Sources) -> None:
    found = broad_excepts(sources)
    assert [place for place in found if not place.startswith((TOP_FRAME, USER_CODE))] == []
    ours = [place for place in found if place.startswith(TOP_FRAME)]
    assert len(ours) <= 1, f"one top frame, one broad except: {ours}"


def test_the_except_rule_can_fail() -> None:
    bad = """
try: f()
except: pass
try: f()
except (OSError, Exception): pass
with contextlib.suppress(BaseException): f()
try: f()
except OSError: pass
"""
    assert broad_excepts({"app/x.py": ast.parse(bad)}) == ["app/x.py:3", "app/x.py:5", "app/x.py:6"]


def test_workspace_paths_have_one_owner(sources: Sources) -> None:
    owned = owned_parts(sources)
    assert owned, "no module builds paths: has the owner moved?"
    assert foreign_paths(sources, owned) == []


def test_the_path_rule_can_fail() -> None:
    text = "MP4, PNG = 'clip.mp4', 'a.png'\na = root / 'clips' / MP4\nb = root / f'checkpoint-{n}'\nc = w / h"
    owned = owned_parts({"engine/workspace.py": ast.parse(text)})
    assert owned == {"clips", "checkpoint-", "clip.mp4", "MP4"}
    bad = """
a = w / 'clips'
b = w.joinpath(f'checkpoint-{n}')
c = w / 'other'
d = w / clip_files.MP4
e = width / height
"""
    found = foreign_paths({"app/x.py": ast.parse(bad)}, owned)
    assert [problem.split()[0] for problem in found] == ["app/x.py:2", "app/x.py:3", "app/x.py:5"]
