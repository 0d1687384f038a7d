"""Gaps and categories: each column becomes the numbers that a reader of the table would expect."""

import pickle
from decimal import Decimal

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.impute import SimpleImputer
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skdidicm.fit.columns import (
    MAX_LEVELS,
    Columns,
    Values,
    encode,
    find_categories,
    learn_columns,
    read_values,
)

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pytest.importorskip("torch")

N = 60
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({
    "age": np.where(np.arange(N) % 9 == 0, np.nan, RNG.normal(40, 10, N)),
    "city": RNG.choice(["Lyon", "Paris", "Rome"], N),
    "member": RNG.random(N) > 0.5,
    "children": pd.array([pd.NA, *RNG.integers(0, 4, N - 1)], dtype="Int64"),
    "grade": pd.Categorical(RNG.integers(1, 4, N)),
})  # fmt: skip
FRAME.loc[5, "city"] = None
FRAME.loc[6, "city"] = "Oslo"  # rare
Y = (FRAME.city == "Lyon").to_numpy().astype(int)
CELLS = [[None if pd.isna(cell) else cell for cell in row] for row in FRAME.to_numpy(object)]
POLARS = pl.DataFrame({
    "age": [row[0] for row in CELLS],
    "city": [row[1] for row in CELLS],
    "member": FRAME.member.tolist(),
    "children": [row[3] for row in CELLS],
    "grade": pl.Series([str(grade) for grade in FRAME.grade]).cast(pl.Categorical),
})  # fmt: skip


@pytest.fixture(scope="module")
def model(quick):
    return quick().fit(FRAME, Y)


def inputs(model, X):
    """Return what the networks of a model receive."""
    return model._check_rows(X, expected=model.input_shape_)


def test_the_network_receives_what_scikit_learn_makes_of_the_columns(model):
    numbers = ["age", "member", "children"]
    others = make_column_transformer(
        (SimpleImputer(add_indicator=True), numbers),
        (OneHotEncoder(sparse_output=False, min_frequency=2, handle_unknown="ignore"), ["grade"]),
    ).fit_transform(FRAME)
    found = inputs(model, FRAME)
    city = found[:, 2:7]
    expected = [*FRAME.city.map({"Lyon": 0, "Paris": 1, "Rome": 2, "Oslo": 3}).fillna(4)]
    np.testing.assert_array_equal(city.argmax(axis=1), expected)
    np.testing.assert_array_equal(city.sum(axis=1), 1)
    # age, member, children, their two indicators, three grades
    np.testing.assert_allclose(found[:, [0, 7, 8, 1, 9, 10, 11, 12]], others)
    assert model.network_.config.input_shape == (13,)
    assert (model.n_features_in_, model.input_shape_) == (5, (5,))
    assert model.feature_names_in_.tolist() == list(FRAME)


