"""A checkpoint of a run on image folders as a model, without running a trainer."""

import numpy as np
import pytest
from scipy.special import log_softmax

from skdidicm import DiDiClassifier
from skdidicm.core import UniformProcess
from skdidicm.imagenet.checkpoint import Checkpoint
from skdidicm.imagenet.recipes import resolve
from skdidicm.saving.from_checkpoint import (
    model_of_checkpoint,
    network_config,
    record_of_checkpoint,
)

torch = pytest.importorskip("torch")

NAMES = ["cat", "dog", "elk"]
SETTINGS = {
    "data": "photos",
    "model": "didirn-tiny",
    "resolution": 16,
    "epochs": 5,
    "steps": 3,
    "crop": 0.9,
    "seed": 4,
}
HISTORY = [
    {"epoch": 1, "loss": 2.0, "figures": {"nll": 1.1}},
    {"epoch": 2, "loss": 1.0, "figures": {"nll": 0.7}},
]


def network_of(seed, **settings):
    from skdidicm_torch import build_network

    config = resolve(SETTINGS | {"seed": seed} | settings).config
    return build_network(network_config(config, UniformProcess(len(NAMES))))


def saved(weights, names=NAMES, **settings):
    tensors = {
        f"{prefix}.{name}": value
        for prefix, network in weights.items()
        for name, value in network.state().items()
    }
    config = resolve(SETTINGS | settings).config
    values = {"config": config.plain(), "classes": names, "history": HISTORY, "update": 6}
    return Checkpoint(tensors, values)


def classifier_of(checkpoint):
    return DiDiClassifier._of_model(model_of_checkpoint(checkpoint))


@pytest.fixture
def pictures(rng):
    return rng.integers(0, 256, (3, 16, 16, 3)).astype(np.uint8)


@pytest.mark.parametrize(("prefixes", "seed"), [(["model"], 1), (["model", "average"], 2)])
def test_the_averaged_weights_predict_where_there_are_any(pictures, prefixes, seed):
    given = dict(zip(prefixes, [network_of(1), network_of(2)], strict=False))
    classifier = classifier_of(saved(given))
    found = classifier.network_.state()
    for name, value in network_of(seed).state().items():
        np.testing.assert_array_equal(found[name], value)
    p = classifier.predict_proba(pictures)
    assert p.shape == (3, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_a_plain_classifier_gives_the_softmax_of_its_logits_for_raw_pixels(pictures):
    plain = {"objective": "cross_entropy"}
    network = network_of(1, **plain)
    classifier = classifier_of(saved({"model": network}, **plain))
    nothing = torch.zeros(3)  # in place of label and noise, which it does not use
    with torch.inference_mode():
        logits = network.module.decode(network.encode(pictures), nothing.long(), nothing).numpy()
    expected = np.exp(log_softmax(logits.astype(float), axis=1))
    np.testing.assert_allclose(classifier.predict_proba(pictures), expected, atol=2e-3)
    assert (classifier.steps, classifier.solver, classifier.sampler) == (1, "bridge", "cp")
    np.testing.assert_allclose(network.config.mean, [123.675, 116.28, 103.53])
    np.testing.assert_allclose(network.config.scale, [58.395, 57.12, 57.375])


@pytest.mark.parametrize(("names", "classes"), [(NAMES, NAMES), (["dog", "cat", "elk"], [0, 1, 2])])
def test_classes_have_their_names_where_their_order_is_that_of_the_columns(names, classes):
    classifier = classifier_of(saved({"model": network_of(1)}, names))
    assert classifier.classes_.tolist() == classes


def test_the_model_has_the_settings_and_the_history_of_the_run():
    classifier = classifier_of(saved({"model": network_of(1)}))
    given = {"network": "didirn-tiny", "steps": 3, "solver": "euler", "conditioning": "blocks"}
    assert {name: getattr(classifier, name) for name in given} == given
    assert (classifier.n_iter_, classifier.input_shape_) == (2, (16, 16, 3))
    assert [row["loss"] for row in classifier.history_] == [2.0, 1.0]
    assert not any("figures" in row for row in classifier.history_)


def test_the_record_tells_the_data_and_the_last_figures():
    record = record_of_checkpoint(saved({"model": network_of(1)}))
    assert (record.dataset.name, record.dataset.folder) == ("imagenet", "photos")
    assert (record.class_names, record.update, record.crop) == (NAMES, 6, 0.9)
    assert record.metrics == {"nll": 0.7}
    assert record.settings["epochs"] == 5


def test_a_checkpoint_before_the_first_epoch_has_no_figures():
    early = saved({"model": network_of(1)})
    early.values["history"] = []
    assert record_of_checkpoint(early).metrics is None
    assert classifier_of(early).n_iter_ == 0
