"""Folders of thousands of runs: what is shown of them, and that memory hardly grows with their number."""

import multiprocessing
import resource
from pathlib import Path

import pytest

from metarl_exp import report
from metarl_exp.report import pictures
from metarl_exp.runs.sweep import statuses
from tests.report.conftest import write_run  # noqa: F401  # a fixture

pytestmark = [
    pytest.mark.torture,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]
SEEDS = 10
KIBIBYTES_A_RUN = 12  # as much as its row, its returns and what it was started with


def written(root: Path, connection) -> None:
    """In a process of its own: how many jobs there are, the page's size, and the process's peak memory in KiB."""
    pictures.of_study = lambda *_: []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    number, page = len(statuses(root)), report.write(root, root / "report.html")
    connection.send((number, page.stat().st_size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))


@pytest.mark.parametrize("number", [5000])
def test_a_report_on_thousands_of_runs_keeps_little_of_each(write_run, tmp_path, number):  # noqa: F811
    root = tmp_path / "outputs"
    for i in range(number):
        method, seed = divmod(i, SEEDS)
        write_run(f"default-{method:x}-seed{seed}", seed=seed, command=f"metarl-train a={method} seed={seed}")
    ours, theirs = multiprocessing.get_context("fork").Pipe()
    process = multiprocessing.get_context("fork").Process(target=written, args=(root, theirs))
    process.start()
    found, size, grown = ours.recv()
    process.join()
    text = (root / "report.html").read_text()
    assert found == number
    assert f"{number} jobs:" in text
    assert f"The first 100 of {number:,} jobs" in text
    assert f"The first 28 of {number // SEEDS:,} methods are drawn" in text
    assert text.count('class="run"') == 100
    assert size < 2**20
    assert grown < number * KIBIBYTES_A_RUN
    print(f"{number} runs: {grown / 1024:.0f} MiB")
