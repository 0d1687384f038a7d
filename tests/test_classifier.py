"""The estimator as its users meet it: what they hand over, and what they get."""

import copy
import pickle

import joblib
import numpy as np
import pytest
from scipy.special import expit
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from skdidicm import DiDiClassifier

torch = pytest.importorskip("torch")

X, y = load_iris(return_X_y=True)
PIXELS, DIGITS = (a[:80] for a in load_digits(return_X_y=True))
IMAGES = PIXELS.reshape(-1, 8, 8)
DATA = {"table": (X, y), "grey images": (IMAGES, DIGITS)}


@pytest.fixture(scope="module", params=DATA)
def data(quick, request):
    """Rows, labels and a classifier fitted to them."""
    rows, labels = DATA[request.param]
    return rows, labels, quick().fit(rows, labels)


@pytest.mark.parametrize("n_draws", ["auto", 4])
def test_eight_steps_find_the_posterior_of_two_normal_laws(quick, rng, n_draws):
    """P(1 | x) = 1 / (1 + exp(-2 x)) for N(-1, 1) against N(1, 1).

    A logistic regression on 600 rows is off by about 0.02 on average, and so is a good network.
    """
    labels = rng.integers(0, 2, 600)
    rows = (rng.normal(size=600) + 2 * labels - 1)[:, None]
    model = quick(max_epochs=40, learning_rate=5e-3, batch_size=200, steps=8, n_draws=n_draws)
    grid = np.linspace(-2.5, 2.5, 101)[:, None]
    p = model.fit(rows, labels).predict_proba(grid)[:, 1]
    error = np.abs(p - expit(2 * grid[:, 0]))
    assert error.mean() < 0.06
    assert error.max() < 0.15


def test_a_posterior_given_as_soft_labels_is_found_more_closely(quick):
    grid = np.linspace(-3, 3, 120)[:, None]
    posterior = np.hstack([expit(-2 * grid), expit(2 * grid)])
    model = quick(max_epochs=200, learning_rate=5e-3).fit_soft(grid, posterior)
    assert np.abs(model.predict_proba(grid) - posterior).mean() < 0.03
    shares = model.set_params(solver="bridge").sample_labels(grid, 500)
    assert np.abs(shares - posterior).mean() < 0.03 + 0.5 / np.sqrt(500)


def test_one_hot_soft_labels_are_the_same_as_labels(quick):
    hard = quick().fit(X, y)
    soft = quick().fit_soft(X, np.eye(3)[y])
    np.testing.assert_array_equal(soft.predict_proba(X), hard.predict_proba(X))
    named = quick().fit_soft(X, np.eye(3)[y], classes=["a", "b", "c"])
    assert set(named.predict(X)) <= {"a", "b", "c"}


def test_labels_that_say_nothing_give_answers_that_say_nothing(quick):
    model = quick(max_epochs=100, learning_rate=5e-3).fit_soft(X, np.full((150, 3), 1 / 3))
    np.testing.assert_allclose(model.predict_proba(X), 1 / 3, atol=0.1)


@pytest.mark.parametrize(
    ("q_0", "classes", "message"),
    [
        (np.full((150, 3), 0.5), None, "rows that sum to 1; divide each row by its sum"),
        (np.tile([1.5, -0.5, 0.0], (150, 1)), None, "entries >= 0"),
        (np.full((9, 3), 1 / 3), None, "inconsistent"),
        (y, None, "Expected 2D array"),
        (np.full((150, 3), np.nan), None, "NaN"),
        (np.eye(3)[y], ["a", "b"], "classes has 2 names for 3 columns"),
        (np.eye(3)[y], ["b", "a", "c"], "sorted and without repeats"),
    ],
)
def test_soft_labels_that_are_no_laws_are_refused(quick, q_0, classes, message):
    with pytest.raises(ValueError, match=message):
        quick().fit_soft(X, q_0, classes=classes)


@pytest.mark.parametrize(
    "names",
    [np.array(["setosa", "versicolor", "virginica"]), np.array([-5, 0, 7]), np.array([0.0, 2, 3]),
     np.array(["a", "b", "c"], dtype=object), np.array([1, 2, 250], dtype=np.uint8)],
    ids=["strings", "integers", "floats", "objects", "bytes"],
)  # fmt: skip
def test_labels_of_any_kind_are_only_names(quick, names):
    plain, named = quick().fit(X, y), quick().fit(X, names[y])
    np.testing.assert_array_equal(named.classes_, names)
    np.testing.assert_array_equal(named.predict_proba(X), plain.predict_proba(X))
    np.testing.assert_array_equal(named.predict(X), names[plain.predict(X)])
    assert named.predict(X).dtype == names.dtype
    listed = quick().fit(X, names[y].tolist())
    np.testing.assert_array_equal(listed.predict_proba(X), plain.predict_proba(X))


