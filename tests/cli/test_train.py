import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_digits_split
from skdidicm.saving import run_folder

FILES = ["history.jsonl", "learning_curve.png", "metrics.json", "model.skd", "posterior_path.png"]


@pytest.fixture
def quick_command(torch, fashion_data):
    """A training command that takes a fraction of a second."""
    return ["train", "fashion-mnist", "--data", str(fashion_data), "--epochs", "1", "--steps", "1"]


@pytest.fixture
def no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def test_a_run_leaves_five_files(digits_run):
    pytest.importorskip("matplotlib")
    assert sorted(path.name for path in digits_run.folder.iterdir()) == FILES
    for name in ("learning_curve.png", "posterior_path.png"):
        assert (digits_run.folder / name).read_bytes().startswith(b"\x89PNG")


def test_json_is_the_only_thing_on_stdout(digits_run, read_json):
    content = read_json(digits_run.out)
    written = read_json((digits_run.folder / "metrics.json").read_text())
    assert content == {"output": str(digits_run.folder), **written}
    assert "Written to" in digits_run.err


def test_the_figures_are_those_of_the_saved_model_on_the_test_rows(digits_run):
    metrics = json.loads((digits_run.folder / "metrics.json").read_text())["metrics"]
    split = load_digits_split(3)
    classifier = DiDiClassifier.load(digits_run.folder / "model.skd")
    p = classifier.predict_proba(split.X_test)
    assert metrics["accuracy"] == pytest.approx(np.mean(p.argmax(axis=1) == split.y_test))
    true = p[np.arange(len(p)), split.y_test]
    assert metrics["nll"] == pytest.approx(-np.mean(np.log(true)), rel=1e-5)
    assert metrics["top5_accuracy"] == pytest.approx(np.mean((p > true[:, None]).sum(axis=1) < 5))
    assert metrics["training_seconds"] > 0
    assert metrics["prediction_seconds"] > 0


