"""One model, two backends: the same state gives the same scores, losses, gradients and updates."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("skdidicm_keras", reason="Keras or its engine is missing", exc_type=ImportError)

from skdidicm_keras import KerasNetwork, engine, optimizer  # noqa: E402
from skdidicm_keras.weights import to_torch  # noqa: E402
from skdidicm_torch import TorchNetwork  # noqa: E402

from skdidicm import DiDiClassifier  # noqa: E402
from skdidicm.backend import Batch, NetworkConfig  # noqa: E402
from skdidicm.core import ConfusionNoise, RateProcess, UniformProcess  # noqa: E402

K = 4
CONDITIONINGS = ("blocks", "last", "head", "none")
SHAPES = {"table": (5,), "image": (16, 16)}
OBJECTIVES = (
    ("score", "score_entropy"),
    ("posterior", "score_entropy"),
    ("posterior", "bayes_cross_entropy"),
)
TARGETS = {
    "soft": lambda n, rng: rng.dirichlet(np.ones(K), n),
    "hard": lambda n, rng: np.eye(K)[rng.integers(0, K, n)],
    "mixed": lambda n, rng: 0.7 * np.eye(K)[np.arange(n) % K] + 0.3 * np.eye(K)[np.arange(n) % 2],
}


def rate_process():
    rates = np.random.default_rng(0).random((K, K))
    np.fill_diagonal(rates, 0)
    return RateProcess(rates - np.diag(rates.sum(axis=0)))


def pair(shape, **changes):
    """Return the same network on torch and on Keras, with torch's weights."""
    settings = {"process": UniformProcess(K), "device": "cpu", "precision": "float32"} | changes
    config = NetworkConfig(input_shape=shape, n_classes=K, **settings)
    networks = TorchNetwork(config), KerasNetwork(config)
    networks[1].load_state(networks[0].state())
    return networks


def make_batch(shape, n=6, m=3, seed=0, kind="soft"):
    rng = np.random.default_rng(seed)
    return Batch(
        rng.standard_normal((n, *shape)).astype(np.float32),
        TARGETS[kind](n, rng),
        rng.integers(0, K, (n, m)).astype(np.int32),
        rng.uniform(0.01, 5, (n, m)),
        rng.uniform(0.1, 1, (n, m)),
    )


def torch_log_score(network, b):
    features, label = network.encode(b.x), torch.from_numpy(b.label.astype(np.int64))
    return network.log_score(features, label, network.start(b.sigma)).numpy()


def keras_log_score(network, b):
    return network.log_score(network.encode(b.x), b.label, network.start(b.sigma))


def assert_states_agree(states, tolerance):
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert value.dtype == states[1][name].dtype
        scale = max(1.0, np.abs(value).max())
        np.testing.assert_allclose(states[1][name], value, atol=tolerance * scale, err_msg=name)


def assert_gradients_agree(networks, batch, tolerance):
    """Compare the losses of fresh networks, and gradients in units of the largest of them."""
    losses = [float(network.train_step(batch, 0.0)) for network in networks]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    theirs, ours = gradients(*networks)
    largest = max(np.abs(value).max() for value in theirs.values())
    assert largest > 0
    assert theirs.keys() == ours.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=tolerance * largest, err_msg=name)


def gradients(torch_network, keras_network):
    """Return both by torch's names after one step; Keras's is read off the first moment."""
    theirs = {name: value.grad.numpy() for name, value in torch_network.module.named_parameters()}
    program = keras_network.program
    moment = engine.to_host(keras_network.values.moments[0]) / (1 - optimizer.BETAS[0])
    parts = program.split(moment)
    ours = {name: to_torch(name, parts[i]) for name, i in program.names.items() if i < len(parts)}
    return theirs, ours


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_log_scores_agree(shape, conditioning):
    networks = pair(shape, conditioning=conditioning)
    batch = make_batch(shape)
    expected = torch_log_score(networks[0], batch)
    np.testing.assert_allclose(keras_log_score(networks[1], batch), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(64, 70), (41, 33, 3), (20, 20)], ids=str)
def test_the_stem_of_patches_agrees(shape):
    networks, batch = pair(shape, network="didirn-patch", conditioning="head"), make_batch(shape)
    expected = torch_log_score(networks[0], batch)
    np.testing.assert_allclose(keras_log_score(networks[1], batch), expected, rtol=1e-4, atol=1e-4)


def test_tables_agree_to_more_digits_than_float32_has():
    # Frequencies of the sinusoids are float32 on both, and their last bits differ.
    networks = pair((5,), precision="auto", mean=np.arange(5.0), scale=np.arange(1, 6.0))
    batch = make_batch((5,))
    scores = keras_log_score(networks[1], batch)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, torch_log_score(networks[0], batch), rtol=1e-7, atol=1e-8)
    for _ in range(3):
        losses = [float(network.train_step(batch, 1e-2)) for network in networks]
        assert losses[1] == pytest.approx(losses[0], rel=1e-7)
    # AdamW takes steps of 1e-2 however small a gradient is, so near zero last bits count for more.
    assert_states_agree([network.state() for network in networks], 1e-5)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_state_comes_back_from_the_other_backend_as_it_was(shape):
    networks = pair(shape)
    networks[0].train_step(make_batch(shape), 1e-2)
    state = networks[0].state()
    networks[1].load_state(state)
    assert_states_agree([state, networks[1].state()], 0.0)


