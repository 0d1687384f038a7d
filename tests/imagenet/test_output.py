import errno
import json
import os
from dataclasses import dataclass

import pytest

from skdidicm.imagenet.output import (
    check_own,
    in_first_process,
    naming,
    replacing,
    set_aside,
    write_text,
)

FILES = ("config.json", "history.jsonl", "log.jsonl", "metrics.json", "model.skd", "bad_images.txt")


def make_run(folder, mark="old"):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/update-000000001.safetensors").write_text(mark)
    for name in FILES:
        (folder / name).write_text(mark)


def contents(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_a_run_is_moved_aside_whole_and_nothing_else_is(tmp_path):
    make_run(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "slurm.out").write_text("of the batch system")
    (tmp_path / ".lock").write_text("")
    assert set_aside(tmp_path) == tmp_path / "earlier-1"
    assert contents(tmp_path / "earlier-1") == before
    assert {path.name for path in tmp_path.iterdir()} == {"earlier-1", "slurm.out", ".lock"}


def test_runs_that_were_moved_aside_are_never_replaced(tmp_path):
    for i in (1, 2, 3):
        make_run(tmp_path, f"run {i}")
        assert set_aside(tmp_path) == tmp_path / f"earlier-{i}"
    assert set_aside(tmp_path) is None
    for i in (1, 2, 3):
        assert set(contents(tmp_path / f"earlier-{i}").values()) == {f"run {i}"}


@pytest.mark.parametrize("moves", range(8))
def test_moving_aside_that_was_killed_is_completed(tmp_path, monkeypatch, moves):
    make_run(tmp_path)
    before = contents(tmp_path)
    rename, left = type(tmp_path).rename, [moves]

    def killed(self, target):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            set_aside(tmp_path)
    assert set_aside(tmp_path) == tmp_path / "earlier-1"
    assert contents(tmp_path / "earlier-1") == before


@pytest.mark.parametrize(
    "names",
    [
        ("model.skd", "metrics.json", "history.jsonl"),
        ("cells.jsonl",),
        ("table1.md",),
        ("config.json",),
        ("checkpoints/best.safetensors", "model.skd"),
    ],
)
def test_a_folder_of_another_command_is_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match="not that of a run of skdidicm train imagenet"):
        check_own(tmp_path)


def test_an_own_an_empty_and_a_folder_with_notes_are_accepted(tmp_path):
    check_own(tmp_path)
    check_own(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("mine")
    check_own(tmp_path)
    settings = {"settings": {"recipe": "weak"}, "origins": {}}
    (tmp_path / "config.json").write_text(json.dumps(settings))  # killed before a checkpoint
    check_own(tmp_path)
    (tmp_path / "config.json").unlink()
    make_run(tmp_path)
    check_own(tmp_path)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "one")
    with pytest.raises(UnicodeEncodeError), replacing(path) as partial:
        partial.write_text("half \udc00", encoding="utf-8")
    assert contents(tmp_path) == {"a.txt": "one"}
    write_text(path, "two")
    assert contents(tmp_path) == {"a.txt": "two"}


def test_names_of_files_that_are_not_utf_8_keep_their_bytes(tmp_path):
    write_text(tmp_path / "a.txt", os.fsdecode(b"\xff.jpg"))
    assert (tmp_path / "a.txt").read_bytes() == b"\xff.jpg"


def test_an_error_without_a_file_gets_one(tmp_path):
    with pytest.raises(OSError, match="a.txt") as found, naming(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert found.value.errno == errno.ENOSPC
    with pytest.raises(OSError, match="b.txt"), naming(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device", "b.txt")


@dataclass
class Second:
    """The communicator of a process whose first one sent `sent`."""

    sent: object
    first: bool = False

    def gather(self, value):
        return [self.sent, value]


def test_an_error_of_the_first_process_ends_all(tmp_path):
    error = ValueError("the folder is held")
    with pytest.raises(ValueError, match="the folder is held"):
        in_first_process(Second(error), lambda: pytest.fail("only the first acts"))
    in_first_process(Second(None), lambda: pytest.fail("only the first acts"))
    done = []
    in_first_process(Second(None, first=True), lambda: done.append(1))
    assert done == [1]
