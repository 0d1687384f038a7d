"""What is particular to Keras: traces, devices, number formats, what is not touched."""

import copy
import pickle
import random
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("skdidicm_keras", reason="Keras or its engine is missing", exc_type=ImportError)

import keras
from keras import ops
from skdidicm_keras import KerasNetwork, engine, losses
from skdidicm_keras.device import resolve_device, resolve_precision
from skdidicm_keras.weights import check_state, initial_state

from skdidicm.backend import Batch, NetworkConfig
from skdidicm.core import UniformProcess

COMPILED = engine.COMPILES


def build(shape=(5,), **changes):
    config = {"process": UniformProcess(3), "device": "cpu", "precision": "float32"} | changes
    return KerasNetwork(NetworkConfig(input_shape=shape, n_classes=3, **config))


def batch(shape=(5,), n=4, m=2):
    rng = np.random.default_rng(0)
    return Batch(
        rng.standard_normal((n, *shape)).astype(np.float32),
        np.eye(3)[rng.integers(0, 3, n)],
        rng.integers(0, 3, (n, m)).astype(np.int32),
        rng.uniform(0.1, 2, (n, m)),
        np.full((n, m), 1 / (m * n)),
    )


def scores(network, b):
    return network.log_score(network.encode(b.x), b.label, network.start(b.sigma))


@pytest.fixture
def traces(monkeypatch):
    """Count how often the loss is traced, or computed where nothing is compiled."""
    count, original = [], losses.batch_loss

    def counted(*args):
        count.append(1)
        return original(*args)

    monkeypatch.setattr(losses, "batch_loss", counted)
    return count


@pytest.mark.skipif(not COMPILED, reason="torch runs what the others trace")
def test_training_is_traced_once_for_each_size_of_batch(traces):
    network = build((7,))
    for i in range(12):
        network.train_step(batch((7,), n=4 if i % 3 else 3), 1e-3 / (1 + i))
    assert len(traces) == 2


@pytest.mark.skipif(not COMPILED, reason="torch runs what the others trace")
def test_networks_that_differ_in_their_numbers_only_share_a_trace(traces):
    for seed in range(3):
        network = build((8,), seed=seed, weight_decay=0.1 * seed, mean=float(seed))
        network.train_step(batch((8,)), 1e-3)
        pickle.loads(pickle.dumps(network)).train_step(batch((8,)), 1e-3)
    assert len(traces) == 1


def test_networks_that_share_a_trace_do_not_share_weights():
    first, second = build(seed=0), build(seed=0)
    before = second.state()
    first.train_step(batch(), 1e-2)
    assert all(np.array_equal(before[name], value) for name, value in second.state().items())
    assert any(not np.array_equal(before[name], value) for name, value in first.state().items())


@pytest.mark.parametrize("n", [1, 2, 17, 33])
def test_any_number_of_rows_gives_its_own_scores(n):
    """Rows that fill up a trace have no influence and do not come back."""
    network, many = build(), batch(n=33)
    whole = scores(network, many)
    part = scores(network, Batch(*(field[:n] for field in many)))
    assert part.shape == (n, 2, 3)
    np.testing.assert_allclose(part, whole[:n], atol=1e-5)


def test_one_sigma_broadcast_to_all_rows_gives_the_same_scores():
    network, b = build(), batch()
    features, label = network.encode(b.x), b.label[:, 0]
    once = np.broadcast_to(np.float32(0.7), (4,))
    each = np.full(4, 0.7, dtype=np.float32)
    found = [network.log_score(features, label, sigma) for sigma in (once, each)]
    np.testing.assert_allclose(*found, atol=1e-6)


def test_nothing_global_is_touched():
    name = keras.layers.Dense(1).name  # Keras itself draws its seed from Python's generator
    states = random.getstate(), np.random.get_state()[1].copy()
    settings = keras.config.floatx(), keras.config.dtype_policy().name, keras.config.epsilon()
    network = build((6, 6))
    network.train_step(batch((6, 6)), 1e-3)
    scores(network, batch((6, 6)))
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert settings == (
        keras.config.floatx(),
        keras.config.dtype_policy().name,
        keras.config.epsilon(),
    )
    later = keras.layers.Dense(1).name
    number = [int(n.rpartition("_")[2]) if "_" in n else 0 for n in (name, later)]
    assert number[1] == number[0] + 1  # the user's next layer is named as if we were not there
    assert engine.to_host(ops.zeros(())).dtype == np.float32


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 4e-16), ("float32", 2e-7)])
def test_cosines_and_sines_are_those_of_numpy(dtype, tolerance):
    small = np.linspace(-10, 10, 1001)
    large = np.random.default_rng(0).uniform(-1e5, 1e5, 1000)
    angles = np.concatenate([small, large, np.arange(9) * np.pi / 4]).astype(dtype)
    with engine.scope("cpu", float64=True):
        found = engine.cos_and_sin(ops.convert_to_tensor(angles))
    for value, expected in zip(found, (np.cos(angles), np.sin(angles)), strict=True):
        assert engine.to_host(value).dtype == dtype
        np.testing.assert_allclose(engine.to_host(value), expected, atol=tolerance)


