import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score

from skdidicm.imagenet.tally import Tally
from skdidicm.metrics import expected_calibration_error, score_probabilities

K, STEPS = 9, 3


@pytest.fixture
def paths(rng):
    """Laws (n, steps + 1, k) that grow sharper, and labels drawn from the last."""
    logits = rng.standard_normal((200, 1, K)) * np.linspace(0.1, 3, STEPS + 1)[None, :, None]
    path = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    labels = np.array([rng.choice(K, p=law) for law in path[:, -1]])
    return path, labels


def tally(path, labels, cuts=()):
    found = Tally(path.shape[1] - 1)
    for part, true in zip(np.split(path, cuts), np.split(labels, cuts), strict=True):
        found.add(part, true)
    return found


def test_figures_are_those_of_scikit_learn(paths):
    path, labels = paths
    p, classes = path[:, -1], np.arange(K)
    figures = tally(path, labels, cuts=(64, 130)).figures()
    one_hot = np.eye(K)[labels]
    assert figures["n_images"] == len(labels)
    assert figures["accuracy"] == pytest.approx(accuracy_score(labels, p.argmax(axis=1)))
    assert figures["top5_accuracy"] == pytest.approx(
        top_k_accuracy_score(labels, p, k=5, labels=classes)
    )
    assert figures["nll"] == pytest.approx(log_loss(labels, p, labels=classes))
    assert figures["brier"] == pytest.approx(((p - one_hot) ** 2).sum(axis=1).mean())
    assert figures["ece"] == pytest.approx(expected_calibration_error(labels, p, n_bins=15))


def test_figures_are_those_of_the_estimators_metrics(paths):
    path, labels = paths
    figures = tally(path, labels).figures()
    for name, value in score_probabilities(labels, path[:, -1]).items():
        assert figures[name] == pytest.approx(value), name


def test_accuracy_and_likelihood_are_counted_at_every_step(paths):
    path, labels = paths
    figures = tally(path, labels, cuts=(1,)).figures()
    for step in range(STEPS + 1):
        law = path[:, step]
        hits = accuracy_score(labels, law.argmax(axis=1))
        assert figures["accuracy_by_step"][step] == pytest.approx(hits)
        assert figures["nll_by_step"][step] == pytest.approx(
            log_loss(labels, law, labels=np.arange(K))
        )


def test_totals_of_processes_add_up_to_those_of_one(paths):
    path, labels = paths
    parts = [tally(path[i::3], labels[i::3]) for i in range(3)]
    parts[0].totals = sum(part.totals for part in parts)
    whole = tally(path, labels).figures()
    for name, value in parts[0].figures().items():
        assert value == pytest.approx(whole[name]), name


def test_a_law_that_knows_nothing_is_no_hit_among_the_first_five():
    figures = tally(np.full((10, 2, K), 1 / K), np.arange(10) % K).figures()
    assert figures["top5_accuracy"] == 0
    assert figures["nll"] == pytest.approx(np.log(K))
    assert figures["brier"] == pytest.approx(1 - 1 / K)


def test_a_true_class_of_probability_zero_has_a_finite_likelihood():
    path = np.zeros((1, 2, K))
    path[..., 0] = 1
    figures = tally(path, np.array([1])).figures()
    assert np.isfinite([figures["nll"], *figures["nll_by_step"]]).all()


def test_float32_laws_are_counted_as_laws_that_sum_to_one(paths):
    path, labels = paths
    figures = tally((path * (1 + 1e-4)).astype(np.float32), labels).figures()
    assert figures["nll"] == pytest.approx(log_loss(labels, path[:, -1]), abs=1e-6)


def test_an_evaluation_of_no_image_says_so():
    with pytest.raises(ValueError, match="no image was evaluated"):
        Tally(2).figures()
