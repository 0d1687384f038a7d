import json
import sys

import pytest

pytest.importorskip("PIL")
from PIL import Image

from skdidicm.cli.check_data import with_progress


@pytest.fixture
def tree(tmp_path):
    """Two classes in both splits, one picture each."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (12, 9)).save(folder / "a.png")
    return tmp_path / "data"


@pytest.fixture
def bad_tree(tree):
    (tree / "val/dog/b.jpg").write_text("no picture")
    (tree / "val/elk").mkdir()
    return tree


def test_a_sound_tree_exits_with_zero(cli, tree):
    result = cli("check-data", tree, "--jobs", "1")
    assert result.code == 0, result.err
    assert "12x9" in result.out
    assert "4/4 pictures read, 0 unreadable" in result.err
    assert "No faults" in result.err


def test_faults_exit_with_one_and_are_listed(cli, bad_tree):
    result = cli("check-data", bad_tree, "--jobs", "1")
    assert result.code == 1
    assert str(bad_tree / "val/dog/b.jpg") in result.out
    for text in ("unreadable", "unknown class", "empty class", "elk"):
        assert text in result.out
    assert "3 faults" in result.err


def test_json_is_the_only_thing_on_stdout(cli, bad_tree, read_json):
    result = cli("check-data", bad_tree, "--jobs", "1", "--json")
    assert result.code == 1
    content = read_json(result.out)
    assert content["splits"]["val"]["pictures"] == 3
    kinds = [fault["kind"] for fault in content["faults"]]
    assert sorted(kinds) == ["empty class", "unknown class", "unreadable"]


def test_the_faults_go_to_a_file(cli, bad_tree, tmp_path):
    file = tmp_path / "faults.jsonl"
    cli("check-data", bad_tree, "--jobs", "2", "--output", file)
    faults = [json.loads(line) for line in file.read_text().splitlines()]
    assert {"unreadable", "unknown class", "empty class"} == {fault["kind"] for fault in faults}
    (unreadable,) = [fault for fault in faults if fault["kind"] == "unreadable"]
    assert unreadable["path"] == str(bad_tree / "val/dog/b.jpg")
    assert unreadable["class"] == "dog"


def test_a_folder_that_is_no_tree_is_one_sentence(cli, tmp_path):
    result = cli("check-data", tmp_path)
    assert result.code == 1
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert "train/CLASS/picture" in result.err


def test_a_terminal_gets_a_bar_and_every_image(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    infos = [object()] * 5
    assert list(with_progress(iter(infos), 5)) == infos
    assert "Reading pictures" in capsys.readouterr().err
