"""A run that was interrupted ends as one that was not, bit for bit."""

import json
import shutil
import signal

import numpy as np
import pytest

from skdidicm.imagenet import checkpoint as files

pytest.importorskip("timm")
pytestmark = pytest.mark.imagenet


def names(folder):
    return sorted(path.name for path in (folder / files.FOLDER).iterdir())


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_leaves_its_last_checkpoints_the_best_and_its_history(four_epochs):
    assert names(four_epochs) == [
        "best.safetensors",
        "update-000000008.safetensors",
        "update-000000012.safetensors",
        "update-000000016.safetensors",
    ]
    history = lines(four_epochs / "history.jsonl")
    assert [row["update"] for row in history] == [4, 8, 12, 16]
    assert [row["update"] for row in lines(four_epochs / "log.jsonl")] == list(range(2, 17, 2))
    accuracy = [row["val_accuracy"] for row in history]
    best = files.read_values(four_epochs / files.FOLDER / files.BEST)
    assert best["update"] == history[int(np.argmax(accuracy))]["update"]
    metrics = json.loads((four_epochs / "metrics.json").read_text())
    assert metrics["metrics"] == history[-1]["figures"]
    assert metrics["metrics"]["n_images"] == 31


def test_a_checkpoint_holds_all_that_a_run_is(four_epochs, state_of):
    state = state_of(four_epochs)
    kinds = {name.partition(".")[0] for name in state.tensors}
    assert kinds == {"model", "average", "optimizer", "group", files.LOSS}
    values = {"update", "optimizer", "scaler", "classes", "world", "history", "best", "is_best"}
    assert set(state.values) == values | {"data"}
    assert state.tensors["model.bn1.num_batches_tracked"].shape == ()


def test_two_and_two_epochs_are_four(four_epochs, train, strong, state_of, assert_same, tmp_path):
    for stop in ({"stop_epoch": 2}, {}):
        run = train(tmp_path / "run", **strong, **stop)
        assert run.wait() == 0, run.text
    assert "resuming after update 8 from" in run.text
    assert_same(state_of(tmp_path / "run"), state_of(four_epochs))


def test_a_run_goes_on_from_the_checkpoint_of_another_folder(
    four_epochs, train, strong, state_of, assert_same, tmp_path
):
    run = train(tmp_path, resume=files.path_of(four_epochs, 12), **strong)
    assert run.wait() == 0, run.text
    found, expected = state_of(tmp_path), state_of(four_epochs)
    for state in (found, expected):  # the best of another folder is not here
        del state.values["best"], state.values["is_best"]
    assert_same(found, expected)


