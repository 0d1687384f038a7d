"""A pretrained application of Keras stays frozen, and encodes every picture once."""

import pickle

import numpy as np
import pytest

pytest.importorskip("skdidicm_keras", reason="Keras or its engine is missing", exc_type=ImportError)
pytest.importorskip("h5py")

import keras
from skdidicm_keras import trunk

from skdidicm import DiDiClassifier
from skdidicm.predict.familiarity import features_of

NAME, SIDE = "MobileNetV2", 32
SHAPE = {"include_top": False, "input_shape": (SIDE, SIDE, 3)}


@pytest.fixture(scope="module", autouse=True)
def side():
    """Pixels that a test can afford."""
    usual = dict(trunk._SIDES)
    trunk._SIDES[NAME] = SIDE
    yield
    trunk._SIDES.clear()
    trunk._SIDES.update(usual)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights whose statistics are not those of a new network."""
    model = keras.applications.MobileNetV2(weights=None, **SHAPE)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if variable.path.endswith("moving_mean"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    file = tmp_path_factory.mktemp("weights") / "w.weights.h5"
    model.save_weights(file)
    return file


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (40, SIDE, SIDE, 3)).astype(np.uint8), np.arange(40) % 2
    X[y == 1, : SIDE // 2] //= 3
    return X, y


def build(weights, **settings):
    start = {"network": f"keras/{NAME}", "pretrained": weights, "backend": "keras"}
    return DiDiClassifier(**{**start, "max_epochs": 40, "random_state": 0, **settings})


@pytest.fixture(scope="module")
def frozen(weights, pictures):
    return build(weights, choose_epochs=True).fit(*pictures)


def test_the_features_are_those_of_the_application(frozen, weights, pictures):
    model = keras.applications.MobileNetV2(weights=None, **SHAPE)
    model.load_weights(weights)
    x = keras.applications.mobilenet_v2.preprocess_input(pictures[0][:4].astype(np.float32))
    expected = np.asarray(model.predict(x, verbose=0)).mean(axis=(1, 2))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = features_of(frozen._fitted.trunk, pictures[0][:4])
    np.testing.assert_allclose(found[:, : expected.shape[1]], expected, rtol=1e-3, atol=1e-5)
    assert found.shape[1] > expected.shape[1]  # of earlier stages
    np.testing.assert_allclose((found**2).sum(axis=1), 3, rtol=1e-4)


def test_it_learns_from_pictures_that_are_encoded_once(weights, pictures, monkeypatch):
    seen, encode = [], trunk.KerasTrunk.features
    monkeypatch.setattr(
        trunk.KerasTrunk, "features", lambda own, x: (seen.append(len(x)), encode(own, x))[1]
    )
    classifier = build(weights, choose_epochs=True).fit(*pictures)
    assert len(classifier.members_) == 5
    assert sum(seen) <= len(pictures[0]) + 1  # one more tells how many features there are
    assert classifier.score(*pictures) > 0.8
    assert classifier.resolved_params_["network"] == f"keras/{NAME}"


def test_one_file_and_a_pickle_hold_it_all(frozen, pictures, tmp_path):
    expected = frozen.predict_proba(pictures[0])
    frozen.save(tmp_path / "model.skd")
    loaded = DiDiClassifier.load(tmp_path / "model.skd")
    np.testing.assert_array_equal(loaded.predict_proba(pictures[0]), expected)
    again = pickle.loads(pickle.dumps(frozen))
    np.testing.assert_array_equal(again.predict_proba(pictures[0]), expected)
    assert loaded.partial_fit(*pictures).n_iter_ == frozen.n_iter_ + 1


def test_pictures_have_the_size_and_colours_that_they_have(frozen, weights, pictures):
    X, y = pictures
    floats = build(weights, choose_epochs=True).fit(X / 255, y)
    np.testing.assert_allclose(floats.predict_proba(X / 255), frozen.predict_proba(X), atol=1e-2)
    grey = X[:, ::2, ::2, 0]
    assert build(weights).fit(grey, y).predict_proba(grey[:3]).shape == (3, 2)


def test_pictures_in_files_get_the_size_of_the_application(weights, tmp_path):
    Image = pytest.importorskip("PIL.Image")
    files = []
    for i in range(12):
        files.append(str(tmp_path / f"{i}.png"))
        Image.new("RGB", (20 + i, 30), (20 * i, 9, 200 - 9 * i)).save(files[-1])
    own = build(weights).fit(files, np.arange(12) // 6)
    assert own.input_shape_ == (SIDE, SIDE, 3)
    assert own.predict_proba(files[:2]).shape == (2, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "keras/NoSuchNet"}, "no application 'NoSuchNet'"),
        ({"network": "timm/resnet18"}, "expects 'keras/NAME'"),
        ({"pretrained": "missing.weights.h5"}, r"path of a file of weights \(.weights.h5"),
        ({"network": "keras/MobileNet"}, "does not have the weights of MobileNet"),
        ({"trunk_learning_rate": 0.1}, "needs backend='torch'"),
        ({"pretrained": False}, "without its weights; set pretrained=True"),
        ({"augment": "shift"}, "encodes every picture once"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(weights, pictures, settings, message):
    with pytest.raises((ValueError, OSError), match=message):
        build(weights).set_params(**settings).fit(*pictures)


def test_weights_that_cannot_be_downloaded_are_told(pictures, monkeypatch):
    def fail(**settings):
        raise RuntimeError("URL fetch failure")

    fail.__module__ = keras.applications.MobileNetV2.__module__
    monkeypatch.setattr(keras.applications, NAME, fail)
    with pytest.raises(OSError, match=r"cannot be had \(URL fetch failure\); connect"):
        build(True).fit(*pictures)
