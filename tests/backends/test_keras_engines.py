"""All engines and torch against one file of numbers, so that each can be tested without the others.

`python tests/backends/test_keras_engines.py` writes the file, with the torch backend.
"""

from pathlib import Path

import numpy as np
import pytest

from skdidicm.backend import Batch, NetworkConfig
from skdidicm.core import RateProcess, UniformProcess

DATA = Path(__file__).parents[1] / "data" / "backends.npz"
K = 4
RATES = RateProcess(np.array([[-3, 1, 0, 2], [1, -2, 1, 0], [2, 0, -1, 1], [0, 1, 0, -3.0]]))
FORMS = {
    "score": ("score", "score_entropy"),
    "posterior": ("posterior", "score_entropy"),
    "bayes": ("posterior", "bayes_cross_entropy"),
}
CASES = [
    *((shape, "last", form) for shape in ("table", "image") for form in FORMS),
    *(("image", conditioning, "bayes") for conditioning in ("blocks", "head", "none")),
    *(("rates", "last", form) for form in FORMS),
]


def config(shape, conditioning, form):
    parameterization, objective = FORMS[form]
    return NetworkConfig(
        (16, 16) if shape == "image" else (5,),
        K,
        RATES if shape == "rates" else UniformProcess(K),
        conditioning=conditioning,
        parameterization=parameterization,
        objective=objective,
        weight_decay=0.1,
        max_grad_norm=0.0,
        device="cpu",
        precision="float32",
    )


def batch(shape, n=6, m=3):
    """Return soft targets, one of them hard and one mixed of two classes, without a generator."""
    x = np.sin(np.arange(n * np.prod(shape)) ** 1.1).reshape(n, *shape).astype(np.float32)
    target = 1.5 + np.cos(np.arange(n * K)).reshape(n, K)
    target[0], target[1] = np.eye(K)[2], [0.7, 0, 0.3, 0]
    sigma = 0.01 + np.linspace(0, 2, n * m).reshape(n, m) ** 2
    label = np.arange(n * m).reshape(n, m).astype(np.int32) * 7 % K
    return Batch(x, target / target.sum(1, keepdims=True), label, sigma, 1 / (1 + sigma))


def weights(shapes):
    """Return weights of any network from the order of their names, as in `tests/data`."""
    state = {}
    for i, name in enumerate(sorted(shapes)):
        shape = shapes[name]
        wave = np.cos(1 + i + np.arange(np.prod(shape, dtype=int)) ** 1.3).reshape(shape)
        if name.endswith("num_batches_tracked"):
            state[name] = np.zeros(shape, np.int64)
        elif len(shape) < 2:
            shift = 1.0 if name.endswith(("running_var", "weight")) else 0.0
            state[name] = (shift + 0.3 * wave).astype(np.float32)
        else:
            state[name] = (wave * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    return state


def numbers(network):
    """Return log scores, the loss, and norm and one projection of the gradient of every tensor."""
    network.load_state(weights({k: v.shape for k, v in network.state().items()}))
    b = batch(network.config.input_shape)
    sigma = network.start(b.sigma)
    label = b.label if isinstance(sigma, np.ndarray) else sigma.new_tensor(b.label).long()
    scores = network.log_score(network.encode(b.x), label, sigma)
    loss = float(network.train_step(b, 0.0))
    found = sorted(gradients(network).items())
    sums = [(np.linalg.norm(g), g.ravel() @ np.cos(np.arange(g.size))) for _, g in found]
    return {"scores": np.asarray(scores), "loss": np.array(loss), "gradients": np.array(sums)}


def gradients(network):
    """Return those of the first step by torch's names; Keras's are read off the first moment."""
    if hasattr(network, "module"):
        return {name: value.grad.numpy() for name, value in network.module.named_parameters()}
    from skdidicm_keras import engine, optimizer
    from skdidicm_keras.weights import to_torch

    program, moment = network.program, engine.to_host(network.values.moments[0])
    parts = program.split(moment / (1 - optimizer.BETAS[0]))
    return {name: to_torch(name, parts[i]) for name, i in program.names.items() if i < len(parts)}


@pytest.fixture(params=["torch", "keras"])
def build(request):
    package = f"skdidicm_{request.param}"
    return pytest.importorskip(
        package, reason=f"{package} cannot be imported", exc_type=ImportError
    ).build_network


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_scores_losses_and_gradients_are_those_of_the_file(build, case):
    found = numbers(build(config(*case)))
    with np.load(DATA) as file:
        expected = {what: file["-".join((*case, what))] for what in found}
    assert np.abs(expected["scores"]).max() > 0.1
    np.testing.assert_allclose(found["scores"], expected["scores"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-4)
    largest = np.abs(expected["gradients"]).max()
    np.testing.assert_allclose(found["gradients"], expected["gradients"], atol=1e-4 * largest)


def write():
    """Write the file, with the torch backend."""
    from skdidicm_torch import build_network

    arrays = {}
    for case in CASES:
        for what, value in numbers(build_network(config(*case))).items():
            arrays["-".join((*case, what))] = value
    np.savez_compressed(DATA, **arrays)


if __name__ == "__main__":
    write()
