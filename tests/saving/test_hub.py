"""Models in folders and repositories of the Hugging Face Hub; nothing here asks the network."""

import re
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris

from skdidicm import DiDiClassifier
from skdidicm.metrics import score_probabilities

pytest.importorskip("torch")
X, y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def model(quick):
    return quick(choose_epochs=True, max_epochs=8).fit(X, y)


def same_answers(one, other):
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


def test_a_folder_holds_the_model_without_huggingface_hub(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    model.save_pretrained(tmp_path / "new" / "iris")
    assert {path.name for path in (tmp_path / "new" / "iris").iterdir()} == {
        "model.skd",
        "README.md",
    }
    same_answers(DiDiClassifier.from_pretrained(tmp_path / "new" / "iris"), model)
    with pytest.raises(ImportError, match=r'pip install "skdidicm\[hub\]"'):
        DiDiClassifier.from_pretrained("someone/iris")
    with pytest.raises(ImportError, match="skdidicm"):
        model.push_to_hub("someone/iris")
    with pytest.raises(FileNotFoundError, match=r"has no model\.skd; expected a folder"):
        DiDiClassifier.from_pretrained(tmp_path)


def test_the_card_says_how_to_load_the_model_and_how_good_it_is(model, tmp_path):
    model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    start, header, body = card.split("---\n", 2)
    assert start == ""
    assert "library_name: skdidicm\npipeline_tag: tabular-classification\n" in header
    (code,) = re.findall(r"```python\n(.*?)```", body, re.DOTALL)
    names = {"X": X[:3]}
    exec(code, names)
    np.testing.assert_array_equal(names["probabilities"], model.predict_proba(X[:3]))
    scores = score_probabilities(y, model.oob_decision_function_)
    assert f"| accuracy | {scores['accuracy']:.3f} |" in body
    assert f"nats | {scores['nll']:.3f} |" in body
    assert "On 150 training rows" in body
    assert "| Classes | 3: 0, 1, 2 |" in body


def test_the_card_of_a_fit_to_wrong_labels_scores_the_given_labels(quick, tmp_path):
    model = quick(choose_epochs=True, max_epochs=4, label_noise=0.3).fit(X, y)
    model.save_pretrained(tmp_path)
    body = (tmp_path / "README.md").read_text(encoding="utf-8")
    proba = model.oob_decision_function_
    given = 0.7 * proba + 0.15 * (1 - proba)
    assert f"nats | {score_probabilities(y, given)['nll']:.3f} |" in body
    assert "labels of these rows may be wrong" in body


def test_a_card_of_the_users_own_stays(model, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    model.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_class_names_are_text_in_a_card_rather_than_markup(quick, tmp_path):
    names = np.array(["<script>", "a | b", "[x](http://x)\n# y"], dtype=object)[y]
    quick(max_epochs=1).fit(X, names).save_pretrained(tmp_path)
    body = (tmp_path / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"(?m)^\| Classes .*$", body)
    assert "<" not in row
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert r"\[x\](http://x) # y" in row
    assert "## Figures" not in body  # no rows were held out


def test_the_card_of_a_classifier_of_images_says_so(quick, tmp_path):
    images, digits = (a[:60] for a in load_digits(return_X_y=True))
    quick(max_epochs=1).fit(images.reshape(-1, 8, 8), digits).save_pretrained(tmp_path)
    assert "pipeline_tag: image-classification" in (tmp_path / "README.md").read_text()


def test_an_estimator_that_is_not_fitted_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        DiDiClassifier().save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


class OfflineError(Exception):
    """Stands for an error of the HTTP library, which is no OSError."""


class Hub:
    """Stands for the Hub: keeps what is uploaded."""

    def __init__(self, **settings):
        self.settings = settings

    def create_repo(self, repo_id, **settings):
        if self.settings["token"] == "wrong":
            raise OSError("401 Client Error.\nRequest ID: 1")
        if self.settings["token"] == "offline":
            raise OfflineError("Connection refused")
        self.settings |= settings
        return type("Repository", (), {"repo_id": repo_id if "/" in repo_id else f"me/{repo_id}"})

    def file_exists(self, repo_id, name):
        return name in FILES.get(repo_id, ())

    def upload_folder(self, *, repo_id, folder_path, commit_message, ignore_patterns):
        sent = {path.name: path.read_bytes() for path in folder_path.iterdir()}
        for name in ignore_patterns or ():
            del sent[name]
        FILES.setdefault(repo_id, {}).update(sent)
        return type("Commit", (), {"commit_url": f"https://huggingface.co/{repo_id}/commit/1"})


FILES = {}


@pytest.fixture
def hub(monkeypatch):
    library = pytest.importorskip("huggingface_hub", reason="huggingface_hub is missing")
    monkeypatch.setattr(library, "HfApi", Hub)
    FILES.clear()
    return FILES


def test_a_model_that_was_pushed_comes_back(model, hub, tmp_path):
    assert model.push_to_hub("iris", private=True) == "https://huggingface.co/me/iris/commit/1"
    assert b"from_pretrained('me/iris')" in hub["me/iris"]["README.md"]
    cached = tmp_path / "models--me--iris"  # the cache of huggingface_hub
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("1" * 40)
    (cached / "snapshots" / ("1" * 40)).mkdir(parents=True)
    (cached / "snapshots" / ("1" * 40) / "model.skd").write_bytes(hub["me/iris"]["model.skd"])
    known = {"cache_dir": tmp_path, "local_files_only": True}
    same_answers(DiDiClassifier.from_pretrained("me/iris", **known), model)
    with pytest.raises(FileNotFoundError, match=r"^'me/wine' is no folder, and model\.skd cannot"):
        DiDiClassifier.from_pretrained("me/wine", **known)
    with pytest.raises(FileNotFoundError, match="expected a folder or 'user/model'"):
        DiDiClassifier.from_pretrained("no/such/folder", **known)


def test_a_card_in_the_repository_stays(model, hub):
    hub["me/iris"] = {"README.md": b"mine"}
    model.push_to_hub("iris")
    assert hub["me/iris"].keys() == {"README.md", "model.skd"}
    assert hub["me/iris"]["README.md"] == b"mine"


@pytest.mark.parametrize(
    ("token", "words"), [("wrong", "401 Client Error"), ("offline", "Connection refused")]
)
def test_a_refused_upload_is_told_in_one_sentence(model, hub, token, words):
    with pytest.raises(OSError, match=rf"cannot be uploaded to 'iris' \({words}\); ") as e:
        model.push_to_hub("iris", token=token)
    assert "\n" not in str(e.value)