def test_tables_compute_in_float64_on_a_cpu_and_images_in_float32():
    assert build(precision="auto").dtype == np.float64
    assert build((8, 8), precision="auto").dtype == np.float32
    assert resolve_precision("auto", "gpu:0", table=True) == "float32"
    assert resolve_precision("auto", "tpu:0", table=False) == "bfloat16"


@pytest.mark.parametrize("conditioning", ["blocks", "last", "head", "none"])
@pytest.mark.parametrize("shape", [(5,), (8, 8)], ids=["table", "image"])
def test_bfloat16_keeps_weights_and_loss_in_float32(shape, conditioning):
    network, reference = (
        build(shape, precision=p, conditioning=conditioning) for p in ("bfloat16", "float32")
    )
    loss, expected = (float(n.train_step(batch(shape), 1e-3)) for n in (network, reference))
    assert loss == pytest.approx(expected, rel=0.05)
    assert {v.dtype for k, v in network.state().items() if "tracked" not in k} == {
        np.dtype("float32")
    }
    assert scores(network, batch(shape)).dtype == np.float32


@pytest.mark.parametrize("device", ["abacus", "gpu:99", "cpu:x"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(ValueError, match=f"device is '{device}'.*expected 'auto'"):
        build(device=device)


def test_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision is 'float8'"):
        build(precision="float8")


def test_workers_are_spread_over_the_gpus(monkeypatch):
    import multiprocessing
    from types import SimpleNamespace

    monkeypatch.setattr(engine, "device_count", lambda kind: 2 if kind == "gpu" else 1)
    assert resolve_device("auto") == "gpu:0"
    assert resolve_device("cuda:1") == "gpu:1"
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object())
    found = []
    for number in (1, 2, 3):
        worker = SimpleNamespace(_identity=(number,))
        monkeypatch.setattr(multiprocessing, "current_process", lambda worker=worker: worker)
        found.append(resolve_device("auto"))
    assert found == ["gpu:0", "gpu:1", "gpu:0"]


def test_a_pickle_from_a_missing_device_opens_on_another():
    network = build()
    network.config = replace(network.config, device="gpu:99")
    copied = pickle.loads(pickle.dumps(network))
    assert copied.device == resolve_device("auto")
    assert all(np.array_equal(v, copied.state()[k]) for k, v in network.state().items())


def test_a_state_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"'b' is the first of 1 that differ"):
        check_state({"a": (1,), "b": (2,)}, {"a": np.zeros(1), "b": np.zeros(3)})


def test_weights_are_the_same_on_every_engine():
    """A number drawn here on one engine is asked for on all: NumPy's generator draws it."""
    shapes = {"fc.weight": (2, 3), "fc.bias": (2,), "norm.weight": (2,), "norm.bias": (2,)}
    state = initial_state(shapes, np.random.default_rng(0))
    assert state["fc.weight"][0, 0] == pytest.approx((2 * 0.6369616873 - 1) / np.sqrt(3))
    assert np.abs(state["fc.bias"]).max() <= 1 / np.sqrt(3)
    assert state["norm.weight"].tolist() == [1, 1]
    assert state["norm.bias"].tolist() == [0, 0]


class TestBackbones:
    """Models of the user's own, inside a network."""

    @staticmethod
    def build(frozen=False):
        model = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                keras.layers.Conv2D(4, 3, kernel_initializer=keras.initializers.HeNormal(seed=0)),
                keras.layers.BatchNormalization(),
                keras.layers.Dropout(0.1, seed=0),
            ]
        )
        model.trainable = not frozen
        return build((8, 8), network=model, conditioning="head"), model

    @pytest.mark.parametrize("frozen", [True, False])
    def test_they_bring_their_weights_and_learn_unless_frozen(self, frozen):
        network, model = self.build(frozen)
        before = network.state()
        np.testing.assert_array_equal(before["backbone.0"], model.get_weights()[0])
        found = [float(network.train_step(batch((8, 8)), 1e-2)) for _ in range(20)]
        after = network.state()
        assert found[-1] < found[0]
        changed = {k for k, v in before.items() if not np.array_equal(v, after[k])}
        assert any(name.startswith("head.") for name in changed)
        assert any(name.startswith("backbone.") for name in changed) != frozen

    def test_they_survive_copies_and_pickles(self):
        network, _ = self.build()
        network.train_step(batch((8, 8)), 1e-2)
        for other in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
            np.testing.assert_array_equal(
                scores(other, batch((8, 8))), scores(network, batch((8, 8)))
            )
