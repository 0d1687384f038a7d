"""What every backend must do; run for each one that is installed, third parties' included."""

import pickle

import numpy as np
import pytest

from skdidicm.backend import Batch, KnowsShapes, LearnsJointly, NetworkConfig
from skdidicm.core import (
    LogLinear,
    RateProcess,
    SymmetricNoise,
    UniformProcess,
    denoising_loss,
    sample_labels,
    sample_probabilities,
)
from skdidicm.registry import get_backend, installed_backends

K = 4
SHAPES = {"table": (5,), "grey image": (8, 8), "colour image": (9, 8, 3)}

pytestmark = pytest.mark.skipif(not installed_backends(), reason="no backend is installed")


def to_host(array):
    return np.asarray(array.detach().cpu() if hasattr(array, "detach") else array)


def make_rows(shape, n=6, seed=0):
    return np.random.default_rng(seed).standard_normal((n, *shape)).astype(np.float32)


def make_batch(shape, n=6, m=3, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.dirichlet(np.ones(K), n)
    label = rng.integers(0, K, (n, m)).astype(np.int32)
    sigma = rng.uniform(0.01, 5, (n, m))
    return Batch(make_rows(shape, n, seed), target, label, sigma, rng.uniform(0.1, 1, (n, m)))


@pytest.fixture(params=installed_backends() or ["none"])
def build(request):
    backend = get_backend(request.param)

    def make(shape, **changes):
        settings = {"process": UniformProcess(K), "device": "cpu", "precision": "float32"} | changes
        return backend(NetworkConfig(input_shape=shape, n_classes=K, **settings))

    return make


def log_score(network, x, label, sigma):
    features = network.encode(x)
    label = network.start(np.asarray(label, dtype=np.float64))
    label = label.long() if hasattr(label, "long") else label.astype("int32")
    return to_host(network.log_score(features, label, network.start(np.asarray(sigma))))


@pytest.mark.parametrize("conditioning", ["blocks", "last", "head"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_log_scores_have_their_shape_and_are_zero_at_the_label(build, shape, conditioning):
    network = build(shape, conditioning=conditioning)
    batch = make_batch(shape)
    draws = log_score(network, batch.x, batch.label, batch.sigma)
    single = log_score(network, batch.x, batch.label[:, 1], batch.sigma[:, 1])
    assert draws.shape == (6, 3, K)
    np.testing.assert_allclose(draws[:, 1], single, rtol=1e-4, atol=1e-5)
    assert (np.take_along_axis(draws, batch.label[..., None], -1) == 0).all()
    assert np.abs(draws).max() > 0


@pytest.mark.parametrize("shape", [(5,), (8, 8)], ids=["table", "image"])
def test_without_a_condition_the_posterior_is_the_same_for_all_labels_and_noise(build, shape):
    """An ordinary classifier: (2) inverted gives one law q_0 for every draw."""
    network = build(
        shape, conditioning="none", parameterization="posterior", objective="bayes_cross_entropy"
    )
    batch = make_batch(shape)
    losses = [float(network.train_step(batch, 3e-3)) for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])
    sigma = np.tile([0.1, 0.5, 1.0], (6, 1))
    q_t = np.exp(log_score(network, batch.x, batch.label, sigma))
    q_t /= q_t.sum(axis=-1, keepdims=True)
    a = np.exp(-sigma)[..., None]
    q_0 = (q_t - (1 - a) / K) / a
    np.testing.assert_allclose(q_0, np.tile(q_0[:, :1], (1, 3, 1)), atol=1e-5)
    assert np.abs(q_0 - 1 / K).max() > 0.05


ORDINARY = {
    "conditioning": "none",
    "parameterization": "posterior",
    "objective": "cross_entropy",
    "precision": "float64",
}


def class_probabilities(network, x):
    """Return the law of an ordinary classifier: without noise, (3) makes scores its ratios."""
    score = np.exp(log_score(network, x, np.zeros(len(x)), np.full(len(x), 1e-12)))
    return score / score.sum(axis=1, keepdims=True)


def test_an_ordinary_classifier_is_trained_by_the_cross_entropy_of_its_probabilities(build):
    network, batch = build((5,), **ORDINARY), make_batch((5,))
    p = class_probabilities(network, batch.x)
    expected = -batch.weight.sum(axis=1) @ (batch.target * np.log(p)).sum(axis=1)
    assert float(network.train_step(batch, 0.0)) == pytest.approx(expected)
    other_noise = batch._replace(label=np.flipud(batch.label).copy(), sigma=2 * batch.sigma)
    assert float(network.train_step(other_noise, 0.0)) == pytest.approx(expected)


def test_an_ordinary_classifier_learns_the_shares_of_classes(build):
    network = build((1,), **ORDINARY)
    x = np.array([[-1.0], [1.0]], dtype=np.float32)
    posterior = np.array([[0.7, 0.2, 0.1, 0.0], [0.05, 0.05, 0.1, 0.8]])
    noise = np.zeros((2, 1), np.int32), np.ones((2, 1))
    for _ in range(300):
        network.train_step(Batch(x, posterior, *noise, np.full((2, 1), 0.5)), 5e-3)
    np.testing.assert_allclose(class_probabilities(network, x), posterior, atol=0.01)


def test_through_label_noise_an_ordinary_classifier_learns_the_true_classes(build):
    channel = SymmetricNoise(K, 0.3)
    network = build((1,), **ORDINARY, channel=channel)
    x = np.array([[-1.0], [1.0]], dtype=np.float32)
    truth = np.array([[0.7, 0.2, 0.1, 0.0], [0.05, 0.05, 0.1, 0.8]])
    noise = np.zeros((2, 1), np.int32), np.ones((2, 1))
    for _ in range(500):
        seen = truth @ channel.matrix().T
        network.train_step(Batch(x, seen, *noise, np.full((2, 1), 0.5)), 4e-3)
    np.testing.assert_allclose(class_probabilities(network, x), truth, atol=0.02)


@pytest.mark.parametrize("shape", [(5,), (8, 8)], ids=["table", "image"])
def test_dropout_is_the_mean_over_passes_with_masks_that_all_rows_share(build, shape):
    x, seed = make_rows(shape), 3
    network = build(shape, dropout=0.4, seed=seed, **ORDINARY)
    whole = class_probabilities(network, x)
    np.testing.assert_allclose(class_probabilities(network, x[2:4]), whole[2:4], rtol=1e-9)
    np.testing.assert_array_equal(class_probabilities(network, x), whole)
    without = build(shape, seed=seed, **ORDINARY)
    without.load_state(network.state())
    assert np.abs(class_probabilities(without, x) - whole).max() > 1e-3
    few = build(shape, dropout=1e-9, seed=seed, **ORDINARY)
    few.load_state(network.state())
    np.testing.assert_allclose(
        class_probabilities(few, x), class_probabilities(without, x), rtol=1e-6
    )


def test_dropout_in_training_draws_new_masks_from_the_seed(build):
    batch = make_batch((5,))
    losses = []
    for seed in (1, 1, 2):
        network = build((5,), dropout=0.5, seed=seed, **ORDINARY)
        network.load_state(build((5,), seed=0, **ORDINARY).state())
        losses.append([float(network.train_step(batch, 0.0)) for _ in range(4)])
    assert losses[0] == losses[1] != losses[2]
    assert len(set(losses[0])) == 4


@pytest.mark.parametrize("changes", [{"dropout": 1.0}, {"dropout": 0.5, "conditioning": "last"}])
def test_dropout_that_cannot_be_is_refused(build, changes):
    settings = {**ORDINARY, "objective": "bayes_cross_entropy", **changes}
    with pytest.raises(ValueError, match="dropout is"):
        build((5,), **settings)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_prediction_does_not_depend_on_the_other_rows(build, shape):
    network = build(shape)
    batch = make_batch(shape)
    whole = log_score(network, batch.x, batch.label[:, 0], batch.sigma[:, 0])
    part = log_score(network, batch.x[2:4], batch.label[2:4, 0], batch.sigma[2:4, 0])
    np.testing.assert_allclose(whole[2:4], part, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parameterization", ["score", "posterior"])
@pytest.mark.parametrize("objective", ["score_entropy", "bayes_cross_entropy"])
def test_the_loss_is_the_weighted_sum_that_the_core_computes(build, parameterization, objective):
    if (parameterization, objective) == ("score", "bayes_cross_entropy"):
        with pytest.raises(ValueError, match="parameterization='posterior'"):
            build((5,), parameterization=parameterization, objective=objective)
        return
    network = build((5,), parameterization=parameterization, objective=objective)
    batch = make_batch((5,))
    score = log_score(network, batch.x, batch.label, batch.sigma).astype(np.float64)
    process = UniformProcess(K)
    # The posterior's logits are not shown, but log q_t is log_score up to a constant, and (2)
    # inverted gives q_0.
    if objective == "bayes_cross_entropy":
        q_t = np.exp(score) / np.exp(score).sum(-1, keepdims=True)
        a = np.exp(-batch.sigma)[..., None]
        output = np.log((q_t - (1 - a) / K) / a)
    else:
        output = score
    expected = denoising_loss(
        output,
        batch.label,
        batch.sigma,
        np.broadcast_to(batch.target[:, None], output.shape),
        process=process,
        parameterization="score",
        objective=objective,
    )
    loss = float(network.train_step(batch, 0.0))
    assert loss == pytest.approx((batch.weight * expected).sum(), rel=1e-3)


def test_a_learning_rate_of_zero_changes_no_weight(build):
    network = build((5,))
    before = network.state()
    network.train_step(make_batch((5,)), 0.0)
    after = network.state()
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("conditioning", ["blocks", "last", "head"])
@pytest.mark.parametrize("what", [("label", "sigma"), ("sigma",)], ids=["noise", "levels"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_what_all_rows_share_may_be_given_once(build, shape, what, conditioning):
    batch = make_batch(shape)  # of more rows than classes
    once = batch._replace(**{name: getattr(batch, name)[:1] for name in what})
    repeated = {name: np.tile(getattr(once, name), (len(batch.weight), 1)) for name in what}
    networks = [build(shape, conditioning=conditioning) for _ in range(2)]
    batches = (once, batch._replace(**repeated))
    losses = [float(w.train_step(b, 1e-3)) for w, b in zip(networks, batches, strict=True)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    after = [float(network.train_step(once, 1e-3)) for network in networks]  # gradients agree, too
    assert after[0] == pytest.approx(after[1], rel=1e-4)


@pytest.mark.parametrize("conditioning", ["blocks", "last", "head"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_training_lowers_the_loss(build, shape, conditioning):
    network = build(shape, conditioning=conditioning)
    batch = make_batch(shape)
    losses = [float(network.train_step(batch, 3e-3)) for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("conditioning", ["blocks", "last", "head"])
def test_one_image_of_a_few_pixels_can_be_learned(build, size, conditioning):
    network = build((size, size), conditioning=conditioning)
    losses = [float(network.train_step(make_batch((size, size), n=1), 1e-2)) for _ in range(30)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert all(np.isfinite(value).all() for value in network.state().values())


def test_rows_without_weight_have_no_influence(build):
    batch = make_batch((5,))
    batch.weight[3:] = 0
    other = batch._replace(x=np.concatenate([batch.x[:3], 100 * batch.x[3:]]))
    states = []
    for b in (batch, other):
        network = build((5,))
        network.train_step(b, 1e-2)
        states.append(network.state())
    for name, value in states[0].items():
        np.testing.assert_allclose(value, states[1][name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_state_is_a_copy_and_comes_back_whole(build, shape):
    network, other = build(shape, seed=1), build(shape, seed=2)
    batch = make_batch(shape)
    network.train_step(batch, 1e-2)
    saved = network.state()
    frozen = {name: value.copy() for name, value in saved.items()}
    network.train_step(batch, 1e-2)
    assert all(np.array_equal(saved[name], frozen[name]) for name in saved)
    other.load_state(saved)
    network.load_state(saved)
    scores = [log_score(w, batch.x, batch.label, batch.sigma) for w in (network, other)]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_weights_can_be_exchanged_for_others_and_back_in_the_midst_of_training(build, shape):
    states = []
    for looks in (False, True):
        network, batch = build(shape), make_batch(shape)
        for _ in range(3):
            network.train_step(batch, 1e-2)
            if looks:
                trained = network.state()
                network.load_state({name: 0 * value for name, value in trained.items()})
                network.load_state(trained)
        states.append(network.state())
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name])


@pytest.mark.parametrize("conditioning", ["blocks", "last", "head", "none"])
@pytest.mark.parametrize("shape", [(5,), (5000,), (8, 8), (9, 8, 3)], ids=str)
@pytest.mark.parametrize("name", installed_backends() or ["none"])
def test_the_shapes_of_a_state_are_known_before_it_is_built(name, shape, conditioning):
    backend = get_backend(name)
    if not isinstance(backend, KnowsShapes):
        pytest.skip("it builds whatever a model file asks for")
    config = NetworkConfig(
        input_shape=shape,
        n_classes=K,
        process=UniformProcess(K),
        device="cpu",
        conditioning=conditioning,
        parameterization="posterior",
        objective="cross_entropy" if conditioning == "none" else "bayes_cross_entropy",
    )
    expected = {name: value.shape for name, value in backend(config).state().items()}
    assert backend.state_shapes(config) == expected


def test_a_state_of_another_network_is_refused(build):
    with pytest.raises((RuntimeError, ValueError, KeyError)):
        build((5,)).load_state(build((6,)).state())


def test_weights_come_from_the_seed_alone(build):
    np.random.seed(0)
    first = build((8, 8), seed=3).state()
    before = np.random.get_state()[1].copy()
    second = build((8, 8), seed=3).state()
    third = build((8, 8), seed=4).state()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert any(not np.array_equal(first[name], third[name]) for name in first)
    assert np.array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_network_survives_pickling(build, shape):
    network = build(shape)
    batch = make_batch(shape)
    network.train_step(batch, 1e-2)
    copy = pickle.loads(pickle.dumps(network))
    scores = [log_score(w, batch.x, batch.label, batch.sigma) for w in (network, copy)]
    np.testing.assert_array_equal(*scores)


def test_mean_and_scale_standardise_the_rows(build):
    x = make_batch((5,)).x
    raw, ready = build((5,), mean=np.full(5, 3.0), scale=np.full(5, 2.0)), build((5,))
    label, sigma = np.zeros(6), np.ones(6)
    expected = log_score(ready, x, label, sigma)
    np.testing.assert_allclose(log_score(raw, 2 * x + 3, label, sigma), expected, atol=1e-4)


def test_bytes_and_floats_of_the_same_pixels_agree(build):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8)).astype(np.uint8)
    network = build((8, 8), mean=120.0, scale=70.0)
    label, sigma = np.zeros(6), np.ones(6)
    expected = log_score(network, pixels.astype(np.float32), label, sigma)
    np.testing.assert_array_equal(log_score(network, pixels, label, sigma), expected)


@pytest.mark.parametrize("network", ["no-such-network", "mlp"])
def test_a_network_that_does_not_fit_is_refused_by_name(build, network):
    with pytest.raises(ValueError, match=network):
        build((8, 8), network=network)


@pytest.mark.parametrize("parameterization", ["score", "posterior"])
def test_training_finds_a_known_posterior(build, parameterization):
    """Two kinds of rows with given class probabilities: both samplers must return these."""
    process, schedule, rng = UniformProcess(K), LogLinear(), np.random.default_rng(0)
    posterior = np.array([[0.7, 0.2, 0.1, 0.0], [0.05, 0.05, 0.1, 0.8]])
    network = build((1,), parameterization=parameterization, conditioning="last")
    x = np.array([[-1.0], [1.0]], dtype=np.float32)
    m = 64
    for i in range(600):
        t = (np.arange(m) + rng.random((2, m))) / m * 0.999 + 1e-3
        sigma = schedule.total(t)
        q_t = process.diffuse(np.repeat(posterior[:, None], m, axis=1), sigma)
        label = (q_t.cumsum(-1) < rng.random((2, m, 1))).sum(-1).clip(max=K - 1)
        weight = schedule.rate(t) / (2 * m)
        batch = Batch(x, posterior, label.astype(np.int32), sigma, weight)
        network.train_step(batch, 5e-3 * (1 - i / 600))
    features = network.encode(x)
    p = sample_probabilities(
        lambda label, sigma: network.log_score(features, label, sigma),
        network.start(np.full((2, K), 1 / K)),
        process=process,
        schedule=schedule,
        steps=8,
    )
    np.testing.assert_allclose(to_host(p), posterior, atol=0.06)
    shares = sample_labels(
        lambda label, sigma: network.log_score(
            features, label.reshape((2, -1)), sigma.reshape((2, -1))
        ).reshape((-1, K)),
        2,
        process=process,
        schedule=schedule,
        steps=8,
        n_chains=2000,
        solver="bridge",
        uniforms=network.start(rng.random((9, 2000))),
    )
    np.testing.assert_allclose(to_host(shares), posterior, atol=0.08)


def test_a_rate_matrix_is_followed(build):
    rng = np.random.default_rng(0)
    rates = rng.random((K, K))
    np.fill_diagonal(rates, 0)
    process = RateProcess(rates - np.diag(rates.sum(axis=0)))
    network = build((5,), process=process, parameterization="posterior")
    batch = make_batch((5,))
    log_score(network, batch.x, batch.label, batch.sigma)  # as before a loaded model learns on
    losses = [float(network.train_step(batch, 3e-3)) for _ in range(40)]
    assert losses[-1] < losses[0]
    score = log_score(network, batch.x, batch.label, np.full((6, 3), 200.0))
    limit = np.log(process.limit())
    expected = limit - limit[batch.label][..., None]
    np.testing.assert_allclose(score, expected, atol=1e-3)


def shared_noise(batch):
    """The batch with the noise of its first row for all rows."""
    return batch._replace(label=batch.label[:1], sigma=batch.sigma[:1])


LAST = {"conditioning": "last", "weight_decay": 0.1}


@pytest.mark.parametrize(
    "changes",
    [
        LAST,
        {"conditioning": "head"},
        {"conditioning": "blocks", "max_grad_norm": 0.0},
        LAST | {"parameterization": "posterior"},
        LAST | {"parameterization": "posterior", "objective": "bayes_cross_entropy"},
        LAST | {"parameterization": "posterior", "channel": SymmetricNoise(K, 0.3)},
        LAST | {"process": RateProcess(np.full((K, K), 0.25) - np.eye(K))},
        {"conditioning": "none", "parameterization": "posterior", "objective": "cross_entropy"},
    ],
)
def test_networks_trained_at_once_are_those_trained_one_by_one(build, changes):
    """Batches differ in rows and in what they share, and a network may have none."""

    def fresh():
        moments = ((0.0, 1.0), (np.arange(5.0), np.full(5, 3.0)), (-1.0, 0.5))
        return [
            build((5,), precision="float64", seed=i, mean=mean, scale=scale, **changes)
            for i, (mean, scale) in enumerate(moments)
        ]

    together, alone = fresh(), fresh()
    joint = together[0].join(together[1:]) if isinstance(together[0], LearnsJointly) else None
    if joint is None:
        pytest.skip("this backend trains one network after another")
    means = [network.state() for network in alone]
    for step in range(6):
        batches = [make_batch((5,), n=n, seed=3 * step + n) for n in (4, 9, 6)]
        if step == 2:
            batches[1] = None
        if step == 3:
            batches[0] = shared_noise(batches[0])
        if step > 3:
            batches = [shared_noise(batch) for batch in batches]
            batches = [b._replace(label=make_batch((5,), n=len(b.x)).label) for b in batches]
        rates = [0.01, 0.02, 0.01]
        losses = joint.train_step(batches, rates).tolist()
        for i, (network, batch, rate) in enumerate(zip(alone, batches, rates, strict=True)):
            if batch is not None:
                expected = float(network.train_step(batch, rate))
                assert losses[i] == pytest.approx(expected, rel=1e-9)
        joint.average(1 / (step + 1))
        for mean, network in zip(means, alone, strict=True):
            for name, value in network.state().items():
                mean[name] = mean[name] + (value - mean[name]) / (step + 1)
    untouched = together[2].state()
    for i in range(2):
        joint.hand_over(i)
    for found, expected in zip(together[:2], means[:2], strict=True):
        for name, value in found.state().items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-7, atol=1e-9)
    for name, value in fresh()[2].state().items():
        np.testing.assert_array_equal(untouched[name], value)
    # What the optimiser has gathered is handed over, too.
    more = make_batch((5,))
    alone[1].load_state(means[1])
    for _ in range(2):
        found, expected = (float(n.train_step(more, 0.01)) for n in (together[1], alone[1]))
    assert found == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(
    "changes",
    [{"shape": (8, 8)}, {"dropout": 0.1, "conditioning": "none", "parameterization": "posterior"}],
)
def test_networks_that_cannot_be_trained_at_once_say_so(build, changes):
    settings = {"shape": (5,)} | changes
    shape = settings.pop("shape")
    networks = [build(shape, seed=i, **settings) for i in range(2)]
    if isinstance(networks[0], LearnsJointly):
        assert networks[0].join(networks[1:]) is None
