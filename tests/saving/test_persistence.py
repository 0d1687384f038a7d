"""Saving and loading: the same answers, and no trust in a file."""

import gzip
import hashlib
import json
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError

from skdidicm import DiDiClassifier
from skdidicm.core import Cosine, Geometric, LogLinear
from skdidicm.registry import get_backend
from skdidicm.saving.model_file import write
from skdidicm.saving.persistence import ModelFileError, content_of, read

torch = pytest.importorskip("torch")

X, y = load_iris(return_X_y=True)
IMAGES, DIGITS = (a[:60] for a in load_digits(return_X_y=True))
IMAGES = IMAGES.reshape(-1, 8, 8)
DAYS = np.array(["2024-02-28", "2024-02-29", "2024-03-01"], dtype="M8[D]")
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
    "symmetric label noise": {"label_noise": 0.2},
    "label noise": {"label_noise": np.eye(3) * 0.7 + 0.1, "parameterization": "posterior"},
    "early stopping": {"early_stopping": True},
    "small integers": {"steps": np.uint8(3), "n_chains": np.uint8(200), "sampler": "cl"},
    "arrays of one number": {"verbose": np.array(0), "learning_rate": np.float16(0.01)},
    "a schedule of NumPy": {"schedule": LogLinear(eps=np.float32(0.02))},
    "a device of torch": {"device": torch.device("cpu")},
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
     np.array(["a", "b", "c"], dtype=object), np.array([-9, 0, 250], dtype=np.int16),
     np.array(["a" * 9999, "b", "c"]), np.array([0, 1, 2], dtype=np.float16),
     np.array([1, 2, 3], dtype=">u8") + 2**63, np.array(["a", "b", "\ud800"]),
     np.array(["a", "b", "b\0"], dtype=object), DAYS, DAYS.astype("M8[ns]"), DAYS - DAYS[0]],
    ids=["strings", "booleans", "floats", "objects", "integers", "long", "half floats",
         "large integers", "half a character", "zero bytes", "days", "nanoseconds", "durations"],
)  # fmt: skip
def test_class_names_keep_their_kind(quick, path, names):
    model = quick().fit(X, names[y])
    model.save(path)
    loaded = DiDiClassifier.load(path)
    assert loaded.classes_.dtype == model.classes_.dtype
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_weights_of_dates_are_kept(quick, path):
    weights = dict(zip(DAYS, (1.0, 2.0, 3.0), strict=True))
    quick(class_weight=weights).fit(X, DAYS[y]).save(path)
    assert DiDiClassifier.load(path).class_weight == weights


def test_soft_labels_may_have_names_of_any_kind(quick, path):
    names = np.array([np.int64(1), 2.5, np.float32(7)], dtype=object)
    quick().fit_soft(X, np.eye(3)[y], classes=names).save(path)
    assert DiDiClassifier.load(path).classes_.tolist() == names.tolist()


def test_a_file_of_the_first_format_is_read(path):
    file = Path(__file__).parent.parent / "data" / "first_format.skd.gz"
    path.write_bytes(gzip.decompress(file.read_bytes()))
    model = DiDiClassifier.load(path, device="cpu")
    assert model.objective == "bayes_cross_entropy"
    assert model.class_weight == {"setosa": 1.0, "versicolor": 2.0, "virginica": 1.0}
    expected = [
        [0.935887368, 0.06178854, 0.002324092],
        [0.019178199, 0.40888415, 0.571937651],
        [0.00188233, 0.153689423, 0.844428247],
    ]
    np.testing.assert_allclose(model.predict_proba(X[::50]), expected, atol=1e-6)
    assert model.partial_fit(X, model.classes_[y]).n_iter_ == 4


def test_numbers_that_a_callback_adds_to_the_history_are_kept(quick, path):
    def note(model, row):
        row["mark"] = np.float32(0.5)

    model = quick(callbacks=[note]).fit(X, y)
    model.save(path)
    assert DiDiClassifier.load(path).history_ == model.history_
    model.history_[1]["picture"] = object()
    with pytest.raises(ValueError, match=r"history_\[1\]\['picture'\] is <object .* numbers only"):
        model.save(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"verbose": object()}, "verbose is <object .* cannot hold"), ({"steps": 0}, "steps is 0")],
)
def test_parameters_that_no_file_can_hold_are_refused_when_saving(saved, path, settings, message):
    model = DiDiClassifier.load(saved[1]).set_params(**settings)
    with pytest.raises(ValueError, match=message):
        model.save(path)
    assert not path.exists()


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