@pytest.mark.parametrize(("parameterization", "objective"), OBJECTIVES)
@pytest.mark.parametrize("process", [UniformProcess(K), rate_process()], ids=["uniform", "rates"])
@pytest.mark.parametrize("kind", TARGETS)
def test_losses_and_gradients_agree(parameterization, objective, process, kind):
    networks = pair(
        (5,),
        parameterization=parameterization,
        objective=objective,
        process=process,
        max_grad_norm=0.0,
    )
    assert_gradients_agree(networks, make_batch((5,), kind=kind), 1e-5)


@pytest.mark.parametrize(
    ("conditioning", "form"),
    [("last", OBJECTIVES[0]), *((c, OBJECTIVES[2]) for c in CONDITIONINGS)],
)
def test_losses_and_gradients_of_images_agree(conditioning, form):
    """Soft targets as mixup makes them, and the posterior's cross-entropy, the default there."""
    parameterization, objective = form
    networks = pair(
        (16, 16),
        conditioning=conditioning,
        parameterization=parameterization,
        objective=objective,
        max_grad_norm=0.0,
    )
    assert_gradients_agree(networks, make_batch((16, 16), kind="mixed"), 1e-4)


@pytest.mark.parametrize(("parameterization", "objective"), OBJECTIVES)
def test_losses_and_gradients_through_label_noise_agree(parameterization, objective):
    rng = np.random.default_rng(0)
    channel = ConfusionNoise(0.7 * np.eye(K) + 0.3 * rng.dirichlet(np.ones(K), K).T)
    form = {"parameterization": parameterization, "objective": objective}
    networks = pair((5,), channel=channel, max_grad_norm=0.0, **form)
    assert_gradients_agree(networks, make_batch((5,), kind="hard"), 1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_ordinary_classifiers_and_their_dropout_agree(shape, dropout):
    networks = pair(
        shape,
        conditioning="none",
        parameterization="posterior",
        objective="cross_entropy",
        dropout=dropout,
        max_grad_norm=0.0,
    )
    batch = make_batch(shape)
    expected = torch_log_score(networks[0], batch)
    np.testing.assert_allclose(keras_log_score(networks[1], batch), expected, rtol=1e-4, atol=1e-4)
    assert_gradients_agree(networks, batch, 1e-4)


def test_one_value_per_channel_is_learned_from_alike():
    """One row of one pixel has no variance: the running averages stand in, on both."""
    networks = pair((1, 1))
    for step in range(3):
        batch = make_batch((1, 1), n=1, seed=step)
        losses = [float(network.train_step(batch, 1e-3)) for network in networks]
        assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert_states_agree([network.state() for network in networks], 1e-4)


@pytest.mark.parametrize("max_grad_norm", [0.0, 0.05])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_updates_agree_with_decay_clipping_and_running_averages(shape, max_grad_norm):
    """Eight steps of AdamW, at a changing rate: biases and norms must not decay."""
    networks = pair(shape, weight_decay=0.3, max_grad_norm=max_grad_norm)
    for step in range(8):
        batch = make_batch(shape, seed=step)
        for network in networks:
            network.train_step(batch, 1e-3 * (1 + step % 3))
    assert_states_agree([network.state() for network in networks], 2e-4)


def test_noise_shared_by_all_rows_is_followed_alike():
    networks = pair((5,))
    batch = make_batch((5,))
    batch = batch._replace(label=batch.label[:1], sigma=batch.sigma[:1])
    losses = [float(network.train_step(batch, 0.0)) for network in networks]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("network", ["mlp", "didirn-tiny", "didirn18"])
@pytest.mark.parametrize("conditioning", ["blocks", "head", "none"])
def test_fresh_weights_follow_the_same_laws(network, conditioning):
    shape = (5,) if network == "mlp" else (16, 16)
    config = NetworkConfig(
        shape, K, UniformProcess(K), network, conditioning, device="cpu", precision="float32"
    )
    theirs, ours = TorchNetwork(config).state(), KerasNetwork(config).state()
    assert theirs.keys() == ours.keys()
    for name, value in theirs.items():
        assert ours[name].shape == value.shape
        if value.std() == 0:
            np.testing.assert_array_equal(ours[name], value, err_msg=name)
        elif value.size >= 256:  # else the spread of a sample says little
            assert ours[name].std() == pytest.approx(value.std(), rel=0.25), name
            assert np.abs(ours[name]).max() < 1.7 * np.abs(value).max(), name


@pytest.mark.parametrize("pretrained", [False, True])
def test_a_keras_model_without_the_keras_backend_is_told_so(pretrained):
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.layers.Input((8, 8, 1)), keras.layers.Flatten()])
    classifier = DiDiClassifier(network=model, pretrained=pretrained, backend="torch", max_epochs=1)
    with pytest.raises(ValueError, match=r"a Keras model \(Sequential\).* set backend='keras'\."):
        classifier.fit(np.zeros((20, 8, 8)), np.arange(20) % 2)