def test_a_run_of_workers_that_is_cut_in_an_epoch_ends_the_same(
    four_epochs, train, strong, state_of, assert_same, tmp_path
):
    run = train(tmp_path, checkpoint_minutes=0, log_every=1, workers=1, **strong)
    run.after("update 6/16")
    run.kill(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert files.read_values(files.newest(tmp_path))["update"] >= 5
    run = train(tmp_path, **strong)
    assert run.wait() == 0, run.text
    assert_same(state_of(tmp_path), state_of(four_epochs))
    updates = [row["update"] for row in lines(tmp_path / "log.jsonl")]
    assert updates == sorted(set(updates))


@pytest.mark.slow
def test_a_run_that_is_killed_at_random_moments_ends_the_same(
    four_epochs, train, strong, state_of, assert_same, tmp_path
):
    rng = np.random.default_rng(0)
    for _ in range(5):
        run = train(tmp_path, checkpoint_minutes=0, log_every=1, **strong)
        moment = int(rng.integers(1, 5))
        newest = files.newest(tmp_path)
        done = files.read_values(newest)["update"] if newest else 0
        if done + moment < 16:
            run.after(f"update {done + moment}/16")
            signal.sigtimedwait([], rng.uniform(0, 0.3))
        run.kill(signal.SIGKILL)
        assert run.wait() in (0, -signal.SIGKILL), run.text
        if files.newest(tmp_path):  # every checkpoint that is there is whole
            for path in (tmp_path / files.FOLDER).glob("*.safetensors"):
                files.read_run(path)
    run = train(tmp_path, **strong)
    assert run.wait() == 0, run.text
    assert_same(state_of(tmp_path), state_of(four_epochs))
    best = files.read_values(files.locate(tmp_path))["update"]
    assert best == files.read_values(files.locate(four_epochs))["update"]
    assert not list((tmp_path / files.FOLDER).glob(".*"))


def test_a_run_that_ended_is_told_again_and_not_trained(four_epochs, train, strong, tmp_path):
    folder = shutil.copytree(four_epochs, tmp_path / "run")
    run = train(folder, **strong)
    assert run.wait() == 0, run.text
    assert "resuming after update 16" in run.text
    for name in ("metrics.json", "log.jsonl"):
        assert (folder / name).read_text() == (four_epochs / name).read_text()


def test_a_run_that_was_stopped_before_its_evaluation_evaluates(
    four_epochs, train, strong, state_of, assert_same, tmp_path
):
    """The signal comes in the last update of an epoch, which a checkpoint holds without a row."""
    run = train(tmp_path, checkpoint_minutes=0, **strong)
    run.after("update 4/16")
    run.kill(signal.SIGTERM)
    assert run.wait() == 143, run.text
    run = train(tmp_path, **strong)
    assert run.wait() == 0, run.text
    assert_same(state_of(tmp_path), state_of(four_epochs))


def test_other_settings_are_named_and_leave_the_run_as_it_was(four_epochs, train, strong, tmp_path):
    folder = shutil.copytree(four_epochs, tmp_path / "run")
    before = (folder / "config.json").read_text()
    run = train(folder, **strong | {"ema": 0.5, "learning_rate": 0.1})
    assert run.wait() == 1
    assert "(learning_rate 0.0035 -> 0.1, ema 0.9 -> 0.5); use those, or another" in run.text
    assert (folder / "config.json").read_text() == before
    assert names(folder) == names(four_epochs)


def test_starting_anew_keeps_the_old_checkpoints_beside(four_epochs, train, strong, tmp_path):
    folder = shutil.copytree(four_epochs, tmp_path / "run")
    run = train(folder, resume="never", stop_epoch=1, keep=1, **strong)
    assert run.wait() == 0, run.text
    earlier = folder / "earlier-1"
    assert f"the earlier run is now in {earlier}" in run.text
    assert names(folder) == ["best.safetensors", "update-000000004.safetensors"]
    assert names(earlier) == names(four_epochs)
    for name in ("config.json", "history.jsonl", "log.jsonl", "metrics.json", "model.skd"):
        assert (earlier / name).read_bytes() == (four_epochs / name).read_bytes()
    assert [row["update"] for row in lines(folder / "log.jsonl")] == [2, 4]
    assert [row["update"] for row in lines(folder / "history.jsonl")] == [4]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("truncate", "is not a checkpoint of skdidicm, or it is damaged"),
        ("tensor", "the checkpoint's weights do not fit the network"),
        ("foreign", "it lacks config, classes"),
        ("missing", "does not exist; expected a checkpoint of skdidicm."),
        ("classes", "has changed since"),
    ],
)
def test_a_checkpoint_that_does_not_fit_ends_with_a_sentence(
    four_epochs, train, strong, tmp_path, change, words
):
    path = tmp_path / "a.safetensors"
    saved = files.read(files.newest(four_epochs))
    if change == "tensor":
        saved.tensors["model.bn1.weight"] = np.zeros(5, np.float32)
    if change == "classes":
        saved.values["classes"][0] = "other"
    files.write(path, saved._replace(values={}) if change == "foreign" else saved)
    if change == "truncate":
        path.write_bytes(path.read_bytes()[:-1])
    if change == "missing":
        path.unlink()
    run = train(tmp_path / "run", resume=path, **strong)
    assert run.wait() == 1
    assert words in run.text
    assert "Traceback" not in run.text