def rewritten(saved, path, header=None, tensors=None):
    """Write a file with some values of its header and some tensors replaced, checksums included."""
    with zipfile.ZipFile(saved) as old:
        values = json.loads(old.read("estimator.json"))
        weights = safetensors.numpy.load(old.read("weights.safetensors"))
    content = safetensors.numpy.save(weights | (tensors or {}))
    values |= {"weights_sha256": hashlib.sha256(content).hexdigest()} | (header or {})
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("estimator.json", json.dumps(values))
        new.writestr("weights.safetensors", content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2, .*pip install --upgrade skdidicm"),
        ({"parameters": {"backend": "auto", "sampler": "mcmc"}}, "sampler is 'mcmc'; expected one"),
        ({"classes": {"dtype": "<U99999999", "values": ["a"]}}, "classes have type <U99999999"),
        ({"n_iter": float("inf")}, "n_iter is inf, not an integer"),
        ({"temperature_slope": 2}, "the slope of its temperature is 2.0"),
        ({"feature_names_in": ["a"]}, "does not name every column"),
        ({"weights_sha256": "0"}, "do not match their checksum"),
        ({"classes": {"dtype": "<U4096", "values": ["a"] * 600_000}}, "too large together"),
        ({"classes": {"dtype": "<U1", "values": ["a", "bee", "c"]}}, "not of their type <U1"),
        ({"classes": {"dtype": "<i8", "values": [0, 1.5, 2]}}, "not of their type int64"),
        ({"classes": {"dtype": "|O", "values": ["a", 1, 2]}}, "all strings or all numbers"),
        ({"classes": {"dtype": "|O", "values": ["a", "b", None]}}, "missing labels"),
        ({"classes": {"dtype": "<M8[D]", "values": [-(2**63), 1, 2]}}, "NaT"),
        ({"history": "long"}, "history is not a list of rows"),
        ({"history": [{"epoch": "one"}]}, "history is not a list of rows"),
        ({"trial": [[1, 2]]}, "history is not a list of rows"),
        ({"history": [{"loss": 10**400}]}, "history is not a list of rows"),
        ({"versions": ["1.0"]}, "versions are not strings"),
        ({"versions": {"numpy": {}}}, "versions are not strings"),
        ({"n_members": 10**12}, "no 'member0.mean'"),
        ({"n_iter": -1}, "n_iter is -1"),
        ({"seeds": {"network": 0.5, "training": 0, "split": 0, "sampling": 0}}, "network is 0.5"),
        ({"input_shape": [True]}, "do not fit its tensors"),
        ({"schedule": {"name": "loglinear", "eps": "small"}}, "fields that are no numbers"),
        ({"parameters": {"backend": "auto", "steps": 10**9}}, "steps is 1000000000; expected an"),
        ({"parameters": {"backend": "auto", "n_chains": 10**9}}, "n_chains is 1000000000 with 8"),
        ({"parameters": {"backend": "auto", "random_state": 2**40}}, "random_state is"),
        ({"parameters": {"backend": "auto", "class_weight": [["a", "b"]]}}, "class_weight is"),
    ],
)
def test_a_header_that_means_nothing_is_refused_whatever_its_checksums(
    saved, path, change, message
):
    rewritten(saved[1], path, header=change)
    with pytest.raises(ModelFileError, match=message):
        DiDiClassifier.load(path)


def test_a_model_of_another_class_is_not_taken_for_this_one(saved):
    class Other(DiDiClassifier):
        pass

    with pytest.raises(ModelFileError, match="holds a DiDiClassifier, not a Other"):
        Other.load(saved[1])


def test_files_of_earlier_versions_name_the_bayes_corrected_loss_otherwise(quick, path):
    model = quick(parameterization="posterior", objective="bayes_cross_entropy").fit(X, y)
    tensors, header = content_of(model._model)
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


BAD_TENSORS = {
    "class_prior": np.array([np.nan, 0.5, 0.5]),
    "mean": np.array([0, 0, 0, np.inf]),
    "scale": np.array([1, 1, 1, 0.0]),
    "rate_matrix": np.full((3, 3), np.nan),
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_tensors_that_mean_nothing_are_refused(saved, path, name):
    rewritten(saved[1], path, tensors={name: BAD_TENSORS[name]})
    with pytest.raises(ModelFileError, match="classes are not|not finite and positive|NaN"):
        DiDiClassifier.load(path)


@pytest.mark.parametrize("prior", [[1.5, -0.5, 0], [1, 1, 1], [0, 0, 0]])
def test_shares_of_classes_that_are_none_are_refused(saved, path, prior):
    rewritten(saved[1], path, tensors={"class_prior": np.array(prior, dtype=float)})
    with pytest.raises(ModelFileError, match="sum to 1"):
        DiDiClassifier.load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_weights_that_are_no_numbers_to_the_network_are_refused(quick, path, value):
    model = quick(precision="float32").fit(X, y)
    model.save(path)
    name, weight = next(iter(model.network_.state().items()))
    spoiled = np.full(weight.shape, value)
    rewritten(path, path.with_name("other"), tensors={f"network.{name}": spoiled})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ModelFileError, match="a weight is NaN or infinite"):
            DiDiClassifier.load(path.with_name("other"))