def test_the_history_has_a_row_for_every_epoch(digits_run):
    lines = (digits_run.folder / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_progress_without_a_terminal_is_plain_lines(digits_run):
    assert re.search(r"^epoch 1 of 2: loss \d+\.\d+$", digits_run.err, re.MULTILINE)
    assert re.search(r"^epoch 2 of 2: loss \d+\.\d+$", digits_run.err, re.MULTILINE)
    assert "\x1b" not in digits_run.err


def test_a_trial_is_announced(cli, quick_command, tmp_path, no_matplotlib):
    for option, announced in (("--choose-epochs", True), ("--all-epochs", False)):
        result = cli(*quick_command, option, "--output", tmp_path / option)
        assert result.code == 0, result.err
        assert ("First a trial" in result.err) is announced
        trial = DiDiClassifier.load(tmp_path / option / "model.skd").trial_
        assert [row["epochs"] for row in trial] == [1] * announced


def test_a_first_run_on_digits_has_no_trial(digits_run, read_json):
    assert read_json(digits_run.out)["settings"]["choose_epochs"] is False


def test_effort_decides_about_the_trial(cli, quick_command, tmp_path):
    for effort, announced in (("fast", False), ("thorough", True)):
        command = [*quick_command, "--choose-epochs"] if announced else quick_command
        result = cli(*command, "--effort", effort, "--output", tmp_path / effort)
        assert ("First a trial" in result.err) == announced
        found = DiDiClassifier.load(tmp_path / effort / "model.skd")
        assert found.effort == effort
        assert len(found.members_) == (5 if announced else 0)


def test_options_reach_the_classifier(digits_run):
    classifier = DiDiClassifier.load(digits_run.folder / "model.skd")
    assert (classifier.steps, classifier.max_epochs, classifier.random_state) == (2, 2, 3)
    assert classifier.callbacks is None


def test_the_table_shows_every_figure(fashion_run):
    for label in (
        "fashion-mnist, 20 test images",
        "Accuracy",
        "Top-5 accuracy",
        "Negative log-likelihood",
        "Expected calibration error",
        "Training",
        "Prediction",
    ):
        assert label in fashion_run.out
    assert "Training on 30 images" in fashion_run.err


def test_a_folder_with_files_is_refused_before_training(cli, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    result = cli("train", "digits", "--epochs", "1", "--output", tmp_path)
    assert result.code == 1
    assert result.out == ""
    assert f"Error: {tmp_path} holds files already" in result.err
    assert "--overwrite" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_overwrite_replaces_the_run_and_nothing_else(cli, quick_command, tmp_path, no_matplotlib):
    for name in ("notes.txt", "posterior_path.png", "model.skd"):
        (tmp_path / name).write_text("old")
    result = cli(*quick_command, "--output", tmp_path, "--overwrite")
    assert result.code == 0
    assert (tmp_path / "notes.txt").read_text() == "old"
    assert (tmp_path / "model.skd").read_bytes() != b"old"
    assert not (tmp_path / "posterior_path.png").exists()
    assert 'pip install "skdidicm[plot]"' in result.err


def test_the_default_folder_is_named_for_data_and_time(
    cli, quick_command, tmp_path, monkeypatch, no_matplotlib
):
    monkeypatch.chdir(tmp_path)
    result = cli(*quick_command)
    assert result.code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"fashion-mnist-\d{8}-\d{6}", folder.name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "steps is 0"),
        (["--sampler", "xy"], "sampler is 'xy'; expected one of ('cp', 'cl')"),
        (["--network", "resnet9000"], "resnet9000"),
        (["--backend", "abacus"], "backend 'abacus' is not known"),
        (["--device", "abacus"], "abacus"),
        (["--precision", "float3"], "float3"),
        (
            ["--objective", "bayes_cross_entropy", "--parameterization", "score"],
            "parameterization='posterior'",
        ),
        (["--learning-rate", "-1"], "learning_rate is -1.0"),
    ],
)
def test_a_setting_that_means_nothing_is_one_sentence(
    cli, quick_command, tmp_path, options, message
):
    folder = tmp_path / "run"
    result = cli(*quick_command, "--output", folder, *options)
    assert result.code == 1
    assert message in result.err
    assert "Traceback" not in result.err
    assert not folder.exists()


