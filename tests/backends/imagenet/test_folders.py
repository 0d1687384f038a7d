"""Run folders of real processes: who may write them, and what a failed start leaves."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from skdidicm.imagenet import checkpoint as files

pytest.importorskip("timm")
pytestmark = pytest.mark.imagenet


def contents(folder):
    """Return the bytes of every file below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_a_second_start_is_refused_while_the_first_runs(
    four_epochs, train, train_together, strong, state_of, assert_same, tmp_path
):
    first = train(tmp_path, log_every=1, **strong)
    first.after("update 1/16")
    first.kill(signal.SIGSTOP)  # it holds its lock, and cannot end before the others start
    second = train(tmp_path, **strong)
    assert second.wait() == 1
    assert f"{tmp_path} is being written by process {first.number} on" in second.text
    assert second.text.count("\n") == 1
    group = train_together(tmp_path, **strong)
    for run in group:  # only one of them tries to take the lock, but all end
        assert run.wait() == 1, run.text
        assert f"is being written by process {first.number}" in run.text
    first.kill(signal.SIGCONT)
    assert first.wait() == 0, first.text
    assert_same(state_of(tmp_path), state_of(four_epochs))


def test_a_killed_run_holds_nothing(train, strong, tmp_path):
    first = train(tmp_path, log_every=1, checkpoint_minutes=0, **strong)
    first.after("update 2/16")
    first.kill(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    second = train(tmp_path, stop_epoch=1, **strong)
    assert second.wait() == 0, second.text
    assert "resuming after update" in second.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "/nonexistent"}, "/nonexistent has no folder train or training"),
        ({"model": "resnet999"}, "timm has no network 'resnet999'"),
        ({"auto_augment": "none-such"}, "--auto-augment is 'none-such'"),
        ({"seed": 5}, "was written with other settings"),
        ({"no_channels_last": True}, r"(channels_last True -> False)"),
    ],
)
def test_a_start_that_fails_changes_no_run_and_leaves_no_folder(
    four_epochs, train, strong, tmp_path, changes, words
):
    folder = shutil.copytree(four_epochs, tmp_path / "run")
    before = contents(folder)
    run = train(folder, **{**strong, **changes})
    assert run.wait() == 1
    assert words in run.text
    assert contents(folder) == before
    if "written with" not in words and "channels" not in words:
        run = train(tmp_path / "new" / "run", **{**strong, **changes})
        assert run.wait() == 1
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("resume", ["auto", "never"])
def test_the_folder_of_another_command_is_refused(train, strong, tmp_path, resume):
    for name in ("model.skd", "metrics.json", "history.jsonl"):
        (tmp_path / name).write_text("of a run on digits")
    before = contents(tmp_path)
    run = train(tmp_path, resume=resume, **strong)
    assert run.wait() == 1
    assert "but not that of a run of skdidicm train imagenet; choose another --output." in run.text
    assert contents(tmp_path) == before


def test_a_removed_picture_is_named(photographs, train, strong, tmp_path):
    data = shutil.copytree(photographs, tmp_path / "data")
    run = train(tmp_path / "run", data=data, stop_epoch=1, **strong)
    assert run.wait() == 0, run.text
    (data / "train/coffee/03.jpg").unlink()
    run = train(tmp_path / "run", data=data, **strong)
    assert run.wait() == 1
    assert "(train/coffee has 23 images instead of 24); restore the data, or pass" in run.text
    run = train(tmp_path / "run", data=data, accept_changed_data=True, stop_epoch=2, **strong)
    assert run.wait() == 0, run.text


def children(number):
    return Path(f"/proc/{number}/task/{number}/children").read_text().split()


def test_a_killed_reading_process_ends_the_run_with_a_sentence(train, strong, tmp_path):
    run = train(tmp_path, log_every=1, workers=1, epochs=500, **strong)
    run.after("update 2/")
    end = time.monotonic() + 30
    while not children(run.number):
        assert time.monotonic() < end
    os.kill(int(children(run.number)[0]), signal.SIGKILL)
    assert run.wait() == 1, run.text
    assert "a process that reads images was killed (" in run.text
    assert "start the same command again, perhaps with fewer --workers" in run.text
    assert "Traceback" not in run.text
    for path in files.candidates(tmp_path):
        files.read_run(path)
