import json
import math
import signal

import pytest

from skdidicm.imagenet import checkpoint as files
from skdidicm.imagenet.run import DivergedRunError
from skdidicm.imagenet.stopping import Interrupted


def history(folder):
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def weight(folder):
    return files.read(files.newest(folder)).tensors["model.weight"][0]


def test_a_run_has_a_row_for_every_epoch_and_every_logged_update(whole):
    rows = history(whole)
    assert [(row["epoch"], row["update"]) for row in rows] == [(1, 3), (2, 6), (3, 9), (4, 12)]
    losses = [row["loss"] for row in log(whole)]
    assert len(losses) == 12
    for i, row in enumerate(rows):
        assert row["loss"] == pytest.approx(sum(losses[3 * i : 3 * i + 3]) / 3)


def test_the_best_checkpoint_has_the_highest_accuracy(whole):
    best = files.read_values(whole / files.FOLDER / files.BEST)
    accuracies = {row["update"]: row["val_accuracy"] for row in history(whole)}
    assert best["update"] == max(accuracies, key=accuracies.get)


def test_the_result_is_the_last_checkpoint_with_its_own_figures(toy_run, tmp_path):
    run = toy_run(tmp_path)
    run.go()
    result = run.result()
    assert result.checkpoint == files.path_of(tmp_path, 12)
    assert result.metrics == history(tmp_path)[-1]["figures"]
    assert result.classes == ["even", "odd"]


@pytest.mark.parametrize("stop_epoch", [1, 2, 3])
def test_a_run_in_two_parts_equals_one_in_one_part(toy_run, whole, tmp_path, stop_epoch):
    folder = tmp_path / "parts"
    folder.mkdir()
    toy_run(folder, stop_epoch=stop_epoch).go()
    assert len(history(folder)) == stop_epoch
    toy_run(folder).go()
    assert weight(folder) == weight(whole)
    assert [row["update"] for row in log(folder)] == list(range(1, 13))


@pytest.mark.parametrize("update", range(12))
def test_a_signal_saves_and_the_resumed_run_ends_the_same(
    toy_run, stop_before, whole, tmp_path, update
):
    folder = tmp_path / "cut"
    folder.mkdir()
    run = stop_before(toy_run(folder), update)
    with pytest.raises(Interrupted) as end:
        run.go()
    assert end.value.code == 128 + signal.SIGTERM
    assert files.read_values(files.newest(folder))["update"] == update + 1
    toy_run(folder).go()
    assert weight(folder) == weight(whole)
    losses = [row["loss"] for row in history(folder)]
    assert losses == pytest.approx([row["loss"] for row in history(whole)], rel=1e-6)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_diverged_run_keeps_its_last_finite_checkpoint(toy_run, tmp_path, broken):
    run = toy_run(tmp_path, log_every=100)

    def diverge(update):
        if update == 7:
            run.engine.weight = broken

    run.engine.before_update = diverge
    with pytest.raises(DivergedRunError, match="epoch 3; .*smaller --learning-rate"):
        run.go()
    assert math.isfinite(weight(tmp_path))
    assert files.read_values(files.newest(tmp_path))["update"] == 6


def test_evaluations_are_as_rare_as_asked_but_the_last_epoch_has_one(toy_run, tmp_path):
    toy_run(tmp_path, evaluate_every=3, epochs=4).go()
    assert ["figures" in row for row in history(tmp_path)] == [False, False, True, True]


def test_unreadable_images_are_listed_once(toy_run, tmp_path, monkeypatch):
    monkeypatch.setattr("skdidicm.imagenet.feed._BAD_SHARE", 0.5)
    toy_run(tmp_path, data={"unreadable": (3, 5)}).go()
    listed = (tmp_path / "bad_images.txt").read_text().splitlines()
    assert sorted(listed) == ["row 3 cannot be read", "row 5 cannot be read"]


def test_only_the_last_checkpoints_are_kept(toy_run, tmp_path):
    toy_run(tmp_path, keep=2).go()
    kept = {path.name for path in (tmp_path / files.FOLDER).glob("update-*")}
    assert kept == {"update-000000009.safetensors", "update-000000012.safetensors"}
