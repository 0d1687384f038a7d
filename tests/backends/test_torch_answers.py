"""Networks that answer jointly at fixed noise levels, against each of them asked alone."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from skdidicm_torch.backend import TorchNetwork  # noqa: E402

from skdidicm import DiDiClassifier  # noqa: E402
from skdidicm.backend import Batch, NetworkConfig  # noqa: E402
from skdidicm.core import RateProcess, UniformProcess  # noqa: E402

B, N, D, K = 3, 7, 4, 3
LEVELS = (0.05, 0.7, 6.9)
PROCESSES = {
    "uniform": UniformProcess(K),
    "rates": RateProcess(np.array([[-1.0, 0.5, 0.2], [0.7, -0.9, 0.1], [0.3, 0.4, -0.3]])),
}


def networks(rng, process="uniform", **settings):
    """Return networks that differ in weights, means and scales."""
    common = {"precision": "float64", "device": "cpu", **settings}
    return [
        TorchNetwork(
            NetworkConfig(
                (D,),
                K,
                PROCESSES[process],
                mean=rng.normal(size=D),
                scale=rng.uniform(1, 2, D),
                seed=seed,
                **common,
            )
        )
        for seed in range(B)
    ]


@pytest.mark.parametrize("conditioning", ["last", "head"])
@pytest.mark.parametrize(
    ("parameterization", "process"),
    [("score", "uniform"), ("posterior", "uniform"), ("posterior", "rates")],
)
def test_log_scores_are_those_of_each_network(rng, conditioning, parameterization, process):
    alone = networks(rng, process, conditioning=conditioning, parameterization=parameterization)
    joint = alone[0].answer(alone[1:], LEVELS)
    x = rng.normal(size=(N, D))
    features, own = joint.encode(x), [network.encode(x) for network in alone]
    label = torch.from_numpy(rng.integers(0, K, (B, N, 2)))

    def expected(i, label, level):
        sigma = torch.full(label.shape, LEVELS[level], dtype=torch.float64)
        return alone[i].log_score(own[i], label, sigma)

    everything = joint.log_scores(features).view(B, N, len(LEVELS), K, K)
    for level in range(len(LEVELS)):
        one = joint.log_score(features, label[..., 0].reshape(-1), level).view(B, N, K)
        two = joint.log_score(features, label.reshape(-1, 2), level).view(B, N, 2, K)
        for i in range(B):
            torch.testing.assert_close(one[i], expected(i, label[i, :, 0], level))
            torch.testing.assert_close(two[i], expected(i, label[i], level))
            for k in range(K):
                same = torch.full((N,), k)
                torch.testing.assert_close(everything[i, :, level, k], expected(i, same, level))


@pytest.mark.parametrize(
    "settings", [{"conditioning": "blocks"}, {"conditioning": "none"}, {"dropout": 0.1}]
)
def test_networks_that_gain_nothing_are_asked_alone(rng, settings):
    if "conditioning" not in settings or settings["conditioning"] == "none":
        form = {"conditioning": "none", "parameterization": "posterior"}
        settings = {**settings, **form, "objective": "cross_entropy"}
    first, *others = networks(rng, **settings)
    assert first.answer(others, LEVELS) is None


def test_many_conditions_are_asked_alone(rng):
    first, *others = networks(rng)
    assert first.answer(others, np.linspace(0.1, 5, 1000)) is None


@pytest.mark.parametrize("sampler", ["cp", "cl"])
@pytest.mark.parametrize("n", [3, 400])
def test_an_ensemble_predicts_alike_asked_jointly_or_not(rng, monkeypatch, sampler, n):
    X, y = rng.normal(size=(60, 2)), np.arange(60) % 3
    classifier = DiDiClassifier(
        sampler=sampler, n_chains=4, choose_epochs=True, max_epochs=4, device="cpu", random_state=0
    ).fit(X + y[:, None], y)
    assert len(classifier.members_) == 5
    asked = rng.normal(size=(n, 2))
    jointly = [classifier.predict_path(asked), classifier.predict_members(asked)]
    monkeypatch.setattr(TorchNetwork, "answer", lambda self, others, levels: None)
    alone = [classifier.predict_path(asked), classifier.predict_members(asked)]
    for found, expected in zip(jointly, alone, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_weights_that_change_change_the_answer(rng):
    X, y = rng.normal(size=(40, 2)), np.arange(40) % 2
    classifier = DiDiClassifier(max_epochs=2, device="cpu", random_state=0).fit(X, y)
    before = classifier.predict_proba(X)
    state = classifier.network_.state()
    classifier.network_.load_state({name: 2 * value for name, value in state.items()})
    assert np.abs(classifier.predict_proba(X) - before).max() > 1e-3


def test_joint_answers_are_kept_until_a_weight_changes(rng):
    first, *others = networks(rng)
    kept = first.answer(others, LEVELS)
    assert first.answer(others, LEVELS) is kept
    assert first.answer(others, LEVELS[:2]) is not kept
    assert first.answer(others[::-1], LEVELS) is not first.answer(others, LEVELS)
    before = first.answer(others, LEVELS)
    with torch.no_grad():
        next(others[0].module.parameters()).add_(1)
    assert first.answer(others, LEVELS) is not before
    x = rng.normal(size=(N, D))
    features = first.answer(others, LEVELS).encode(x)
    found = first.answer(others, LEVELS).log_scores(features).view(B, N, len(LEVELS), K, K)
    sigma = torch.full((N,), LEVELS[1], dtype=torch.float64)
    expected = others[0].log_score(others[0].encode(x), torch.zeros(N, dtype=torch.int64), sigma)
    torch.testing.assert_close(found[1, :, 1, 0], expected)


def test_answers_know_of_updates(rng):
    first, *others = networks(rng)
    before = first.answer(others, LEVELS)
    draws = (N, 2)
    label, sigma, weight = np.zeros(draws, np.int32), np.full(draws, 0.5), np.ones(draws)
    batch = Batch(rng.normal(size=(N, D)), np.eye(K)[rng.integers(0, K, N)], label, sigma, weight)
    others[1].train_step(batch, 1e-2)
    after = first.answer(others, LEVELS)
    assert after is not before
    assert first.answer(others, LEVELS) is after


def test_answers_know_of_changes_that_torch_does_not_count(rng):
    first, *others = networks(rng)
    for change in (lambda n: next(n.module.parameters()).data.add_(1), lambda n: n.mean.add_(1)):
        before = first.answer(others, LEVELS)
        change(others[0])
        assert first.answer(others, LEVELS) is not before


def test_weights_of_inference_mode_answer_anew(rng):
    with torch.inference_mode():
        first, *others = networks(rng)
    x = rng.normal(size=(N, D))
    before = first.answer(others, LEVELS).encode(x)[0]
    with torch.inference_mode():
        for weight in first.module.parameters():
            weight.mul_(2)
    assert not torch.equal(first.answer(others, LEVELS).encode(x)[0], before)
