"""The rules that keep the structure: who may import what, and what must not exist."""

import ast
import graphlib
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "metarl_exp"
MODULES = sorted(PACKAGE.rglob("*.py"))
# From the ground to the entry point: a wing imports only those before it.
ORDER = [
    "former", "exports", "maths", "validation", "markdown", "process", "statistics", "types", "tasks", "policy",
    "agents", "checker", "algorithm", "runs", "laboratory", "wiring", "figures", "study", "report", "commands", "train",
]  # fmt: skip
# By library, the wings and modules that may know it.
ALLOWED = {
    "hydra": {"wiring", "commands/run", "commands/training"},
    "omegaconf": {"wiring", "commands/follow", "commands/run", "commands/train", "commands/training"},
    "wandb": {"runs/tracker"},
    "gymnasium": {"tasks"},
    "mujoco": {"tasks"},
    "higher": {"algorithm/inner_optimizer"},
    "torch.distributed": {"process/ranks"},
    "matplotlib": {"figures"},
    "yaml": {"runs/files"},
    "jinja2": {"report"},
}
MANY_KEYS = {"learner", "meta_learner", "gymnasium_tasks", "conv", "trpo"}  # with an argument for each key, or part
# They take a configuration.
CONFIGURED = {"wiring", "commands/follow", "commands/run", "commands/train", "commands/training"}
EXPORTING = [path for path in MODULES if path.name == "__init__.py" and "on_demand(" in path.read_text("utf-8")]
BY_NAME = {"ids": lambda path: str(path.relative_to(PACKAGE))}


def wing(path: Path) -> str:
    """The wing, or the module beside the wings, that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def inside(path: Path, places: set[str]) -> bool:
    """Whether a file is one of some wings and modules, or in one of them."""
    name = str(path.relative_to(PACKAGE).with_suffix(""))
    return any(f"{name}/".startswith(f"{place}/") for place in places)


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_wing_has_its_place_in_the_order():
    assert {wing(path) for path in MODULES} - {"__init__", "conf"} == set(ORDER)


@pytest.mark.parametrize("path", MODULES, **BY_NAME)
def test_imports_point_one_way(path):
    own = [name.split(".")[1] for name in imports(path) if name.startswith("metarl_exp.")]
    if wing(path) == "__init__":
        return
    assert not {n for n in own if n in ORDER and ORDER.index(n) > ORDER.index(wing(path))}


def test_no_modules_import_each_other_in_a_circle():
    modules = {dotted(path): path for path in MODULES if path != PACKAGE / "__init__.py"}
    needs = {
        name: {found if found in modules else found.rpartition(".")[0] for found in imports(path)} & modules.keys()
        for name, path in modules.items()
    }
    graphlib.TopologicalSorter(needs).prepare()  # raises CycleError


@pytest.mark.parametrize("init", EXPORTING, **BY_NAME)
def test_exports_on_demand_are_those_that_type_checkers_see(init):
    """None has the name of a module, which Python would put in its place once that is imported."""
    package, tree = dotted(init), ast.parse(init.read_text())
    (call,) = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "on_demand"]
    exported = {f"{package}.{module}": names for module, names in ast.literal_eval(call.args[1]).items()}
    modules = [module for module, names in exported.items() if not names]
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    seen = {one.module: [alias.name for alias in one.names] for one in block.body}
    assert seen.pop(package, []) == [module.rpartition(".")[2] for module in modules]
    assert seen == {module: names for module, names in exported.items() if names}
    for module in modules:
        assert getattr(import_module(package), module.rpartition(".")[2]) is import_module(module)
    for module, names in exported.items():
        for name in names:
            assert getattr(import_module(package), name) is getattr(import_module(module), name)
            assert not {init.with_name(name), init.with_name(f"{name}.py")} & {*init.parent.iterdir()}
    assert {name for names in exported.values() for name in names} <= {*dir(import_module(package))}
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = import_module(package).nonsense


@pytest.mark.parametrize(("library", "allowed"), ALLOWED.items())
def test_a_library_is_known_to_its_modules_only(library, allowed):
    users = [path for path in MODULES if any(f"{name}.".startswith(f"{library}.") for name in imports(path))]
    assert not [path for path in users if not inside(path, allowed)]
    assert users or library == "mujoco"


def test_the_mathematics_imports_torch_alone():
    outside = {name.split(".")[0] for path in (PACKAGE / "maths").rglob("*.py") for name in imports(path)}
    assert outside <= {"torch", "math", "typing", "collections", "__future__", "metarl_exp"}


def test_no_function_below_the_entry_points_takes_a_config():
    for path in MODULES:
        if inside(path, CONFIGURED):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert not {a.arg for a in node.args.args + node.args.kwonlyargs} & {"cfg", "config"}, path


def test_nothing_is_named_for_nothing():
    ours = [path for path in ROOT.glob("**/*.py") if not path.relative_to(ROOT).parts[0].startswith(".venv")]
    assert not {path.stem for path in ours} & {
        "utils", "common", "helpers", "misc",
    }  # fmt: skip


@pytest.mark.parametrize("path", MODULES, **BY_NAME)
def test_a_module_is_one_idea_and_says_which(path):
    assert len(path.read_text().splitlines()) <= 300
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", MODULES, **BY_NAME)
def test_a_function_fits_a_screen_and_takes_few_arguments(path):
    """Learners have an argument for each of their parts, GymnasiumTasks and Conv one for each key of their files."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            arguments = {a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]} - {
                "self",
                "cls",
            }
            assert node.end_lineno - node.lineno < 50, node.name
            assert len(arguments) <= 8 or path.stem in MANY_KEYS, node.name


@pytest.mark.parametrize("folder", ["metarl_exp", "docs", "benchmarks", "examples"])
def test_a_docstring_begins_with_a_verb_or_a_noun(folder):
    """A relative clause or a pronoun has no antecedent in a tooltip."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            said = (ast.get_docstring(node) or "") if isinstance(node, kinds) else ""
            assert not re.match(r"(What|Whoever|Whatever|The same|Those|That)\b", said), f"{path}: {said}"


def test_a_test_has_a_subject():
    """In a summary its name stands alone."""
    names = re.findall(
        r"^ *def (test_\w+)", "\n".join(p.read_text("utf-8") for p in (ROOT / "tests").rglob("*.py")), re.M
    )
    pronouns = "and|its?|they|that|those|these|what|whatever|who|whoever|whose|which|so|or|then|of|in"
    assert [name for name in names if re.match(rf"test_({pronouns})_", name)] == []


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
        assert not prints or inside(path, {"commands"})
