import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from skdidicm_torch.imagenet.evaluation import evaluate, posterior_path  # noqa: E402
from skdidicm_torch.imagenet.feed import Feed  # noqa: E402
from skdidicm_torch.imagenet.model import create_model  # noqa: E402
from skdidicm_torch.imagenet.preparation import Preparation  # noqa: E402

from skdidicm.core import LogLinear, UniformProcess, log_score, sample_probabilities  # noqa: E402
from skdidicm.metrics import score_probabilities  # noqa: E402

pytestmark = pytest.mark.imagenet
K = 6


@pytest.fixture
def parts(settings, alone):
    """Make what an evaluation needs."""

    def make(**changes):
        config = settings(**changes)
        module = create_model(config, K).eval()
        return module, config, UniformProcess(K), LogLinear(), Preparation(config, alone.device)

    return make


def images(settings, alone):
    return list(Feed(settings(), alone).test())


@torch.inference_mode()
def laws(parts, batches):
    module, config, process, schedule, prepare = parts
    return [
        posterior_path(module, batch.pixels, config, process, schedule, prepare).numpy()
        for batch in batches
    ]


@pytest.mark.parametrize(
    "form",
    [
        {"solver": "euler"},
        {"solver": "bridge"},
        {"objective": "bayes_cross_entropy"},
        {"parameterization": "posterior", "conditioning": "head"},
    ],
    ids=lambda form: ",".join(form.values()),
)
def test_the_last_law_is_that_of_the_cores_sampler(parts, settings, alone, form):
    made = parts(**form, steps=4)
    module, config, process, schedule, _ = made
    batch = images(settings, alone)[0]
    mean = np.array([0.485, 0.456, 0.406]) * 255
    scale = np.array([0.229, 0.224, 0.225]) * 255
    x = (batch.pixels.permute(0, 2, 3, 1).numpy() - mean) / scale
    x = torch.tensor(x, dtype=torch.float32).permute(0, 3, 1, 2)

    def scores(label, sigma):
        with torch.inference_mode():
            output = module(x, torch.tensor(label), torch.tensor(sigma, dtype=torch.float32))
        kind = "posterior" if len(form) == 2 or "objective" in form else "score"
        return log_score(output.numpy(), label, sigma, process=process, parameterization=kind)

    expected = sample_probabilities(
        scores,
        np.full((len(x), K), 1 / K, np.float32),
        process=process,
        schedule=schedule,
        steps=4,
        solver=form.get("solver", "bridge"),
        rng=np.random.default_rng(config.seed),
    )
    path = laws(made, [batch])[0]
    assert path.shape == (16, 5, K)
    np.testing.assert_allclose(path[:, 0], 1 / K, rtol=1e-6)
    np.testing.assert_allclose(path[:, -1], 0.999 * expected + 0.001 / K, atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"sampler": "cl"}, {"objective": "cross-entropy"}])
def test_figures_are_those_of_the_laws(parts, settings, alone, changes):
    made = parts(**changes)
    batches = images(settings, alone)
    figures, bad = evaluate(made[0], batches, *made[1:], alone)
    paths = np.concatenate(laws(made, batches))
    labels = torch.cat([batch.labels for batch in batches]).numpy()
    assert bad == []
    assert figures["n_images"] == len(labels) == 31
    p = paths[:, -1] / paths[:, -1].sum(axis=1, keepdims=True)
    expected = score_probabilities(labels, p)
    names = ("accuracy", "ece") if "sampler" in changes else ("accuracy", "nll", "ece")
    for name in names:  # shares of chains can be 0, whose logarithm is a matter of taste
        assert figures[name] == pytest.approx(expected[name], rel=1e-5), name
    steps = 2 if changes != {"objective": "cross-entropy"} else 1
    assert len(figures["accuracy_by_step"]) == steps + 1
    assert figures["accuracy_by_step"][-1] == pytest.approx(expected["accuracy"])


@pytest.mark.parametrize("sampler", ["cp", "cl"])
def test_a_law_does_not_depend_on_the_other_images_of_its_batch(parts, settings, alone, sampler):
    made = parts(sampler=sampler)
    whole = laws(made, images(settings, alone)[:1])[0]
    batch = images(settings, alone)[0]
    part = laws(made, [batch._replace(pixels=batch.pixels[3:5])])[0]
    np.testing.assert_allclose(part, whole[3:5], atol=1e-4)


def test_the_baselines_law_is_its_softmax(parts, settings, alone):
    made = parts(objective="cross-entropy", model="resnet18")
    batch = images(settings, alone)[0]
    path = laws(made, [batch])[0]
    with torch.inference_mode():
        logits = made[0].module(made[4](batch.pixels)).double().numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(path[:, -1], expected, atol=1e-5)
