"""Run folders: what is written is read again, what is damaged is named, and one process writes."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from skdidicm.saving import run_folder
from skdidicm.saving.run_folder import (
    DataSource,
    HistoryFile,
    RunFolderError,
    RunRecord,
    RunSettings,
)

HOLD = """
import os, sys, time
from pathlib import Path
from skdidicm.saving import run_folder

with run_folder.locked(Path(sys.argv[1])):
    child = os.fork() if len(sys.argv) > 2 else None
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def hold(tmp_path):
    """Start a process that holds a folder; it is killed at the end."""
    started = []

    def start(folder, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder), *arguments], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        process.child = process.stdout.readline().strip()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def content(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_second_process_is_told_who_holds_the_folder(tmp_path, hold):
    process = hold(tmp_path / "run")
    with pytest.raises(RunFolderError) as raised, run_folder.locked(tmp_path / "run"):
        pytest.fail("two processes hold one folder")
    message = str(raised.value)
    assert f"process {process.pid} on " in message
    assert f"-c {tmp_path / 'run'}" in message
    assert f"since {time.strftime('%Y-%m-')}" in message
    assert "choose another --output" in message
    assert "\n" not in message


def test_a_second_writer_in_the_same_process_is_refused_too(tmp_path):
    with (
        run_folder.locked(tmp_path),
        pytest.raises(RunFolderError, match="is being written by process"),
        run_folder.locked(tmp_path),
    ):
        pytest.fail("one folder is held twice")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("arguments", [[], ["fork"]], ids=["alone", "with a child that lives on"])
def test_a_killed_process_releases_the_folder(tmp_path, hold, arguments):
    process = hold(tmp_path / "run", *arguments)
    process.send_signal(signal.SIGKILL)
    process.wait()
    try:
        with run_folder.locked(tmp_path / "run"):
            (tmp_path / "run" / "file").write_text("")
        assert content(tmp_path / "run") == ["file"]
    finally:
        if arguments:
            os.kill(int(process.child), signal.SIGKILL)


def test_the_folder_is_free_after_an_error(tmp_path):
    with pytest.raises(KeyError), run_folder.locked(tmp_path):
        raise KeyError
    with run_folder.locked(tmp_path):
        assert content(tmp_path) == [".lock", ".lock.json"]
    assert content(tmp_path) == []


def test_folders_that_hold_nothing_are_not_left(tmp_path):
    with run_folder.locked(tmp_path / "a" / "b"):
        pass
    assert content(tmp_path) == []
    (tmp_path / "a").mkdir()
    with run_folder.locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").write_text("")
    with run_folder.locked(tmp_path / "a" / "c"):
        pass
    assert content(tmp_path / "a") == ["b"]


@pytest.mark.parametrize("left", ["{", "[]", '{"pid": 1}', None])
def test_a_holder_that_does_not_say_who_it_is_holds_all_the_same(tmp_path, hold, left):
    hold(tmp_path)
    if left is None:
        (tmp_path / ".lock.json").unlink()
    else:
        (tmp_path / ".lock.json").write_text(left)
    with (
        pytest.raises(RunFolderError, match="is being written by another process"),
        run_folder.locked(tmp_path),
    ):
        pytest.fail("two processes hold one folder")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(RunFolderError, match="is a file"), run_folder.locked(tmp_path / "run"):
        pytest.fail("a file is held as a folder")


RECORDS = [
    RunRecord(),
    RunRecord(
        skdidicm="0.0.1",
        dataset=DataSource(name="digits", seed=3),
        settings={"steps": 2},
        class_names=["cat", "dög"],
        pixel_max=255,
        n_train=10,
        n_test=4,
        metrics={"accuracy": 0.5, "top5_accuracy": None, "nll": 1, "nll_by_step": [1.5, None]},
    ),
    RunRecord(
        dataset=DataSource(name="fashion-mnist", folder="/data", n_train=None, noise=0.5, seed=0),
        crop=0.875,
        update=7,
    ),
]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_read_as_it_was_written(tmp_path, record):
    run_folder.write_record(tmp_path, record)
    assert run_folder.read_record(tmp_path) == record
    assert run_folder.read_record(tmp_path / "model.skd") == record
    assert content(tmp_path) == ["metrics.json"]


def test_metrics_json_has_the_names_that_earlier_versions_wrote(tmp_path):
    written = {
        "skdidicm": "0.1.0",
        "dataset": {"name": "fashion-mnist", "folder": "/x", "n_train": None, "noise": 0.0,
                    "seed": 1},
        "settings": {"steps": 2},
        "class_names": ["a", "b"],
        "pixel_max": 1,
        "n_train": 5,
        "n_test": 6,
        "metrics": {"accuracy": 0.5},
    }  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps(written))
    record = run_folder.read_record(tmp_path)
    assert record.plain() == written
    run_folder.write_record(tmp_path, record)
    assert json.loads((tmp_path / "metrics.json").read_text()) == written
    digits = DataSource(name="digits", seed=1)
    assert digits.plain() == {"name": "digits", "seed": 1}