def test_a_full_disk_ends_with_a_sentence_and_leaves_the_last_checkpoint_whole(
    four_epochs, train, strong, state_of, assert_same, tmp_path
):
    assert train(tmp_path, stop_epoch=1, **strong).wait() == 0
    before = names(tmp_path)
    run = train(tmp_path, file_limit=200_000, **strong)
    assert run.wait() == 1
    assert "update-000000008.safetensors could not be written" in run.text
    assert "earlier ones are intact. Free some space and start the same command again." in run.text
    assert "Traceback" not in run.text
    assert names(tmp_path) == before
    assert files.read_run(files.newest(tmp_path)).values["update"] == 4
    run = train(tmp_path, **strong)
    assert run.wait() == 0, run.text
    assert_same(state_of(tmp_path), state_of(four_epochs))


def hostile(saved, change):
    """Change a checkpoint in a way that its digests do not show."""
    tensors, values = dict(saved.tensors), json.loads(json.dumps(saved.values))
    if change == "no exp_avg":
        del tensors["optimizer.7.exp_avg"]
    if change == "no state":
        tensors = {k: v for k, v in tensors.items() if not k.startswith("optimizer.7.")}
    if change == "shape":
        tensors["optimizer.7.exp_avg"] = np.zeros((2, 2), np.float32)
    if change == "no groups":
        values["optimizer"]["groups"] = []
    if change == "group":
        del values["optimizer"]["groups"][0]["weight_decay"]
    if change == "rate":
        values["optimizer"]["groups"][0]["weight_decay"] = "much"
    if change == "parameters":
        values["optimizer"]["groups"][0]["params"] = [1, 2]
    if change == "no optimizer":
        values["optimizer"] = {}
    if change == "number":
        tensors["optimizer.9999.exp_avg"] = np.zeros(2, np.float32)
    if change == "name":
        tensors["optimizer.x"] = np.zeros(2, np.float32)
    return files.Checkpoint(tensors, values)


@pytest.mark.parametrize(
    "change",
    [
        *("no exp_avg", "no state", "shape", "no groups", "group", "rate", "parameters"),
        *("no optimizer", "number", "name"),
    ],
)
def test_an_odd_state_of_the_optimiser_ends_with_a_sentence(four_epochs, settings, alone, change):
    from skdidicm_torch.imagenet.engine import Engine

    config = settings(recipe="strong", ema=0.9, n_draws=2)
    saved = hostile(files.read_run(files.newest(four_epochs)), change)
    engine = Engine(config, 6, alone, per_epoch=4)
    with pytest.raises(files.CheckpointError, match="state of the optimiser does not fit"):
        engine.unpack(saved.tensors, saved.values)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"model": "vit_giant_patch14_224", "resolution": 224, "conditioning": "head"},
            "do not fit",
        ),
        ({"model": "didirn152"}, "do not fit the network"),
        ({"steps": 10**9}, "--steps is 1000000000; expected 1 to 10000"),
        ({"backend": 3}, "--backend is 3; expected"),
    ],
)
def test_a_small_file_does_not_make_a_giant(four_epochs, tmp_path, config, words):
    from skdidicm_torch.imagenet import evaluate

    saved = files.read(files.newest(four_epochs))
    saved.values["config"].update(config)
    files.write(tmp_path / "a.safetensors", saved)
    with pytest.raises(files.CheckpointError, match=words):
        evaluate(tmp_path / "a.safetensors", {})


def test_weights_without_a_model_are_not_evaluated(tmp_path):
    from skdidicm_torch.imagenet import evaluate

    files.write(tmp_path / "a.safetensors", files.Checkpoint({}, {"update": 3}))
    with pytest.raises(files.CheckpointError, match="holds no model: it lacks config, classes"):
        evaluate(tmp_path / "a.safetensors", {})
