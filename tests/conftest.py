"""Fixtures of all tests; `xp` runs a test once on every array library that is installed."""

import importlib
import importlib.util
import os
import signal
from pathlib import Path

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # read when SciPy is imported; one check asks for it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in the background so, and processes inherit it, but we test Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Workers of pytest-xdist inherit it: they share the cores, where more threads only wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import scipy.linalg
from hypothesis import settings

LIBRARIES = {
    "numpy": "array_api_compat.numpy",
    "torch": "array_api_compat.torch",
    "jax": "jax.numpy",
    "array_api_strict": "array_api_strict",
}

settings.register_profile("short", deadline=None, max_examples=30, database=None)
settings.load_profile("short")

if importlib.util.find_spec("torch"):
    import torch

    torch.set_num_threads(1)


@pytest.fixture(params=[name for name in LIBRARIES if importlib.util.find_spec(name)])
def xp(request):
    """An array namespace."""
    return importlib.import_module(LIBRARIES[request.param])


@pytest.fixture
def array(xp):
    """Make an array of `xp`; NumPy's are read-only, so that writing to an argument fails."""

    def make(values, dtype=None):
        values = np.array(values, dtype=dtype)
        if xp.__name__ == LIBRARIES["numpy"]:
            values.flags.writeable = False
            return values
        return xp.asarray(values)

    return make


@pytest.fixture
def agree():
    """Assert that an array of any library equals a NumPy one, as closely as its dtype allows.

    With `rows` the error may be as large as the largest entry of its row makes it.
    """

    def check(actual, desired, float64=1e-10, float32=2e-5, rows=False):
        if hasattr(actual, "detach"):
            actual = actual.detach()
        actual, desired = np.asarray(actual), np.asarray(desired)
        tolerance = float32 if actual.dtype == np.float32 else float64
        scale = np.abs(desired).max(axis=-1, keepdims=True) if rows else 1.0
        np.testing.assert_allclose(actual / scale, desired / scale, rtol=tolerance, atol=tolerance)

    return check


@pytest.fixture
def rng():
    """A generator with a fixed seed."""
    return np.random.default_rng(20)


@pytest.fixture(scope="session")
def quick():
    """Make a classifier that trains for two epochs: `quick(**parameters)`."""
    from skdidicm import DiDiClassifier

    def make(**parameters):
        return DiDiClassifier(**{"max_epochs": 2, "random_state": 0} | parameters)

    return make


@pytest.fixture(scope="session")
def parity():
    """Load numbers computed once with the official code."""

    def load(name):
        with np.load(Path(__file__).parent / "data" / name) as file:
            return dict(file)

    return load


def _generator(flow):
    """Return the generator with these rates off the diagonal."""
    rates = flow - np.diag(np.diag(flow))
    return rates - np.diag(rates.sum(axis=0))


def _reversible(k, rng):
    flow = rng.random((k, k))
    return _generator((flow + flow.T) * rng.dirichlet(np.ones(k))[:, None])


