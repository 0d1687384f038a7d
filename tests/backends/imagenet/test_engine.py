import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from skdidicm_torch.backend import TorchNetwork  # noqa: E402
from skdidicm_torch.imagenet import optimizer_state  # noqa: E402
from skdidicm_torch.imagenet.data import Images  # noqa: E402
from skdidicm_torch.imagenet.engine import Engine, load_weights  # noqa: E402
from skdidicm_torch.imagenet.model import create_model  # noqa: E402
from skdidicm_torch.imagenet.step import Noise, draw_noise  # noqa: E402

from skdidicm.backend import Batch  # noqa: E402
from skdidicm.core import UniformProcess  # noqa: E402
from skdidicm.imagenet.checkpoint import CheckpointError  # noqa: E402
from skdidicm.saving.from_checkpoint import network_config  # noqa: E402

pytestmark = pytest.mark.imagenet
K = 6


def batches(*sizes, seed=0):
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (sum(sizes), 3, 32, 32), generator=rng, dtype=torch.uint8)
    labels = torch.randint(0, K, (sum(sizes),), generator=rng)
    return [
        Images(*part, []) for part in zip(pixels.split(sizes), labels.split(sizes), strict=True)
    ]


@pytest.fixture
def engine(settings, alone):
    """Make an engine whose learning rate is its peak from the first update on."""

    def make(**changes):
        return Engine(settings(**{"warmup_epochs": 0, **changes}), K, alone, per_epoch=10)

    return make


def parameters(engine):
    return {name: value.detach().clone() for name, value in engine.module.state_dict().items()}


def gradients_of(engine, groups, monkeypatch):
    """Return the gradients of an update, which is left out."""
    monkeypatch.setattr(engine, "_apply_gradients", lambda: None)
    loss = engine.train_update(groups)
    return loss, {name: p.grad.clone() for name, p in engine.module.named_parameters()}


def test_accumulated_gradients_are_those_of_the_whole_batch(engine, monkeypatch):
    """For a network without BatchNorm and an objective without draws."""
    changes = {"model": "test_convnext", "objective": "cross-entropy", "color_jitter": 0.0}
    whole, expected = gradients_of(engine(**changes), batches(32), monkeypatch)
    parts, found = gradients_of(engine(**changes), batches(16, 16), monkeypatch)
    assert parts.item() == pytest.approx(whole.item(), rel=1e-5)
    for name, gradient in expected.items():
        scale = gradient.abs().max()
        assert (found[name] - gradient).abs().max() <= 1e-4 * scale + 1e-9, name


@pytest.mark.parametrize("conditioning", ["blocks", "last"])
def test_gradients_and_statistics_do_not_depend_on_gradient_checkpointing(
    engine, conditioning, monkeypatch
):
    found = []
    for checkpointing in (False, True):
        one = engine(gradient_checkpointing=checkpointing, conditioning=conditioning)
        loss, gradients = gradients_of(one, batches(8), monkeypatch)
        found.append((loss, gradients, dict(one.module.named_buffers())))
    (loss_a, gradients_a, buffers_a), (loss_b, gradients_b, buffers_b) = found
    assert loss_a == loss_b
    for name, gradient in gradients_a.items():
        torch.testing.assert_close(gradients_b[name], gradient, msg=name)
    for name, buffer in buffers_a.items():
        assert torch.equal(buffers_b[name], buffer), name


def test_the_average_is_the_exponential_one_of_all_weights_and_statistics(engine):
    decay, one = 0.75, engine(ema=0.75, learning_rate=0.1)
    expected = {k: v.double() for k, v in parameters(one).items()}
    for i in range(3):
        one.train_update(batches(8, seed=i))
        for name, value in parameters(one).items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double()
    for name, value in one.evaluated.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
        else:  # a count is copied
            assert value == one.module.state_dict()[name]
    assert one.evaluated is not one.module
    assert engine().evaluated.training is True


