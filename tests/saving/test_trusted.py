"""skops, and mlflow with its default format, load what they are told to trust: the same model."""

import importlib
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdidicm import SKOPS_TRUSTED, DiDiClassifier

pytest.importorskip("torch")
io = pytest.importorskip("skops.io", reason="skops is missing")

X, y = load_iris(return_X_y=True)
IMAGES, DIGITS = (a[:60] for a in load_digits(return_X_y=True))
IMAGES = IMAGES.reshape(-1, 8, 8)
RATES = np.array([[-1.0, 0.5, 0.1], [0.8, -0.7, 0.2], [0.2, 0.2, -0.3]])


def mixed_table():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    frame.loc[::7, "a"] = np.nan
    return frame.assign(kind=pandas.Categorical(np.where(X[:, 3] > 1, "wide", "narrow")))


FITS = {
    "ensemble with an additive model": lambda: ({"choose_epochs": True}, X, y),
    "words": lambda: ({}, X, np.array(["a", "b", "c"])[y]),
    "gaps and categories": lambda: ({}, mixed_table(), y),
    "images": lambda: ({}, IMAGES, DIGITS),
    "rate matrix": lambda: ({"rate_matrix": RATES, "schedule": "cosine"}, X, y),
    "early stopping": lambda: ({"early_stopping": True, "schedule": "geometric"}, X, y),
    "wrong labels": lambda: ({"label_noise": 0.1}, X, y),
    "labels confused": lambda: ({"label_noise": 0.8 * np.eye(3) + 0.2 / 3}, X, y),
    "generator": lambda: ({"random_state": np.random.RandomState(0)}, X, y),
}


@pytest.mark.parametrize("build", FITS.values(), ids=FITS)
def test_skops_loads_the_same_model(quick, build):
    settings, rows, labels = build()
    model = quick(**{"max_epochs": 4} | settings).fit(rows, labels)
    again = io.loads(io.dumps(model), trusted=SKOPS_TRUSTED)
    np.testing.assert_array_equal(again.predict_proba(rows), model.predict_proba(rows))
    np.testing.assert_array_equal(again.predict(rows), model.predict(rows))
    assert again.get_params().keys() == model.get_params().keys()
    again.partial_fit(rows, labels)  # training can continue


def test_skops_loads_a_pipeline_from_a_file(quick, tmp_path):
    pipeline = make_pipeline(StandardScaler(), quick(max_epochs=2)).fit(X, y)
    io.dump(pipeline, tmp_path / "model.skops")
    again = io.load(tmp_path / "model.skops", trusted=SKOPS_TRUSTED)
    np.testing.assert_array_equal(again.predict_proba(X), pipeline.predict_proba(X))


def test_skops_loads_a_pretrained_network(tmp_path):
    timm = pytest.importorskip("timm")
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "w.safetensors")
    start = {"network": "timm/test_efficientnet", "pretrained": str(tmp_path / "w.safetensors")}
    for rate in ("auto", 0.1):
        model = DiDiClassifier(**start, trunk_learning_rate=rate, max_epochs=1, random_state=0)
        model.fit(IMAGES[:20], DIGITS[:20])
        again = io.loads(io.dumps(model), trusted=SKOPS_TRUSTED)
        p = model.predict_proba(IMAGES[:5])
        np.testing.assert_array_equal(again.predict_proba(IMAGES[:5]), p)


def test_skops_loads_a_keras_network():
    pytest.importorskip("skdidicm_keras", reason="Keras is missing", exc_type=ImportError)
    model = DiDiClassifier(backend="keras", max_epochs=1, random_state=0).fit(X, y)
    again = io.loads(io.dumps(model), trusted=SKOPS_TRUSTED)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("name", SKOPS_TRUSTED)
def test_every_trusted_type_is_one_of_the_library(name):
    module, _, kind = name.rpartition(".")
    if module.startswith("skdidicm_keras"):
        pytest.importorskip("skdidicm_keras", reason="Keras is missing", exc_type=ImportError)
    found = getattr(importlib.import_module(module), kind)
    assert isinstance(found, type)
    assert f"{found.__module__}.{found.__qualname__}" == name


def test_mlflow_saves_and_loads_in_its_default_format(quick, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mlflow warns of its own dependencies
        mlflow = pytest.importorskip("mlflow.sklearn", reason="mlflow is missing")
        model = quick(max_epochs=2).fit(X, y)
        mlflow.save_model(
            model, tmp_path / "model", skops_trusted_types=SKOPS_TRUSTED,
            pip_requirements=["skdidicm"],
        )  # fmt: skip
        again = mlflow.load_model(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert "serialization_format: skops" in (tmp_path / "model" / "MLmodel").read_text()
