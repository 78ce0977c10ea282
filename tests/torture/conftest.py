"""The fixture that counts what was tried, and the table that is printed at the end and stored with `--tally`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.torture.tally import OUTCOMES, gathered, store, table

PROPERTY = "tally"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tally", type=Path, metavar="FILE", help="where to store how often each outcome was seen")


@pytest.fixture
def tally(record_property: Callable[[str, Any], None]) -> Callable[[str, str], None]:
    """Count one thing that was tried: its kind, as a row of the table is called, and its outcome, one of OUTCOMES."""

    def count(kind: str, outcome: str) -> None:
        assert outcome in OUTCOMES
        record_property(PROPERTY, [kind, outcome])

    return count


@pytest.fixture(scope="session")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny run to do harm to; see `Victim`."""
    from tests.torture.victim import Victim  # which imports all that a run needs

    return Victim(tmp_path_factory.mktemp("victim"))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table, and store it if asked: the counts come from all processes that tests ran in."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    found = gathered(tuple(v) for r in reports for name, v in r.user_properties if name == PROPERTY)
    if found:
        terminalreporter.section("what was done to runs, and what became of them")
        terminalreporter.write_line(table(found))
    if path := config.getoption("--tally", None):
        store(found, path)
