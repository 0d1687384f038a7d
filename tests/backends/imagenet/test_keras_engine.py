"""One update of the Keras trainer: traces, passes, averages, state."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("skdidicm_keras", reason="Keras or its engine is missing", exc_type=ImportError)

from keras import ops
from skdidicm_keras import engine as engines
from skdidicm_keras.imagenet.data import Images
from skdidicm_keras.imagenet.engine import Engine
from skdidicm_keras.imagenet.evaluation import Evaluator
from skdidicm_keras.imagenet.model import load
from skdidicm_keras.imagenet.processes import KerasCommunicator, joined
from skdidicm_keras.imagenet.settings import check
from skdidicm_keras.networks import CONDITIONINGS

from skdidicm.core import LogLinear, UniformProcess, log_score, sample_probabilities
from skdidicm.imagenet.checkpoint import CheckpointError, weights
from skdidicm.imagenet.recipes import resolve

pytestmark = pytest.mark.usefixtures("compiled_once")
K, DECAY = 6, 0.75
TINY = {"data": "x", "backend": "keras", "model": "didirn-tiny", "resolution": 16, "device": "cpu"}
TINY |= {"batch_size": 4, "global_batch": 8, "steps": 2, "warmup_epochs": 0, "color_jitter": 0}


def config(**changes):
    return resolve({**TINY, **changes}).config


def images(seed=0, n=4):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    return Images(pixels, rng.integers(0, K, n, dtype=np.int32), [])


class Counted(Engine):
    """Counts how often it is traced, or run where nothing is compiled."""

    passes = steps = 0

    def _passed(self, *given):
        self.passes += 1
        return super()._passed(*given)

    def _stepped(self):
        self.steps += 1
        return super()._stepped()


@pytest.fixture(scope="module")
def trained(compiled_once):
    """An engine after three updates of two passes, and its weights before and after each."""
    with joined("cpu") as place:
        one = Counted(config(ema=DECAY, learning_rate=0.05), K, place, per_epoch=10)
        states, losses = [one.pack()[0]], []
        for i in range(3):
            losses.append(float(one.train_update([images(2 * i), images(2 * i + 1)])))
            states.append(one.pack()[0])
        counts = one.passes, one.steps  # here, for other tests train the engine on
        return SimpleNamespace(engine=one, counts=counts, states=states, losses=losses, place=place)


def test_an_update_is_traced_once(trained):
    assert trained.counts == ((1, 1) if engines.COMPILES else (6, 3))
    assert np.isfinite(trained.losses).all()


def test_the_average_is_the_exponential_one_of_all_weights_and_statistics(trained):
    expected = {k: v.astype(float) for k, v in weights(trained.states[0], "model.").items()}
    for state in trained.states[1:]:
        for name, value in weights(state, "model.").items():
            expected[name] = DECAY * expected[name] + (1 - DECAY) * value
    last = trained.states[-1]
    for name, value in weights(last, "average.").items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)
        else:  # a count is copied
            assert value == last[f"model.{name}"] == 6
    assert weights(last, "average.").keys() == expected.keys()


def test_names_and_shapes_of_weights_are_those_of_torch(trained):
    pytest.importorskip("torch")
    from skdidicm_torch.networks import create_network

    theirs = create_network("didirn-tiny", K, 3, "blocks", image_size=(16, 16)).state_dict()
    found = weights(trained.states[-1], "model.")
    assert {k: v.shape for k, v in found.items()} == {k: tuple(v.shape) for k, v in theirs.items()}


def test_weights_are_drawn_from_the_seed(trained):
    with joined("cpu") as place:
        found = [Engine(config(seed=seed), K, place, 10).pack()[0] for seed in (0, 1)]
    key = "model.fc.weight"
    np.testing.assert_array_equal(found[0][key], trained.states[0][key])
    assert not np.array_equal(found[1][key], found[0][key])


def test_an_update_steps_along_the_mean_gradient_of_its_passes():
    """Nesterov's first step with momentum 0.9 is 1.9 gradients long."""
    changes = {"optimizer": "sgd", "learning_rate": 0.1, "max_grad_norm": 0, "weight_decay": 0}
    with joined("cpu") as place:
        one = Engine(config(**changes), K, place, per_epoch=10)
        batches = [images(1), images(2)]
        before, gradients = [engines.to_host(v.value) for v in one.trained], []
        for i in range(2):
            one._pass(*one._given(batches[i], i))
            gradients.append([engines.to_host(total.value) for total in one.total])
            for total in one.total:
                total.assign(ops.zeros_like(total.value))
        one.train_update(batches)
        for i, variable in enumerate(one.trained):
            moved = before[i] - engines.to_host(variable.value)
            expected = 0.1 * 1.9 * (gradients[0][i] + gradients[1][i]) / 2
            scale = np.abs(expected).max() + 1e-6
            np.testing.assert_allclose(moved / scale, expected / scale, atol=2e-3)


def test_state_that_is_put_back_goes_on_bit_for_bit(trained):
    whole = trained.engine
    with joined("cpu") as place:
        other = Engine(whole.config, K, place, per_epoch=10)
        other.unpack(*whole.pack())
        for one in (whole, other):
            one.train_update([images(8), images(9)])
        found, expected = other.pack(), whole.pack()
        whole.unpack(trained.states[-1], {"update": 3})
    assert found[1] == expected[1]
    assert found[0].keys() == expected[0].keys()
    for name, value in expected[0].items():
        np.testing.assert_array_equal(found[0][name], value, err_msg=name)


