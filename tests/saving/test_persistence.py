"""Saving and loading: the same answers, and no trust in a file."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError

from skdidicm import DiDiClassifier
from skdidicm.core import Cosine, Geometric, LogLinear
from skdidicm.registry import get_backend
from skdidicm.saving.model_file import write
from skdidicm.saving.persistence import ModelFileError, describe, read

torch = pytest.importorskip("torch")

X, y = load_iris(return_X_y=True)
IMAGES, DIGITS = (a[:60] for a in load_digits(return_X_y=True))
IMAGES = IMAGES.reshape(-1, 8, 8)
RATES = np.array([[-1.0, 0.5, 0.1], [0.8, -0.7, 0.2], [0.2, 0.2, -0.3]])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.skd"


@pytest.fixture(scope="module")
def saved(quick, tmp_path_factory):
    """A model and its file."""
    model, path = quick().fit(X, y), tmp_path_factory.mktemp("saved") / "model.skd"
    model.save(path)
    return model, path


SETTINGS = {
    "defaults": {},
    "label sampler": {"sampler": "cl", "n_chains": 5, "steps": 3},
    "draws by the sampler": {"label_rule": "draw", "solver": "bridge"},
    "rate matrix": {"rate_matrix": RATES},
    "named schedule": {"schedule": "cosine"},
    "schedule": {"schedule": LogLinear(eps=0.02)},
    "weak schedule": {"schedule": Geometric(sigma_max=2.0)},
    "posterior": {"parameterization": "posterior", "objective": "bayes_cross_entropy"},
    "class weights": {"class_weight": {0: 1.0, np.int64(1): np.float32(2), 2: 3}},
    "balanced": {"class_weight": "balanced"},
    "numbers of NumPy": {"learning_rate": np.float32(0.01), "weight_decay": np.float32(0.1),
                         "steps": np.int64(3), "compile": np.False_},
    "seed of NumPy": {"random_state": np.int64(7)},
    "generator": {"random_state": np.random.RandomState(7)},
    "callables": {"callbacks": [lambda model, row: None], "augment": lambda x, rng: x + 0.1},
    "early stopping": {"early_stopping": True},
    "single precision": {"precision": "float32", "conditioning": "blocks"},
}  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_loaded_table_model_gives_the_same_answers(quick, path, settings):
    model = quick(**settings).fit(X, y)
    model.save(path)
    loaded = DiDiClassifier.load(path)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    assert loaded.history_ == model.history_
    assert loaded.n_iter_ == model.n_iter_
    assert loaded.max_epochs_ == model.max_epochs_
    kept = {k: v for k, v in settings.items() if isinstance(v, str | int | np.generic | dict)}
    kept.pop("schedule", None)  # which comes back as an object
    assert {name: getattr(loaded, name) for name in kept} == kept


@pytest.mark.parametrize(
    "images",
    [IMAGES, IMAGES.astype(np.uint8), np.repeat(IMAGES[..., None], 3, axis=-1)],
    ids=["grey", "bytes", "colour"],
)
def test_a_loaded_image_model_gives_the_same_answers(quick, path, images):
    model = quick().fit(images, DIGITS)
    model.save(path)
    loaded = DiDiClassifier.load(path)
    np.testing.assert_array_equal(loaded.predict_proba(images), model.predict_proba(images))
    assert loaded.input_shape_ == images.shape[1:]
    assert loaded.n_features_in_ == model.n_features_in_
    shapes = [{k: v.shape for k, v in m.network_.state().items()} for m in (loaded, model)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    "names",
    [np.array(["ant", "bee", "Käfer"]), np.array([False, True, True]), np.array([0.5, 1, 2]) * 2,
     np.array(["a", "b", "c"], dtype=object), np.array([-9, 0, 250], dtype=np.int16)],
    ids=["strings", "booleans", "floats", "objects", "integers"],
)  # fmt: skip
def test_class_names_keep_their_kind(quick, path, names):
    model = quick().fit(X, names[y])
    model.save(path)
    loaded = DiDiClassifier.load(path)
    assert loaded.classes_.dtype == model.classes_.dtype
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_column_names_are_kept_and_checked(quick, path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = quick().fit(frame, y)
    model.save(path)
    loaded = DiDiClassifier.load(path)
    np.testing.assert_array_equal(loaded.predict_proba(frame), model.predict_proba(frame))
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame[list("bacd")])


def test_a_loaded_model_trains_on_and_can_be_cloned(quick, path):
    quick(schedule=Cosine(), rate_matrix=RATES).fit_soft(X, np.eye(3)[y]).save(path)
    loaded = DiDiClassifier.load(path)
    again = clone(loaded).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), loaded.predict_proba(X))
    assert loaded.partial_fit(X, y).n_iter_ == 3
    loaded.save(path)
    np.testing.assert_array_equal(
        DiDiClassifier.load(path).predict_proba(X), loaded.predict_proba(X)
    )


def test_a_network_of_your_own_must_be_given_again(quick, path):
    def backbone():
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5))

    model = quick(network=backbone()).fit(IMAGES, DIGITS)
    model.save(path)
    with pytest.raises(ModelFileError, match="pass one of the same architecture as network="):
        DiDiClassifier.load(path)
    loaded = DiDiClassifier.load(path, network=backbone())
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), model.predict_proba(IMAGES))
    with pytest.raises(ModelFileError, match="weights do not fit the network"):
        DiDiClassifier.load(path, network=torch.nn.Flatten())


def test_a_backend_of_your_own_is_given_again(quick, path):
    from skdidicm_torch import build_network

    model = quick(backend=build_network).fit(X, y)
    model.save(path)
    loaded = DiDiClassifier.load(path, backend=build_network)
    assert loaded.backend is build_network
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_only_a_fitted_model_with_a_known_schedule_can_be_saved(quick, path):
    class Own(LogLinear):
        pass

    with pytest.raises(NotFittedError):
        quick().save(path)
    with pytest.raises(ValueError, match="a class of your own and cannot be saved without pickle"):
        quick(schedule=Own()).fit(X, y).save(path)
    assert not path.exists()


def test_the_file_holds_json_and_numbers_only(saved):
    with zipfile.ZipFile(saved[1]) as archive:
        assert archive.namelist() == ["estimator.json", "weights.safetensors"]
        assert {m.compress_type for m in archive.infolist()} == {zipfile.ZIP_STORED}
        header = json.loads(archive.read("estimator.json"))
    assert header["format"] == 1
    assert header["versions"].keys() >= {"skdidicm", "numpy"}
    again, tensors = read(saved[1])
    assert again == header
    assert {"mean", "scale", "class_prior"} < tensors.keys()


def test_a_missing_file_or_folder_is_named(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a file; expected a model"):
        DiDiClassifier.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        DiDiClassifier.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder; create it"):
        saved[0].save(tmp_path / "nowhere" / "model")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"device": "abacus"}, "device is 'abacus'"), ({"backend": "abacus"}, "installed are")],
)
def test_what_this_machine_lacks_is_named(saved, arguments, message):
    with pytest.raises(ValueError, match=message):
        DiDiClassifier.load(saved[1], **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2, .*pip install --upgrade skdidicm"),
        ({"parameters": {"backend": "auto", "sampler": "mcmc"}}, "sampler is 'mcmc'; expected one"),
        ({"classes": {"dtype": "<U99999999", "values": ["a"]}}, "classes have type <U99999999"),
        ({"n_iter": float("inf")}, "cannot convert float infinity"),
        ({"feature_names_in": ["a"]}, "does not name every column"),
        ({"weights_sha256": "0"}, "do not match their checksum"),
    ],
)
def test_a_header_that_means_nothing_is_refused_whatever_its_checksums(
    saved, path, change, message
):
    with zipfile.ZipFile(saved[1]) as old, zipfile.ZipFile(path, "w") as new:
        header = json.loads(old.read("estimator.json")) | change
        new.writestr("estimator.json", json.dumps(header))
        new.writestr("weights.safetensors", old.read("weights.safetensors"))
    with pytest.raises(ModelFileError, match=message):
        DiDiClassifier.load(path)


def test_a_model_of_another_class_is_not_taken_for_this_one(saved):
    class Other(DiDiClassifier):
        pass

    with pytest.raises(ModelFileError, match="holds a DiDiClassifier, not a Other"):
        Other.load(saved[1])


def test_files_of_earlier_versions_name_the_bayes_corrected_loss_otherwise(quick, path):
    model = quick(parameterization="posterior", objective="bayes_cross_entropy").fit(X, y)
    tensors, header = describe(model._model)
    header["parameters"]["objective"] = header["config"]["objective"] = "cross_entropy"
    write(path, header, tensors)
    loaded = DiDiClassifier.load(path)
    assert loaded.objective == loaded.network_.config.objective == "bayes_cross_entropy"
    assert loaded.partial_fit(X, y).n_iter_ == model.n_iter_ + 1


def test_an_ordinary_classifier_keeps_its_loss(quick, path):
    quick(conditioning="none", objective="cross_entropy").fit(X, y).save(path)
    assert DiDiClassifier.load(path).network_.config.objective == "cross_entropy"


def test_a_network_with_dropout_predicts_with_it_again(quick, path):
    def build(config):
        return get_backend("torch")(replace(config, dropout=0.5))

    model = quick(conditioning="none", backend=build).fit(X, y)
    model.save(path)
    loaded = DiDiClassifier.load(path)
    assert loaded.network_.config.dropout == 0.5
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
