"""A study's file: what it may say, and that everything else is refused by name."""

import pytest

from metarl_exp.study import declaration
from metarl_exp.study.measures import Return, SamplesTo

COLUMN = {"name": "c", "measure": "return", "after": 1}


def test_a_study_as_it_is_read(laboratory):
    study = laboratory.declare(
        rows=[{"name": "A"}, {"name": "B", "against": "A", "overrides": ["seed=0"]}],
        columns=[COLUMN, {"name": "s", "measure": "samples_to", "threshold": 1, "curve": "return", "step": 0}],
    )
    assert study.name == "table"
    assert [row.against for row in study.rows] == [None, "A"]
    assert [column.measure for column in study.columns] == [Return(1), SamplesTo(1, "return", 0)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seeds": [0, 0]}, r"seeds=\[0, 0\]: each seed may occur once"),
        (
            {"rows": [{"name": "A", "choose": {"key": "inner_optimizer.lr", "values": [0.1], "seeds": [2, 100]}}]},
            r"rows\[A\].choose.seeds=\[2, 100\]: a row must not choose by a reported seed, here 2;",
        ),
        ({"seeds": []}, r"seeds=\[\]: must be a list of at least one"),
        ({"seeds": [-1]}, "seeds=-1: must be an integer ≥ 0"),
        ({"statistic": "median"}, "statistic='median': allowed are mean, iqm"),
        ({"statistik": "mean"}, r"unknown key 'statistik' \(did you mean 'statistic'\?\)"),
        ({"rows": [{"name": "A"}, {"name": "A"}]}, "rows: 'A' occurs 2 times; names must differ"),
        ({"rows": [{"name": "A", "against": "A"}]}, r"rows\[A\].against='A'"),
        ({"rows": [{"overrides": []}]}, r"rows\[None\]: missing key 'name'"),
        ({"rows": [{"name": "A", "choose": {"key": "x", "values": [1]}}]}, r"rows\[A\].choose: missing key 'seeds'"),
        ({"rows": [{"name": "A", "choose": ["x"]}]}, r"rows\[A\].choose: must be keys with values"),
        ({"rows": ["A"]}, "a row: must be keys with values, not 'A'"),
        ({"columns": [{"name": "c", "measure": "returns"}]}, r"columns\[c\].measure='returns': .* mean 'return'"),
        ({"columns": [{"name": "c", "measure": "return"}]}, r"columns\[c\]: missing key 'after'"),
        ({"columns": [COLUMN | {"before": 1}]}, r"columns\[c\]: unknown key 'before'"),
        ({"columns": [COLUMN | {"after": -1}]}, "after=-1: must be an integer ≥ 0"),
        ({"figures": ["pie"]}, "figures='pie': allowed are"),
        ({"allow_mixed": "no"}, "allow_mixed='no': must be true or false"),
    ],
)
def test_a_wrong_declaration_is_refused_with_the_file_and_the_key(laboratory, changes, says):
    with pytest.raises(ValueError, match=f"table.yaml: .*{says}"):
        laboratory.declare(**changes)


def test_files_that_are_none_or_no_studies(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        declaration.load(tmp_path / "nowhere.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="broken.yaml"):
        declaration.load(tmp_path / "broken.yaml")
    (tmp_path / "other.yaml").write_text("results: []")
    assert not declaration.is_study(tmp_path / "other.yaml")
