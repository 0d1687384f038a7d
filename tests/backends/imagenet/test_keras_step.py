"""Noise, loss, optimiser and learning rate of the Keras trainer."""

import numpy as np
import pytest

pytest.importorskip("skdidicm_keras", reason="Keras or its engine is missing", exc_type=ImportError)

import keras
from keras import ops
from skdidicm_keras import engine
from skdidicm_keras.imagenet import step
from skdidicm_keras.imagenet.optimizer import create_optimizer, learning_rate

from skdidicm.core import LogLinear, UniformProcess, denoising_loss
from skdidicm.imagenet.recipes import resolve


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_loss_and_gradient_are_those_of_the_papers_code(parity, kind):
    data = parity("losses.npz")
    output = data[f"{kind}_output"].astype(np.float32)[:, None]
    n, _, k = output.shape
    q_0 = np.eye(k)[data["hard_c0"]] if kind == "hard" else data["soft_p0"]
    rate, sigma = (f(data["t"])[:, None] for f in (LogLinear().rate, LogLinear().total))
    q_0, sigma, weight = (
        ops.convert_to_tensor(a.astype(np.float32)) for a in (q_0, sigma, rate / n)
    )
    label = ops.convert_to_tensor(data["label"].astype(np.int32)[:, None])

    def loss(outputs):
        return step.noisy_loss(outputs[0], label, sigma, weight, q_0, config()), None

    (value, _), (gradient,) = engine.value_and_gradients(loss, [ops.convert_to_tensor(output)])
    shift = float(rate.mean()) / k if kind == "soft" else 0.0  # a constant of the paper's code
    assert float(value) - shift == pytest.approx(float(data[f"{kind}_value"]), rel=1e-4)
    expected = data[f"{kind}_grad"]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(engine.to_host(gradient)[:, 0] / scale, expected / scale, atol=1e-5)


def test_the_loss_is_finite_at_the_smallest_time_and_many_classes():
    k = 1000
    q_0 = ops.one_hot(np.arange(64), k, dtype="float32")
    sigma = ops.convert_to_tensor(np.full((64, 1), 1e-7, np.float32))
    for label in (0, 999):
        labels = ops.convert_to_tensor(np.full((64, 1), label, np.int32))
        given = ops.zeros((64, 1, k)), labels, sigma, ops.ones((64, 1)), q_0
        assert np.isfinite(float(step.noisy_loss(*given, config())))


def test_noisy_labels_follow_the_exact_law():
    """Evenly spread uniform numbers give every label its share; exp(sigma R) q_0 by its modes."""
    q_0, sigma, m = np.array([0.7, 0.2, 0.1, 0.0]), 0.8, 10_000
    rates = np.full((4, 4), 0.25) - np.eye(4)
    values, vectors = np.linalg.eigh(rates)
    law = vectors @ np.diag(np.exp(sigma * values)) @ vectors.T @ q_0
    uniform = ((np.arange(m) + 0.5) / m)[None].astype(np.float32)
    q_t = step.noisy_laws(
        ops.convert_to_tensor(q_0[None].astype(np.float32)),
        ops.convert_to_tensor(np.full((1, m), sigma, np.float32)),
    )
    label = engine.to_host(step.draw_labels(q_t, ops.convert_to_tensor(uniform)))
    np.testing.assert_allclose(np.bincount(label[0], minlength=4) / m, law, atol=2 / m)


def test_a_label_without_probability_is_never_drawn():
    q_t = ops.convert_to_tensor(np.array([[[0.3, 0.7, 0.0]] * 2], np.float32))
    uniform = ops.convert_to_tensor(np.array([[0.0, 1.0]], np.float32))
    assert engine.to_host(step.draw_labels(q_t, uniform)).tolist() == [[0, 1]]


def test_times_are_uniform_from_the_smallest_and_weighted_by_their_rate():
    rng = step.generator(3, 0)
    noise = step.draw_noise(2, 4, LogLinear(), config(n_draws=2000, eps_t=0.1), rng)
    t = (1 - np.exp(-noise.sigma.astype(float))) / 0.999
    assert t.min() >= 0.1 - 1e-6
    assert t.max() <= 1 + 1e-6
    frequencies = np.histogram(t, bins=np.linspace(0.1, 1, 10))[0] / t.size
    np.testing.assert_allclose(frequencies, 1 / 9, atol=5e-3)
    np.testing.assert_allclose(noise.weight * t.size, 0.999 / (1 - 0.999 * t), rtol=2e-3)
    assert noise.uniform.shape == (2, 2000)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"times": "log_odds"},
        {"parameterization": "posterior"},
        {"objective": "bayes_cross_entropy"},
        {"objective": "bayes_cross_entropy", "times": "log_odds"},
    ],
    ids=lambda form: ",".join(form.values()) or "paper",
)
@pytest.mark.parametrize("soft", [False, True])
def test_the_loss_is_the_estimators(rng, form, soft):
    """Noise of this trainer, and the loss of the core, which the estimator minimises."""
    n, k, one = 5, 7, config(n_draws=3, **form)
    noise = step.draw_noise(n, k, LogLinear(), one, step.generator(0, 1))
    q_0 = rng.dirichlet(np.ones(k), n) if soft else np.eye(k)[rng.integers(0, k, n)]
    output = rng.standard_normal((n, 3, k))
    label = rng.integers(0, k, (n, 3))
    process = UniformProcess(k)
    expected = denoising_loss(
        output,
        label,
        noise.sigma.astype(float),
        np.repeat(q_0[:, None], 3, axis=1),
        process=process,
        parameterization=one.parameterization,
        objective=one.objective,
    )
    given = (a.astype(np.float32) for a in (output, label, noise.sigma, noise.weight, q_0))
    output, label, *rest = (ops.convert_to_tensor(a) for a in given)
    found = step.noisy_loss(output, ops.cast(label, "int32"), *rest, one)
    assert float(found) == pytest.approx((noise.weight * expected).sum(), rel=1e-4)


