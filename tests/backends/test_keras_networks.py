"""The Keras networks: names, shapes and outputs of the official ones, and the two halves."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("skdidicm_keras", reason="Keras or its engine is missing", exc_type=ImportError)

import keras
from keras import ops
from skdidicm_keras import NETWORKS, create_network, engine
from skdidicm_keras.weights import (
    from_torch,
    initial_state,
    named_variables,
    to_torch,
)

DATA = Path(__file__).parents[1] / "data"
SHAPES = json.loads((DATA / "didirn_state_shapes.json").read_text())
CONDITIONINGS = ("blocks", "last", "head", "none")


def torch_shapes(network):
    return {
        name: to_torch(name, np.zeros(variable.shape)).shape
        for name, variable in named_variables(network).items()
    }


def fill(network, state):
    for name, variable in named_variables(network).items():
        variable.assign(from_torch(name, state[name]).astype(variable.dtype))
    return network


def drawn(*args, **settings):
    """Return a network with fresh weights."""
    network = create_network(*args, **settings)
    return fill(network, initial_state(torch_shapes(network), np.random.default_rng(0)))


def numbered_weights(shapes):
    """Return the weights that the reference outputs were made with: tensor i from seed i."""
    state = {}
    for i, name in enumerate(sorted(shapes)):
        rng, shape = np.random.default_rng(i), tuple(shapes[name])
        if name.endswith("running_var"):
            value = rng.uniform(0.5, 1.5, shape)
        elif name.endswith("num_batches_tracked"):
            value = np.zeros(shape)
        elif len(shape) == 1 and name.endswith("weight"):
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) == 1:
            value = 0.1 * rng.standard_normal(shape)
        else:
            value = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        state[name] = value
    return state


def example(name, n=3):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 6) if name == "mlp" else (n, 16, 16, 3)).astype(np.float32)
    label, sigma = np.array([0, 4, 2], np.int32)[:n], np.array([0.01, 1.0, 6.0], np.float32)[:n]
    return tuple(ops.convert_to_tensor(v) for v in (x, label, sigma))


def agree(actual, desired, tolerance=1e-5):
    actual, desired = (engine.to_host(v) for v in (actual, desired))
    np.testing.assert_allclose(actual, desired, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", SHAPES)
def test_names_and_shapes_are_those_of_official_checkpoints(name):
    found = torch_shapes(create_network(name, 1000))
    assert {k: list(shape) for k, shape in found.items()} == SHAPES[name]


@pytest.mark.parametrize("name", ["didirn18", "didirn50"])
def test_outputs_are_those_of_the_official_code(name):
    reference = np.load(DATA / f"{name}_forward.npz")
    network = create_network(name, int(reference["num_classes"]))
    fill(network, numbered_weights(torch_shapes(network)))
    x = reference["x"].transpose(0, 2, 3, 1)
    label = reference["label"].astype(np.int32)
    output = network(*map(ops.convert_to_tensor, (x, label, reference["sigma"])))
    scale = np.abs(reference["output"]).max()
    np.testing.assert_allclose(engine.to_host(output), reference["output"], atol=1e-4 * scale)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("name", ["didirn-tiny", "didirn50", "mlp"])
def test_the_halves_compose_to_the_whole(name, conditioning):
    network = drawn(name, 5, 6 if name == "mlp" else 3, conditioning)
    x, label, sigma = example(name)
    whole = network(x, label, sigma)
    features = network.encode(x)
    assert tuple(whole.shape) == (3, 5)
    agree(network.decode(features, label, sigma), whole)
    agree(network.decode(features, label[:, None], sigma[:, None])[:, 0], whole)


@pytest.mark.parametrize("name", ["didirn-tiny", "didirn18"])
def test_the_pooled_form_of_the_last_block_equals_its_plain_form(name):
    """The affine form of GroupNorm over pooled pixels against the layers run one by one."""
    network, rng = drawn(name, 5, conditioning="last"), np.random.default_rng(1)
    block = network.blocks[-1]
    c = block.conv1.weight.shape[2]
    x = ops.convert_to_tensor(rng.standard_normal((3, 7, 7, c)).astype(np.float32))
    e = ops.convert_to_tensor(rng.standard_normal((3, 2, 128)).astype(np.float32))
    h, skip = block.split(x)
    pooled = block.join_pooled(block.pool_statistics(h, skip), e)
    for m in range(2):
        agree(pooled[:, m], ops.mean(block.join(h, skip, e[:, m]), axis=(1, 2)), 1e-4)


@pytest.mark.parametrize("conditioning", CONDITIONINGS[:-1])
def test_label_and_noise_both_change_the_output(conditioning):
    network = drawn("didirn-tiny", 5, 3, conditioning)
    x = ops.repeat(example("image")[0][:1], 3, axis=0)
    label, sigma = np.array([0, 1, 0], np.int32), np.array([1.0, 1.0, 3.0], np.float32)
    out = engine.to_host(network(x, ops.convert_to_tensor(label), ops.convert_to_tensor(sigma)))
    assert not np.allclose(out[0], out[1])
    assert not np.allclose(out[0], out[2])


@pytest.mark.parametrize("name", ["didirn-tiny", "mlp"])
def test_an_ordinary_classifier_has_no_weights_for_a_condition(name):
    names = torch_shapes(create_network(name, 5, 6, "none"))
    assert "fc.weight" in names
    assert not [n for n in names if n.startswith(("ff_emb", "label_embedder")) or "emb_" in n]


def test_a_model_in_half_precision_gets_a_head_that_computes_in_its_own():
    backbone = keras.Sequential([keras.layers.Flatten(dtype="mixed_bfloat16")])
    network = create_network(backbone, 5, 3, "head", image_size=(16, 16), dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(network(*example("image")).dtype) == "float32"


@pytest.mark.parametrize("size", [(16, 16), (15, 17), (9, 8)])
def test_the_tiny_network_takes_images_of_any_size(size):
    network = drawn("didirn-tiny", 5, 1, image_size=size)
    x, (_, label, sigma) = ops.ones((3, *size, 1)), example("image")
    assert tuple(network(x, label, sigma).shape) == (3, 5)


def test_unknown_names_and_arguments_are_refused():
    with pytest.raises(ValueError, match="expected one of .*didirn-tiny"):
        create_network("didirn19", 5)
    with pytest.raises(ValueError, match=r"timm are torch modules; set backend='torch'"):
        create_network("timm/resnet18", 5, conditioning="head")
    with pytest.raises(ValueError, match="conditioning is 'middle'"):
        create_network("didirn18", 5, conditioning="middle")
    with pytest.raises(TypeError, match="drop_path_rate"):
        create_network("didirn18", 5, drop_path_rate=0.1)
    with pytest.raises(ValueError, match="network is a int"):
        create_network(3, 5, conditioning="head")


def convolutional():
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(8, 3, kernel_initializer=keras.initializers.HeNormal(seed=0)),
            keras.layers.BatchNormalization(),
        ]
    )


class TestBackbones:
    """Networks of the user's own."""

    @staticmethod
    def build(backbone):
        return create_network(backbone, 5, 3, "head", image_size=(16, 16))

    @pytest.mark.parametrize(
        "backbone",
        [convolutional, lambda: keras.layers.Flatten(), lambda: lambda x: ops.mean(x, (1, 2))],
        ids=["maps", "vectors", "a function"],
    )
    def test_models_and_functions_get_a_conditional_head(self, backbone):
        network = self.build(backbone())
        assert tuple(network(*example("image")).shape) == (3, 5)

    def test_an_application_without_its_top_gets_one_too(self):
        backbone = keras.applications.MobileNetV2(
            input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None
        )
        network = create_network(backbone, 5, 3, "head", image_size=(32, 32))
        _, label, sigma = example("image")
        assert tuple(network(ops.zeros((3, 32, 32, 3)), label, sigma).shape) == (3, 5)

    def test_the_users_own_model_is_not_changed(self):
        backbone = convolutional()
        before = [np.array(w) for w in backbone.get_weights()]
        network = self.build(backbone)
        network(*example("image"), training=True)
        assert all(map(np.array_equal, before, backbone.get_weights()))
        assert not {id(w) for w in backbone.weights} & {id(w) for w in network.weights}

    @pytest.mark.parametrize("frozen", [True, False])
    def test_a_frozen_backbone_keeps_its_statistics(self, frozen):
        backbone = convolutional()
        backbone.trainable = not frozen
        network = self.build(backbone)
        before = network.backbone.get_weights()
        network(*example("image"), training=True)
        assert all(map(np.array_equal, before, network.backbone.get_weights())) == frozen

    def test_its_weights_have_the_same_names_in_every_process(self):
        names = [set(named_variables(self.build(convolutional()))) for _ in range(2)]
        assert names[0] == names[1] >= {f"backbone.{i}" for i in range(6)}

    def test_other_conditionings_and_outputs_are_refused(self):
        with pytest.raises(ValueError, match="conditioning='head'"):
            create_network(keras.layers.Flatten(), 5)
        with pytest.raises(ValueError, match=r"expected a tensor \(n, d\)"):
            self.build(lambda x: x[:, 0])


def test_the_list_of_names_is_complete():
    assert set(SHAPES) | {"didirn-tiny", "didirn-patch", "mlp"} == set(NETWORKS)
