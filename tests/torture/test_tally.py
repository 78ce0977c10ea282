"""The counts that docs/survives.md shows."""

from tests.torture.tally import gathered, table


def test_each_kind_is_a_row_with_the_number_tried_and_the_number_of_each_outcome():
    counts = gathered([("kills", "identical"), ("flips", "refused"), ("kills", "identical"), ("kills", "hung")])
    assert list(counts) == ["flips", "kills"]
    header, _, flips, kills = (line.split("|") for line in table(counts).splitlines())
    assert dict(zip(header, kills, strict=True))[header[2]].strip() == "3"
    assert [cell.strip() for cell in flips[1:4]] == ["flips", "1", "0"]
    assert [cell.strip() for cell in kills[1:7]] == ["kills", "3", "2", "0", "0", "1"]
