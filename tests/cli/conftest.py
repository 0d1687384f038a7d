import json
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from skdidicm.cli import app

TINY = ("--epochs", "2", "--steps", "2", "--n-draws", "1", "--batch-size", "256")


def run(*arguments):
    """Run a command in this process: exit code, stdout, stderr, and the exception of a bug."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], prog_name="skdidicm")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return SimpleNamespace(code=result.exit_code, out=result.stdout, err=result.stderr)


@pytest.fixture(scope="session")
def cli():
    return run


@pytest.fixture(scope="session")
def torch():
    """Skip without torch; one thread is fastest for tiny networks beside other processes."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="session")
def digits_run(torch, tmp_path_factory):
    """A run folder of a barely trained network."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    result = run("train", "digits", *TINY, "--seed", "3", "--output", folder, "--json")
    assert result.code == 0, result.err
    return SimpleNamespace(folder=folder, out=result.out, err=result.err)


@pytest.fixture(scope="session")
def fashion_data(tmp_path_factory):
    """Forty images of noise in the files of Fashion-MNIST."""
    folder = tmp_path_factory.mktemp("fashion")
    rng = np.random.default_rng(0)
    for part, n in (("train", 40), ("t10k", 20)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        for name, array in ((f"{part}-images-idx3", images), (f"{part}-labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{name}-ubyte").write_bytes(header + array.tobytes())
    return folder


@pytest.fixture(scope="session")
def fashion_run(torch, tmp_path_factory, fashion_data):
    """A run folder on a part of that data, with noise."""
    folder = tmp_path_factory.mktemp("runs") / "fashion"
    options = ("--data", fashion_data, "--n-train", "30", "--noise", "0.5", "--output", folder)
    result = run("train", "fashion-mnist", *options, *TINY)
    assert result.code == 0, result.err
    return SimpleNamespace(folder=folder, out=result.out, err=result.err)


@pytest.fixture
def read_json():
    """Parse a text that must be one JSON object and nothing else, without NaN."""

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return lambda text: json.loads(text, parse_constant=refuse)
