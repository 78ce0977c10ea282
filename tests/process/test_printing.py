"""Printing fails no command: characters that are lacking are spelled out, and where nobody listens nothing is said."""

import importlib
import io
import multiprocessing
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from rich.table import Table

from metarl_exp import wiring
from metarl_exp.commands import train
from metarl_exp.process import printing
from metarl_exp.runs import results
from metarl_exp.runs.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
TINY = ["experiment=smoke", "tracker=none", "policy.hidden_sizes=[6]", "tasks.horizon=8", "iterations=2", "threads=1"]
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


# ---- Characters


@pytest.mark.parametrize(
    ("text", "encoding", "shown"),
    [
        ("θ of best: 1 ± 2, K ≥ 1 → −3.5 … é", "ascii", "theta of best: 1 +- 2, K >= 1 -> -3.5 ... e"),
        ("θ of best: 1 ± 2", "latin-1", "theta of best: 1 ± 2"),
        ("∇J · α² ≠ 2 × √3", "cp1252", "grad J · alpha² != 2 × sqrt 3"),
        ("漢字", "ascii", "??"),
        ("caf\udcc3\udca9", "utf-8", "caf??"),  # what an ASCII locale makes of a folder's name
        ("θ ± é", "utf-8", "θ ± é"),
    ],
)
def test_letters_that_an_encoding_lacks_are_spelled_out(text, encoding, shown):
    assert text.encode(encoding, "spelled").decode(encoding) == shown


def test_a_table_in_ascii_has_straight_columns(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="spelled")
    monkeypatch.setattr(sys, "stdout", stream)
    table = Table("θ", "0 steps → 1 step")
    table.add_row("best", "−1.00 ± 0.50")
    table.add_row("last", "-1.00")
    printing.console().print(table)
    stream.flush()
    lines = stream.buffer.getvalue().decode("ascii").splitlines()
    assert "| theta | 0 steps -> 1 step |" in lines
    assert "| best  | -1.00 +- 0.50     |" in lines
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize("words", ["out[/b]x/[red]y", "tracker.tags=[foo,bar]", ":bug: 'a b' [/]", "[link=x]y[/link]"])
def test_brackets_and_colons_are_text_wherever_they_stand(words, capsys):
    table = Table(words, title=words, caption=words, min_width=40)
    table.add_row(words)
    for shown in (words, table):
        printing.console(soft_wrap=True).print(shown)
    assert capsys.readouterr().out.count(words) == 5


def test_control_characters_in_names_and_reasons_are_spelled_out(capsys):
    table = Table("job")
    table.add_row("x\x1b[2J\x9b1m\rfinished")
    printing.console().print(table)
    assert r"x\x1b[2J\x9b1m\rfinished" in capsys.readouterr().out


# ---- Streams


def descriptor(kind: str) -> int:
    """One that a process may be given to print to."""
    if kind == "a full disk":
        return os.open("/dev/full", os.O_WRONLY)
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does once it has seen enough
    return writing


@pytest.mark.parametrize("kind", ["a full disk", "a pipe without a reader"])
@pytest.mark.parametrize("unbuffered", [True, False])
def test_a_stream_takes_everything(kind, unbuffered):
    with open(descriptor(kind), "w", encoding="ascii") as stream:
        stream.reconfigure(write_through=unbuffered)
        again = printing._unfailing(stream)
        for _ in range(2):
            assert again.write("θ" * 100_000) == 100_000
            again.flush()
        assert (again.fileno(), again.encoding, again.isatty()) == (stream.fileno(), "ascii", False)


def test_output_arrives_whole_and_in_order(tmp_path):
    with open(tmp_path / "log", "w", encoding="ascii") as file:
        again = printing._unfailing(file)
        for i in range(3):
            print("θ", i, file=again, flush=True)
    assert (tmp_path / "log").read_text(encoding="ascii") == "theta 0\ntheta 1\ntheta 2\n"


def test_streams_that_somebody_else_has_put_there_are_left_alone(capsys):
    before = sys.stdout, sys.stderr
    printing.safely(lambda: print("heard"))()
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "heard\n"


# ---- Commands

