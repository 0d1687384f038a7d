"""What is particular to torch: devices, number formats, the optimiser, random numbers."""

import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from skdidicm_torch import TorchNetwork  # noqa: E402
from skdidicm_torch.device import resolve_device, resolve_precision  # noqa: E402

from skdidicm.backend import Batch, NetworkConfig  # noqa: E402
from skdidicm.core import UniformProcess  # noqa: E402

CPU = torch.device("cpu")


def build(shape=(8, 8), **changes):
    config = {"process": UniformProcess(3), "device": "cpu"} | changes
    return TorchNetwork(NetworkConfig(input_shape=shape, n_classes=3, **config))


def batch(shape=(8, 8), n=4):
    rng = np.random.default_rng(0)
    return Batch(
        rng.standard_normal((n, *shape)).astype(np.float32),
        np.eye(3)[rng.integers(0, 3, n)],
        rng.integers(0, 3, (n, 2)).astype(np.int32),
        rng.uniform(0.1, 2, (n, 2)),
        np.full((n, 2), 1 / (2 * n)),
    )


def test_neither_building_nor_training_touches_torchs_generator():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    network = build()
    network.train_step(batch(), 1e-3)
    network.encode(batch().x)
    assert torch.equal(before, torch.get_rng_state())


def test_building_and_unpickling_in_many_threads_draw_the_weights_of_one():
    expected, pickled = build().state(), pickle.dumps(build())
    torch.manual_seed(7)
    before = torch.get_rng_state()
    with ThreadPoolExecutor(8) as pool:
        loaded = [pool.submit(pickle.loads, pickled) for _ in range(60)]
        built = [pool.submit(build) for _ in range(60)]
        networks = [future.result() for future in (*loaded, *built)]
    assert torch.equal(before, torch.get_rng_state())
    for network in networks:
        for name, value in network.state().items():
            np.testing.assert_array_equal(value, expected[name])


def test_norms_and_biases_do_not_decay():
    decaying, plain = build(weight_decay=0.1).optimizer.param_groups
    assert decaying["weight_decay"] == 0.1
    assert plain["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decaying["params"])
    assert all(p.ndim == 1 for p in plain["params"])


def test_the_gradient_is_clipped_to_its_bound():
    network = build((5,), max_grad_norm=1e-3)
    network.train_step(batch((5,)), 0.0)
    norms = [p.grad.norm() for p in network.module.parameters() if p.grad is not None]
    assert torch.stack(norms).norm() == pytest.approx(1e-3, rel=1e-2)


def test_tables_compute_in_float64_on_a_cpu_and_images_in_float32():
    assert build((5,)).dtype is torch.float64
    assert build((8, 8)).dtype is torch.float32
    assert resolve_precision("auto", torch.device("mps"), table=True) == "float32"


def test_bfloat16_keeps_weights_and_loss_in_float32():
    network, reference = build(precision="bfloat16"), build(precision="float32")
    loss, expected = (float(n.train_step(batch(), 1e-3)) for n in (network, reference))
    assert loss == pytest.approx(expected, rel=0.05)
    assert {p.dtype for p in network.module.parameters()} == {torch.float32}
    features = network.encode(batch().x)
    assert features[0].dtype is torch.bfloat16
    score = network.log_score(features, torch.zeros(4, dtype=torch.int64), torch.ones(4))
    assert score.dtype is torch.float32


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(ValueError, match=f"device is '{device}'.*expected 'auto'"):
        build(device=device)


def test_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision is 'float8'"):
        build(precision="float8")


def test_workers_are_spread_over_the_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto").index == 0
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object())
    found = []
    for number in (1, 2, 3):
        worker = SimpleNamespace(_identity=(number,))
        monkeypatch.setattr(multiprocessing, "current_process", lambda worker=worker: worker)
        found.append(resolve_device("auto").index)
    assert found == [0, 1, 0]


def test_a_pickle_from_a_missing_device_opens_on_another():
    import pickle
    from dataclasses import replace

    network = build()
    network.config = replace(network.config, device="cuda:99")
    copy = pickle.loads(pickle.dumps(network))
    assert copy.device.type in {"cpu", "mps", "cuda"}
    assert all(np.array_equal(v, copy.state()[k]) for k, v in network.state().items())