def test_draws_depend_on_seed_and_place_alone():
    places = ((0, 1, 0, 1), (0, 2, 0, 1), (0, 1, 1, 1), (1, 1, 0, 1), (0, 1, 0))
    draws = {place: tuple(step.generator(*place).random(4)) for place in places}
    assert len(set(draws.values())) == len(draws)
    assert tuple(step.generator(0, 2, 0, 1).random(4)) == draws[0, 2, 0, 1]


def test_the_baselines_loss_is_the_cross_entropy_of_soft_labels(rng):
    logits, q_0 = rng.standard_normal((5, 4)), rng.dirichlet(np.ones(4), 5)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    given = (ops.convert_to_tensor(a.astype(np.float32)) for a in (logits, q_0))
    expected = -(q_0 * log_p).sum(axis=1).mean()
    assert float(step.cross_entropy_loss(*given)) == pytest.approx(expected, rel=1e-5)


def config(**changes):
    return resolve({"data": "x", "backend": "keras", **changes}).config


def test_the_learning_rate_rises_and_then_falls_along_a_cosine_to_zero():
    one = config(warmup_epochs=1, epochs=4, learning_rate=0.02)
    found = [learning_rate(one, update, per_epoch=10) for update in range(40)]
    rise = 1e-5 + (0.02 - 1e-5) * np.arange(10) / 10
    fall = [0.01 * (1 + np.cos(np.pi * update / 40)) for update in range(10, 40)]
    np.testing.assert_allclose(found, [*rise, *fall], rtol=1e-6)
    assert learning_rate(one, 40, per_epoch=10) == pytest.approx(0, abs=1e-9)


def theirs(torch, name, weights):
    """The same optimiser of timm or torch."""
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": 0.1},
        {"params": [w for w in weights if w.ndim == 1], "weight_decay": 0.0},
    ]
    if name == "lamb":
        return pytest.importorskip("timm.optim").Lamb(groups, lr=0.05, max_grad_norm=1.0)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=0.05)
    groups[0]["weight_decay"] = 0.0  # torch's belongs to the gradient, Keras's does not
    return torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)


@pytest.mark.parametrize("name", ["lamb", "adamw", "sgd"])
def test_an_optimiser_steps_as_that_of_torch_does(rng, name):
    torch = pytest.importorskip("torch")
    start = [rng.standard_normal(shape).astype(np.float32) for shape in ((4, 3), (3,))]
    variables = [keras.Variable(value) for value in start]
    decay = 0.0 if name == "sgd" else 0.1
    optimizer = create_optimizer(
        config(optimizer=name, learning_rate=0.05, weight_decay=decay), variables
    )
    apply = engine.stateful(
        lambda *gradients: optimizer.apply(list(gradients), variables),
        [*variables, *optimizer.variables],
    )
    weights = [torch.nn.Parameter(torch.tensor(value)) for value in start]
    expected = theirs(torch, name, weights)
    for scale in (0.1, 5, 1, 0.3, 2):  # some are clipped to norm 1
        gradients = [(scale * rng.standard_normal(w.shape)).astype(np.float32) for w in weights]
        apply(*map(ops.convert_to_tensor, gradients))
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = torch.tensor(gradient)
        if name != "lamb":
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
        expected.step()
    for variable, weight in zip(variables, weights, strict=True):
        found = engine.to_host(variable.value)
        np.testing.assert_allclose(found, weight.detach().numpy(), rtol=2e-4, atol=2e-5)


def test_decay_shrinks_matrices_and_leaves_vectors():
    variables = [keras.Variable(np.ones(shape, np.float32)) for shape in ((2, 2), (2,))]
    for name in ("lamb", "adamw", "sgd"):
        optimizer = create_optimizer(
            config(optimizer=name, learning_rate=0.1, weight_decay=0.5), variables
        )
        apply = engine.stateful(
            lambda optimizer=optimizer: optimizer.apply(
                [ops.zeros_like(v.value) for v in variables], variables
            ),
            [*variables, *optimizer.variables],
        )
        before = engine.to_host(variables[0].value)
        apply()
        assert (engine.to_host(variables[0].value) < before).all()
        assert (engine.to_host(variables[1].value) == 1).all()
