"""The networks of a trial that answer beside the one that learns from all rows."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from skdidicm import DiDiClassifier
from skdidicm.saving.model_file import write
from skdidicm.saving.persistence import ModelFileError, content_of

torch = pytest.importorskip("torch")

DIGITS = load_digits()
X, Y = DIGITS.images[:150], DIGITS.target[:150]
SETTINGS = {"max_epochs": 4, "choose_epochs": True, "random_state": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def trained():
    return DiDiClassifier(**SETTINGS).fit(X, Y)


@pytest.fixture
def model(trained):
    return copy.deepcopy(trained)


def answers(model):
    return {
        "proba": model.predict_proba(X),
        "path": model.predict_path(X[:9]),
        "labels": model.sample_labels(X[:9], n_chains=8),
    }


def test_the_answer_is_the_mean_over_all_networks(model):
    assert len(model.members_) == 5
    model.set_params(temperature=1)
    first = copy.copy(model).set_params(ensemble=False)
    singles = [answers(single) for single in (first, *model.members_)]
    for name, answer in answers(model).items():
        np.testing.assert_allclose(answer, np.mean([s[name] for s in singles], axis=0), atol=1e-12)
    for i, single in enumerate(singles[1:]):
        assert np.abs(single["proba"] - singles[i]["proba"]).max() > 0.01
    np.testing.assert_array_equal(
        model.classes_[answers(model)["proba"].argmax(1)], model.predict(X)
    )


def test_a_temperature_is_that_of_the_mean_and_changes_no_class(model):
    mean = model.set_params(temperature=1).predict_proba(X)
    warm = model.set_params(temperature=2).predict_proba(X)
    np.testing.assert_allclose(warm, np.sqrt(mean) / np.sqrt(mean).sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(warm.argmax(axis=1), mean.argmax(axis=1))


def test_whether_all_answer_can_be_changed_after_the_fit(model):
    together = model.predict_proba(X)
    other = DiDiClassifier(ensemble=False, **SETTINGS).fit(X, Y)
    alone = model.set_params(ensemble=False).predict_proba(X)
    np.testing.assert_array_equal(alone, other.predict_proba(X))
    other.set_params(ensemble=True)
    np.testing.assert_array_equal(other.predict_proba(X), together)
    assert np.abs(together - alone).max() > 0.01


def test_there_is_one_network_without_a_trial_and_on_longer_tables():
    short = {"max_epochs": 1, "random_state": 0, "device": "cpu"}
    assert DiDiClassifier(ensemble=True, **short).fit(X, Y).members_ == []
    table, labels = DIGITS.data[:1000], DIGITS.target[:1000]
    for ensemble, n, n_answer in (("auto", 999, 4), ("auto", 1000, 1), (True, 1000, 3)):
        model = DiDiClassifier(ensemble=ensemble, choose_epochs=True, **short)
        assert len(model.fit(table[:n], labels[:n])._networks) == n_answer
        assert len(model.members_) == {999: 3, 1000: 2}[n]


def test_networks_from_elsewhere_answer_alone_unless_asked():
    backbone = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    for ensemble, n_answer in (("auto", 1), (True, 6)):
        model = DiDiClassifier(
            network=backbone, **{**SETTINGS, "max_epochs": 1, "ensemble": ensemble}
        )
        assert len(model.fit(X, Y)._networks) == n_answer
        assert len(model.members_) == 5


def test_each_learns_from_the_rows_of_its_own_part(model):
    networks = [model.network_, *(member.network_ for member in model.members_)]
    assert len({float(np.mean(network.config.mean)) for network in networks}) == 6


def test_what_is_looked_at_in_training_is_the_one_network():
    seen = []
    model = DiDiClassifier(
        **SETTINGS, callbacks=[lambda model, row: seen.append(model.predict_proba(X[:20]))]
    )
    model.fit(X, Y, X_val=X[:20], y_val=Y[:20])
    model.set_params(ensemble=False)
    np.testing.assert_array_equal(seen[-1], model.predict_proba(X[:20]))
    hit = model.score(X[:20], Y[:20])
    assert model.history_[-1]["val_accuracy"] == pytest.approx(hit)


@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_training_on_drops_the_others(model, how):
    model.set_params(warm_start=True, max_epochs=1)
    getattr(model, how)(X, Y)
    assert model.members_ == []


def test_an_error_while_training_on_drops_none(model):
    before = model.predict_proba(X)

    def fail(x, rng):
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        model.set_params(augment=fail).partial_fit(X, Y)
    assert len(model.members_) == 5
    np.testing.assert_array_equal(model.predict_proba(X), before)


def test_copies_answer_alike(model, tmp_path):
    expected = model.predict_proba(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), expected)
    model.save(tmp_path / "model.skd")
    loaded = DiDiClassifier.load(tmp_path / "model.skd")
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    assert not hasattr(clone(model), "members_")


def weights_of(tensors):
    return [name for name in tensors if name.startswith("member2.network.")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, header: header.update(n_members=6), "no 'member5.mean'"),
        (lambda tensors, header: header.update(n_members=10**15), "no 'member5.mean'"),
        (lambda tensors, header: header.update(n_members="5"), "cannot be loaded"),
        (lambda tensors, header: header.pop("n_members"), "no 'n_members'"),
        (lambda tensors, header: tensors.update({"member1.mean": np.ones(3)}), "different rows"),
        (lambda tensors, header: tensors.pop(weights_of(tensors)[0]), "do not fit"),
    ],
)
def test_a_file_that_lacks_a_network_is_refused(model, tmp_path, change, message):
    tensors, header = content_of(model._model)
    change(tensors, header)
    write(tmp_path / "model.skd", header, tensors)
    with pytest.raises(ModelFileError, match=message):
        DiDiClassifier.load(tmp_path / "model.skd")


def test_the_others_keep_no_optimiser(trained):
    """What AdamW gathers takes twice the room of the weights, on the device too."""
    assert trained.network_.optimizer.state
    assert not any(member.network_.optimizer.state for member in trained.members_)