@pytest.mark.parametrize(
    "form",
    [
        {"conditioning": "head"},
        {"parameterization": "posterior", "times": "log_odds"},
        {"objective": "bayes_cross_entropy", "conditioning": "last"},
        {"objective": "cross_entropy"},
    ],
    ids=lambda form: ",".join(form.values()),
)
def test_the_loss_is_that_of_the_estimators_network_on_the_same_batch(engine, monkeypatch, form):
    one = engine(n_draws=3, color_jitter=0.0, **form)
    config, (images,) = one.config, batches(8)
    network = TorchNetwork(network_config(config, UniformProcess(K)))
    network.load_state(optimizer_state.arrays(one.module.state_dict()))
    drawn = []

    def recorded(*given):
        drawn.append(draw_noise(*given))
        return drawn[-1]

    monkeypatch.setattr("skdidicm_torch.imagenet.engine.draw_noise", recorded)
    found = one.train_update([images])
    n = len(images.labels)
    noise = drawn[0] if drawn else Noise(*torch.tensor([[[0]] * n, [[1.0]] * n, [[1 / n]] * n]))
    x = images.pixels.permute(0, 2, 3, 1).numpy()
    q_0 = np.eye(K)[images.labels.numpy()]
    batch = Batch(x, q_0, *(value.numpy() for value in noise))
    assert float(found) == pytest.approx(float(network.train_step(batch, 0.0)), rel=1e-5)


def test_the_baseline_has_the_trunk_of_didirn_and_no_embeddings(settings):
    plain = create_model(settings(objective="cross-entropy"), K).state_dict()
    full = create_model(settings(), K).state_dict()
    assert set(plain) < set(full)
    assert all(plain[name].shape == full[name].shape for name in plain)
    extra = {name for name in full if name not in plain}
    conditional = ("ff_emb", "label_embedder", "emb_layers", "out_layers")
    assert all(any(part in name for part in conditional) for name in extra)
    assert {"conv1.weight", "fc.weight"} <= set(plain)


def test_the_baseline_can_be_a_network_of_timm(settings, engine):
    import timm

    config = settings(objective="cross-entropy", model="resnet18")
    module = create_model(config, K).eval()
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        expected = timm.create_model("resnet18", num_classes=K).eval()
    x = torch.zeros(2, 3, 32, 32)
    label = torch.zeros(2, dtype=torch.int64)
    assert torch.equal(module(x, label, label.float()), expected(x))