def test_booleans_are_labels_too(quick):
    model = quick().fit(X, y == 1)
    assert model.classes_.tolist() == [False, True]
    assert model.predict(X).dtype == bool


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_data_frame_is_a_table_with_names(quick, library):
    frames = pytest.importorskip(library)
    names = ["a", "b", "c", "d"]
    frame = frames.DataFrame(dict(zip(names, X.T, strict=True)))
    labels = frames.Series([f"kind {label}" for label in y])
    model = quick().fit(frame, labels, X_val=frame, y_val=labels)
    assert model.feature_names_in_.tolist() == names
    expected = quick().fit(X, y).predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(frame), expected, rtol=1e-9)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["b", "a", "c", "d"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)


def test_bytes_and_floats_and_an_axis_of_one_channel_make_no_difference(quick):
    variants = [IMAGES, IMAGES.astype(np.uint8), IMAGES.astype(np.float32), IMAGES[..., None]]
    models = [quick().fit(images, DIGITS) for images in variants]
    expected = models[0].predict_proba(IMAGES)
    for model, images in zip(models, variants, strict=True):
        np.testing.assert_allclose(model.predict_proba(images), expected, atol=1e-4)
    np.testing.assert_array_equal(
        models[1].predict_proba(IMAGES), models[1].predict_proba(IMAGES.astype(np.uint8))
    )


def test_colour_images_are_told_apart_by_colour(quick, rng):
    colour = rng.integers(0, 256, (60, 6, 9, 3)).astype(np.uint8)
    labels = np.arange(60) % 2
    colour[labels == 1, ..., 2] //= 4
    model = quick(max_epochs=40, learning_rate=5e-3).fit(colour, labels)
    assert model.input_shape_ == (6, 9, 3)
    assert model.score(colour, labels) > 0.9


def test_tensors_are_arrays(quick):
    expected = quick().fit(X, y).predict_proba(X)
    rows, labels = torch.tensor(X, requires_grad=True), torch.tensor(y)
    model = quick().fit(rows, labels, sample_weight=torch.ones(150))
    np.testing.assert_array_equal(model.predict_proba(rows), expected)


def test_nothing_that_is_handed_over_is_changed(quick, data):
    rows, labels, model = data
    rows, weight = rows.copy(), np.linspace(1, 2, len(labels))
    labels = labels.copy()
    for array in (rows, labels, weight):
        array.flags.writeable = False
    quick().fit(rows, labels, sample_weight=weight, X_val=rows, y_val=labels)
    np.testing.assert_array_equal(model.predict_proba(rows), model.predict_proba(rows.copy()))


def test_one_column_is_enough(quick):
    assert quick(max_epochs=30, learning_rate=0.01).fit(X[:, 3:], y).score(X[:, 3:], y) > 0.8


def test_the_seed_decides_everything(quick, data):
    rows, labels, model = data
    expected = model.predict_proba(rows)
    np.testing.assert_array_equal(quick().fit(rows, labels).predict_proba(rows), expected)
    assert np.abs(quick(random_state=1).fit(rows, labels).predict_proba(rows) - expected).max() > 0
    state = np.random.RandomState(0)
    first, second = (quick(random_state=state).fit(rows, labels) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(rows), expected)
    assert np.abs(second.predict_proba(rows) - expected).max() > 0


