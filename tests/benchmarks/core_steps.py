"""Reverse steps of the uniform process against their dense K x K form."""

import tracemalloc

import numpy as np

from skdidicm.core import UniformProcess
from tests.benchmarks.timing import Row, ratio

N, K, H, SIGMA, SIGMA_NEXT = 256, 1000, 0.5, 2.0, 1.0


def dense_rates(q):
    """Return the n reverse rate matrices of equation (6)."""
    forward = (np.ones((K, K), np.float32) - K * np.eye(K, dtype=np.float32)) / K
    reverse = q[:, :, None] / q[:, None, :] * forward.T
    diagonal = np.arange(K)
    reverse[:, diagonal, diagonal] = 0
    reverse[:, diagonal, diagonal] = -reverse.sum(axis=1)
    return reverse


def dense_euler(p, q):
    """Return equation (7) with one K x K matrix per row."""
    return p + H * np.einsum("nij,nj->ni", dense_rates(q), p)


def dense_bridge(p, q):
    """Return equation (9) by Bayes' rule over all pairs of labels."""
    a = np.float32(np.exp(SIGMA_NEXT - SIGMA))
    transition = a * np.eye(K, dtype=np.float32) + (1 - a) / K
    before = (q - (1 - a) / K) / a
    joint = transition[None] * before[:, None, :]
    return np.einsum("nji,nj->ni", joint / joint.sum(axis=2, keepdims=True), p)


def rows():
    """Yield the ratios, and the extra memory of the fast steps in arrays of n K numbers."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(K), N).astype(np.float32)
    process = UniformProcess(K)
    q = process.diffuse(rng.dirichlet(np.ones(K), N).astype(np.float32), SIGMA)
    euler = lambda: process.euler_step(p, q, H)  # noqa: E731
    bridge = lambda: process.bridge_step(p, q, SIGMA, SIGMA_NEXT)  # noqa: E731
    np.testing.assert_allclose(euler(), dense_euler(p, q), atol=1e-5)
    np.testing.assert_allclose(bridge(), dense_bridge(p, q), atol=1e-5)
    calls = {"rounds": 3, "inner": (1, 100)}
    yield Row(
        f"dense Euler step over euler_step, n={N}, K={K}",
        ratio(lambda: dense_euler(p, q), euler, **calls),
        ">= 5000",
    )
    yield Row(
        f"dense bridge step over bridge_step, n={N}, K={K}",
        ratio(lambda: dense_bridge(p, q), bridge, **calls),
        ">= 2500",
    )
    for name, step in (("euler_step", euler), ("bridge_step", bridge)):
        tracemalloc.start()
        step()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        yield Row(f"extra memory of {name} over one (n, K) array", peak / p.nbytes, "O(1)")
