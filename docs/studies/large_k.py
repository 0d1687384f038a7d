"""Why scores are learnt slowly with many classes: gradients by noise level, and forms compared.

    python docs/studies/large_k.py gradients
    python docs/studies/large_k.py forms --updates 600 --output large_k.jsonl

The task has K Gaussian classes in 16 dimensions, so the true posterior is known, and every update
has fresh rows, so nothing can be overfitted.
"""

import argparse
import json
import math
import time
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import json_lines
import numpy as np
from numpy.typing import NDArray

from skdidicm.backend import NetworkConfig
from skdidicm.core import (
    LogLinear,
    SamplerPlan,
    UniformProcess,
    denoising_loss_and_gradient,
    noise_levels,
    sample_posterior,
)
from skdidicm.core.arrays import one_hot
from skdidicm.core.noise_levels import TIMES
from skdidicm.fit.training import Rows, TrainingPlan, corrupt, learning_rate_at
from skdidicm.registry import new_network

COLUMNS, SPREAD, BATCH = 16, 1.2, 256
LEVELS = (1e-5, 1e-3, 1e-2, 0.1, 0.5, 0.9, 0.99, 1.0)
FORMS: dict[str, dict[str, Any]] = {
    "cross-entropy": {"objective": "cross_entropy", "conditioning": "none"},
    "Bayes-corrected cross-entropy, 1 draw": {"objective": "bayes_cross_entropy"},
    "the same, log odds": {"objective": "bayes_cross_entropy", "times": "log_odds"},
    "score entropy of a posterior, 1 draw": {"parameterization": "posterior"},
    "the same, log odds, 8 draws": {
        "parameterization": "posterior",
        "times": "log_odds",
        "n_draws": 8,
    },
    "score entropy of scores, 1 draw (paper)": {"conditioning": "blocks"},
    "the same, 8 draws": {"conditioning": "blocks", "n_draws": 8},
    "the same, 8 draws, log odds": {"conditioning": "blocks", "n_draws": 8, "times": "log_odds"},
    "the same, in the head": {"conditioning": "head", "n_draws": 8, "times": "log_odds"},
}

Floats = NDArray[np.float64]


def centres(k: int) -> Floats:
    """Return the centres of the classes, (k, COLUMNS)."""
    return SPREAD * np.random.default_rng(0).standard_normal((k, COLUMNS))


