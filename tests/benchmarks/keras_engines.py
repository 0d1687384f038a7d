"""The Keras backend on each engine over the torch backend: one update, and one prediction.

Each engine has a process of its own, bound to one core, in which the two are timed by turns.
"""

import json
import os
import subprocess
import sys
from importlib import util

import numpy as np

from skdidicm.backend import Batch, NetworkConfig
from skdidicm.core import LogLinear, SamplerPlan, UniformProcess
from skdidicm.predict.prediction import sample_rows
from tests.benchmarks.timing import Row, ratio, seconds

ENGINES = ("jax", "torch", "tensorflow")
K = 10
SHAPES = {"28 x 28 images, batch 64, 4 draws": ((28, 28), 64, 4)}
SHAPES |= {"tables of 20 columns, batch 256, 16 draws": ((20,), 256, 16)}


def rows():
    """Yield the ratios for every engine that is installed."""
    for engine in ENGINES:
        if util.find_spec(engine) is None:
            continue
        env = os.environ | {"KERAS_BACKEND": engine, "TF_CPP_MIN_LOG_LEVEL": "3"}
        result = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.keras_engines"],
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        for what, value in json.loads(result.stdout.splitlines()[-1]):
            asked = "<= 1.5" if engine == "jax" and what.startswith("update") else "-"
            yield Row(f"keras on {engine}: {what}", value, asked)


def measured():
    """Return the ratios of this process's engine, with names."""
    if hasattr(os, "sched_setaffinity"):  # else the engines differ in the cores that they take
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    from skdidicm_torch import TorchNetwork  # before TensorFlow, which breaks a later import

    found = []
    for name, (shape, n, m) in SHAPES.items():
        config = NetworkConfig(shape, K, UniformProcess(K), device="cpu")
        torch_network = TorchNetwork(config)
        batch = make_batch(shape, n, m)
        torch_network.train_step(batch, 1e-3)

        from skdidicm_keras import KerasNetwork

        keras_network = KerasNetwork(config)
        first = seconds(lambda k=keras_network, b=batch: float(k.train_step(b, 1e-3)))
        both = (keras_network, torch_network)
        steps = [lambda w=w, b=batch: float(w.train_step(b, 1e-3)) for w in both]
        found.append((f"update, {name}", ratio(*steps, rounds=5, inner=(3, 3))))
        x = np.concatenate([batch.x] * (512 // n))
        predictions = [lambda w=w, x=x: sample_rows(w, x, plan()) for w in both]
        found.append(
            (f"512 rows in 8 steps, {name.partition(',')[0]}", ratio(*predictions, rounds=5))
        )
        found.append((f"seconds to trace an update, {name.partition(',')[0]}", first))
    return found


def plan():
    """Return the default settings of a sampler."""
    law = np.full(K, 1 / K)
    return SamplerPlan(UniformProcess(K), LogLinear(), law, 0, "cp", "euler", 8, "argmin", 1)


def make_batch(shape, n, m):
    """Return a batch of random rows."""
    rng = np.random.default_rng(0)
    return Batch(
        rng.standard_normal((n, *shape)).astype(np.float32),
        np.eye(K)[rng.integers(0, K, n)],
        rng.integers(0, K, (n, m)).astype(np.int32),
        rng.uniform(0.01, 5, (n, m)),
        np.full((n, m), 1 / (n * m)),
    )


if __name__ == "__main__":
    print(json.dumps(measured()))
