import itertools
import json
import re

import pytest

from skdidicm.imagenet.config import SETTINGS

pytest.importorskip("timm")
pytestmark = pytest.mark.imagenet

TINY = ("--model", "didirn-tiny", "--resolution", 32, "--batch-size", 16, "--global-batch", 32)
SHORT = ("--epochs", 2, "--stop-epoch", 1, "--steps", 2, "--workers", 0, "--device", "cpu")


@pytest.fixture
def train(cli, photographs, tmp_path):
    """Train for one epoch and return the command's result and its folder."""

    def run(*options):
        folder = tmp_path / "run"
        result = cli(
            *("train", "imagenet", "--data", photographs, "--output", folder),
            *(*TINY, *SHORT, *options),
        )
        return result, folder

    return run


def test_a_dry_run_prints_every_setting_and_where_it_came_from(cli, read_json, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("epochs = 7\n")
    words = ("train", "imagenet", "--recipe", "strong", "--config", file, "--keep", 2, "--dry-run")
    result = cli(*words, "--json", "--output", tmp_path / "run")
    found = read_json(result.out)
    assert result.code == 0
    assert list(found) == list(SETTINGS)
    assert found["epochs"] == {"value": 7, "origin": str(file)}
    assert found["keep"] == {"value": 2, "origin": "--keep"}
    assert found["repeats"] == {"value": 3, "origin": "recipe strong"}
    assert found["learning_rate"] == {"value": 0.0035, "origin": "derived"}
    assert found["seed"] == {"value": 0, "origin": "default"}
    assert not (tmp_path / "run").exists()
    table = cli(*words)
    for name in SETTINGS:
        assert re.search(rf"^\s*{name}\s", table.out, re.MULTILINE), name


# Once every group of flags: what it changes in the folder or the output is asserted beside.
GROUPS = {
    "data": ("--data-ratio", 0.5, "--n-classes", 6, "--on-bad-image", "skip", "--workers", 1),
    "network": ("--conditioning", "last", "--schedule", "cosine", "--eps-t", 1e-3, "--n-draws", 2),
    "form": (
        *("--objective", "bayes_cross_entropy", "--parameterization", "posterior"),
        *("--times", "log_odds", "--conditioning", "head", "--n-draws", 4),
    ),
    "fast": ("--recipe", "fast"),
    "baseline": ("--objective", "cross_entropy", "--label-smoothing", 0.1),
    "recipe": (
        *("--recipe", "strong", "--optimizer", "adamw", "--learning-rate", 1e-3, "--ema", 0.9),
        *("--warmup-epochs", 0.5, "--warmup-learning-rate", 0, "--weight-decay", 0.1),
        *("--max-grad-norm", 0, "--min-crop", 0.5, "--color-jitter", 0, "--repeats", 2),
        *("--auto-augment", "rand-m3", "--mixup", 0.1, "--cutmix", 0.5),
    ),
    "engine": (
        *("--precision", "bfloat16", "--no-channels-last", "--gradient-checkpointing"),
        *("--seed", 5, "--sync-batchnorm", "--backend", "torch"),
    ),
    "evaluation": ("--sampler", "cl", "--solver", "bridge", "--n-chains", 3, "--crop", 1),
    "run": ("--resume", "never", "--keep", 1, "--checkpoint-minutes", 0, "--log-every", 1),
}


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_of_flags_trains(train, group, read_json):
    result, folder = train(*GROUPS[group], "--json")
    assert result.code == 0, result.err
    found = read_json(result.out)
    assert found["metrics"]["n_images"] == 31
    written = json.loads((folder / "config.json").read_text())
    flags = GROUPS[group]
    for flag, value in itertools.pairwise(flags):
        if str(flag).startswith("--") and not str(value).startswith("--"):
            name = flag[2:].replace("-", "_")
            assert written["settings"][name] == value
            assert written["origins"][name] == flag
    assert set(written["settings"]) == set(SETTINGS)
    for file in ("metrics.json", "model.skd", "history.jsonl"):
        assert (folder / file).is_file()


@pytest.mark.parametrize(
    ("options", "form"),
    [
        ((), ("score", "score_entropy", "blocks")),
        (("--recipe", "fast"), ("posterior", "bayes_cross_entropy", "last")),
    ],
    ids=["paper", "fast"],
)
def test_the_exported_model_takes_raw_pixels_and_has_the_runs_form(
    train, photographs, options, form
):
    import numpy as np
    from PIL import Image

    from skdidicm import DiDiClassifier

    _, folder = train("--crop", 1, *options)
    classifier = DiDiClassifier.load(folder / "model.skd")
    assert form == (classifier.parameterization, classifier.objective, classifier.conditioning)
    pictures = sorted((photographs / "val").rglob("*.jpg"))
    X = np.stack([Image.open(p).resize((32, 32), Image.Resampling.BICUBIC) for p in pictures])
    y = np.array([p.parent.name for p in pictures])
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    assert classifier.score(X, y) == pytest.approx(metrics["accuracy"], abs=0.1)


def test_events_for_tensorboard_hold_losses_and_accuracy(train):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    result, folder = train("--tensorboard", "--log-every", 2)
    assert result.code == 0, result.err
    found = events.EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.step for event in found.Scalars("train/loss")] == [2, 4]
    history = json.loads((folder / "history.jsonl").read_text())
    assert found.Scalars("epoch/val_accuracy")[0].value == pytest.approx(history["val_accuracy"])


