"""The answers of models beside the networks, joined in order."""

import functools

import numpy as np

from skdidicm.core import LogLinear, SamplerPlan, UniformProcess, read_out
from skdidicm.predict.beside import answered

K = 3
PLAN = SamplerPlan(
    process=UniformProcess(K),
    schedule=LogLinear(),
    p_init=np.full(K, 1 / K),
    steps=4,
    seed=0,
    sampler="cp",
    solver="euler",
)
RNG = np.random.default_rng(0)
X = np.zeros((5, 2))


class Constant:
    temperature = 1.0

    def __init__(self, share):
        self.share, self.law = share, RNG.dirichlet(np.ones(K), 5)

    def __call__(self, x):
        return self.law


def test_each_model_takes_its_share_from_all_before_it():
    law, first, second = RNG.dirichlet(np.ones(K), 5), Constant(0.25), Constant(0.5)
    keep = functools.partial(read_out, process=PLAN.process, schedule=PLAN.schedule)
    expected = 0.375 * law + 0.125 * keep(first.law) + 0.5 * keep(second.law)
    np.testing.assert_allclose(answered(law, X, [first, second], PLAN), expected)
    np.testing.assert_array_equal(answered(law, X, [], PLAN), law)


def test_every_step_of_a_path_is_a_mixture_of_laws_at_the_same_noise():
    start = np.full((5, K), 1 / K)
    model = Constant(1.0)
    path = answered(np.stack([start] * 5, axis=1), X, [model], PLAN)
    np.testing.assert_array_equal(path[:, 0], start)
    distance = np.abs(path - model.law[:, None]).sum(axis=2)
    assert (np.diff(distance, axis=1) < 0).all()  # less noise with every step
    np.testing.assert_allclose(path[:, -1], model.law, atol=1e-3)