def test_weights_of_another_network_end_with_a_sentence(trained):
    tensors = trained.states[-1]
    with pytest.raises(CheckpointError, match="weights do not fit the network"):
        trained.engine.unpack({**tensors, "model.fc.weight": np.zeros((K, 1))}, {"update": 3})
    some = {k: v for k, v in tensors.items() if k != "optimizer.3"}
    with pytest.raises(CheckpointError, match="state of the optimiser does not fit"):
        trained.engine.unpack(some, {"update": 3})


@pytest.mark.parametrize(
    ("parameterization", "solver"), [("score", "euler"), ("posterior", "bridge")]
)
def test_the_last_law_is_that_of_the_cores_sampler(trained, parameterization, solver):
    """The number of rows, which is filled up to that of a batch, plays no part."""
    module, rows = trained.engine.module, images(3, n=3)
    one = config(steps=4, parameterization=parameterization)
    evaluator = Evaluator(module, one, KerasCommunicator("cpu"))
    values = [engines.read(v) for v in module.weights]
    with joined("cpu"):
        path = evaluator.posterior_path(values, rows.pixels)
    mean, scale = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255
    x = ops.convert_to_tensor(((rows.pixels - mean) / scale).astype(np.float32))

    def scores(label, sigma):
        with joined("cpu"):
            given = (label.astype(np.int32), np.asarray(sigma, np.float32))
            output = engines.to_host(module(x, *map(ops.convert_to_tensor, given)))
        form = {"process": UniformProcess(K), "parameterization": parameterization}
        return log_score(output, label, sigma, **form)

    expected = sample_probabilities(
        scores,
        np.full((3, K), 1 / K),
        process=UniformProcess(K),
        schedule=LogLinear(),
        steps=4,
        solver=solver,
        rng=np.random.default_rng(0),
    )
    assert path.shape == (3, 5, K)
    np.testing.assert_allclose(path[:, -1], expected, atol=2e-3)  # as it is read at t = 1e-3


def test_the_fast_recipe_lowers_its_loss():
    changes = {"recipe": "fast", "resolution": 16, "learning_rate": 0.01, "mixup": 0.0, "epochs": 1}
    with joined("cpu") as place:
        one = Engine(config(**{**TINY, **changes}), K, place, per_epoch=1000)
        losses = [float(one.train_update([images(1), images(2)])) for _ in range(8)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < losses[0]


@pytest.mark.skipif("none" not in CONDITIONINGS, reason="Keras has no ordinary classifiers")
def test_the_baseline_returns_the_softmax_of_its_logits():
    with joined("cpu") as place:
        one = Engine(config(objective="cross-entropy"), K, place, per_epoch=10)
        assert np.isfinite(float(one.train_update([images(1), images(2)])))
        values = [engines.read(v) for v in one.module.weights]
        path = one.evaluator.posterior_path(values, images(3).pixels)
        (logits,) = one.evaluator._encode(values, ops.convert_to_tensor(images(3).pixels))
    e = np.exp(engines.to_host(logits).astype(float))
    np.testing.assert_allclose(path[:, 1], e / e.sum(axis=1, keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(path[:, 0], 1 / K, rtol=1e-6)


REFUSED = [
    ({"model": "resnet18"}, "--model is 'resnet18'; with --backend keras, expected one of"),
    ({"reader": "tar"}, "--reader is 'tar'; with --backend keras, expected one of: none, wds"),
    ({"optimizer": "lars"}, "--optimizer is 'lars'; with --backend keras, expected one of: lamb"),
    ({"precision": "float16"}, "--precision is 'float16'; with --backend keras, expected one of"),
    ({"auto_augment": "augmix-m5"}, "--auto-augment is 'augmix-m5'; with --backend keras"),
    ({"color_jitter": 2}, "--color-jitter is 2; with --backend keras, expected at most 1"),
    ({"cutmix": 1.5}, "--cutmix is 1.5; with --backend keras, expected at most 1"),
    ({"gradient_checkpointing": True}, "--gradient-checkpointing is not for --backend keras"),
    ({"channels_last": False}, "--no-channels-last is not for --backend keras"),
    ({"batch_size": 3}, "--global-batch 8 is not a multiple of 3 images on 1 devices"),
    ({"device": "npu"}, "device is 'npu', which Keras cannot use here"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_what_this_trainer_lacks_is_refused_before_anything_is_written(changes, words, tmp_path):
    from skdidicm.saving.image_run import train

    with pytest.raises(ValueError, match="keras|Keras|--global-batch") as raised:
        train(resolve({**TINY, **changes}), tmp_path / "run", pytest.fail)
    assert str(raised.value).startswith(words)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(engines.COMPILES, reason="the others compile always")
def test_torch_does_not_compile_for_keras():
    with pytest.raises(ValueError, match="--compile is not for --backend keras on torch; leave"):
        check(config(compile=True))


def test_processes_of_torchrun_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="runs in one process, which uses all its devices"):
        check(config())


def test_a_state_of_other_names_is_no_state(trained):
    with pytest.raises(CheckpointError, match="damaged, or of another network"):
        load(trained.engine._parts()["model"], {"fc.weight": np.zeros((K, 64))})