@pytest.mark.parametrize(
    "same",
    [POLARS, FRAME.to_numpy(object), np.array(CELLS, object),
     FRAME.astype({"city": "string", "member": "boolean", "grade": float}),
     FRAME.astype({"city": "category", "member": object, "age": "Float32"}).astype({"age": float})],
    ids=["polars", "array", "array with None", "other types", "categories"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_other_ways_to_write_the_same_table_have_the_same_answer(model, same):
    np.testing.assert_allclose(inputs(model, same), inputs(model, FRAME), rtol=1e-6)


@pytest.mark.parametrize("gap", [pd.NA, pd.NaT, None], ids=["NA", "NaT", "None"])
def test_every_gap_of_an_array_of_objects_is_nan(quick, gap):
    X = np.ascontiguousarray(FRAME[["age", "children"]].to_numpy(float, na_value=np.nan))
    objects = X.astype(object)
    objects[np.isnan(X)] = gap
    found = quick().fit(objects, Y)
    assert found.columns_.gaps == (0, 1)
    np.testing.assert_array_equal(found.predict_proba(objects), quick().fit(X, Y).predict_proba(X))
    np.testing.assert_array_equal(found.predict_proba(objects.tolist()), found.predict_proba(X))


def test_an_array_with_chosen_categories_learns_the_same(quick, model):
    array = FRAME.to_numpy(object)
    other = quick(categorical_features=[1, 4]).fit(array, Y)
    np.testing.assert_array_equal(other.predict_proba(array), model.predict_proba(FRAME))
    mask = quick(categorical_features=[False, True, False, False, True]).fit(array, Y)
    np.testing.assert_array_equal(mask.predict_proba(array), model.predict_proba(FRAME))


@pytest.mark.parametrize("frame", [FRAME, POLARS], ids=["pandas", "polars"])
def test_categories_are_found_by_type_or_by_name(frame):
    assert find_categories(frame, "from_dtype") == {1, 4}
    assert find_categories(frame, ["city"]) == {1}
    assert find_categories(frame, None) == find_categories(frame, []) == frozenset()
    assert find_categories(frame.to_numpy(), "from_dtype") == frozenset()


def test_a_table_without_gaps_and_categories_reaches_the_network_unchanged(quick):
    X, y = load_iris(return_X_y=True)
    values = Values(X)
    assert encode(values, learn_columns(values)) is X
    model = quick().fit(X, y)
    assert model.columns_.plain
    frame = pd.DataFrame(X).astype({0: "float32"}).astype({0: "float64"})
    frame.columns = list("abcd")
    np.testing.assert_array_equal(quick().fit(frame, y).predict_proba(frame).shape, (150, 3))


def test_a_gap_that_training_did_not_have_is_the_mean(quick):
    X, y = load_iris(return_X_y=True)
    model = quick().fit(X, y)
    gap, mean = X[:5].copy(), X[:5].copy()
    gap[:, 2], mean[:, 2] = np.nan, X[:, 2].mean()
    np.testing.assert_allclose(model.predict_proba(gap), model.predict_proba(mean), rtol=1e-5)


def test_unseen_levels_are_one_level_of_their_own(model):
    unseen = FRAME.assign(city="Bern", grade=7)
    found = inputs(model, unseen)
    np.testing.assert_array_equal(found[:, 2:7], np.tile([0, 0, 0, 1, 0], (N, 1)))  # as Oslo
    np.testing.assert_array_equal(found[:, 10:], 0)  # no grade was rare
    np.testing.assert_array_equal(found, inputs(model, FRAME.assign(city="Rom", grade="?")))


def test_levels_have_a_bound_and_the_frequent_ones_stay():
    texts = [f"level {i:03}" for i in range(300) for _ in range(2 + (i >= 200))] + ["once"]
    (category,) = learn_columns(Values(np.zeros((len(texts), 1)), {0: texts})).categories.values()
    assert category.levels == tuple(f"level {i:03}" for i in range(200, 300))
    assert (len(category.levels), category.other, category.missing) == (MAX_LEVELS, True, False)


def test_a_column_of_names_tells_nothing():
    texts = [str(i) for i in range(9)]
    values = Values(np.zeros((9, 1)), {0: texts})
    np.testing.assert_array_equal(encode(values, learn_columns(values)), 1)


def test_a_column_of_gaps_only_is_taken():
    values = Values(np.full((3, 1), np.nan))
    np.testing.assert_array_equal(encode(values, learn_columns(values)), [[0, 1]] * 3)


def test_decimals_are_numbers():
    column = [Decimal("1.5"), None]
    for frame in (pd.DataFrame({"a": column}), pl.DataFrame({"a": column})):
        np.testing.assert_array_equal(
            read_values(frame, (), in_fit=True).numbers, [[1.5], [np.nan]]
        )


def test_the_columns_stay_those_of_the_first_fit(quick):
    first, rest = FRAME[:30], FRAME[30:].assign(city="Bern")
    model = quick().partial_fit(first, Y[:30], classes=[0, 1])
    columns = model.columns_
    assert model.partial_fit(rest, Y[30:]).columns_ is columns
    assert model.set_params(warm_start=True).fit(rest, Y[30:]).columns_ is columns
    refit = model.set_params(warm_start=False).fit(rest, Y[30:])
    assert refit.columns_.categories[1].levels == ("Bern",)
    assert not hasattr(clone(refit), "columns_")


def test_validation_rows_go_through_the_same_step(quick):
    other = FRAME.assign(city="Bern", member=None).iloc[::-1]
    model = quick().fit(FRAME, Y, X_val=other, y_val=Y[::-1])
    p = model.predict_proba(other)
    accuracy = (p.argmax(axis=1) == Y[::-1]).mean()
    assert model.history_[-1]["val_accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_callbacks_can_predict_the_rows_that_they_are_given(quick, early_stopping):
    callback = pytest.importorskip("sklearn.callback")
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model = quick(early_stopping=early_stopping).set_callbacks(monitor).fit(FRAME, Y)
    scores = [row["accuracy"] for row in monitor.get_logs().data if "accuracy" in row]
    assert len(scores) >= len(model.history_)
    if not early_stopping:
        assert scores[-1] == model.score(FRAME, Y)


def test_a_column_of_validation_rows_in_other_units_is_named(quick):
    other = FRAME.assign(age=FRAME.age / 100, children=FRAME.children * 1000)
    with pytest.warns(UserWarning, match="its column 'children' has the median"):
        quick().fit(FRAME, Y, X_val=other, y_val=Y)
    assert learn_columns(
        Values(np.array([[np.nan, 0, 1], [2, 0, 3]]), {1: ["a", "a"]})
    ).sources == [0, 0, 1, 2]


def test_a_failed_fit_keeps_the_columns(quick):
    model = quick().fit(FRAME, Y)
    columns, p = model.columns_, model.predict_proba(FRAME)
    with pytest.raises(ValueError, match="holds dates"):
        model.fit(FRAME.assign(day=pd.Timestamp("2024-02-29")), Y)
    assert model.columns_ is columns
    np.testing.assert_array_equal(model.predict_proba(FRAME), p)


@pytest.mark.parametrize("X", [FRAME, FRAME[["age"]]], ids=["mixed", "gaps"])
def test_one_file_and_a_pickle_hold_the_columns(quick, tmp_path, X):
    model = quick().fit(X, Y)
    model.set_params(categorical_features=np.array([0]))  # which JSON does not have
    model.save(tmp_path / "model.skd")
    for again in (type(model).load(tmp_path / "model.skd"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
        assert again.n_features_in_ == X.shape[1]
        again.partial_fit(X, Y)


DAY = pd.Timestamp("2024-02-29")
BAD_COLUMNS = {
    "dates": (FRAME.assign(born=DAY), {}, "column 'born' of X holds dates .*year"),
    "complex": (FRAME.assign(z=1j), {}, "column 'z' of X holds values of type complex"),
    "dates with a zone": (FRAME.assign(born=DAY.tz_localize("UTC")), {}, "'born'.*dates"),
    "dates among objects": (FRAME.assign(born=DAY).astype({"born": object}), {}, "'born'.*dates"),
    "durations": (FRAME.assign(took=pd.Timedelta("1h")), {}, "'took'.* dates or durations"),
    "polars dates": (POLARS.with_columns(born=pl.lit(DAY)), {}, "column 'born' .*dates"),
    "text and numbers": (FRAME.assign(age=["old", *range(N - 1)]), {},
        "column 'age' of X holds text \\('old'\\) and other values; .*to_numeric"),
    "text in an array": (FRAME.to_numpy(object), {},
        "column 1 of X holds text .*data frame or categorical_features=\\[1\\]"),
    "text and NA in an array": (np.array([["old", pd.NA], [1, 2]] * (N // 2), object), {},
        "column 0 of X holds text \\('old'\\)"),
    "text that is not chosen": (FRAME, {"categorical_features": ["grade"]},
        "column 'city' of X holds text .*categorical_features=\\['city'\\]"),
    "dates as text": (FRAME.assign(born="29/02/2024"), {}, "dates as text \\('29/02/2024'"),
    "ISO dates as text": (POLARS.with_columns(born=pl.lit("2024-02-29 10:15")), {},
        "'born' .*dates as text"),
    "one name twice": (pd.concat([FRAME, FRAME[["age"]]], axis=1), {},
        "several columns with the name 'age'"),
    "no columns": (FRAME[[]], {}, "X has no columns"),
    "infinity": (FRAME.assign(age=-np.inf), {}, "column 'age' of X contains infinity"),
    "infinity among numbers": (FRAME[["age"]].fillna(np.inf), {}, "'age' of X contains infinity"),
    "one row": (FRAME.iloc[0], {}, "Expected 2D array"),
    "lists": (FRAME.assign(age=[[1]] * N), {}, "column 'age' .*type list; expected numbers"),
    "unknown name": (FRAME, {"categorical_features": ["town"]}, "categorical_features is.*names"),
    "unknown place": (FRAME, {"categorical_features": [9]}, "categorical_features is.*places"),
    "no such choice": (FRAME, {"categorical_features": "auto"}, "expected one of \\('from_dtype'"),
}  # fmt: skip


@pytest.mark.parametrize(("X", "parameters", "message"), BAD_COLUMNS.values(), ids=BAD_COLUMNS)
def test_what_is_neither_number_nor_category_is_named_with_a_cure(quick, X, parameters, message):
    with pytest.raises(ValueError, match=message) as caught:
        quick(**parameters).fit(X, Y)
    assert "\n" not in str(caught.value)


def test_text_in_place_of_numbers_is_named_at_prediction(model):
    with pytest.raises(ValueError, match=r"column 'age' .*text \('old'\), but numbers in fit"):
        model.predict(FRAME.assign(age="old"))


def test_the_cell_that_is_no_number_is_shown(model):
    with pytest.raises(ValueError, match=r"column 'age' .*text \('old'\)"):
        model.predict(FRAME.assign(age=["20", "old"] * (N // 2)))


@pytest.mark.parametrize("frame", [FRAME, POLARS], ids=["pandas", "polars"])
def test_text_that_teaches_nothing_is_told(quick, frame):
    names, ages = [f"no {i}" for i in range(N)], [str(i % 30) for i in range(N)]
    codes = [f"0{i % 9}" for i in range(N)]
    texts = {"name": names, "years": ages, "code": codes}
    if frame is FRAME:
        frame = frame.assign(**texts)
    else:
        frame = frame.with_columns(**{name: pl.Series(values) for name, values in texts.items()})
    with pytest.warns(UserWarning, match="column .* of X holds") as caught:
        quick().fit(frame, Y)
    told = [str(warning.message) for warning in caught]
    assert len(told) == 2
    assert any("'name' of X holds text ('no 0') that does not repeat" in line for line in told)
    assert any("'years' of X holds numbers as text ('0')" in line for line in told)
    chosen = ["city", "grade", "name", "years", "code"]
    quick(categorical_features=chosen).fit(frame, Y)  # without a warning, which would be an error


def test_frames_work_in_pipelines_and_in_cross_validation(quick):
    X = FRAME.assign(zip=pd.Categorical(np.arange(N) % 7))
    scaled = make_column_transformer(
        (StandardScaler(), ["age"]), remainder="passthrough", verbose_feature_names_out=False
    ).set_output(transform="pandas")
    pipeline = make_pipeline(scaled, quick()).fit(X, Y)
    assert set(pipeline[-1].feature_names_in_) == set(X)
    assert len(pipeline[-1].columns_.categories) == 3
    for frame in (X, POLARS):
        assert cross_val_predict(quick(), frame, Y, cv=2, method="predict_proba").shape == (N, 2)


def test_infinity_is_no_gap(model):
    with pytest.raises(ValueError, match="infinity"):
        model.predict(FRAME.assign(age=np.inf))


def test_columns_of_a_file_must_fit_its_network(model):
    from skdidicm.saving.json_values import read_columns, write_columns

    columns: Columns = model.columns_
    saved = write_columns(columns)
    assert read_columns(saved, columns.fill, (13,)).categories == columns.categories
    for damage in (
        {"gaps": [0, 0]}, {"gaps": [1]}, {"gaps": [9]}, {"gaps": [True]}, {"gaps": []},
        {"categories": []}, {"categories": saved["categories"][:1] * 2},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="columns"):
            read_columns(saved | damage, columns.fill, (13,))
    with pytest.raises(ValueError, match="columns"):
        read_columns(saved, np.full(5, np.nan), (13,))
