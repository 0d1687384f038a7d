"""Who holds the run folder of a training on image folders, and what is in it at the start."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from skdidicm.imagenet.recipes import resolve
from skdidicm.imagenet.trainer import TrainingResult
from skdidicm.saving import image_run
from skdidicm.saving.run_folder import RunFolderError, locked

RESULT = TrainingResult(Path("x"), {"nll": 1.0}, ["cat", "dog"])


def is_locked(folder):
    try:
        with locked(folder):
            return False
    except RunFolderError:
        return True


@pytest.fixture
def steps(monkeypatch, tmp_path):
    """What happens in turn; `train` is the trainer's, which a test may replace."""
    seen = SimpleNamespace(steps=[], refuse=None)

    def train(config, output):
        output.claim()
        seen.steps.append(("claimed", is_locked(tmp_path), (tmp_path / "config.json").exists()))
        output.begin()
        seen.steps.append(("begun", is_locked(tmp_path), (tmp_path / "config.json").exists()))
        return RESULT

    def check(config):
        if seen.refuse:
            raise ValueError(seen.refuse)

    seen.train = train
    trainer = SimpleNamespace(check=check, train=lambda *given: seen.train(*given))
    monkeypatch.setattr("skdidicm.imagenet.trainer.get_trainer", lambda name: trainer)
    return seen


@pytest.fixture
def resolved():
    return resolve({"data": "photos", "epochs": 3, "recipe": "strong"})


def test_the_folder_is_held_until_the_run_is_finished(steps, resolved, tmp_path):
    def finish(result):
        assert result is RESULT
        steps.steps.append(("finished", is_locked(tmp_path), (tmp_path / "config.json").exists()))

    image_run.train(resolved, tmp_path, finish)
    assert steps.steps == [
        ("claimed", True, False),
        ("begun", True, True),
        ("finished", True, True),
    ]
    assert not is_locked(tmp_path)


def test_the_settings_tell_where_they_came_from(steps, resolved, tmp_path):
    image_run.train(resolved, tmp_path, lambda result: None)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["settings"] == resolved.config.plain()
    assert written["settings"]["epochs"] == 3
    assert written["origins"] == resolved.origins


def test_a_later_process_does_not_finish(steps, resolved, tmp_path):
    steps.train = lambda config, output: None
    image_run.train(resolved, tmp_path, lambda result: pytest.fail("only the first process does"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["train", "finish"])
def test_a_run_that_fails_gives_the_folder_back(steps, resolved, tmp_path, where):
    def fail(*given):
        raise OSError("no space left")

    whole = steps.train
    if where == "train":
        steps.train = lambda config, output: (whole(config, output), fail())
    with pytest.raises(OSError, match="no space left"):
        image_run.train(resolved, tmp_path, fail)
    assert not is_locked(tmp_path)


def test_what_the_trainer_does_not_support_is_refused_before_anything_is_written(
    steps, resolved, tmp_path
):
    steps.refuse = "no such optimiser"
    with pytest.raises(ValueError, match="no such optimiser"):
        image_run.train(resolved, tmp_path / "run", lambda result: None)
    assert (steps.steps, list(tmp_path.iterdir())) == ([], [])


def test_a_folder_of_another_command_is_left_as_it_was(steps, resolved, tmp_path):
    (tmp_path / "cells.jsonl").write_text("{}")
    with pytest.raises(ValueError, match=r"holds cells\.jsonl"):
        image_run.train(resolved, tmp_path, lambda result: None)
    assert [path.name for path in tmp_path.iterdir()] == ["cells.jsonl"]
    assert not is_locked(tmp_path)
