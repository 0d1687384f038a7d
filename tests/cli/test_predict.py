import csv
import io
import json
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_digits_split


@pytest.fixture(scope="session")
def images():
    return load_digits_split(3).X_test[:3]


@pytest.fixture(scope="session")
def proba(digits_run, images):
    return DiDiClassifier.load(digits_run.folder / "model.skd").predict_proba(images)


@pytest.fixture
def rows_file(tmp_path, images):
    np.save(tmp_path / "rows.npy", images)
    return tmp_path / "rows.npy"


def as_matrix(predictions):
    """The probabilities by class of JSON rows, where all ten classes were asked for."""
    return [
        [found["probability"] for found in sorted(row["classes"], key=lambda c: int(c["class"]))]
        for row in predictions
    ]


def test_probabilities_are_those_of_the_classifier(cli, digits_run, rows_file, read_json, proba):
    result = cli("predict", digits_run.folder, rows_file, "--top", "10", "--json")
    predictions = read_json(result.out)["predictions"]
    np.testing.assert_allclose(as_matrix(predictions), proba, rtol=1e-5)
    assert [(row["file"], row["row"]) for row in predictions] == [
        (str(rows_file), i) for i in range(3)
    ]


def test_the_likeliest_classes_come_first(cli, digits_run, rows_file, read_json, proba):
    result = cli("predict", digits_run.folder, rows_file, "--top", "2", "--format", "json")
    for row, p in zip(read_json(result.out)["predictions"], proba, strict=True):
        assert [int(found["class"]) for found in row["classes"]] == np.argsort(-p)[:2].tolist()


def test_csv_has_a_line_for_every_class(cli, digits_run, rows_file, proba):
    result = cli("predict", digits_run.folder, rows_file, "--top", "3", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(result.out)))
    assert len(lines) == 9
    assert [line["rank"] for line in lines[:3]] == ["1", "2", "3"]
    assert float(lines[3]["probability"]) == pytest.approx(proba[1].max(), rel=1e-5)
    assert int(lines[3]["class"]) == proba[1].argmax()


def test_the_table_has_a_line_for_every_row(cli, digits_run, rows_file, proba):
    result = cli("predict", digits_run.folder, rows_file, "--top", "2")
    lines = [line for line in result.out.splitlines() if str(rows_file) in line]
    assert len(lines) == 3
    for line, p in zip(lines, proba, strict=True):
        first, second = np.argsort(-p)[:2]
        shown = [str(first), f"{100 * p[first]:.1f}%", str(second), f"{100 * p[second]:.1f}%"]
        assert line.split()[2:] == shown


@pytest.mark.parametrize("header", ["", ",".join(f"pixel{i}" for i in range(64)) + "\n"])
def test_a_csv_table_of_pixels_is_read(cli, digits_run, tmp_path, images, read_json, proba, header):
    text = "\n".join(",".join(map(str, row)) for row in images.reshape(3, 64).tolist())
    (tmp_path / "rows.csv").write_text(header + text + "\n\n")
    result = cli("predict", digits_run.folder, tmp_path / "rows.csv", "--top", "10", "--json")
    np.testing.assert_allclose(as_matrix(read_json(result.out)["predictions"]), proba, rtol=1e-5)


def test_one_row_alone_is_read(cli, digits_run, tmp_path, images, read_json):
    np.save(tmp_path / "one.npy", images[0])
    np.save(tmp_path / "flat.npy", images[0].ravel())
    result = cli(
        "predict", digits_run.folder, tmp_path / "one.npy", tmp_path / "flat.npy", "--json"
    )
    one, flat = read_json(result.out)["predictions"]
    assert one["classes"] == flat["classes"]


def test_pictures_are_predicted_as_their_pixels(
    cli, digits_run, tmp_path, images, read_json, proba
):
    image = pytest.importorskip("PIL.Image")
    paths = []
    for i, mode in enumerate(["L", "RGB", "P"]):
        paths.append(tmp_path / f"{mode}.png")
        image.fromarray(images[i]).convert(mode).save(paths[-1])
    result = cli("predict", digits_run.folder, *paths, "--top", "10", "--json")
    np.testing.assert_allclose(as_matrix(read_json(result.out)["predictions"]), proba, rtol=1e-5)