_KINDS = {
    "uniform": lambda k, rng: (np.ones((k, k)) - k * np.eye(k)) / k,
    "symmetric": lambda k, rng: _generator(sum(m + m.T for m in [rng.random((k, k))])),
    "reversible": _reversible,
    "general": lambda k, rng: _generator(rng.random((k, k))),
    "cycle": lambda k, rng: _generator(np.roll(np.eye(k), 1, axis=0)),
    "chain": lambda k, rng: _generator(np.eye(k, k=-1)),
    "nearly_defective": lambda k, rng: _generator(
        np.eye(k, k=-1) * (1 + 10 ** rng.uniform(-14, -6, k))
    ),
    "reducible": lambda k, rng: scipy.linalg.block_diag(
        *(_generator(rng.random((m, m))) for m in (k // 2, k - k // 2))
    ),
    "wild": lambda k, rng: _generator(np.exp(rng.normal(0, 4, (k, k)))),
}


@pytest.fixture(params=_KINDS)
def kind(request):
    """The name of a kind of generator."""
    return request.param


@pytest.fixture(scope="session")
def generator():
    """Make a generator (k, k) of some kind, scaled so that a label leaves at about unit rate."""

    def make(kind, k, rng=None):
        rates = _KINDS[kind](k, np.random.default_rng(5) if rng is None else rng)
        return rates / max(-np.trace(rates) / k, 1e-9)

    return make


@pytest.fixture(scope="session")
def transition():
    """Compute exp(sigma R) with scipy, on shuffled classes.

    `scipy.linalg.expm` treats triangular matrices apart, and loses digits there if entries of the
    diagonal are nearly equal.
    """

    def compute(rates, sigma):
        order = np.roll(np.arange(len(rates)), 1)
        order[:2] = order[1::-1]
        shuffled = np.ix_(order, order)
        result = np.empty_like(rates)
        result[shuffled] = scipy.linalg.expm(sigma * rates[shuffled])
        return result

    return compute


@pytest.fixture(scope="session")
def reverse_rates():
    """Compute the reverse rate matrix of equation (6) entry by entry, from its definition."""

    def compute(rates, law):
        k = len(law)
        result = np.zeros((k, k))
        for j in range(k):
            for i in range(k):
                if i != j:
                    result[i, j] = law[i] / law[j] * rates[j, i]
                    result[j, j] -= result[i, j]
        return result

    return compute


@pytest.fixture(scope="session")
def bridge():
    """Compute P(c_s | c_t) by Bayes' rule from the joint law of the labels at s and at t."""

    def compute(law_s, forward):
        joint = forward * law_s[None, :]  # joint[j, i] = P(c_t = j, c_s = i)
        return (joint / joint.sum(axis=1, keepdims=True)).T

    return compute


@pytest.fixture
def exact_score():
    """Make the log-score function of a network that knows the posterior (n, k) of every row.

    `diffuse(law, sigma)` gives the noisy law; without one, noise replaces labels uniformly.
    """

    def make(posterior, array=np.asarray, dtype=np.float64, diffuse=None):
        def uniform_noise(law, sigma):
            kept = np.exp(-sigma)
            return kept * law + (1 - kept) / law.shape[-1]

        def log_score_fn(label, sigma):
            label, sigma = np.asarray(label), float(np.asarray(sigma)[0])
            rows = np.repeat(posterior, len(label) // len(posterior), axis=0)
            law = (diffuse or uniform_noise)(rows, sigma)
            with np.errstate(divide="ignore"):
                log_law = np.log(law)
            return array(log_law - log_law[np.arange(len(label)), label][:, None], dtype)

        return log_score_fn

    return make


PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "hubble_deep_field", "retina", "rocket")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """A folder of small JPEG files, cut from pictures that scikit-image brings along.

    A class is a picture; train/ has patches of its left half, val/ of its right half. 144 images to
    train on, 31 to evaluate.
    """
    data = pytest.importorskip("skimage.data")
    image = pytest.importorskip("PIL.Image")
    root, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for i, name in enumerate(PHOTOGRAPHS):
        picture = getattr(data, name)()
        left, right = np.split(picture[:, : picture.shape[1] // 2 * 2], 2, axis=1)
        for split, half, n in (("train", left, 24), ("val", right, 5 + (i == 0))):
            (root / split / name).mkdir(parents=True)
            for j in range(n):
                y, x = (int(rng.integers(0, side - 48)) for side in half.shape[:2])
                patch = image.fromarray(half[y : y + 48, x : x + 48])
                patch.save(root / split / name / f"{j:02d}.jpg")
    return root


@pytest.fixture
def trials():
    """Number the trials of a kind: n of them, times the environment variable SKDIDICM_TRIALS."""
    factor = float(os.environ.get("SKDIDICM_TRIALS", "1"))
    return lambda n: range(max(1, int(factor * n)))


@pytest.fixture
def report(capsys):
    """Print a count whatever pytest captures."""

    def write(text):
        with capsys.disabled():
            print(f"\n{text}")  # noqa: T201

    return write