def rows(mu: Floats, n: int, rng: np.random.Generator) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Return rows (n, COLUMNS), their true posteriors (n, k) and their classes (n,)."""
    label = rng.integers(0, len(mu), n)
    x = mu[label] + rng.standard_normal((n, COLUMNS))
    log_p = -0.5 * ((x[:, None] - mu) ** 2).sum(axis=2)
    p = np.exp(log_p - log_p.max(axis=1, keepdims=True))
    return x, p / p.sum(axis=1, keepdims=True), label


def gradients(k: int, times: str, n: int = 1000) -> list[dict[str, float | str]]:
    """Return the second moment of the gradient of one draw, by time, kind of label and stage.

    The unit is the second moment of the gradient of the cross-entropy at the same stage. At the
    start the outputs are 0; at the end they are the true scores. Both kinds of label are weighted
    by their probability, and times are spread evenly in log t, so no rare event is missed.
    """
    rng, process, schedule = np.random.default_rng(1), UniformProcess(k), LogLinear()
    _, p, c = rows(centres(k), n, rng)
    q_0 = one_hot(c, k, np.dtype(float))
    found: list[dict[str, float | str]] = []
    for (low, high), (stage, law) in product(
        pairwise(LEVELS), (("start", np.full((n, k), 1 / k)), ("end", p))
    ):
        v = rng.permutation((np.arange(n) + 0.5) / n)
        t = low * (high / low) ** v
        sigma, rate = schedule.total(t), schedule.rate(t)
        weight = rate
        if times == "log_odds":  # the weight is (1 - a) times a constant
            some, of_some = noise_levels(np.array(0.5), schedule, k, times=times, eps_t=LEVELS[0])
            weight = of_some / -np.expm1(-some) * -np.expm1(-sigma)
        other = (c + rng.integers(1, k, n)) % k
        kept = process.diffuse(q_0, sigma)[np.arange(n), c]
        for kind, label, chance in (("kept", c, kept), ("replaced", other, 1 - kept)):
            score = np.log(process.ratio(process.diffuse(law, sigma), label))
            _, g = denoising_loss_and_gradient(score, label, sigma, q_0, process=process)
            # A law of t with density rate / weight draws t, and the squared weight is the loss's.
            moment = rate * weight * chance * (g**2).sum(axis=1) * t * np.log(high / low)
            unit = ((law - q_0) ** 2).sum(axis=1).mean()
            value = moment.mean() / unit
            found.append({"stage": stage, "from": low, "to": high, "label": kind, "E": value})
    return found


def trained(name: str, k: int, updates: int, seed: int) -> dict[str, float]:
    """Train one form and return its mean KL divergence from the true posterior, in nats."""
    form = dict(FORMS[name])
    n_draws, times = form.pop("n_draws", 1), form.pop("times", "uniform")
    objective = form.get("objective", "score_entropy")
    kind = "score" if objective == "score_entropy" else "posterior"
    form = {"conditioning": "last", "parameterization": kind} | form
    process, schedule, rng = UniformProcess(k), LogLinear(), np.random.default_rng(seed)
    config = NetworkConfig(
        (COLUMNS,), k, process, scale=np.full(COLUMNS, math.hypot(1, SPREAD)), seed=seed,
        precision="float32", **form,
    )  # fmt: skip
    network = new_network("torch", config)
    plan = TrainingPlan(process, schedule, objective, 1, BATCH, 1.0, n_draws, times=times)
    mu, start = centres(k), time.perf_counter()
    for update in range(updates):
        x, _, label = rows(mu, BATCH, rng)
        batch = corrupt(Rows(x, np.eye(k)[label], np.ones(BATCH)), plan, rng, shared=False)
        network.train_step(batch, learning_rate_at(update, updates, 3e-3))
    seconds = time.perf_counter() - start
    x, p, label = rows(mu, 2000, np.random.default_rng(99))
    posterior = config.parameterization == "posterior"
    sampler = SamplerPlan(
        process,
        schedule,
        p_init=process.limit(),
        seed=0,
        sampler="cp",
        solver="bridge" if posterior else "euler",
        steps=8,
        n_chains=1,
    )
    features = network.encode(x)
    law = sample_posterior(
        lambda label, sigma: network.log_score(features, label, sigma), len(x), sampler,
        network.start,
    )  # fmt: skip
    q = np.clip(np.asarray(law, dtype=float), 1e-3 / k, None)
    q /= q.sum(axis=1, keepdims=True)
    kl = (p * (np.log(np.clip(p, 1e-300, None)) - np.log(q))).sum(axis=1).mean()
    return {
        "kl": float(kl),
        "accuracy": float((q.argmax(axis=1) == label).mean()),
        "best_accuracy": float((p.argmax(axis=1) == label).mean()), "seconds": seconds,
    }  # fmt: skip


def main() -> None:
    """Print the gradients, or train the forms that the output lacks and append a line for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["gradients", "forms"])
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("large_k.jsonl"))
    given = parser.parse_args()
    if given.what == "gradients":
        for k, times in product(given.classes, TIMES):
            print("\n".join(json.dumps({"k": k, "times": times} | r) for r in gradients(k, times)))
        return
    done = [row.items() for row in json_lines.read(given.output)]
    for k, name in product(given.classes, FORMS):
        key = {"form": name, "k": k, "updates": given.updates, "seed": given.seed}
        if any(key.items() <= row for row in done):
            continue
        row = key | trained(name, k, given.updates, given.seed)
        print(row, flush=True)
        json_lines.append(given.output, row)


if __name__ == "__main__":
    main()