def test_large_pictures_are_shrunk_by_averaging(
    cli, digits_run, tmp_path, images, read_json, proba
):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(images[0].repeat(16, axis=0).repeat(16, axis=1)).save(tmp_path / "large.png")
    result = cli("predict", digits_run.folder, tmp_path / "large.png", "--top", "10", "--json")
    found = as_matrix(read_json(result.out)["predictions"])
    np.testing.assert_allclose(found, proba[:1], rtol=1e-5)


def test_pictures_are_scaled_as_in_training(cli, fashion_run, tmp_path, read_json):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(1).integers(0, 256, (28, 28), dtype=np.uint8)
    image.fromarray(pixels).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", (pixels / 255).astype(np.float32))
    arguments = ("predict", fashion_run.folder, tmp_path / "a.png", tmp_path / "a.npy")
    picture, array = read_json(cli(*arguments, "--json").out)["predictions"]
    assert picture["classes"] == array["classes"]
    shutil.copy(fashion_run.folder / "model.skd", tmp_path)
    alone = ("predict", tmp_path / "model.skd", *arguments[2:], "--pixel-max", "1", "--json")
    assert read_json(cli(*alone).out)["predictions"][0]["classes"] != []
    p = [found["probability"] for found in read_json(cli(*alone).out)["predictions"][0]["classes"]]
    assert p == [found["probability"] for found in picture["classes"]]


def test_classes_have_the_names_of_the_data_set(cli, fashion_run, tmp_path, read_json):
    np.save(tmp_path / "a.npy", np.zeros((28, 28)))
    result = cli("predict", fashion_run.folder, tmp_path / "a.npy", "--top", "10", "--json")
    names = {found["class"] for found in read_json(result.out)["predictions"][0]["classes"]}
    assert {"Ankle boot", "T-shirt/top"} < names


def test_a_csv_table_must_have_the_columns_of_the_training(cli, tmp_path, read_json):
    pytest.importorskip("torch")
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(np.random.default_rng(0).normal(size=(8, 2)), columns=["ash", "hue"])
    classifier = DiDiClassifier(steps=2, max_epochs=1, random_state=0).fit(X, [0, 1] * 4)
    classifier.save(tmp_path / "model.skd")
    X.to_csv(tmp_path / "rows.csv", index=False)
    result = cli("predict", tmp_path, tmp_path / "rows.csv", "--json")
    found = [row["classes"][0]["probability"] for row in read_json(result.out)["predictions"]]
    assert found == pytest.approx(classifier.predict_proba(X).max(axis=1))
    X[["hue", "ash"]].to_csv(tmp_path / "rows.csv", index=False)
    refused = cli("predict", tmp_path, tmp_path / "rows.csv")
    assert refused.code == 1
    assert "has the columns hue, ash; expected" in refused.err


