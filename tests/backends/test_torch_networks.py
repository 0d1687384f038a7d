"""The torch networks: names, shapes and outputs of the official ones, and the two halves."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from skdidicm_torch import NETWORKS, create_network  # noqa: E402

DATA = Path(__file__).parents[1] / "data"
SHAPES = json.loads((DATA / "didirn_state_shapes.json").read_text())
CONDITIONINGS = ("blocks", "last", "head")


def numbered_weights(shapes):
    """Return the weights that the reference outputs were made with: tensor i from seed i."""
    state = {}
    for i, name in enumerate(sorted(shapes)):
        rng, shape = np.random.default_rng(i), tuple(shapes[name].shape)
        if name.endswith("running_var"):
            value = rng.uniform(0.5, 1.5, shape)
        elif name.endswith("running_mean"):
            value = 0.1 * rng.standard_normal(shape)
        elif name.endswith("num_batches_tracked"):
            value = np.zeros(shape)
        elif len(shape) == 1 and name.endswith("weight"):
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) == 1:
            value = 0.1 * rng.standard_normal(shape)
        else:
            value = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        state[name] = torch.tensor(value, dtype=shapes[name].dtype)
    return state


def example(name, n=3):
    x = torch.randn(n, 6) if name == "mlp" else torch.randn(n, 3, 16, 16)
    return x, torch.tensor([0, 4, 2])[:n], torch.tensor([0.01, 1.0, 6.0])[:n]


@pytest.mark.parametrize("name", SHAPES)
def test_names_and_shapes_are_those_of_official_checkpoints(name):
    with torch.device("meta"):
        network = create_network(name, 1000)
    assert {k: list(v.shape) for k, v in network.state_dict().items()} == SHAPES[name]


@pytest.mark.parametrize("name", ["didirn18", "didirn50"])
def test_outputs_are_those_of_the_official_code(name):
    reference = np.load(DATA / f"{name}_forward.npz")
    network = create_network(name, int(reference["num_classes"])).eval()
    network.load_state_dict(numbered_weights(network.state_dict()))
    with torch.inference_mode():
        output = network(*(torch.from_numpy(reference[k]) for k in ("x", "label", "sigma")))
    scale = np.abs(reference["output"]).max()
    np.testing.assert_allclose(output, reference["output"], atol=1e-4 * scale)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("name", ["didirn-tiny", "didirn18", "didirn50", "mlp"])
def test_the_halves_compose_to_the_whole_exactly(name, conditioning):
    network = create_network(name, 5, 6 if name == "mlp" else 3, conditioning).eval()
    x, label, sigma = example(name)
    with torch.inference_mode():
        whole = network(x, label, sigma)
        halves = network.decode(network.encode(x), label, sigma)
        draws = network.decode(network.encode(x), label[:, None], sigma[:, None])
    assert whole.shape == (3, 5)
    assert torch.equal(whole, halves)
    torch.testing.assert_close(draws[:, 0], whole)


@pytest.mark.parametrize("name", ["didirn-tiny", "didirn50"])
def test_the_pooled_form_of_the_last_block_equals_its_plain_form(name):
    """The affine form of GroupNorm over pooled pixels against the layers run one by one."""
    network = create_network(name, 5, conditioning="last").eval().double()
    block = network.blocks[-1]
    x = torch.randn(3, block.conv1.in_channels, 7, 7, dtype=torch.float64)
    e = torch.randn(3, 2, 128, dtype=torch.float64)
    h, skip = block.split(x)
    pooled = block.join_pooled(block.pool_statistics(h, skip), e)
    for m in range(2):
        plain = block.join(h, skip, e[:, m]).mean(dim=(2, 3))
        torch.testing.assert_close(pooled[:, m], plain)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_label_and_noise_both_change_the_output(conditioning):
    network = create_network("didirn-tiny", 5, 3, conditioning).eval()
    x = torch.randn(1, 3, 16, 16).expand(3, -1, -1, -1)
    with torch.inference_mode():
        out = network(x, torch.tensor([0, 1, 0]), torch.tensor([1.0, 1.0, 3.0]))
    assert not torch.allclose(out[0], out[1])
    assert not torch.allclose(out[0], out[2])


def test_one_sigma_broadcast_to_all_rows_gives_the_same_output():
    network = create_network("didirn-tiny", 5).eval()
    x, label, _ = example("didirn-tiny")
    sigma = torch.tensor(0.7)
    with torch.inference_mode():
        once = network(x, label, sigma.expand(3))
        each = network(x, label, torch.full((3,), 0.7))
    torch.testing.assert_close(once, each)


@pytest.mark.parametrize(("size", "expected"), [((12, 12), 12), ((28, 28), 14)])
def test_the_tiny_network_pools_only_where_there_are_pixels(size, expected):
    network = create_network("didirn-tiny", 5, 1, image_size=size)
    assert network.stem(torch.zeros(1, 1, *size)).shape[-1] == expected


def test_one_value_per_channel_is_standardised_by_the_running_statistics():
    network = create_network("didirn-tiny", 5, 1, image_size=(2, 2))
    norm = network.layer3[0].bn1
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    one = torch.full((1, norm.num_features, 1, 1), 6.0)
    torch.testing.assert_close(norm.train()(one), torch.full_like(one, 2.0))
    assert norm.running_mean.eq(2).all()
    two = torch.cat([one, one + 8])
    torch.testing.assert_close(norm(two)[:, 0].flatten(), torch.tensor([-1.0, 1.0]))
    assert norm.running_mean.eq(2 + 0.1 * (10 - 2)).all()


def test_unknown_names_and_arguments_are_refused():
    with pytest.raises(ValueError, match="expected one of .*didirn-tiny"):
        create_network("didirn19", 5)
    with pytest.raises(ValueError, match="conditioning is 'middle'"):
        create_network("didirn18", 5, conditioning="middle")
    with pytest.raises(TypeError, match="drop_path_rate"):
        create_network("didirn18", 5, drop_path_rate=0.1)
    with pytest.raises(ValueError, match="network is a int"):
        create_network(3, 5, conditioning="head")


class TestBackbones:
    """Networks of the user's own."""

    @staticmethod
    def build(backbone):
        return create_network(backbone, 5, 3, "head", image_size=(16, 16))

    @pytest.mark.parametrize(
        "backbone",
        [
            torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)),
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(8)),
            lambda x: x.mean(dim=(2, 3)),
        ],
        ids=["maps", "vectors", "a function"],
    )
    def test_modules_and_functions_get_a_conditional_head(self, backbone):
        network = self.build(backbone).eval()
        x, label, sigma = example("image")
        assert network(x, label, sigma).shape == (3, 5)

    def test_the_users_own_module_is_not_changed(self):
        backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
        before = {k: v.clone() for k, v in backbone.state_dict().items()}
        network = self.build(backbone).train()
        network(*example("image")).sum().backward()
        assert backbone[0].weight.grad is None
        assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())

    def test_a_frozen_backbone_keeps_its_statistics(self):
        backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
        network = self.build(backbone.requires_grad_(False)).train()
        network(*example("image"))
        assert network.backbone[1].num_batches_tracked == 0
        assert network.head.training

    def test_other_conditionings_and_outputs_are_refused(self):
        with pytest.raises(ValueError, match="conditioning='head'"):
            create_network(torch.nn.Identity(), 5)
        with pytest.raises(ValueError, match=r"expected a tensor \(n, d\)"):
            self.build(lambda x: x[:, 0])


def test_the_list_of_names_is_complete():
    assert set(SHAPES) | {"didirn-tiny", "didirn-patch", "mlp"} == set(NETWORKS)


@pytest.mark.parametrize(("side", "device"), [(32, "cpu"), (2100, "meta")])
def test_a_backbone_is_not_run_on_a_large_image_to_learn_its_width(side, device):
    class Backbone(torch.nn.Module):
        seen: list = []  # noqa: RUF012 - shared with the copy that the network makes

        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv2d(1, 7, 4, stride=4)
            self.register_buffer("shift", torch.ones(()), persistent=False)

        def forward(self, x):
            self.seen.append(x.device.type)
            return self.layer(x) + self.shift

    network = create_network(Backbone(), 3, 1, "head", image_size=(side, side))
    assert Backbone.seen == [device]
    assert network.head.fc.weight.shape == (3, 7)