def test_weights_are_drawn_from_the_seed_and_leave_the_global_generator_alone(settings):
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    found = [create_model(settings(seed=seed), K).fc.weight for seed in (1, 1, 2)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert torch.equal(torch.rand(2), expected)


def test_biases_and_norms_do_not_decay(engine):
    groups = engine().optimizer.param_groups
    assert sorted({group["weight_decay"] for group in groups}) == [0, 0.01]
    for group in groups:
        for weight in group["params"]:
            assert (weight.ndim > 1) == (group["weight_decay"] > 0)


def test_the_learning_rate_rises_and_then_falls_along_a_cosine_to_zero(engine):
    one = engine(warmup_epochs=1, epochs=4, learning_rate=0.02)
    found = []
    for update in range(40):
        one._set_rate(update)
        found.append(one.learning_rate)
    rise = 1e-5 + (0.02 - 1e-5) * np.arange(10) / 10
    fall = [0.01 * (1 + math.cos(math.pi * update / 40)) for update in range(10, 40)]
    np.testing.assert_allclose(found, [*rise, *fall], rtol=1e-6)
    one._set_rate(40)
    assert one.learning_rate == pytest.approx(0, abs=1e-9)


def test_gradients_are_clipped_to_their_norm(engine):
    moved = []
    for limit in (1e-3, 5e-4):
        one = engine(optimizer="sgd", max_grad_norm=limit, learning_rate=1.0, weight_decay=0)
        before = parameters(one)
        one.train_update(batches(8))
        after = parameters(one)
        names = dict(one.module.named_parameters())
        moved.append(math.sqrt(sum(((after[n] - before[n]) ** 2).sum().item() for n in names)))
    # Nesterov's first step with momentum 0.9 is 1.9 gradients long.
    assert moved == pytest.approx([1.9e-3, 0.95e-3], rel=1e-2)


def test_lamb_clips_gradients_itself_and_they_are_not_clipped_before(engine, monkeypatch):
    one = engine(max_grad_norm=0.5)
    assert {group["max_grad_norm"] for group in one.optimizer.param_groups} == {0.5}
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", None)
    one.train_update(batches(8))


OPTIMIZERS = [
    "lamb",
    "sgd",
    "adamw",
    "lars",
    "rmsproptf",
    "adafactor",
    "lion",
    "nadamw",
    "adabelief",
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimiser_goes_on_bit_for_bit(engine, optimizer):
    changes = {"optimizer": optimizer, "learning_rate": 1e-3}
    whole, first, second = (engine(**changes) for _ in range(3))
    for i in range(4):
        whole.train_update(batches(8, seed=i))
    for i in range(2):
        first.train_update(batches(8, seed=i))
    second.unpack(*first.pack())
    for i in (2, 3):
        second.train_update(batches(8, seed=i))
    for name, value in parameters(whole).items():
        assert torch.equal(parameters(second)[name], value), name


def test_dropout_draws_the_same_in_a_run_that_was_resumed(engine):
    changes = {"model": "ghostnet_100", "objective": "cross-entropy", "optimizer": "sgd"}
    whole, resumed = engine(**changes), engine(**changes)
    assert any(getattr(m, "drop_rate", 0) or 0 for m in whole.module.modules())
    whole.train_update(batches(4))
    resumed.unpack(*whole.pack())
    torch.rand(11)
    losses = []
    for one in (whole, resumed):
        losses.append(one.train_update(batches(4, seed=1)).item())
        torch.rand(5)
    assert losses[0] == losses[1]


def test_states_hold_plain_numbers_beside_tensors():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    optimizer.state[weight] = {"momentum_buffer": None, "step": 3, "ratio": 0.5}
    tensors, plain = optimizer_state.pack(optimizer)
    other = torch.optim.SGD([weight], lr=0.2)
    optimizer_state.unpack(other, tensors, plain)
    assert dict(other.state[weight]) == {"momentum_buffer": None, "step": 3, "ratio": 0.5}
    assert other.param_groups[0]["lr"] == 0.1


def test_weights_of_another_network_end_with_a_sentence(settings):
    module = create_model(settings(), K)
    with pytest.raises(CheckpointError, match="weights do not fit the network") as raised:
        load_weights(module, {"fc.weight": np.zeros((K, 1), np.float32)})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 15}, "--global-batch 32 is not a multiple of 15 images on 1 devices"),
        ({"model": "resnet1"}, "timm has no network 'resnet1'; expected"),
        ({"precision": "int8"}, "--precision is 'int8'; expected float32, bfloat16, float16."),
        ({"precision": "float16"}, "--precision float16 needs a GPU; on a CPU use float32"),
        ({"conditioning": "arms"}, "--conditioning is 'arms'; expected blocks or last"),
        (
            {"model": "resnet18", "gradient_checkpointing": True},
            "--gradient-checkpointing is for DiDiRN",
        ),
        ({"optimizer": "magic"}, "--optimizer is 'magic'; expected"),
        ({"auto_augment": "magic"}, "--auto-augment is 'magic'; expected"),
    ],
)
def test_a_setting_that_cannot_be_ends_with_a_sentence(engine, alone, settings, changes, words):
    from skdidicm_torch.imagenet.feed import Feed

    def build():
        Feed(settings(**changes), alone)
        engine(**changes)

    with pytest.raises(ValueError, match="--|expected") as raised:
        build()
    assert str(raised.value).startswith(words)


def test_training_changes_the_colours_unless_augmentation_is_automatic(engine):
    plain, jittered, automatic = (
        engine(**changes).train_update(batches(16)).item()
        for changes in ({"color_jitter": 0.0}, {}, {"auto_augment": "rand-m7"})
    )
    assert plain == automatic  # what changes pictures then is in the reading processes
    assert plain != jittered


@pytest.mark.parametrize("changes", [{"precision": "bfloat16"}, {"channels_last": False}])
def test_other_formats_learn_about_the_same(engine, changes):
    losses = [engine(**c).train_update(batches(16)).item() for c in ({}, changes)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_updates_lower_the_loss(engine):
    one = engine(optimizer="adamw", learning_rate=3e-3, n_draws=64, times="log_odds")
    losses = [one.train_update(batches(16)).item() for _ in range(12)]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