def test_a_table_model_takes_tables_and_no_pictures(cli, tmp_path, read_json):
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 3)), np.array(["no", "yes"]).repeat(15)
    DiDiClassifier(steps=2, max_epochs=1, random_state=0).fit(X, y).save(tmp_path / "model.skd")
    (tmp_path / "rows.csv").write_text("a,b,c\n1,2,3\n4,5,6\n")
    result = cli("predict", tmp_path, tmp_path / "rows.csv", "--json")
    predictions = read_json(result.out)["predictions"]
    assert [{found["class"] for found in row["classes"]} for row in predictions] == [
        {"yes", "no"}
    ] * 2
    (tmp_path / "a.png").write_bytes(b"")
    refused = cli("predict", tmp_path, tmp_path / "a.png")
    assert refused.code == 1
    assert "the model takes no images but rows of shape (3,)" in refused.err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"", "is not an array in NumPy's format"),
        ("a.npy", b"text", "is not an array in NumPy's format"),
        ("a.csv", b"1,2\n3,x\n", "line 2 has 'x' in column 2; expected a finite number"),
        ("a.csv", b"1,2\n3\n", "line 2 has 1 cells; expected 2"),
        ("a.csv", b"", "is empty; expected a table of numbers"),
        ("a.csv", b"\xff\xfe\x00", "line 1 is not UTF-8 text"),
        ("a.csv", b"1;2\n3;4\n", "line 1 has semicolons"),
        ("a.csv", b"1,2\n3,4\n", "expected (n, 8, 8) or (n, 64)"),
        ("a.txt", b"hello", "cannot be read as a picture (Pillow knows no such format)"),
        ("a.png", b"hello", "cannot be read as a picture (Pillow knows no such format)"),
        ("a.jpg", b"", "cannot be read as a picture (Pillow knows no such format)"),
    ],
)
def test_files_that_cannot_be_read_are_named(cli, digits_run, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    result = cli("predict", digits_run.folder, tmp_path / name)
    assert result.code == 1
    assert result.out == ""
    assert message in result.err
    assert str(tmp_path / name) in result.err


def test_a_missing_file_is_named(cli, digits_run, tmp_path):
    result = cli("predict", digits_run.folder, tmp_path / "none.npy")
    assert result.code == 1
    assert "none.npy is not a file; expected .npy, .csv, .tsv, .parquet or an image" in result.err


def classes_of(result):
    assert result.code == 0, result.err
    return [row["classes"] for row in json.loads(result.out)["predictions"]]


def test_deep_and_float_pictures_are_predicted_as_eight_bits(cli, digits_run, tmp_path, images):
    image = pytest.importorskip("PIL.Image")
    stored = {
        "eight.png": images[0],
        "sixteen.png": images[0].astype(np.uint16) * 257,
        "sixteen.tiff": images[0].astype(np.uint16) * 256 + 99,
        "unit.tiff": (images[0] / 255).astype(np.float32),
        "float.tiff": images[0].astype(np.float32),
    }
    for name, pixels in stored.items():
        image.fromarray(pixels).save(tmp_path / name)
    paths = [tmp_path / name for name in stored]
    expected, *others = classes_of(cli("predict", digits_run.folder, *paths, "--json"))
    assert others == [expected] * 4


@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, 3), (8, 1)])
def test_pictures_are_turned_upright(cli, digits_run, tmp_path, images, orientation, turn):
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[0x0112] = orientation
    image.fromarray(images[0]).save(tmp_path / "upright.png")
    turned = np.ascontiguousarray(np.rot90(images[0], -turn))
    image.fromarray(turned).save(tmp_path / "turned.png", exif=exif.tobytes())
    paths = tmp_path / "upright.png", tmp_path / "turned.png"
    upright, turned = classes_of(cli("predict", digits_run.folder, *paths, "--json"))
    assert turned == upright


def test_a_truncated_picture_and_a_bomb_are_named(cli, digits_run, tmp_path, images):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(images[0].repeat(40, 0).repeat(40, 1)).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:700])
    image.new("1", (30_000, 30_000)).save(tmp_path / "bomb.png")  # 110 KB, 900 million pixels
    for name in ("cut.jpg", "bomb.png"):
        result = cli("predict", digits_run.folder, tmp_path / name)
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith(f"Error: {tmp_path / name} ")
        assert result.err.count("\n") == 1
        assert "--on-bad-image" not in result.err


def test_a_table_that_may_have_a_header_is_refused_until_it_is_said(cli, torch, tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 3))
    classifier = DiDiClassifier(steps=2, max_epochs=1, random_state=0).fit(X, [0, 1] * 15)
    classifier.save(tmp_path / "model.skd")
    file = tmp_path / "rows.csv"
    file.write_text("0,1,2\n5,6,7\n")
    refused = cli("predict", tmp_path, file)
    assert (refused.code, refused.out) == (1, "")
    assert f"{file}: line 1 is 0,1,2, a row or the column numbers" in refused.err
    assert "pass --header or --no-header" in refused.err
    assert len(classes_of(cli("predict", tmp_path, file, "--header", "--json"))) == 1
    assert len(classes_of(cli("predict", tmp_path, file, "--no-header", "--json"))) == 2


