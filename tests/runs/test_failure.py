"""Environments that go wrong in the middle of a run of the real entry point, in this process and in workers.

Trap 16. Whatever they do, the run ends in time with the environment's own traceback, names task, trajectory and step,
keeps what was logged, says that it failed, and leaves nobody behind. Most runs are forked from this process, which has
everything imported; the others are the real command.
"""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from metarl_exp import wiring
from metarl_exp.commands import train
from metarl_exp.runs.run_folder import RunFolder
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]
WAITED_FOR, NEVER_REACHED = 4.0, 60.0  # s, limits for an environment that hangs and for others on a busy machine
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

FAULTY = """
_target_: metarl_exp.tasks.GymnasiumTasks
id: tests.environments:Faulty-v0
horizon: 4
kwargs: {deed: raises, good_episodes: 3} # as many as are rehearsed; two a meta-iteration: the second one goes wrong
vary: {mass: {attribute: mass, uniform: [0.9, 1.3]}}
wrappers: []
success_key: null
workers: 0
start_method: fork
requires: null
"""
# What a run says of each deed, and the line of the environment that its traceback shows.
EPISODE = r"step 2: task \d \(mass=1\.\d+\), trajectory \d: "
SAID = {
    "raises": (EPISODE + r"Unpicklable: \('broken'", "raise Unpicklable"),
    "exits": (EPISODE + "SystemExit: 3", "sys.exit(3)"),
    "hangs": (EPISODE + "TimeoutError: no answer within", "time.sleep(1000)"),
    "observes_nothing": (EPISODE + r"observation is not finite: \[nan nan\]", None),
    "pays_nothing": (EPISODE + "reward is not finite: nan", None),
    "dies": (EPISODE + r"SystemExit: os._exit\(7\)", "os._exit(7)"),
    "dies_in_c": (
        r"step 2: worker \d with (task \d \(mass=\d\.\d+\)(, | and \d more tasks)?)+ exited with status 7",
        None,
    ),
}
IN_PROCESS = ["tasks.workers=0"]
FORKED, SPAWNED, SERVED = (
    ["tasks.workers=2", f"tasks.start_method={method}"] for method in ("fork", "spawn", "forkserver")
)


@pytest.fixture(scope="module", autouse=True)
def warm():
    """What building a run imports, torch not least, is imported once for all that are forked."""
    wiring.assemble(wiring.compose(["tracker=none"]))


def arguments(folder: Path, deed: str, workers: list[str]) -> list[str]:
    (folder / "conf" / "tasks").mkdir(parents=True)
    (folder / "conf" / "tasks" / "faulty.yaml").write_text(FAULTY)
    return [
        f"--config-dir={folder / 'conf'}",
        "experiment=smoke", "tracker=none", "threads=1", "tasks=faulty",
        "inner_optimizer.lr=0.1", "policy.hidden_sizes=[6]", "evaluation.validate_every=10",
        f"environment_timeout={WAITED_FOR if deed == 'hangs' else NEVER_REACHED}",
        f"output_root={folder / 'outputs'}", f"tasks.kwargs.deed={deed}", *workers,
    ]  # fmt: skip


def train_in_session(output: Path, its_arguments: list[str]) -> None:
    """A run in a session of its own, so that whatever it starts can be told by it; as `python -m` would end."""
    os.setsid()
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    sys.argv = ["metarl-train", *its_arguments]
    train.main()


def run_forked(folder: Path, deed: str, workers: list[str]) -> tuple[int, int, str]:
    """Exit status, session, and what was printed."""
    context = multiprocessing.get_context("fork")
    process = context.Process(target=train_in_session, args=(folder / "printed", arguments(folder, deed, workers)))
    process.start()
    process.join(PATIENCE)
    process.kill()
    process.join()
    return process.exitcode, process.pid, (folder / "printed").read_text()


def run_command(folder: Path, deed: str, workers: list[str]) -> tuple[int, int, str]:
    command = [sys.executable, "-m", "metarl_exp.train", *arguments(folder, deed, workers)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    with process:
        try:
            printed, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, process.pid, printed


def living(session: int) -> list[str]:
    """Command lines of the processes of a session that are not zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, its_session = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append((path / "cmdline").read_text().replace("\0", " "))
        except OSError:
            pass  # ended while we looked
    return found


def require_ended_well(folder: Path, deed: str, code: int, session: int, printed: str) -> None:
    """All that the heading of this file promises."""
    (path,) = (folder / "outputs").iterdir()
    run = RunFolder(path)
    reason, line = SAID[deed]
    assert code == 1
    assert run.read_json("status.json")["state"] == "failed"
    assert re.search("^EnvironmentFailure: " + reason, run.read_json("status.json")["reason"])
    assert [record["iteration"] for record in run.read_metrics()] == [0]
    assert re.search(f"^metarl-train: {reason}", printed.splitlines()[-1])
    assert printed.endswith(f"(traceback: {run.log})\n")
    assert "Traceback" not in printed
    assert re.search(reason, run.log.read_text())
    assert line is None or line in run.log.read_text()
    until(lambda: not living(session))  # helpers of multiprocessing notice the end a moment later


@pytest.mark.parametrize("deed", ["raises", "exits", "dies", "hangs", "observes_nothing"])
def test_a_failure_in_this_process_ends_the_run_with_its_reason(tmp_path, deed):
    require_ended_well(tmp_path, deed, *run_forked(tmp_path, deed, IN_PROCESS))


@pytest.mark.parametrize("deed", ["raises", "hangs", "dies_in_c", "pays_nothing"])
def test_a_failure_in_forked_workers_ends_the_run_with_its_reason(tmp_path, deed):
    require_ended_well(tmp_path, deed, *run_forked(tmp_path, deed, FORKED))


@pytest.mark.slow  # each worker imports everything
@pytest.mark.parametrize("workers", [SPAWNED, SERVED], ids=["spawn", "forkserver"])
@pytest.mark.parametrize("deed", [deed for deed in SAID if deed != "dies"])
def test_a_failure_in_spawned_or_served_workers_ends_the_run_with_its_reason(tmp_path, deed, workers):
    """With a limit that a busy machine keeps, too."""
    require_ended_well(tmp_path, deed, *run_command(tmp_path, deed, [*workers, "environment_timeout=20"]))


def test_the_real_command(tmp_path):
    require_ended_well(tmp_path, "exits", *run_command(tmp_path, "exits", FORKED))


def test_an_environment_that_ends_the_process_itself_loses_nothing_but_the_reason(tmp_path):
    """`_exit` of C is the end of here: nobody is left to write why. A worker (`tasks.workers=1`) is survived."""
    code, session, _ = run_forked(tmp_path, "dies_in_c", IN_PROCESS)
    (path,) = (tmp_path / "outputs").iterdir()
    run = RunFolder(path)
    assert code == 7
    assert run.read_json("status.json")["state"] == "running"
    with run.lock():  # which nobody holds any more
        pass
    assert [record["iteration"] for record in run.read_metrics()] == [0]
    until(lambda: not living(session))


def test_an_environment_that_goes_wrong_in_the_evaluation_ends_the_run_too(tmp_path):
    code, session, printed = run_forked(tmp_path, "raises", [*FORKED, "evaluation.validate_every=1"])
    (path,) = (tmp_path / "outputs").iterdir()
    assert code == 1
    assert "metarl-train: " in printed.splitlines()[-1]
    assert "raise Unpicklable" in RunFolder(path).log.read_text()
    assert RunFolder(path).read_json("status.json")["state"] == "failed"
    until(lambda: not living(session))
