"""The rules that keep the structure: who may import what, and what must not exist."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "metarl_exp"
MODULES = sorted(PACKAGE.rglob("*.py"))
# From the leaves to the entry points: a module imports only what stands before it.
ORDER = [
    "maths", "validation", "markdown", "awake", "ranks", "streams", "statistics", "types", "metrics", "fast_weights",
    "advantage", "inner_optimizer", "policy", "derivatives", "adaptation", "combiner", "objective", "outer_optimizer",
    "tasks", "rehearsal", "identity", "checker", "agents", "sampler", "adapted_policy", "meta_learner", "evaluation",
    "results", "allocator", "files", "checkpoint", "run_folder", "recovery", "sources", "sweep", "provenance",
    "printing", "ending", "progress", "figures", "film", "tracker", "build", "command_line", "comparison", "study",
    "evaluate", "check", "classical", "laboratory", "replay", "status", "report", "signals", "follow", "launching",
    "train", "table",
]  # fmt: skip
ALLOWED = {
    "hydra": {"build", "train"},
    "omegaconf": {"build", "follow", "train"},
    "wandb": {"tracker"},
    "gymnasium": {"tasks"},
    "mujoco": {"tasks"},
    "higher": {"inner_optimizer"},
    "torch.distributed": {"ranks"},
    "matplotlib": {"figures", "film"},
    "yaml": {"files"},
    "jinja2": {"report"},
}


def unit(path: Path) -> str:
    """The module or subpackage that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_module_has_its_place_in_the_order():
    assert {unit(path) for path in MODULES} - {"__init__", "conf"} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    own = [name.split(".")[1] for name in imports(path) if name.startswith("metarl_exp.")]
    if unit(path) == "__init__":
        return
    assert not {n for n in own if n in ORDER and ORDER.index(n) > ORDER.index(unit(path))}


@pytest.mark.parametrize(("library", "allowed"), ALLOWED.items())
def test_a_library_is_known_to_its_modules_only(library, allowed):
    users = {unit(path) for path in MODULES if any(f"{n}.".startswith(f"{library}.") for n in imports(path))}
    assert users <= allowed
    assert users or library == "mujoco"


def test_the_mathematics_imports_torch_alone():
    outside = {name.split(".")[0] for path in (PACKAGE / "maths").rglob("*.py") for name in imports(path)}
    assert outside <= {"torch", "math", "typing", "collections", "__future__", "metarl_exp"}


def test_no_function_below_the_entry_points_takes_a_config():
    for path in MODULES:
        if unit(path) in {"build", "follow", "train"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert not {a.arg for a in node.args.args + node.args.kwonlyargs} & {"cfg", "config"}, path


def test_nothing_is_named_for_nothing():
    ours = [path for path in ROOT.glob("**/*.py") if not path.relative_to(ROOT).parts[0].startswith(".venv")]
    assert not {path.stem for path in ours} & {
        "utils", "common", "helpers", "misc",
    }  # fmt: skip


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_is_one_idea_and_says_which(path):
    assert len(path.read_text().splitlines()) <= 340
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("folder", ["metarl_exp", "docs", "benchmarks", "examples"])
def test_files_of_text_are_utf_8_whatever_the_locale(folder):
    calls = [(path, n) for path in (ROOT / folder).rglob("*.py") for n in ast.walk(ast.parse(path.read_text("utf-8")))]
    for path, call in calls:
        if isinstance(call, ast.Call):
            function, given = ast.unparse(call.func), {keyword.arg for keyword in call.keywords}
            opens = function.rpartition(".")[2] in {"open", "read_text", "write_text", "FileHandler"}
            binary = any(f"'{mode}'" in ast.dump(a) for mode in ("wb", "ab") for a in call.args)
            other = function in {"os.open", "Image.open", "self._open"} or binary
            decodes = bool(given & {"text", "universal_newlines"})
            assert "encoding" in given or not (decodes or (opens and not other)), f"{path}:{call.lineno}"


def test_nothing_prints_below_the_entry_points():
    for path in MODULES:
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        prints = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
        assert not prints or unit(path) in {"train", "evaluate", "check", "classical", "replay", "report"}
