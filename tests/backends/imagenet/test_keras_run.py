"""Runs of the Keras trainer: the same folder as torch's, resumed bit for bit, without torch."""

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("skdidicm_keras", reason="Keras or its engine is missing", exc_type=ImportError)
pytest.importorskip("PIL")
pytest.importorskip("skimage")

from skdidicm_keras.imagenet import evaluate, train
from skdidicm_keras.imagenet.engine import Engine

from skdidicm import DiDiClassifier
from skdidicm.imagenet import checkpoint as files
from skdidicm.imagenet.output import Output

pytestmark = [pytest.mark.imagenet, pytest.mark.usefixtures("compiled_once")]
needs_jax = pytest.mark.skipif(not find_spec("jax"), reason="JAX is missing")
SMALL = {"backend": "keras", "resolution": 16, "data_ratio": 0.5, "n_draws": 2, "ema": 0.9}
"""Two updates of two passes an epoch."""


@pytest.fixture
def run(settings, tmp_path):
    """Train with some settings in a folder of a name."""

    def start(name, **changes):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return folder, train(settings(**SMALL, **changes), Output(folder))

    return start


def test_two_and_two_epochs_are_four_also_when_cut_in_one(
    run, state_of, assert_same, monkeypatch, capsys
):
    whole, result = run("whole")
    assert result.metrics["n_images"] == 31
    run("halves", stop_epoch=2)
    halves, _ = run("halves")
    assert "resuming after update 4 from" in capsys.readouterr().err
    assert_same(state_of(halves), state_of(whole))

    original = Engine.train_update

    def stopped(self, batches):
        if self.update == 2:
            signal.raise_signal(signal.SIGTERM)
        return original(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "train_update", stopped)
        with pytest.raises(SystemExit) as end:
            run("cut", workers=2)
    assert end.value.code == 143
    assert "saved after update 3; the same command resumes." in capsys.readouterr().err
    cut, _ = run("cut")
    assert_same(state_of(cut), state_of(whole))

    state = state_of(whole)
    kinds = {name.partition(".")[0] for name in state.tensors}
    assert kinds == {"model", "average", "optimizer", files.LOSS}
    assert [row["update"] for row in state.values["history"]] == [2, 4, 6, 8]

    again = evaluate(files.newest(whole), {"batch_size": 7})
    expected = result.metrics
    for name, value in again.metrics.items():
        assert value == pytest.approx(expected[name], abs=1e-4), name


def test_a_diverged_run_ends_with_a_sentence(run):
    from skdidicm.imagenet.run import DivergedRunError

    with pytest.raises(DivergedRunError, match="the last checkpoint is sound"):
        run("wild", optimizer="sgd", learning_rate=10, warmup_epochs=0, max_grad_norm=0, epochs=8)


WITHOUT_TORCH = """
import json, sys, importlib.machinery as machinery
find = machinery.PathFinder.find_spec
hidden = ("torch", "torchvision", "timm", "tensorflow")
def find_spec(name, *others, **settings):
    return None if name.partition(".")[0] in hidden else find(name, *others, **settings)
machinery.PathFinder.find_spec = find_spec
from skdidicm.cli import app
for words in json.loads(sys.argv[1]):
    try:
        app(words, prog_name="skdidicm")
    except SystemExit as end:
        if end.code:
            raise
assert not [name for name in sys.modules if name.partition(".")[0] in hidden]
"""


@pytest.fixture
def jax_command(compiled_once, photographs, flags):
    """Start `skdidicm train imagenet` and other commands, on JAX where no torch is."""
    env = {"OMP_NUM_THREADS": "1", "KERAS_BACKEND": "jax"}
    env |= {"JAX_COMPILATION_CACHE_DIR": str(compiled_once)}
    env |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    common = {"data": photographs, "model": "didirn-tiny", "global_batch": 32, "epochs": 4}
    common |= {"workers": 0, "steps": 2, "warmup_epochs": 1, "device": "cpu", "log_every": 1}
    common |= SMALL

    def start(folder, *others, flag="", **changes):
        options = flags({**common, "batch_size": 16, "output": folder, **changes})
        commands = [["train", "imagenet", *options], *others]
        return subprocess.Popen(
            [sys.executable, "-c", WITHOUT_TORCH, json.dumps(commands, default=str)],
            env={**os.environ, **env, "XLA_FLAGS": f"--xla_backend_optimization_level=0 {flag}"},
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            text=True,
        )

    return start


