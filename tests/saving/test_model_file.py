"""The file of a model: whole whatever happens, and no trust in a damaged one."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.datasets import load_iris

from skdidicm import DiDiClassifier

pytest.importorskip("torch")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def model():
    return DiDiClassifier(max_epochs=2, random_state=0).fit(*load_iris(return_X_y=True))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.skd"


@pytest.mark.parametrize("function", ["fsync", "fdopen", "replace"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(model, path, monkeypatch, function):
    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    path.write_bytes(b"the old file")
    monkeypatch.setattr(Path if function == "replace" else os, function, fail)
    with pytest.raises(OSError, match="No space left"):
        model.save(path)
    monkeypatch.undo()
    assert path.read_bytes() == b"the old file"
    assert list(path.parent.iterdir()) == [path]


def test_what_killed_saves_have_left_is_removed_by_the_next_one(model, path):
    left = path.with_name(f".{path.name}.abcdefgh.saving")
    kept = [
        path.with_name(".other.skd.abcdefgh.saving"),  # another target's
        path.with_name(f".{path.name}.backup.abcdefgh.saving"),
        path.with_name(f".{path.name}.abcdefgh"),
        path.with_name(f"{path.name}.abcdefgh.saving"),
        path.with_name(f".{path.name}.ijklmnop.saving"),  # which was written to a moment ago
    ]
    for file in (left, *kept):
        file.touch()
    for file in (left, *kept[:-1]):
        os.utime(file, (1e9, 1e9))
    model.save(path)
    assert sorted(path.parent.iterdir()) == sorted([path, *kept])


@pytest.mark.skipif(os.name != "posix", reason="Windows removes no open file")
def test_what_another_process_still_writes_is_not_removed(model, path):
    import fcntl

    busy = path.with_name(f".{path.name}.abcdefgh.saving")
    with busy.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.utime(busy, (1e9, 1e9))
        model.save(path)
        assert busy.exists()
    model.save(path)
    assert not busy.exists()


@pytest.mark.skipif(os.name != "posix", reason="file modes are those of POSIX")
def test_a_file_has_the_rights_of_any_new_file(model, path):
    model.save(path)
    beside = path.with_name("beside")
    beside.touch()
    assert path.stat().st_mode == beside.stat().st_mode


def run_tool(*arguments):
    command = [sys.executable, "-m", "tests.fuzz_models", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(os.name != "posix", reason="needs fork and SIGKILL")
def test_a_process_that_is_killed_while_it_saves_leaves_a_whole_file():
    counts = run_tool("--kills", "10")
    assert counts["old"] + counts["new"] == 10


linux = pytest.mark.skipif(sys.platform != "linux", reason="bounds memory as Linux does")


@linux
@pytest.mark.slow
def test_a_damaged_file_is_refused_or_gives_the_same_answers():
    counts = run_tool("1100")
    assert sum(counts.values()) == 1100
    refused = sum(n for name, n in counts.items() if name.endswith("refused"))
    assert refused > 1000


@linux
@pytest.mark.slow
def test_a_hostile_file_takes_little_memory_and_runs_no_code():
    counts = run_tool("--hostile")
    assert counts["refused"] > 90


@pytest.mark.skipif(os.name != "posix", reason="the script needs POSIX")
@pytest.mark.slow
def test_an_interrupted_fit_leaves_the_earlier_one():
    counts = run_tool("--interrupts", "60")
    assert sum(counts.values()) == 60
    assert sum(n for name, n in counts.items() if name.endswith("as before")) > 40
