"""A messy table, from the file to the answer."""

from types import SimpleNamespace

import numpy as np
import pytest

from skdidicm import DiDiClassifier
from skdidicm.saving import run_folder

pd = pytest.importorskip("pandas")
pytest.importorskip("torch")

TINY = ("--epochs", "2", "--steps", "2", "--n-draws", "1")


def messy(n=60):
    rng = np.random.default_rng(0)
    age = rng.normal(40, 10, n).round(1)
    city = rng.choice(["Lyon", "Paris"], n).astype(object)
    frame = pd.DataFrame({
        "id": [f"p{i}" for i in range(n)],
        "age": np.where(np.arange(n) % 7 == 0, np.nan, age),
        "zip": [f"0{i % 4}" for i in range(n)],
        "city": np.where(np.arange(n) % 11 == 0, None, city),
        "ok": [[True, False, None][i % 3] for i in range(n)],
        "kind": np.where(city == "Lyon", "yes", "no"),
    })  # fmt: skip
    frame.loc[n - 1, "kind"] = None
    return frame


@pytest.fixture(scope="module")
def run(cli, tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    messy().to_csv(folder / "messy.csv", index=False)
    arguments = ("train", "table", folder / "messy.csv", "--target", "kind", "--category", "zip")
    result = cli(*arguments, *TINY, "--drop", "id", "--output", folder / "run")
    assert result.code == 0, result.err
    return SimpleNamespace(folder=folder / "run", file=folder / "messy.csv", out=result.out)


def test_it_says_what_every_column_is_taken_for(run):
    lines = {
        line.split()[0]: " ".join(line.split()[1:]) for line in run.out.splitlines() if line.split()
    }
    train = run_folder.load_data(run_folder.read_record(run.folder).dataset).X_train
    assert lines["age"] == f"number, {train.age.isna().sum()} gaps"
    assert lines["zip"] == "category of 4 levels"
    assert lines["city"] == f"category of 2 levels, {train.city.isna().sum()} gaps"
    assert lines["ok"] == f"boolean, {train.ok.isna().sum()} gaps"
    assert "id" not in lines
    assert "kind" not in lines


def test_the_figures_stand_beside_those_of_the_class_prior(run):
    record = run_folder.read_record(run.folder)
    split = run_folder.load_data(record.dataset)
    shares = {label: np.mean(split.y_train == label) for label in ("no", "yes")}
    nll = -np.mean([np.log(shares[label]) for label in split.y_test])
    assert record.metrics["prior_nll"] == pytest.approx(nll)
    model = DiDiClassifier.load(run.folder / "model.skd")
    assert model.classes_.tolist() == ["no", "yes"]
    p = model.predict_proba(split.X_test)
    assert record.metrics["accuracy"] == np.mean(model.classes_[p.argmax(axis=1)] == split.y_test)
    assert "Class prior" in run.out
    assert f"{nll:.3f} nats" in run.out
    assert "messy.csv, 12 test rows" in run.out
    assert (record.n_train, record.n_test) == (47, 12)


@pytest.mark.parametrize("kind", ["whole", "without target", "other order", "parquet"])
def test_predict_takes_the_same_file(cli, run, tmp_path, read_json, kind):
    frame = messy()
    model = DiDiClassifier.load(run.folder / "model.skd")
    expected = model.predict_proba(frame[["age", "zip", "city", "ok"]])
    file = tmp_path / "rows.csv"
    if kind == "without target":
        frame = frame.drop(columns=["kind", "id"])
    elif kind == "other order":
        frame = frame[frame.columns[::-1]]
    if kind == "parquet":
        pytest.importorskip("pyarrow")
        file = tmp_path / "rows.parquet"
        frame.to_parquet(file)
    else:
        frame.to_csv(file, index=False)
    result = cli("predict", run.folder, file, "--json")
    assert result.code == 0, result.err
    rows = [
        {found["class"]: found["probability"] for found in row["classes"]}
        for row in read_json(result.out)["predictions"]
    ]
    found = [[row["no"], row["yes"]] for row in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_predict_names_what_is_missing(cli, run, tmp_path):
    file = tmp_path / "rows.csv"
    messy().drop(columns=["age", "ok"]).to_csv(file, index=False)
    result = cli("predict", run.folder, file)
    assert (result.code, result.out) == (1, "")
    assert f"Error: {file} lacks the columns age, ok, which the model takes" in result.err
    messy().assign(age="old").to_csv(file, index=False)
    result = cli("predict", run.folder, file)
    assert result.code == 1
    assert "column 'age' of X holds text ('old'), but numbers in fit" in result.err


def test_evaluate_and_report_read_the_file_again(cli, run, tmp_path, read_json):
    metrics = run_folder.read_record(run.folder).metrics
    found = read_json(cli("evaluate", run.folder, "--json").out)["metrics"]
    assert found["nll"] == pytest.approx(metrics["nll"], rel=1e-6)
    moved = run.file.rename(tmp_path / "moved.csv")
    try:
        found = read_json(cli("evaluate", run.folder, "--data", moved, "--json").out)["metrics"]
    finally:
        moved.rename(run.file)
    assert found["nll"] == pytest.approx(metrics["nll"], rel=1e-6)
    pytest.importorskip("jinja2")
    result = cli("report", run.folder, "--output", tmp_path / "report.html")
    assert result.code == 0, result.err
    assert "messy.csv" in (tmp_path / "report.html").read_text()


def test_json_holds_the_columns_and_nothing_else_is_printed(cli, run, tmp_path, read_json):
    options = ("--target", "kind", "--drop", "id", "--output", tmp_path / "run", "--json")
    content = read_json(cli("train", "table", run.file, *options, *TINY).out)
    assert content["columns"]["zip"] == "category of 4 levels"  # since it has 00
    assert content["dataset"]["target"] == "kind"


def test_a_bad_table_leaves_nothing_behind(cli, run, tmp_path):
    output = tmp_path / "run"
    result = cli("train", "table", run.file, "--target", "sort", "--output", output)
    assert result.code == 1
    assert "has no column 'sort'; its columns are id, age, zip, city, ok, kind." in result.err
    assert not output.exists()
    result = cli("train", "table", tmp_path / "none.csv", "--target", "a", "--output", output)
    assert result.code == 1
    assert "none.csv: no such file" in result.err


def test_a_table_in_place_of_a_command_says_which_one_works(cli):
    result = cli("train", "messy.csv")
    assert result.code == 2
    text = " ".join(result.err.replace("│", " ").split())
    assert "messy.csv is a table; train on it with: skdidicm train table messy.csv --target" in text


def test_a_model_without_a_run_predicts_a_file_with_gaps(cli, tmp_path, read_json):
    frame = messy()
    X, y = frame[["age", "city"]], frame.kind.fillna("no")
    model = DiDiClassifier(max_epochs=2, random_state=0).fit(X, y)
    model.save(tmp_path / "model.skd")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    result = cli("predict", tmp_path / "model.skd", tmp_path / "rows.csv", "--json")
    assert result.code == 0, result.err
    best = [row["classes"][0]["probability"] for row in read_json(result.out)["predictions"]]
    assert best == pytest.approx(model.predict_proba(X).max(axis=1))


def test_columns_of_no_use_are_told_without_warnings(cli, tmp_path):
    frame = messy().assign(row=range(60), same=1, town="Rome", nothing=None)
    frame.to_csv(tmp_path / "messy.csv", index=False)
    result = cli(
        "train", "table", tmp_path / "messy.csv", "--target", "kind", *TINY,
        "--output", tmp_path / "run",
    )  # fmt: skip
    lines = {line.split()[0]: line for line in result.out.splitlines() if line.split()}
    for name, words in {
        "id": "text, 47 different: of no use", "row": "number, another in every row",
        "town": "constant: of no use",
        "same": "constant: of no use", "nothing": "empty", "zip": "category of 4 levels",
    }.items():  # fmt: skip
        assert words in lines[name]
    assert "Warning" not in result.err


def test_a_table_without_rows_is_refused(cli, run, tmp_path):
    messy()[:0].to_csv(tmp_path / "none.csv", index=False)
    result = cli("predict", run.folder, tmp_path / "none.csv")
    assert result.code
    assert "none.csv has no rows" in result.err


def test_info_says_what_the_columns_are_taken_for(cli, run, read_json):
    columns = read_json(cli("info", run.folder, "--json").out)["columns"]
    assert columns == {
        "age": "number with gaps",
        "zip": "category of 4 levels",
        "city": "category of 2 levels",
        "ok": "number with gaps",
    }
    assert "number with gaps" in cli("info", run.folder).out
