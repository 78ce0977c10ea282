"""Published numbers are found by name, and differences mean what they say."""

import math
from pathlib import Path

import pytest

from metarl_exp.study.comparison import Mean, Published, PublishedNumbers, PublishedTable, difference, tables

FILE = Path(__file__).parents[2] / "experiments" / "published.yaml"
PAPER = "Duan et al. 2016 (RL^2)"
FIVE = "Bernoulli bandit k=5 arms, n=10 pulls"


def test_a_published_number_is_found_by_environment_and_method():
    table = PublishedTable(FILE, PAPER, "Table 1")
    assert table(FIVE, "OTS") == Published(6.5, "paper_text")
    assert table("Bernoulli bandit k=50 arms, n=500 pulls", "Gittins") == Published(463.7, "paper_text")
    assert table(FIVE, None) is None
    assert table(None, "OTS") is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("Duan et al. 2016", "Table 1", FIVE, "OTS"), r"published\.paper='Duan et al\. 2016'.*did you mean"),
        ((PAPER, "Table 3", FIVE, "OTS"), r"published\.table='Table 3': allowed are Table 1, Table 2"),
        ((PAPER, "Table 1", "k=5", "OTS"), r"published \(of a row\)='k=5'"),
        ((PAPER, "Table 1", FIVE, "UCB"), r"published \(of a column\)='UCB'.*did you mean 'UCB1'"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_those_that_are(names, message):
    paper, table, environment, method = names
    with pytest.raises(ValueError, match=message):
        PublishedTable(FILE, paper, table)(environment, method)


def test_a_difference_by_hand():
    """7 ± 0.3 against 6.4: 0.6 of 6.4, and 0.6 / (0.3 √2)."""
    assert difference(Mean(7, 0.3), 6.4) == pytest.approx((9.375, math.sqrt(2)))
    assert difference(Mean(-7, 0.3), -6.4) == pytest.approx((-9.375, -math.sqrt(2)))
    assert difference(Mean(7, 0.0), 6.4).standard_errors == math.inf


def test_a_missing_cell_is_shown_as_missing_and_every_number_where_it_belongs():
    cell = {
        "mean": 6.7,
        "standard_error": 0.1,
        "chosen": {"c": 0.2},
        "again": {"mean": 6.6, "standard_error": 0.2},
    }
    shown = tables(
        {"small": FIVE, "other": None},
        {"UCB1": "UCB1", "ours": None},
        {"small": {"UCB1": cell, "ours": cell | {"chosen": {}}}},
        PublishedTable(FILE, PAPER, "Table 1"),
    )
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    assert lines == [
        "|  | UCB1 | ours |",
        "| --- | ---: | ---: |",
        "| small | 6.70 ± 0.10 (6.7) | 6.70 ± 0.10 |",
        "| other | — | — |",
        "|  | UCB1 |",
        "| --- | ---: |",
        "| small | +0.0 %, +0.0 |",
        "| other | — |",
        "|  | UCB1 | ours |",
        "| --- | ---: | ---: |",
        "| small | 6.60 ± 0.20 (c = 0.2) | 6.60 ± 0.20 |",
        "| other | — | — |",
    ]
    assert "paper_text" in shown


def test_a_single_number_is_found_by_enough_of_its_keys_and_by_no_fewer():
    declared = {"file": FILE.name, "paper": "Finn, Abbeel, Levine 2017 (MAML)", "table": "Table 4"}
    numbers = PublishedNumbers.of(FILE.parent, declared)
    assert numbers({"method": "MAML"}, {"gradient_steps": 1}) == Published(-11.68, "paper_text+raw_data")
    assert numbers({"method": "MAML"}, None) is None
    with pytest.raises(ValueError, match=r"'method': 'MAML'}: 4 published numbers match"):
        numbers({"method": "MAML"})
    with pytest.raises(ValueError, match=r"published.method='MALM': allowed are .* \(did you mean 'MAML'\?\)"):
        numbers({"method": "MALM"}, {"gradient_steps": 1})
    figure = PublishedNumbers.of(FILE.parent, declared | {"table": "Figure 4 (raw data)"})
    assert figure({"method": "oracle (goal in observation)"}, {"gradient_steps": 1}) is None
    assert PublishedNumbers.of(FILE.parent, None)(None) is None
