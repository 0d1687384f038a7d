import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from skdidicm.imagenet import checkpoint as files
from skdidicm.imagenet.recipes import resolve

TINY = {
    "model": "didirn-tiny",
    "resolution": 32,
    "epochs": 4,
    "batch_size": 16,
    "global_batch": 32,
    "warmup_epochs": 1,
    "workers": 0,
    "steps": 2,
    "device": "cpu",
    "log_every": 2,
    "checkpoint_minutes": 1000,
}
STRONG = {"recipe": "strong", "ema": 0.9, "n_draws": 2}


@pytest.fixture(scope="session")
def settings(photographs):
    """Make the settings of a run that takes a second an epoch."""

    def make(**changes):
        return resolve({"data": str(photographs), **TINY, **changes}).config

    return make


@pytest.fixture
def alone():
    """The place of a process that is alone."""
    torch = pytest.importorskip("torch")
    from skdidicm_torch.imagenet.processes import TorchCommunicator

    return TorchCommunicator(0, 1, torch.device("cpu"))


@pytest.fixture(scope="session")
def flags():
    """Return settings as options of the command line."""

    def make(changes):
        words = []
        for name, value in changes.items():
            option = "--" + name.replace("_", "-")
            words += [option] if value is True else [option, str(value)]
        return words

    return make


class Process:
    """A command that runs."""

    def __init__(self, number, output, wait):
        self.number, self._output, self._wait = number, output, wait

    def kill(self, number):
        os.kill(self.number, number)

    def kill_group(self, number):
        os.killpg(self.number, number)

    def wait(self):
        """Return the exit code, negative for a signal."""
        return self._wait(self.number)

    @property
    def text(self):
        return self._output.read_text()

    def after(self, words, seconds=120):
        """Wait until it has written some words."""
        end = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < end, self.text
            time.sleep(0.01)


@pytest.fixture(scope="session")
def nursery(tmp_path_factory):
    """Start real processes of the command line: `nursery(arguments, env={}, file_limit=0)`."""
    pytest.importorskip("timm")
    script = Path(__file__).with_name("nursery.py")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    mother = subprocess.Popen([sys.executable, script], text=True, env=env, **pipes)
    folder, started = tmp_path_factory.mktemp("output"), []

    def ask(**request):
        mother.stdin.write(json.dumps(request) + "\n")
        mother.stdin.flush()
        return json.loads(mother.stdout.readline())

    def wait(number):
        started.remove(number)
        return ask(wait=number)

    def start(*arguments, env=None, file_limit=0):
        output = folder / f"{time.monotonic_ns()}.txt"
        words = [str(a) for a in arguments]
        number = ask(arguments=words, env=env or {}, output=str(output), file_limit=file_limit)
        started.append(number)
        return Process(number, output, wait)

    yield start
    for number in started:
        os.kill(number, signal.SIGKILL)
    mother.stdin.close()
    mother.stdout.close()
    assert mother.wait() == 0


@pytest.fixture(scope="session")
def train(nursery, photographs, flags):
    """Start `skdidicm train imagenet` with the settings of a tiny run and some others."""

    def start(folder, *, env=None, file_limit=0, **changes):
        settings = {"data": photographs, **TINY, "output": folder, **changes}
        return nursery("train", "imagenet", *flags(settings), env=env, file_limit=file_limit)

    return start


def environments(world):
    """Return the environment variables of processes that share a run, as torchrun sets them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(world)}
    return [{**common, "RANK": str(i), "LOCAL_RANK": str(i)} for i in range(world)]


@pytest.fixture(scope="session")
def train_together(train):
    """Start processes that share the work of a run, as torchrun would."""

    def start(folder, world=2, **changes):
        return [train(folder, env=env, **changes) for env in environments(world)]

    return start


@pytest.fixture(scope="session")
def evaluate_together(nursery):
    """Evaluate a checkpoint in several processes; return exit codes, all text, and the figures."""

    def run(checkpoint, world):
        words = ("evaluate", "imagenet", checkpoint, "--workers", "0", "--json")
        runs = [nursery(*words, env=env) for env in environments(world)]
        codes = [one.wait() for one in runs]
        text = runs[0].text
        found = json.loads(text[text.index("{") : text.rindex("}") + 1])["metrics"]
        return codes, text, found

    return run


@pytest.fixture(scope="session")
def state_of():
    """Return what the newest checkpoint of a run holds, without times."""

    def without_times(row):
        times = ("seconds", "images_per_second", "data_wait")
        return {name: value for name, value in row.items() if name not in times}

    def read(folder):
        saved = files.read(files.newest(folder))
        values = {k: v for k, v in saved.values.items() if k not in ("seconds", "config")}
        values["history"] = [without_times(row) for row in values["history"]]
        return SimpleNamespace(tensors=saved.tensors, values=values)

    return read


@pytest.fixture(scope="session")
def assert_same():
    """Assert that two states are equal in every bit."""

    def check(actual, expected):
        assert actual.values == expected.values
        assert actual.tensors.keys() == expected.tensors.keys()
        for name, value in expected.tensors.items():
            np.testing.assert_array_equal(actual.tensors[name], value, err_msg=name)

    return check


@pytest.fixture(scope="session")
def four_epochs(train, tmp_path_factory):
    """A run of four epochs by the strong recipe that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run = train(folder, **STRONG)
    assert run.wait() == 0, run.text
    return folder


@pytest.fixture(scope="session")
def strong():
    """The settings of that run."""
    return STRONG


@pytest.fixture(scope="session")
def compiled_once(tmp_path_factory):
    """Let runs of Keras on JAX share what was compiled; return where it lies."""
    folder = tmp_path_factory.mktemp("compiled")
    from skdidicm_keras import engine

    if engine.NAME == "jax":
        import jax

        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    return folder