def array_file(shape, dtype, held):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (64 - (len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + held


@pytest.mark.parametrize(
    ("shape", "dtype", "held", "message"),
    [
        ((10**12, 8, 8), "<f8", b"\0" * 512, "claims an array of shape (1000000000000, 8, 8)"),
        ((1, 8, 8), "<f8", b"\0" * 511, "but holds 511 bytes"),
        ((1, 8, 8), "<f8", b"\0" * 513, "but holds 513 bytes"),
        ((1, 8, 8), "|O", b"\0" * 512, "values of type object; expected an array of numbers"),
        ((1, 8, 8), "<c16", b"\0" * 1024, "values of type complex128; expected"),
        ((1, 8, 8), "|S8", b"\0" * 512, "values of type |S8; expected an array of numbers"),
    ],
)
def test_an_array_holds_what_it_claims(cli, digits_run, tmp_path, shape, dtype, held, message):
    file = tmp_path / "a.npy"
    file.write_bytes(array_file(shape, dtype, held))
    result = cli("predict", digits_run.folder, file)
    assert (result.code, result.out) == (1, "")
    assert str(file) in result.err
    assert message in result.err


@pytest.mark.parametrize("dtype", [">f8", "<f4", "|u1", "<i2"])
def test_arrays_of_other_types_are_read(cli, digits_run, tmp_path, images, proba, dtype, read_json):
    np.save(tmp_path / "a.npy", np.asfortranarray(images.astype(dtype)))
    result = cli("predict", digits_run.folder, tmp_path / "a.npy", "--top", "10", "--json")
    found = as_matrix(read_json(result.out)["predictions"])
    np.testing.assert_allclose(found, proba, rtol=1e-5)


def run_piped(content, *arguments):
    """Run the command line in a process of its own, with a content on its standard input."""
    command = [sys.executable, "-m", "skdidicm", *map(str, arguments)]
    return subprocess.run(command, input=content, capture_output=True, check=False, timeout=120)


@pytest.mark.skipif(os.name == "nt", reason="named pipes of POSIX")
def test_pipes_are_read_by_their_content(cli, digits_run, tmp_path, images, proba):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(images[0]).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", images)
    text = "\n".join(",".join(map(str, row)) for row in images.reshape(3, 64).tolist())
    (tmp_path / "a.csv").write_text(text)
    for name in ("a.png", "a.npy", "a.csv"):
        content, pipe = (tmp_path / name).read_bytes(), tmp_path / f"pipe of {name}"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=(content,))
        writer.start()
        result = cli("predict", digits_run.folder, pipe, "--top", "10", "--json")
        writer.join()
        assert result.code == 0, result.err
        found = as_matrix(json.loads(result.out)["predictions"])
        np.testing.assert_allclose(found, proba[: len(found)], rtol=1e-5)
    done = run_piped(content, "predict", digits_run.folder, "-", "--top", "10", "--json")
    assert done.returncode == 0, done.stderr
    predictions = json.loads(done.stdout)["predictions"]
    np.testing.assert_allclose(as_matrix(predictions), proba, rtol=1e-5)
    assert {row["file"] for row in predictions} == {"-"}


def test_an_empty_standard_input_is_named(cli, digits_run):
    result = cli("predict", digits_run.folder, "-")
    assert result.code == 1
    assert "- is empty; expected .npy, .csv, .tsv, .parquet or an image" in result.err


@pytest.fixture
def hostile_model(torch, tmp_path):
    """A model whose class names come from someone else."""
    names = ["=cmd|'/c calc'!A1", "-1", "cat\x1b[31m\u202e", os.fsdecode(b"caf\xe9")]
    X = np.arange(16.0).reshape(8, 2)
    classifier = DiDiClassifier(steps=2, max_epochs=1, random_state=0)
    classifier.fit(X, np.array(names)[np.arange(8) % 4]).save(tmp_path / "model.skd")
    np.save(tmp_path / "@rows.npy", X[:1])
    return tmp_path


def test_csv_holds_no_formulas_and_every_name(cli, hostile_model, monkeypatch):
    monkeypatch.chdir(hostile_model)
    result = cli("predict", "model.skd", "@rows.npy", "--format", "csv")
    assert result.code == 0, result.err
    lines = list(csv.DictReader(io.StringIO(result.out)))
    assert {line["file"] for line in lines} == {"'@rows.npy"}
    expected = {"'=cmd|'/c calc'!A1", "-1", "cat\x1b[31m\u202e", r"caf\xe9"}
    assert {line["class"] for line in lines} == expected


def test_a_table_shows_no_escapes(cli, hostile_model):
    out = cli("predict", hostile_model, hostile_model / "@rows.npy").out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert r"cat\x1b[31m\u202e" in out
    assert r"caf\xe9" in out


def test_json_keeps_names_as_they_are(cli, hostile_model):
    (classes,) = classes_of(cli("predict", hostile_model, hostile_model / "@rows.npy", "--json"))
    names = {found["class"] for found in classes}
    assert names == {"=cmd|'/c calc'!A1", "-1", "cat\x1b[31m\u202e", os.fsdecode(b"caf\xe9")}


@pytest.fixture(scope="module")
def digits():
    data = load_digits_split(3)
    return data.X_train[:100], data.y_train[:100]


@pytest.fixture
def with_folds(tmp_path, torch, digits):
    model = DiDiClassifier(max_epochs=2, choose_epochs=True, random_state=0, device="cpu")
    model.fit(*digits).save(tmp_path / "model.skd")
    return model


ASKED = ("--set", "0.8", "--threshold", "0.3", "--members", "--familiarity")


def test_other_answers_are_those_of_the_classifier(
    cli, with_folds, tmp_path, rows_file, images, read_json
):
    result = cli("predict", tmp_path / "model.skd", rows_file, *ASKED, "--json", "--top", "10")
    rows = read_json(result.out)["predictions"]
    sets = with_folds.predict_set(images, 0.8)
    refused = with_folds.predict_proba(images).max(axis=1) < 0.3
    for i, row in enumerate(rows):
        assert row["set"] == [str(c) for c in with_folds.classes_[sets[i]]]
        assert row["refused"] is bool(refused[i])
    familiar = [row["familiarity"] for row in rows]
    assert familiar == pytest.approx(with_folds.familiarity(images), rel=1e-5)
    members = [as_matrix([{"classes": c} for c in row["members"]]) for row in rows]
    np.testing.assert_allclose(members, with_folds.predict_members(images), rtol=1e-4)


@pytest.mark.parametrize("output", ["csv", "table"])
def test_other_answers_are_columns(cli, with_folds, tmp_path, rows_file, output):
    result = cli("predict", tmp_path / "model.skd", rows_file, *ASKED, "--format", output)
    assert result.code == 0, result.err
    for name in ("set", "refused", "familiarity", "members"):
        assert name in result.out.lower()


def test_a_model_without_a_trial_says_why_it_has_no_sets(cli, tmp_path, torch, digits, rows_file):
    DiDiClassifier(max_epochs=1, device="cpu").fit(*digits).save(tmp_path / "model.skd")
    result = cli("predict", tmp_path / "model.skd", rows_file, "--set", "0.9")
    assert result.code == 1
    assert "neither a trial" in " ".join(result.err.split())


class TestAFolder:
    @pytest.fixture
    def pictures(self, tmp_path, images):
        Image = pytest.importorskip("PIL.Image")
        (tmp_path / "own").mkdir()
        for i, pixels in enumerate(images):
            Image.fromarray(pixels).save(tmp_path / "own" / f"{i}.png")
        return tmp_path / "own"

    def test_has_the_probabilities_of_its_files(self, cli, digits_run, pictures, tmp_path, proba):
        output = tmp_path / "out.csv"
        options = ("--data", pictures, "--output", output, "--top", "2")
        result = cli("predict", digits_run.folder, *options)
        assert result.code == 0, result.err
        assert f"Written to {output}" in result.err
        rows = list(csv.DictReader(io.StringIO(output.read_text())))
        assert [row["file"] for row in rows] == ["0.png", "1.png", "2.png"]
        found = [float(row["probability"]) for row in rows]
        np.testing.assert_allclose(found, proba.max(axis=1), rtol=1e-4)
        assert [int(row["class"]) for row in rows] == proba.argmax(axis=1).tolist()

    def test_a_late_process_finds_the_output_of_the_first(
        self, cli, digits_run, pictures, tmp_path, monkeypatch
    ):
        options = ("--data", pictures, "--output", tmp_path / "out.csv", "--device", "cpu")
        monkeypatch.setenv("WORLD_SIZE", "2")
        for rank in ("0", "1"):
            monkeypatch.setenv("RANK", rank)
            result = cli("predict", digits_run.folder, *options)
            assert result.code == 0, result.err
        left = {p.name for p in tmp_path.iterdir() if "out.csv" in p.name}
        assert left == {"out.csv"}

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--data", "."), "--output"),
            (("--output", "o.csv"), "--data"),
            (("--data", ".", "--output", "o.csv", "--members"), "are for FILES"),
            (("--data", ".", "--output", "o.csv", "--json"), "are for FILES"),
            ((), "pass FILES, or a folder"),
        ],
    )
    def test_needs_an_output(self, cli, digits_run, options, words):
        result = cli("predict", digits_run.folder, *options)
        assert result.code == 2
        assert words in " ".join(result.err.replace("│", " ").split())
