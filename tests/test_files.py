"""Files that are read again are whole, or refused by name."""

import json

import pytest

from metarl_exp.files import DamagedFile, read_json, read_yaml, write_atomically


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b'{"state": "fini', b"\xff\xfe", b"{}}"])
def test_what_is_not_json_is_damaged_and_the_message_begins_with_the_path(tmp_path, content):
    path = tmp_path / "status.json"
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=rf"^{path}: (it is empty|not JSON)"):
        read_json(path)


@pytest.mark.parametrize(("content", "missing"), [({}, "a"), ({"a": 1}, "a.b"), ({"a": {}}, "a.b"), ([1], "a")])
def test_json_that_lacks_what_its_reader_needs_is_damaged_and_the_message_names_the_key(tmp_path, content, missing):
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedFile, match=rf"^{path}: it has no '{missing}'"):
        read_json(path, "a", "a.b")


def test_json_that_is_nested_without_end_is_damaged(tmp_path):
    path = tmp_path / "evaluation.json"
    path.write_text("[" * 100_000)
    with pytest.raises(DamagedFile, match=rf"^{path}: not JSON"):
        read_json(path)


@pytest.mark.parametrize("content", [b"a: [1", b"a: b: c", b"\xff\xfe\x00", b"a: !!python/object/apply:os.getcwd []"])
def test_what_is_not_plain_yaml_is_damaged_and_nothing_is_executed(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=rf"^{path}: not YAML"):
        read_yaml(path)


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a.json"
    write_atomically(path, b'{"a": 1}')
    write_atomically(path, b'{"a": 2}')
    assert read_json(path) == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
