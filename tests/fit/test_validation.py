"""Bad input gets one sentence and changes nothing; unusual but good input is taken."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skdidicm.core import Cosine
from skdidicm.fit import validation as check

torch = pytest.importorskip("torch")

X, y = load_iris(return_X_y=True)
IMAGES, DIGITS = (a[:60] for a in load_digits(return_X_y=True))
IMAGES = IMAGES.reshape(-1, 8, 8)
LONG = ("Input X contains NaN", "Expected 2D array")  # scikit-learn's own, which have paragraphs
GENERATOR = np.ones((3, 3)) - 3 * np.eye(3)


@pytest.fixture(scope="module")
def table_model(quick):
    return quick().fit(X, y)


@pytest.fixture(scope="module")
def image_model(quick):
    return quick().fit(IMAGES, DIGITS)


@pytest.fixture
def refuse():
    """Assert that a call on a fitted model fails with one sentence and leaves no trace."""

    def check_refusal(model, rows, call, message, error=ValueError):
        before, p = dict(vars(model)), model.predict_proba(rows)
        numbers = model._fitted.rng.bit_generator.state
        with pytest.raises(error, match=message) as caught:
            call(model)
        assert vars(model).keys() == before.keys()
        assert all(vars(model)[name] is value for name, value in before.items())
        assert model._fitted.rng.bit_generator.state == numbers
        np.testing.assert_array_equal(model.predict_proba(rows), p)
        text = str(caught.value)
        assert "\n" not in text or text.startswith(LONG)

    return check_refusal


def spoil(value):
    spoiled = X.copy()
    spoiled[7, 2] = value
    return spoiled


BAD_ROWS = {
    "infinity": (spoil(np.inf), "infinity"),
    "one axis": (X[:, 0], "Expected 2D array"),
    "five axes": (np.zeros((150, 2, 2, 2, 2)), "expected tables .*, grey images .* or colour"),
    "channels first": (np.zeros((150, 3, 8, 8)), r"channels first; .*X.transpose\(0, 2, 3, 1\)"),
    "no pixels": (np.zeros((150, 0, 8)), "expected tables|0 feature"),
    "words": (np.full((150, 4), "a"), r"column 0 of X holds text \('a'\)"),
    "no rows": (X[:0], "0 sample|inconsistent"),
    "too large": (1e200 * X, "squares overflow; divide them by a constant"),
    "missing": (None, "Expected 2D array"),
}


@pytest.mark.parametrize(("rows", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_rows_that_cannot_be_trained_on_are_refused(table_model, refuse, rows, message):
    refuse(table_model, X, lambda model: model.fit(rows, y), message)


class Loader:
    """Yields batches, as the loaders of frameworks do."""

    def __iter__(self):
        yield X, y

    def __len__(self):
        return 1


DAYS = np.array(["2024-02-28", "2024-02-29", "2024-03-01"], dtype="M8[D]")
NO_ARRAYS = {
    "loader": (Loader, "is a Loader; expected an array"),
    "set": (lambda: {1, 2}, "is a set; expected an array"),
    "generator": (lambda: (row for row in X), "is a generator; expected an array"),
    "dictionary": (lambda: {"a": [1]}, "is a dict; expected an array"),
    "text": (lambda: "iris", "is a str; expected an array"),
    "ragged": (lambda: [[1, 2], [3]], "list that cannot become one array .*same shape"),
    "structured": (lambda: np.zeros(150, "f8,f8"), r"structured .* fields \('f0', 'f1'\)"),
    "masked": (lambda: np.ma.masked_array(y, mask=y == 1), "has 50 masked entries"),
    "sparse tensor": (lambda: torch.tensor(X).to_sparse(), "cannot become an array.*Sparse"),
    "meta tensor": (lambda: torch.zeros(150, 4, device="meta"), "cannot become an array.*meta"),
}  # fmt: skip


@pytest.mark.parametrize("argument", ["X", "y", "sample_weight", "q_0", "classes"])
@pytest.mark.parametrize(("make", "message"), NO_ARRAYS.values(), ids=NO_ARRAYS)
def test_what_is_no_array_is_refused_rather_than_misread(
    table_model, refuse, argument, make, message
):
    def call(model):
        if argument in ("q_0", "classes"):
            model.fit_soft(**{"X": X, "q_0": np.eye(3)[y], "classes": [0, 1, 2], argument: make()})
        else:
            model.fit(**{"X": X, "y": y, argument: make()})

    refuse(table_model, X, call, f"^{argument} .*{message}")


WIDE_IMAGES = IMAGES.astype(np.longdouble)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (X.astype(complex), "Complex data not supported"),
        (np.full((150, 2), DAYS[0]), r"X has dtype datetime64\[D\]; expected numbers"),
        (np.full((150, 2), np.longdouble("1e4000")), "infinity"),
    ],
    ids=["complex", "dates", "too wide"],
)
def test_numbers_that_no_network_takes_are_refused(table_model, refuse, rows, message):
    refuse(table_model, X, lambda model: model.fit(rows, y), message)


@pytest.mark.parametrize(
    "rows", [WIDE_IMAGES, torch.tensor(IMAGES).bfloat16(), np.ma.masked_array(IMAGES)],
    ids=["long doubles", "bfloat16", "nothing masked"],
)  # fmt: skip
def test_numbers_of_other_widths_are_taken(quick, image_model, rows):
    expected = image_model.predict_proba(IMAGES)  # whose pixels are small integers
    np.testing.assert_allclose(image_model.predict_proba(rows), expected, atol=1e-6)
    assert quick().fit(rows, DIGITS).classes_.tolist() == list(range(10))


BAD_IMAGES = {
    "another size": (np.zeros((2, 9, 8)), r"rows of shape \(9, 8\).* expecting .*\(8, 8\)"),
    "colour": (np.zeros((2, 8, 8, 3)), r"rows of shape \(8, 8, 3\)"),
    "flattened": (np.zeros((2, 64)), r"rows of shape \(64,\)"),
    "one image": (IMAGES[0], r"rows of shape \(8,\)"),
    "NaN": (np.full((2, 8, 8), np.nan), "NaN"),
}


@pytest.mark.parametrize(("rows", "message"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_images_unlike_those_of_fit_are_refused(image_model, refuse, rows, message):
    refuse(image_model, IMAGES, lambda model: model.predict(rows), message)
    refuse(image_model, IMAGES, lambda model: model.partial_fit(rows, DIGITS[: len(rows)]), message)


def test_columns_unlike_those_of_fit_are_refused(table_model, refuse):
    refuse(table_model, X, lambda model: model.predict(X[:, :3]), "X has 3 features.*expecting 4")
    refuse(table_model, X, lambda model: model.predict(X[:, 0]), "Expected 2D array")


BAD_WEIGHTS = {
    "too few": (np.ones(9), r"shape.*\(9,\), expected \(150,\)"),
    "negative": (-np.ones(150), "Negative values"),
    "all zero": (np.zeros(150), "zero"),
    "NaN": (np.full(150, np.nan), "NaN"),
    "two axes": (np.ones((150, 2)), "must be 1D"),
    "too large": (np.full(150, 1e308), "sample_weight is as large as 1e.308, so that its sum"),
}


@pytest.mark.parametrize(("weight", "message"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_weights_that_weigh_nothing_are_refused(table_model, refuse, weight, message):
    refuse(table_model, X, lambda model: model.fit(X, y, sample_weight=weight), message)
    refuse(table_model, X, lambda model: model.partial_fit(X, y, sample_weight=weight), message)


BAD_LABELS = {
    "too few": (lambda model: model.fit(X, y[:-1]), r"inconsistent.*\[150, 149\]"),
    "continuous": (lambda model: model.fit(X, y + 0.5), "Unknown label type"),
    "NaN": (lambda model: model.fit(X, np.full(150, np.nan)), "y contains NaN"),
    "NaT": (lambda model: model.fit(X, np.where(y, DAYS[y], np.datetime64("NaT"))), "y .*NaT"),
    "None": (lambda model: model.fit(X, np.array(["a", None, "b"], object)[y]),
        "missing labels; leave out such rows"),
    "mixed": (lambda model: model.fit(X, np.array(["a", 1, 2], object)[y]), "all strings or all"),
    "bytes": (lambda model: model.fit(X, np.array([b"a", b"b", b"c"])[y]), r"y.astype\(str\)"),
    "long doubles": (lambda model: model.fit(X, y.astype(np.longdouble)), "y has dtype float"),
    "NaN among classes": (
        lambda model: model.partial_fit(X, y, classes=[0, 1, 2, np.nan]), "classes contains NaN"),
    "pairs": (lambda model: model.fit_soft(X, np.eye(3)[y], [(1, 2)] * 3), r"shape \(3, 2\)"),
    "none": (lambda model: model.fit(X, None), "y to be passed"),
    "a matrix": (lambda model: model.fit(X, np.eye(3)[y]), "1d array"),
    "unseen": (lambda model: model.partial_fit(X, y + 1), r"labels \[3\].*not in the classes"),
    "words": (lambda model: model.partial_fit(X, y.astype(str)), "not in the classes"),
    "other classes": (lambda model: model.partial_fit(X, y, classes=[0, 1]), "not the same as"),
    "unseen in y_val": (
        lambda model: model.fit(X[:100], y[:100], X_val=X, y_val=y), r"labels \[2\]"),
    "short y_val": (lambda model: model.fit(X, y, X_val=X, y_val=y[:9]), "inconsistent"),
    "y_val missing": (lambda model: model.fit(X, y, X_val=X), "pass both or neither"),
    "X_val missing": (lambda model: model.fit(X, y, y_val=y), "pass both or neither"),
    "X_val of another width": (
        lambda model: model.fit(X, y, X_val=X[:, :2], y_val=y), "X has 2 features"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_labels_that_do_not_fit_are_refused(table_model, refuse, call, message):
    refuse(table_model, X, call, message)


def test_the_first_partial_fit_needs_the_classes(quick):
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        quick().partial_fit(X, y)


def test_a_first_fit_that_fails_leaves_an_estimator_that_is_not_fitted(quick):
    model = quick(augment="shift")
    before = dict(vars(model))
    with pytest.raises(ValueError, match="X is a table"):
        model.fit(X, y)
    assert vars(model) == before


def test_a_warm_start_needs_the_same_classes(quick, refuse):
    model = quick(warm_start=True).fit(X, y)
    refuse(model, X, lambda model: model.fit(X[:100], y[:100]), "must stay those of the first fit")


BAD_SETTINGS = [
    ({"steps": 0}, "steps is 0; expected an integer >= 1"),
    ({"steps": 2.5}, "steps is 2.5"),
    ({"steps": True}, "steps is True"),
    ({"n_chains": 0}, "n_chains is 0"),
    ({"sampler": "mcmc"}, r"sampler is 'mcmc'; expected one of \('cp', 'cl'\)"),
    ({"solver": "rk4"}, "solver is 'rk4'; expected one of .*'euler'"),
    ({"label_rule": 3}, "label_rule is 3; expected one of .*'argmin'"),
    ({"conditioning": "all"}, "conditioning is 'all'; expected one of .*'head'"),
    ({"max_epochs": 0}, "max_epochs is 0; expected an integer >= 1 or 'auto'"),
    ({"batch_size": "all"}, "batch_size is 'all'"),
    ({"n_draws": -1}, "n_draws is -1"),
    ({"learning_rate": -0.1}, "learning_rate is -0.1; expected a number >= 0"),
    ({"weight_decay": np.nan}, "weight_decay is nan"),
    ({"temperature": -1}, "temperature is -1; expected a number > 0 or 'auto'"),
    ({"temperature": np.inf}, "temperature is inf"),
    ({"temperature": "hot"}, "temperature is 'hot'; expected a number >"),
    ({"n_iter_no_change": 0}, "n_iter_no_change is 0"),
    ({"validation_fraction": 1.0}, "validation_fraction is 1.0; expected a share"),
    ({"validation_fraction": "a tenth"}, "validation_fraction is 'a tenth'"),
    ({"callbacks": print}, "expected a list of callables"),
    ({"callbacks": [3]}, r"callbacks is \[3\]; expected a list of callables"),
    ({"device": None}, "device is None; expected 'auto' or a device"),
    ({"steps": 10**9}, "steps is 1000000000; expected an integer from 1 to 10000"),
    ({"n_chains": 10**9}, "n_chains is 1000000000 with 8 steps; expected at most 2097152"),
    ({"learning_rate": np.inf}, "learning_rate is inf; expected a number"),
    ({"mixup": np.inf}, "mixup is inf; expected a number"),
    ({"random_state": 2**40}, "random_state is 1099511627776; expected None, an integer from 0"),
    ({"random_state": -1}, "random_state is -1"),
    ({"random_state": "now"}, "random_state is 'now'"),
    ({"class_weight": "foo"}, "^class_weight is 'foo'; expected weights >= 0 in a dictionary"),
    ({"class_weight": {0: "a"}}, "class_weight is {0: 'a'}"),
    ({"class_weight": [1, 2, 3]}, r"class_weight is \[1, 2, 3\]"),
]
BAD_SETTINGS_OF_FIT = [
    ({"network": "resnet"}, "network is 'resnet'"),
    ({"network": "didirn-tiny"}, "use network='mlp'"),
    ({"network": 3}, "network is a int; expected one of"),
    ({"parameterization": "logits"}, "parameterization is 'logits'; expected one of"),
    ({"objective": "hinge"}, "objective is 'hinge'; expected one of"),
    (
        {"objective": "bayes_cross_entropy", "parameterization": "score"},
        "set parameterization='posterior'",
    ),
    ({"average": "some"}, "average is 'some'; expected True, False or 'auto'"),
    ({"ensemble": "no"}, "ensemble is 'no'; expected True, False or 'auto'"),
    ({"choose_epochs": "no"}, "choose_epochs is 'no'; expected True, False or 'auto'"),
    ({"mixup": -1}, "mixup is -1; expected a number >= 0 or 'auto'"),
    ({"schedule": "linear"}, "schedule is 'linear'; expected one of .*'loglinear'"),
    ({"times": "late"}, "times is 'late'; expected one of .*'log_odds'"),
    ({"schedule": 3}, "schedule is 3; expected .* or an object with the methods"),
    ({"rate_matrix": GENERATOR[:2, :2]}, "column|columns|sum"),
    ({"rate_matrix": [[-1, 1], [1, -1]]}, "rate_matrix is for 2 classes, but y has 3"),
    ({"rate_matrix": np.eye(3)}, "column 0 of rate_matrix sums to 1"),
    ({"backend": "abacus"}, r"'abacus' is not known; installed are \[.*'torch'"),
    ({"device": "abacus"}, "device is 'abacus', which torch cannot use here"),
    ({"precision": "float8"}, "precision is 'float8'; expected one of"),
    ({"augment": "shift"}, "X is a table; set augment=None"),
    ({"class_weight": "fair"}, "class_weight"),
    ({"class_weight": {0: -1.0, 1: 1.0, 2: 1.0}}, "class_weight is .*expected weights >= 0"),
    ({"class_weight": {0: 0.0, 1: 0.0, 2: 0.0}}, "one of them positive"),
    ({"class_weight": {"setosa": 2.0}}, "not in class_weight"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS + BAD_SETTINGS_OF_FIT)
def test_settings_that_mean_nothing_are_refused_by_fit(table_model, settings, message):
    kept = {name: getattr(table_model, name) for name in settings}
    before, p = dict(vars(table_model)), table_model.predict_proba(X)
    try:
        with pytest.raises(ValueError, match=message) as caught:
            table_model.set_params(**settings).fit(X, y)
    finally:
        table_model.set_params(**kept)
    assert vars(table_model) == before
    np.testing.assert_array_equal(table_model.predict_proba(X), p)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS)
def test_settings_that_mean_nothing_are_refused_by_predict(quick, settings, message):
    model = quick().fit(X, y).set_params(**settings)
    with pytest.raises(ValueError, match=message):
        model.predict(X)


def test_integers_and_numbers_of_numpy_are_numbers(quick):
    settings = {"steps": np.int64(2), "learning_rate": np.float32(0.01), "batch_size": np.uint8(9)}
    assert quick(**settings, validation_fraction=np.float32(0.2)).fit(X, y).n_iter_ == 2


def test_a_schedule_may_be_an_object(quick):
    by_name, by_object = (quick(schedule=s).fit(X, y) for s in ("cosine", Cosine()))
    np.testing.assert_array_equal(by_name.predict_proba(X), by_object.predict_proba(X))


UNUSUAL = {
    "negative strides": IMAGES[:, ::-1].copy()[:, ::-1],
    "big-endian integers": IMAGES.astype(">u2"),
    "big-endian floats": IMAGES.astype(">f4"),
    "half floats": IMAGES.astype(np.float16),
    "long integers": IMAGES.astype(np.int64),
    "lists": IMAGES.tolist(),
    "objects": IMAGES.astype(object),
    "Fortran order": np.asfortranarray(IMAGES),
    "read-only": np.broadcast_to(IMAGES, (1, *IMAGES.shape))[0],
}


@pytest.mark.parametrize("rows", UNUSUAL.values(), ids=UNUSUAL)
def test_images_of_any_layout_and_type_give_the_same_answer(quick, image_model, rows):
    expected = image_model.predict_proba(IMAGES)
    np.testing.assert_allclose(image_model.predict_proba(rows), expected, atol=1e-6)
    again = quick().fit(rows, DIGITS)
    np.testing.assert_allclose(again.predict_proba(IMAGES), expected, atol=1e-3)


def test_tensors_of_images_are_arrays_too(quick):
    expected = quick().fit(IMAGES, DIGITS).predict_proba(IMAGES)
    model = quick().fit(torch.tensor(IMAGES), torch.tensor(DIGITS))
    np.testing.assert_array_equal(model.predict_proba(torch.tensor(IMAGES)), expected)
    with pytest.raises(ValueError, match="looks like channels first.*Transpose"):
        quick().fit(torch.zeros(4, 3, 8, 8), [0, 1, 0, 1])


def test_moments_are_those_of_the_repeated_rows(rng):
    times = rng.integers(1, 4, 60)
    colour = rng.random((60, 8, 8, 3))
    mean, scale = check.moments(colour, times.astype(float))
    repeated = np.repeat(colour, times, axis=0)
    np.testing.assert_allclose(mean, repeated.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(scale, repeated.std(axis=(0, 1, 2)), rtol=1e-12)
    mean, scale = check.moments(np.c_[X, np.full(150, 3.0)], np.ones(150))
    np.testing.assert_allclose(mean, [*X.mean(axis=0), 3.0], rtol=1e-12)
    np.testing.assert_allclose(scale, [*X.std(axis=0), 1.0], rtol=1e-12)


@pytest.mark.parametrize(
    ("classes", "label"), [(["a", "b"], 0), ([0, 1], "0"), ([0.0, 1.0], 2), ([False, True], 2)]
)
def test_a_label_of_another_kind_is_unknown(classes, label):
    with pytest.raises(ValueError, match=f"{label!r}.*not in the classes"):
        check.encode_labels(np.array([label]), np.array(classes, dtype=object))


def test_a_label_of_another_unit_of_time_is_known():
    index = check.encode_labels(DAYS.astype("M8[ns]")[::-1], DAYS)
    assert index.tolist() == [2, 1, 0]
    with pytest.raises(ValueError, match="not in the classes"):
        check.encode_labels(DAYS.astype("M8[s]") + np.timedelta64(1, "s"), DAYS)


def test_a_dictionary_weighs_the_classes_that_it_names():
    weights = check.class_weights({"b": 3.0}, np.array(["a", "b"]), np.eye(2), np.ones(2))
    assert weights.tolist() == [1.0, 3.0]


def test_classes_that_no_file_may_hold_are_refused():
    with pytest.raises(ValueError, match=r"4 classes take 320 MB .*<U20000000.* dtype=object"):
        check.check_class_size(np.zeros(4, dtype="U20000000"))


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()], ids=["standard", "0 to 1"])
@pytest.mark.parametrize("load", [load_iris, load_wine], ids=["iris", "wine"])
def test_validation_rows_that_were_not_scaled_are_noticed(load, scaler):
    table = load().data
    with pytest.warns(UserWarning, match="X_val is in other units than X: its column .* median"):
        check.warn_of_other_units(table[1::2], scaler.fit_transform(table[::2]))
    with pytest.warns(UserWarning, match="other units"):
        check.warn_of_other_units(scaler.transform(table[1::2]), table[::2])
    check.warn_of_other_units(scaler.transform(table[1::2]), scaler.transform(table[::2]))


def test_validation_pixels_that_were_not_scaled_are_noticed(quick):
    bytes_ = (16 * IMAGES).astype(np.uint8)
    with pytest.warns(UserWarning, match="its pixels have the mean .*transform_input"):
        quick(max_epochs=1).fit(IMAGES / 16, DIGITS, X_val=bytes_, y_val=DIGITS)


@pytest.mark.parametrize("load", [load_iris, load_wine], ids=["iris", "wine"])
def test_ordinary_validation_rows_give_no_warning(load, rng):
    """Small random parts, and parts that are later in the order of any column."""
    table = load().data
    for _ in range(50):
        rows = rng.permutation(table)
        check.warn_of_other_units(rows[:10], rows[10:30])
    for column in range(table.shape[1]):
        rows = table[np.argsort(table[:, column])]
        check.warn_of_other_units(rows[100:], rows[:100])


def test_years_and_running_numbers_of_a_later_period_give_no_warning(rng):
    year = np.repeat(np.arange(2000, 2020), 10)
    table = np.column_stack([year, np.arange(200), rng.normal(size=(200, 3))])
    check.warn_of_other_units(table[150:], table[:150])
    check.warn_of_other_units(np.zeros((20, 2)) + 7, np.zeros((20, 2)))  # constants have no range


@pytest.mark.parametrize(
    ("dtype", "kind"), [("Int64", "i"), ("boolean", "b"), ("UInt8", "u"), ("int64[pyarrow]", "i")]
)
def test_nullable_labels_stay_what_they_are(dtype, kind):
    pd = pytest.importorskip("pandas")
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    labels = pd.Series([1, 0, 1], dtype=dtype)
    assert check.check_labels(labels).dtype.kind == kind
    labels[0] = pd.NA
    with pytest.raises(ValueError, match="in 1 of 3 rows"):
        check.check_labels(labels)
