"""Files that are read again are whole, or refused by name."""

import json
import re
from contextlib import suppress

import pytest
import yaml

from metarl_exp.commands import classical
from metarl_exp.laboratory import study as laboratory
from metarl_exp.runs.files import (
    DamagedFile,
    file_name,
    read_json,
    read_yaml,
    with_digest,
    write_atomically,
    write_yaml,
)
from metarl_exp.study import comparison, declaration


@pytest.mark.parametrize("content", [b"", b"\0\0\0", b'{"state": "fini', b"\xff\xfe", b"{}}"])
def test_a_file_that_is_no_json_is_damaged_and_the_message_begins_with_the_path(tmp_path, content):
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


CONTENT = {"b": [1.5, -0.0, 1e-300, None, True], "a": {"é": "\udcff", "1": 2}, "n": 10**20}


def test_a_digest_is_checked_and_taken_out_however_the_file_is_laid_out(tmp_path):
    path = tmp_path / "x.json"
    for layout in ({}, {"indent": 1}, {"sort_keys": True, "ensure_ascii": False}):
        text = json.dumps(with_digest(CONTENT), **layout)
        path.write_bytes(text.encode(errors="backslashreplace"))
        assert read_json(path) == CONTENT
        path.write_bytes(text.replace("1.5", "1.25").encode(errors="backslashreplace"))
        with pytest.raises(DamagedFile, match=rf"^{path}: its content does not match its sha256"):
            read_json(path)


def test_json_with_a_wrong_bit_is_damaged_or_read_as_it_was(tmp_path):
    """Also in the name of the digest, without which a file would pass for an older one."""
    path, expected = tmp_path / "x.json", {"iteration": 3, "return/step_0": -1.5}
    content = json.dumps(with_digest(expected)).encode()
    for place in range(len(content)):
        for bit in range(8):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            with suppress(DamagedFile):
                assert read_json(path) == expected


@pytest.mark.parametrize("text", ["- a=1\n- b=2\n", "a: 1\n"])
def test_yaml_with_a_wrong_bit_is_damaged_or_read_as_it_was(tmp_path, text):
    path = tmp_path / "x.yaml"
    write_yaml(path, text)
    content, expected = path.read_bytes(), yaml.safe_load(text)
    assert read_yaml(path) == expected
    for place in range(len(content)):
        for bit in range(8):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            with suppress(DamagedFile):
                assert read_yaml(path) == expected


@pytest.mark.parametrize("content", [b"a: [1", b"a: b: c", b"\xff\xfe\x00", b"a: !!python/object/apply:os.getcwd []"])
def test_yaml_with_objects_is_damaged_and_nothing_is_executed(tmp_path, content):
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


def test_the_name_of_a_file_says_what_it_can():
    assert file_name("evaluation", "steps-3", "theta-best") == "evaluation_steps-3_theta-best"
    assert file_name("finn2017-navigation_2d") == "finn2017-navigation_2d"


def test_the_name_of_a_file_is_short_plain_and_its_own():
    """Whatever it is asked to say: a path, a list, what no file system takes."""
    asked = [
        "[0,1]",
        "[0, 1]",
        "0 1",
        "../x",
        "a/b",
        "a\\b",
        "é",
        "\udcff",
        "\n",
        "",
        " ",
        "[/b]",
        "1," * 60,
        "1," * 61,
    ]
    names = [file_name("evaluation", one) for one in asked]
    assert len(set(names)) == len(asked)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", name) for name in names)


@pytest.mark.parametrize("read", [declaration.load, classical.read, laboratory.read, comparison.printed])
def test_every_file_of_one_s_own_that_is_not_yaml_is_named_once(tmp_path, read):
    path = tmp_path / "study.yaml"
    path.write_text("title: [an end is missing\n")
    with pytest.raises(DamagedFile, match=rf"^{path}: not YAML \((?!.*{path})"):
        read(path)