def test_where_nothing_was_written_nothing_is_read(tmp_path):
    assert run_folder.read_record(tmp_path) is None
    assert run_folder.read_settings(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("[" * 100_000, "recursion"),
        ("[1]", "the file is [1]; expected an object"),
        ('{"metrics": [1]}', "metrics is [1]; expected an object"),
        ('{"metrics": {"accuracy": "high"}}', "accuracy is 'high'; expected a number"),
        ('{"metrics": {"accuracy": true}}', "accuracy is True; expected a number"),
        ('{"metrics": {"nll": NaN}}', "nll is nan; expected a finite number"),
        ('{"metrics": {"nll_by_step": 1}}', "nll_by_step is 1; expected a list"),
        ('{"dataset": "digits"}', "dataset is 'digits'; expected an object"),
        ('{"dataset": {"seed": 1}}', "the dataset has no name"),
        ('{"dataset": {"name": "digits", "seed": "x"}}', "seed of the dataset is 'x'"),
        ('{"class_names": "abc"}', "class_names is 'abc'; expected a list"),
        ('{"class_names": [1]}', "a class name is 1; expected a text"),
        ('{"pixel_max": "white"}', "pixel_max is 'white'; expected a number"),
        ('{"pixel_max": -1}', "pixel_max is -1; expected a number above 0"),
        ('{"crop": NaN}', "crop is nan; expected a number above 0"),
        ('{"settings": 3}', "settings is 3; expected an object"),
        (b'{"class_names": ["\xff"]}', "can't decode byte 0xff"),
    ],
    ids=str,
)
def test_a_damaged_record_is_one_sentence(tmp_path, text, reason):
    file = tmp_path / "metrics.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunFolderError) as raised:
        run_folder.read_record(tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{file} is damaged (")
    assert reason in message
    assert "\n" not in message


def test_what_a_later_version_adds_is_left_alone(tmp_path):
    (tmp_path / "metrics.json").write_text('{"skdidicm": "9.0", "colour": 1}')
    assert run_folder.read_record(tmp_path) == RunRecord(skdidicm="9.0")


def test_settings_are_read_as_they_were_written(tmp_path):
    settings = RunSettings({"epochs": 3, "data": None}, {"epochs": "command line"})
    run_folder.write_settings(tmp_path, settings)
    assert run_folder.read_settings(tmp_path) == settings
    written = json.loads((tmp_path / "config.json").read_text())
    assert written == {"settings": settings.settings, "origins": settings.origins}
    (tmp_path / "config.json").write_text('{"settings": 1}')
    with pytest.raises(RunFolderError, match=r"settings is 1; expected an object"):
        run_folder.read_settings(tmp_path)


ROWS = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "val_nll": 1.0}]


def write_history(folder):
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "history.jsonl").write_text(lines, encoding="utf-8")


def test_a_history_is_read_as_it_was_written(tmp_path):
    write_history(tmp_path)
    assert run_folder.read_history(tmp_path) == ROWS
    history = tmp_path / "history.jsonl"
    history.write_text(history.read_text() + '{"epoch": 3, "lo')  # the process was killed here
    assert run_folder.read_history(tmp_path) == ROWS


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{\n", "Expecting property name"),
        ("[1]\n", "row 1 of the history is [1]; expected an object"),
        ('{"epoch": 1, "loss": 1}\n{"epoch": 2}\n', "row 2 of the history has no loss"),
        ('{"epoch": "one", "loss": 1}\n', "epoch in row 1 of the history is 'one'"),
        ('{"epoch": 1, "loss": 1, "val_nll": [2]}\n', "val_nll in row 1 of the history is [2]"),
    ],
)
def test_a_damaged_history_is_one_sentence(tmp_path, text, reason):
    (tmp_path / "history.jsonl").write_text(text)
    with pytest.raises(RunFolderError) as raised:
        run_folder.read_history(tmp_path)
    assert f"{tmp_path / 'history.jsonl'} is damaged (" in str(raised.value)
    assert reason in str(raised.value)


def test_the_history_of_an_earlier_run_stays_until_the_new_one_is_finished(tmp_path):
    write_history(tmp_path)
    history = HistoryFile(tmp_path)
    history(None, {"epoch": 1, "loss": 9.0})
    assert run_folder.read_history(tmp_path) == ROWS
    history.finish([{"epoch": 1, "loss": 9.0}])
    assert run_folder.read_history(tmp_path) == [{"epoch": 1, "loss": 9.0}]
    assert content(tmp_path) == ["history.jsonl"]


def test_a_history_of_no_epochs_replaces_nothing(tmp_path):
    write_history(tmp_path)
    HistoryFile(tmp_path).finish([])
    assert run_folder.read_history(tmp_path) == ROWS


@pytest.mark.parametrize("name", ["checkpoints", "config.json", "cells.jsonl", "table1.md"])
def test_a_folder_of_another_command_is_not_overwritten(tmp_path, name):
    (tmp_path / name).mkdir()
    with (
        pytest.raises(RunFolderError, match="--overwrite does not replace"),
        run_folder.new_run(tmp_path, overwrite=True),
    ):
        pytest.fail("a foreign folder is overwritten")
    assert content(tmp_path) == [name]


def test_what_a_killed_process_left_is_no_obstacle(tmp_path):
    (tmp_path / ".lock").write_text("")
    (tmp_path / ".lock.json").write_text("{}")
    with run_folder.new_run(tmp_path, overwrite=False):
        pass
    assert content(tmp_path) == []


def test_a_full_disk_is_named_with_the_file(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"metrics\.json") as raised:
        run_folder.write_record(tmp_path, RunRecord())
    assert raised.value.filename == str(tmp_path / "metrics.json")
    assert content(tmp_path) == []


def test_the_names_of_a_data_set_stand_for_whole_numbers_only():
    record = RunRecord(class_names=["cat", "dog"])
    assert record.names_of([0, 1]) == ["cat", "dog"]
    assert record.names_of([0, 2]) == ["0", "2"]
    assert record.names_of(["a", "1"]) == ["a", "1"]
    assert record.names_of([-1, 0]) == ["-1", "0"]


def test_a_data_set_that_is_not_known_is_named():
    with pytest.raises(ValueError, match="the data set 'mine' is not known; expected digits"):
        run_folder.load_data(DataSource(name="mine"))