def test_the_global_generators_stay_as_they_were(quick, data):
    rows, labels, _ = data
    np.random.seed(3)
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    model = quick(early_stopping=True).fit(rows, labels)
    model.partial_fit(rows, labels).set_params(sampler="cl", label_rule="draw").predict_proba(rows)
    copy.deepcopy(model)
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("sampler", ["cp", "cl"])
def test_an_answer_does_not_depend_on_the_other_rows(data, sampler):
    rows, _, model = data
    model = copy.deepcopy(model).set_params(sampler=sampler)
    together = model.predict_proba(rows)
    alone = np.concatenate([model.predict_proba(rows[i : i + 1]) for i in range(9)])
    np.testing.assert_allclose(alone, together[:9], atol=1e-4)
    np.testing.assert_allclose(model.predict_proba(rows[::-1])[::-1], together, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [{"steps": 3}, {"solver": "bridge"}, {"label_rule": "argmax"}, {"label_rule": "draw"},
     {"sampler": "cl"}, {"sampler": "cl", "n_chains": 5}],
)  # fmt: skip
def test_settings_of_the_sampler_count_at_the_next_prediction(quick, data, change):
    rows, labels, model = data
    changed = copy.deepcopy(model).set_params(**change).predict_proba(rows)
    np.testing.assert_array_equal(changed, quick(**change).fit(rows, labels).predict_proba(rows))
    assert np.abs(changed - model.predict_proba(rows)).max() > 0


@pytest.mark.parametrize("sampler", ["cp", "cl"])
def test_a_path_begins_in_noise_and_ends_in_the_answer(data, sampler):
    rows, _, model = data
    k = len(model.classes_)
    model = copy.deepcopy(model).set_params(sampler=sampler, n_chains=400)
    path = model.predict_path(rows[:5])
    assert path.shape == (5, 9, k)
    np.testing.assert_allclose(path[:, 0], 1 / k, atol=0.01 if sampler == "cp" else 0.12)
    np.testing.assert_array_equal(path[:, -1], model.predict_proba(rows[:5]))


@pytest.mark.parametrize("how", ["pickle", "joblib", "deepcopy"])
def test_a_copy_answers_alike_and_trains_on(data, how, tmp_path):
    rows, labels, model = data
    if how == "joblib":
        joblib.dump(model, tmp_path / "model")
        twin = joblib.load(tmp_path / "model")
    else:
        twin = copy.deepcopy(model) if how == "deepcopy" else pickle.loads(pickle.dumps(model))
    expected = model.predict_proba(rows)
    np.testing.assert_array_equal(twin.predict_proba(rows), expected)
    twin.partial_fit(rows, labels)
    assert np.abs(twin.predict_proba(rows) - expected).max() > 0
    np.testing.assert_array_equal(model.predict_proba(rows), expected)


def test_a_clone_has_the_settings_and_nothing_else(data):
    model = data[2]
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        twin.predict(data[0])


def test_settings_are_read_and_set_by_name():
    model = DiDiClassifier()
    assert model.set_params(steps=4, network="mlp").get_params()["steps"] == 4
    with pytest.raises(ValueError, match="Invalid parameter 'depth'"):
        model.set_params(depth=3)
    with pytest.raises(TypeError):
        DiDiClassifier(8, "cl")


def test_it_is_shown_as_a_classifier_with_what_was_changed(quick, data):
    assert repr(quick(steps=4)) == "DiDiClassifier(max_epochs=2, random_state=0, steps=4)"
    assert "DiDiClassifier" in quick()._repr_html_()
    assert "fitted" in data[2]._repr_html_()


def test_tags_tell_what_it_takes():
    tags = get_tags(DiDiClassifier())
    assert is_classifier(DiDiClassifier())
    assert tags.input_tags.two_d_array
    assert tags.input_tags.three_d_array
    assert tags.input_tags.allow_nan
    assert not tags.input_tags.sparse
    assert tags.target_tags.required
    assert tags.classifier_tags.multi_class


def test_a_pipeline_hands_its_data_frames_on(quick):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = make_pipeline(StandardScaler(), quick()).set_output(transform="pandas")
    assert model.fit(frame, y).predict_proba(frame).shape == (150, 3)
    assert model[-1].feature_names_in_.tolist() == list("abcd")


def test_validation_rows_go_through_a_pipeline_as_well(quick):
    X_val, y_val = X[1::2], y[1::2]
    with config_context(enable_metadata_routing=True):
        last = quick().set_fit_request(X_val=True, y_val=True)
        steps = [("scale", StandardScaler()), ("classify", last)]
        pipeline = Pipeline(steps, transform_input=["X_val"])
        pipeline.fit(X[::2], y[::2], X_val=X_val, y_val=y_val)
    scaler = StandardScaler().fit(X[::2])
    by_hand = quick().fit(
        scaler.transform(X[::2]), y[::2], X_val=scaler.transform(X_val), y_val=y_val
    )
    found = [row["val_nll"] for row in pipeline[-1].history_]
    assert found == [row["val_nll"] for row in by_hand.history_]