def test_without_tensorboard_its_flag_says_what_to_install(train, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    result, _ = train("--tensorboard")
    assert result.code == 1
    assert "--tensorboard needs the package tensorboard" in result.err


def test_skipped_pictures_are_listed(train, photographs, tmp_path):
    import shutil

    root = shutil.copytree(photographs, tmp_path / "data")
    bad = root / "train/coffee/07.jpg"
    bad.write_bytes(bad.read_bytes()[:300])
    result, folder = train("--data", root, "--on-bad-image", "skip")
    assert result.code == 0, result.err
    listed = (folder / "bad_images.txt").read_text().splitlines()
    assert len(listed) == 1
    assert listed[0].startswith(f"{bad} cannot be read as a picture")
    result, _ = train("--data", root, "--resume", "never")
    assert result.code == 1
    assert f"Error: {bad} cannot be read" in result.err
    worse = root / "val/coffee/01.jpg"
    worse.write_text("no picture")
    result, _ = train("--data", root, "--on-bad-image", "skip", "--resume", "never")
    assert result.code == 1
    assert "1 of 31 validation pictures cannot be read, more than 1%" in result.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--data", ""), "--data is missing; expected a folder with train/ and val/, or synthetic"),
        (("--backend", "none"), "backend 'none' has no trainer for folders of pictures; expected"),
        (("--learning-rate", 9, "--optimizer", "sgd", "--max-grad-norm", 0), "became nan"),
    ],
)
def test_what_cannot_be_trained_ends_with_a_sentence(train, options, words):
    result, folder = train("--epochs", 1, "--warmup-epochs", 0, *options)
    assert result.code == 1
    assert words in result.err
    assert not list(folder.glob("checkpoints/*"))


def test_fewer_pictures_than_a_batch_get_a_smaller_one_with_a_warning(train):
    result, folder = train("--epochs", 1, "--global-batch", 1024, "--batch-size", 128, "--lr", 1e-3)
    assert result.code == 0, result.err
    assert "144 training images do not fill a batch of 1024" in result.err
    assert "skdidicm train folder" in result.err
    settings = json.loads((folder / "config.json").read_text())
    assert settings["settings"]["global_batch"] == 32  # at least four of them in an epoch
    assert settings["settings"]["batch_size"] == 32
    assert settings["origins"]["batch_size"] == "144 images"
    assert settings["settings"]["learning_rate"] == 1e-3


@pytest.mark.parametrize("option", [("--pretrained",), ("--initial-checkpoint", "w.pth")])
def test_a_pretrained_start_names_its_command(cli, option):
    result = cli("train", "imagenet", "--data", ".", *option)
    assert result.code == 2
    assert "skdidicm train folder DIR" in " ".join(result.err.replace("│", " ").split())


def test_synthetic_data_train_without_a_folder(train):
    result, folder = train("--data", "synthetic", "--n-images", 64, "--n-classes", 5)
    assert result.code == 0, result.err
    assert len(json.loads((folder / "metrics.json").read_text())["class_names"]) == 5
