"""Two real processes that share a run by gloo."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from skdidicm import DiDiClassifier
from skdidicm.imagenet import checkpoint as files

pytest.importorskip("timm")
pytestmark = pytest.mark.imagenet

PLAIN = {"model": "test_convnext", "epochs": 2, "optimizer": "sgd", "resume": "auto"}
"""A network without BatchNorm, whose gradients do not depend on how a batch is cut."""


def ended(runs):
    codes = [run.wait() for run in runs]
    return codes, "\n".join(run.text for run in runs)


@pytest.fixture(scope="module")
def together(train_together, tmp_path_factory):
    """A run of two processes that is cut after an epoch and goes on."""
    folder = tmp_path_factory.mktemp("runs") / "together"
    for stop in ({"stop_epoch": 1}, {}):
        codes, text = ended(train_together(folder, **PLAIN, **stop))
        assert codes == [0, 0], text
    return folder, text


def test_two_processes_write_once_and_resume(together):
    folder, text = together
    assert text.count("resuming after update 4 from") == 1
    assert text.count("update 8/8") == 1
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [row["update"] for row in log] == [2, 4, 6, 8]
    saved = files.read_values(files.newest(folder))
    assert (saved["update"], saved["world"], len(saved["history"])) == (8, 2, 2)
    network = DiDiClassifier.load(folder / "model.skd", device="cpu").network_
    for name, value in files.evaluated_weights(files.read(files.newest(folder))).items():
        np.testing.assert_array_equal(network.state()[name], value)


def test_two_processes_evaluate_every_image_once(together):
    metrics = json.loads((together[0] / "metrics.json").read_text())["metrics"]
    assert metrics["n_images"] == 31
    assert metrics["accuracy"] * 31 == pytest.approx(round(metrics["accuracy"] * 31))


def test_one_process_goes_on_where_two_have_stopped(together, train, train_together, tmp_path):
    """The views of an update are the same, whichever process takes them."""
    codes, text = ended(train_together(tmp_path, **PLAIN, stop_epoch=1))
    assert codes == [0, 0], text
    run = train(tmp_path, **PLAIN)
    assert run.wait() == 0, run.text
    assert files.read_values(files.newest(tmp_path))["world"] == 1


def test_two_processes_end_together_at_a_signal_and_resume_bit_for_bit(
    together, train_together, state_of, assert_same, tmp_path
):
    runs = train_together(tmp_path, **PLAIN)
    runs[0].after("update 2/8")
    runs[1].kill(signal.SIGTERM)
    codes, text = ended(runs)
    assert codes == [143, 143], text
    assert text.count("the same command resumes") == 1
    codes, text = ended(train_together(tmp_path, **PLAIN))
    assert codes == [0, 0], text
    assert_same(state_of(tmp_path), state_of(together[0]))


NORMED = {"epochs": 2, "ema": 0.9, "learning_rate": 0.01, "resume": "auto"}
"""A network with BatchNorm, of which every process gathers statistics of its own."""


@pytest.fixture(scope="module")
def normed(train_together, tmp_path_factory):
    """A run of two processes with BatchNorm that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "normed"
    codes, text = ended(train_together(folder, **NORMED))
    assert codes == [0, 0], text
    return folder


def figures_of(folder):
    return json.loads((folder / "metrics.json").read_text())["metrics"]


def test_figures_of_two_processes_are_those_of_the_saved_model(normed, evaluate_together):
    expected = figures_of(normed)
    for world in (1, 2):
        codes, text, found = evaluate_together(files.newest(normed), world)
        assert codes == [0] * world, text
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, abs=1e-6), name


def test_a_resumed_run_of_two_processes_has_the_same_figures(
    normed, train_together, state_of, assert_same, tmp_path
):
    for stop in ({"stop_epoch": 1}, {}):
        codes, text = ended(train_together(tmp_path, **NORMED, **stop))
        assert codes == [0, 0], text
    assert figures_of(tmp_path) == figures_of(normed)
    assert_same(state_of(tmp_path), state_of(normed))


def test_gradients_of_two_processes_are_averaged(train, train_together, settings, tmp_path):
    """Without draws and jitter, two processes of 16 images are one of 16 twice, and one of 32."""
    changes = PLAIN | {"objective": "cross-entropy", "stop_epoch": 1, "max_grad_norm": 0}
    changes |= {"learning_rate": 0.1, "warmup_epochs": 0, "color_jitter": 0}
    codes, text = ended(train_together(tmp_path / "two", **changes))
    assert codes == [0, 0], text
    assert train(tmp_path / "one", **changes).wait() == 0
    assert train(tmp_path / "whole", **changes | {"batch_size": 32}).wait() == 0
    found = [files.read(files.newest(tmp_path / name)) for name in ("two", "one", "whole")]
    losses = [saved.values["history"][0]["loss"] for saved in found]
    assert losses == pytest.approx([losses[2]] * 3, rel=1e-4)

    from skdidicm_torch.imagenet.model import create_model

    start = create_model(settings(**changes), 6).state_dict()
    two, one, whole = (
        np.concatenate(
            [(saved.tensors[f"model.{k}"] - v.numpy()).ravel() for k, v in start.items()]
        )
        for saved in found
    )
    assert np.linalg.norm(whole) > 0.1
    for change in (two, one):
        assert np.linalg.norm(change - whole) < 1e-3 * np.linalg.norm(whole)


def test_batch_statistics_of_all_processes_need_gpus(train_together, tmp_path):
    codes, text = ended(train_together(tmp_path, sync_batchnorm=True))
    assert codes == [1, 1], text
    assert "--sync-batchnorm needs GPUs" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_torchrun_trains_and_passes_a_signal_on(photographs, flags, tmp_path):
    tiny = {"model": "didirn-tiny", "resolution": 32, "batch_size": 16, "global_batch": 32}
    rest = {"workers": 1, "steps": 2, "device": "cpu", "epochs": 500, "log_every": 1}
    settings = {"data": photographs, "output": tmp_path / "run", **tiny, **rest}
    launch = ["torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone"]
    words = [sys.executable, "-m", *launch, "-m", "skdidicm", "train", "imagenet"]
    pipe = subprocess.PIPE
    run = subprocess.Popen(words + flags(settings), stderr=pipe, text=True, start_new_session=True)
    text = ""
    with run:
        for line in run.stderr:
            text += line
            if line.startswith("update 20/"):
                run.send_signal(signal.SIGTERM)
    assert run.returncode != 0
    assert text.count("the same command resumes") == 1, text
    saved = files.read_run(files.newest(tmp_path / "run"))
    assert saved.values["world"] == 2