def test_missing_data_is_named_and_no_folder_is_left(cli, tmp_path):
    result = cli(
        "train", "fashion-mnist", "--data", tmp_path / "none", "--output", tmp_path / "run"
    )
    assert result.code == 1
    assert "is not a folder; expected the folder that holds train-images" in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_subset_without_a_class_is_refused(cli, fashion_data, tmp_path):
    data = ("--data", fashion_data, "--n-train", "2")
    result = cli("train", "fashion-mnist", *data, "--output", tmp_path / "run")
    assert result.code == 1
    assert "the 2 training images include no" in result.err
    assert "raise --n-train" in result.err


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("CUDA out of memory. Tried to\nallocate"), "A smaller --batch-size takes"),
        (FloatingPointError("the loss became nan"), "Error: the loss became nan"),
        (PermissionError(13, "Permission denied", "x"), "Error: x: permission denied."),
        (OSError(28, "No space left on device", "x"), "Error: x: no space left on device."),
    ],
)
def test_a_failure_while_training_is_one_sentence(
    cli, quick_command, tmp_path, monkeypatch, error, message
):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(DiDiClassifier, "fit", fail)
    result = cli(*quick_command, "--output", tmp_path / "run")
    assert result.code == 1
    assert message in result.err
    assert len(result.err.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_bug_is_not_hidden(cli, quick_command, tmp_path, monkeypatch):
    monkeypatch.setattr(DiDiClassifier, "fit", lambda *arguments: {}["no such key"])
    with pytest.raises(KeyError):
        cli(*quick_command, "--output", tmp_path / "run")


def test_traceback_shows_where_an_error_came_from(cli, tmp_path):
    with pytest.raises(FileNotFoundError):
        cli("--traceback", "train", "fashion-mnist", "--data", tmp_path, "--output", tmp_path / "r")


def test_an_output_that_is_a_file_is_refused(cli, tmp_path):
    (tmp_path / "run").write_text("")
    result = cli("train", "digits", "--output", tmp_path / "run")
    assert result.code == 1
    assert "is a file; choose a folder" in result.err


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c_ends_quietly_with_130_and_keeps_the_history(quick_command, tmp_path):
    folder = tmp_path / "run"
    command = ["-m", "skdidicm", *quick_command, "--epochs", "100000", "--output", str(folder)]
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        lines = []
        while not any(line.startswith("epoch") for line in lines):
            lines.append(process.stderr.readline())
            assert lines[-1], "".join(lines)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert [path.name for path in folder.iterdir()] == ["history.jsonl"]
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[0].keys() >= {"loss", "learning_rate", "seconds"}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_folder_that_another_process_writes_is_refused(cli, quick_command, tmp_path):
    with run_folder.locked(tmp_path / "run"):
        result = cli(*quick_command, "--output", tmp_path / "run")
    assert (result.code, result.out) == (1, "")
    assert f"{tmp_path / 'run'} is being written by process {os.getpid()} on " in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ["--steps", "0"],
        ["--network", "resnet9000"],
        ["--backend", "abacus"],
        ["--n-train", "2"],
        ["--data", "nowhere"],
    ],
    ids=" ".join,
)
def test_a_run_that_cannot_start_changes_nothing(cli, quick_command, tmp_path, fashion_run, wrong):
    shutil.copytree(fashion_run.folder, tmp_path / "run")
    before = contents(tmp_path / "run")
    result = cli(*quick_command, *wrong, "--output", tmp_path / "run", "--overwrite")
    assert result.code == 1
    assert contents(tmp_path / "run") == before
    new = cli(*quick_command, *wrong, "--output", tmp_path / "deep" / "new")
    assert new.code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_that_fails_half_way_leaves_the_earlier_run_whole(
    cli, quick_command, tmp_path, fashion_run, monkeypatch
):
    shutil.copytree(fashion_run.folder, tmp_path / "run")
    before = contents(tmp_path / "run")
    monkeypatch.setattr("skdidicm.metrics.score_probabilities", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli(*quick_command, "--output", tmp_path / "run", "--overwrite")
    after = contents(tmp_path / "run")
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {".history.jsonl.partial"}
    assert len(after[".history.jsonl.partial"].splitlines()) == 1


def test_a_folder_of_another_command_is_refused(cli, quick_command, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text("{}")
    result = cli(*quick_command, "--output", tmp_path, "--overwrite")
    assert (result.code, result.out) == (1, "")
    assert "of skdidicm train imagenet, which --overwrite does not replace" in result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "config.json"]


def test_a_seed_that_is_too_large_is_named_as_an_option(cli, quick_command):
    result = cli(*quick_command, "--seed", 2**32)
    assert result.code == 2
    assert "--seed" in result.err
    assert "4294967295" in result.err


@pytest.mark.filterwarnings("ignore:held-out rows do not tell")
@pytest.mark.parametrize("noise", ["0.1", "auto"])
def test_wrong_labels_can_be_told_or_estimated(quick_command, cli, read_json, tmp_path, noise):
    """The history is that of the model, whichever of the fits it is from."""
    options = ["--choose-epochs", "--label-noise", noise, "--json", "--output", tmp_path / "run"]
    result = cli(*quick_command, *options)
    assert result.code == 0, result.err
    model = DiDiClassifier.load(tmp_path / "run" / "model.skd")
    assert model.label_noise == {"0.1": 0.1}.get(noise, noise)
    assert read_json(result.out)["settings"]["label_noise"] == model.label_noise
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == model.history_


def test_noise_that_is_no_share_is_a_wrong_usage(quick_command, cli):
    result = cli(*quick_command, "--label-noise", "much")
    assert result.code == 2
    assert "'much' is neither a share such as 0.2" in " ".join(result.err.split())