def ended(process, code=0):
    text = process.communicate()[0]
    assert process.returncode == code, text
    return text


@pytest.mark.slow
@needs_jax
def test_a_run_on_jax_needs_no_torch_and_is_evaluated_predicted_and_exported(
    jax_command, photographs, tmp_path
):
    folder = tmp_path / "run"
    picture = next((photographs / "val").rglob("*.jpg"))
    evaluated = ["evaluate", "imagenet", folder, "--json"]
    predicted = ["predict", folder, picture, "--format", "jsonl"]
    exported = ["export", folder, "--no-onnx"]
    plain = {"ema": 0, "color_jitter": 0, "epochs": 1}
    text = ended(jax_command(folder, evaluated, predicted, exported, **plain))
    for word in ("update 1/2", "Written to", "31 images", '"probabilit'):
        assert word in text
    for name in ("config.json", "history.jsonl", "log.jsonl", "metrics.json", "model.skd"):
        assert (folder / name).is_file(), name
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    again = json.JSONDecoder().raw_decode(text[text.index("{") :])[0]["metrics"]
    assert again["nll"] == pytest.approx(metrics["nll"], abs=1e-5)
    assert (folder / "export/model.skd").is_file()


def test_a_model_opens_on_torch_with_the_same_figures(run, photographs):
    """Of the evaluation of the run, by Keras, and of torch's network with the same weights."""
    pytest.importorskip("torch")
    from PIL import Image

    from skdidicm.saving.from_checkpoint import model_of_checkpoint

    folder, result = run("run", epochs=1, crop=1)
    model = model_of_checkpoint(files.read(files.newest(folder)))
    DiDiClassifier._of_model(model).save(folder / "model.skd")
    classifier = DiDiClassifier.load(folder / "model.skd", backend="torch")
    pictures = sorted((photographs / "val").rglob("*.jpg"))
    X = np.stack([Image.open(p).resize((16, 16), Image.Resampling.BICUBIC) for p in pictures])
    p = classifier.predict_proba(X)
    true = p[np.arange(31), np.searchsorted(classifier.classes_, [q.parent.name for q in pictures])]
    # The classifier breaks ties between classes in a random order at its first step.
    assert -np.log(true).mean() == pytest.approx(result.metrics["nll"], abs=0.1)


@pytest.mark.slow
@needs_jax
def test_a_run_on_jax_that_gets_a_signal_ends_as_one_that_did_not(
    jax_command, state_of, assert_same, tmp_path
):
    ended(jax_command(tmp_path / "whole"))
    process = jax_command(tmp_path / "cut", epochs=4, workers=2)
    for line in process.stdout:
        if line.startswith("update 3/8"):
            process.send_signal(signal.SIGTERM)
            break
    assert "the same command resumes" in ended(process, 143)
    ended(jax_command(tmp_path / "cut"))
    assert_same(state_of(tmp_path / "cut"), state_of(tmp_path / "whole"))


@pytest.mark.slow
@needs_jax
def test_two_devices_learn_what_one_learns(jax_command, tmp_path):
    """Each takes half of the rows; normalisation is over all of them."""
    changes = {"epochs": 1, "warmup_epochs": 0, "color_jitter": 0}
    two = "--xla_force_host_platform_device_count=2"
    ended(jax_command(tmp_path / "two", flag=two, **changes))
    ended(jax_command(tmp_path / "one", **changes, batch_size=32))
    found, expected = (files.read(files.newest(tmp_path / name)) for name in ("two", "one"))
    assert found.tensors.keys() == expected.tensors.keys()
    for name, value in expected.tensors.items():
        scale = np.abs(value).max() + 1e-6
        np.testing.assert_allclose(
            found.tensors[name] / scale, value / scale, atol=5e-3, err_msg=name
        )
    losses = [saved.values["history"][0]["loss"] for saved in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
@needs_jax
def test_the_strong_recipe_runs_on_jax(jax_command, tmp_path):
    text = ended(jax_command(tmp_path / "run", recipe="strong", epochs=1, tensorboard=True))
    assert "Warning" not in text
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    assert found.Tags()["tensors"] or found.Tags()["scalars"]