@pytest.mark.parametrize(
    ("network", "columns"), [("auto", 2**20), ("mlp", 2**20), ("timm/vit_giant_patch14_224", 0)]
)
def test_a_network_that_the_file_does_not_hold_is_not_built(
    quick, path, monkeypatch, network, columns
):
    import skdidicm_torch

    def build(self, config):
        raise AssertionError("built")

    if network.startswith("timm/"):
        pytest.importorskip("timm")
    model = quick(backend="torch").fit(*((X, y) if columns else (IMAGES, DIGITS)))
    model.save(path)
    header, _ = read(path)
    conditioning = "none" if network.startswith("timm/") else "head"  # a head would be run
    changes = {"config": header["config"] | {"network": network, "conditioning": conditioning}}
    wide = {}
    if columns:
        changes |= {"input_shape": [columns], "columns": None}
        wide = {name: np.ones(columns, dtype=np.float16) for name in ("mean", "scale")}
    rewritten(path, path.with_name("other"), header=changes, tensors=wide)
    monkeypatch.setattr(skdidicm_torch.TorchNetwork, "__init__", build)
    with pytest.raises(ModelFileError, match="weights do not fit the network"):
        DiDiClassifier.load(path.with_name("other"))


def held_out_damages():
    def change(name, value):
        return lambda tensors, header: tensors.update({name: value(tensors[name])})

    return [
        (change("held_out.row", lambda v: v + 1000), "held-out rows do not fit"),
        (change("held_out.row", lambda v: v * 0), "held-out rows do not fit"),
        (change("held_out.fold", lambda v: v + 5), "held-out rows do not fit"),
        (change("held_out.proba", lambda v: v[:-1]), "held-out rows do not fit"),
        (change("held_out.proba", lambda v: v * np.nan), "held-out rows do not fit"),
        (change("held_out.proba", lambda v: v * 2), "held-out rows do not fit"),
        (change("held_out.weight", lambda v: v * 0), "held-out rows do not fit"),
        (change("held_out.target", lambda v: v + 9), "none of its classes"),
        (change("familiar0.own", lambda v: v[:-1]), "features of its rows does not fit"),
        (change("familiar1.whiten", lambda v: v[:-1]), "features of its rows does not fit"),
        (change("familiar1.centre", lambda v: v * np.inf), "features of its rows does not fit"),
        (lambda tensors, _: tensors.pop("held_out.fold"), "no 'held_out.fold'"),
        (lambda tensors, _: tensors.pop("familiar3.own"), "no 'familiar3.own'"),
        (lambda _, header: header["held_out"].update(n_rows=10**15), "held-out rows do not fit"),
        (lambda _, header: header["held_out"].update(n_rows=-1), "n_rows"),
        (lambda _, header: header["held_out"].pop("sampler"), "no 'sampler'"),
        (lambda _, header: header.update(training=[1]), "settings of training"),
    ]


@pytest.fixture(scope="module")
def with_folds():
    pytest.importorskip("torch")
    X, y = load_iris(return_X_y=True)
    settings = {"max_epochs": 1, "choose_epochs": True, "random_state": 0, "device": "cpu"}
    return DiDiClassifier(**settings).fit(X, y)


@pytest.mark.parametrize(("damage", "message"), held_out_damages())
def test_what_a_file_says_of_held_out_rows_is_checked(with_folds, tmp_path, damage, message):
    tensors, header = content_of(with_folds._model)
    damage(tensors, header)
    write(tmp_path / "model.skd", header, tensors)
    with pytest.raises(ModelFileError, match=message):
        DiDiClassifier.load(tmp_path / "model.skd")


def test_earlier_files_hold_nothing_of_held_out_rows(with_folds, tmp_path):
    tensors, header = content_of(with_folds._model)
    tensors = {k: v for k, v in tensors.items() if not k.startswith(("held_out.", "familiar"))}
    for name in ("held_out", "training", "members_answer"):
        header.pop(name)
    write(tmp_path / "model.skd", header, tensors)
    model = DiDiClassifier.load(tmp_path / "model.skd")
    X = load_iris().data
    np.testing.assert_array_equal(model.predict_proba(X), with_folds.predict_proba(X))
    assert model.resolved_params_.keys() < with_folds.resolved_params_.keys()
    with pytest.raises(ValueError, match="an earlier version saved the model"):
        model.predict_set(X)