# What each command is given, in the folder of a finished run, and its exit status.
GIVEN = {
    "metarl-train": ([*TINY, "output_root=outputs"], 0),
    "metarl-evaluate": (["RUN", "steps=1"], 0),
    "metarl-replay": (["RUN", "tasks=1", "format=png"], 0),
    "metarl-status": (["outputs"], 0),
    "metarl-report": (["outputs"], 0),
    "metarl-check": (["navigation_2d", "horizon=θ"], 1),
    "metarl-table": (["θ.yaml"], 1),
    "metarl-classical": (["--help"], 0),
    "metarl-laboratory": (["θ.yaml"], 1),
}


def test_every_command_is_among_them():
    assert set(GIVEN) == set(COMMANDS)


@pytest.fixture(scope="module", autouse=True)
def warm():
    """Import once, for all forked processes, the modules of the commands."""
    for entry_point in COMMANDS.values():
        importlib.import_module(entry_point.partition(":")[0])
    wiring.assemble(wiring.compose(["tracker=none"]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A folder with a finished run, in a folder whose name has a letter that ASCII lacks."""
    folder = tmp_path_factory.mktemp("é")
    assert started(folder, "metarl-train", GIVEN["metarl-train"][0], "ascii") == 0
    return folder


def started(folder: Path, command: str, arguments: list[str], where: str) -> int:
    """Exit status of a command in a process that prints there."""
    runs = [str(path.parent.relative_to(folder)) for path in folder.glob("outputs/*/evaluation.json")]
    words = [runs[0] if word == "RUN" else word for word in arguments]
    process = multiprocessing.get_context("fork").Process(target=run, args=(folder, command, words, where))
    process.start()
    process.join()
    if where == "ascii":
        assert b"Traceback" not in (folder / "printed").read_bytes()
    return process.exitcode


def run(folder: Path, command: str, arguments: list[str], where: str) -> None:
    """In a process of its own, with standard streams as an interpreter would open them."""
    os.chdir(folder)
    (folder / "printed").unlink(missing_ok=True)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = None
        if where == "nowhere":
            os.close(number)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            os.dup2(os.open("printed", flags) if where == "ascii" else descriptor(where), number)
            stream = open(number, "w", encoding="ascii", closefd=False)  # noqa: SIM115  # as long as the process
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = [command, *arguments]
    module, _, main = COMMANDS[command].partition(":")
    sys.exit(getattr(importlib.import_module(module), main)())


@pytest.mark.parametrize("where", ["ascii", "a pipe without a reader"])
@pytest.mark.parametrize("command", GIVEN)
def test_a_command_ends_as_it_would_if_it_could_print(finished, command, where):
    arguments, status = GIVEN[command]
    assert started(finished, command, arguments, where) == status


@pytest.mark.parametrize("where", ["a pipe without a reader", "a full disk", "nowhere"])
def test_a_run_that_nobody_listens_to_is_finished(tmp_path, where):
    assert started(tmp_path, "metarl-train", GIVEN["metarl-train"][0], where) == 0
    (folder,) = (tmp_path / "outputs").iterdir()
    assert RunFolder(folder).state() == "finished"


def test_a_table_that_cannot_be_shown_fails_no_run(tmp_path, monkeypatch, undrawn):
    """Whatever the reason: a run is finished once its files are written."""
    monkeypatch.setattr(sys, "argv", ["metarl-train", *TINY, f"output_root={tmp_path}"])
    monkeypatch.setattr(results, "table", lambda _: 1 / 0)
    with pytest.raises(SystemExit):
        train.main()
    (folder,) = tmp_path.iterdir()
    assert RunFolder(folder).state() == "finished"


def test_an_ascii_locale_and_a_folder_that_it_cannot_read(tmp_path):
    """The real command: files are UTF-8 whatever the locale, and what no encoding could read is kept as it is."""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "metarl_exp.train", *TINY, f"output_root='{tmp_path / 'café'}'"]
    done = subprocess.run(command, env=os.environ | ascii_only, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert b"| theta " in done.stdout
    (folder,) = (tmp_path / "café").iterdir()
    assert RunFolder(folder).state() == "finished"
    assert "café" in os.fsencode(RunFolder(folder).read_json("provenance.json")["command"]).decode()


def test_a_reason_that_no_encoding_can_write_is_recorded_and_read_back(tmp_path):
    RunFolder(tmp_path).set_state("failed", "RuntimeError: file \udcff.txt, [/b]\x1b")
    assert RunFolder(tmp_path).read_json("status.json")["reason"] == "RuntimeError: file \udcff.txt, [/b]\x1b"
