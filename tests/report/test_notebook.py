from html.parser import HTMLParser

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdidicm import DiDiClassifier

pytest.importorskip("torch")
X, Y = load_iris(return_X_y=True)
HOSTILE = "<script>alert('x')</script>"


class Reader(HTMLParser):
    """Collects the facts table, the tags inside it, and whether tags are balanced."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.cells = [], [], []

    def handle_starttag(self, tag, attrs):
        inside = "skdidicm-facts" in dict(attrs).get("class", "") or self.tags
        if tag not in {"input", "br", "meta", "link", "path", "rect", "circle", "img"}:
            self.open.append(tag)
        if inside:
            self.tags.append(tag)
            if tag in {"th", "td"}:
                self.cells.append("")

    def handle_endtag(self, tag):
        if self.open and tag == self.open[-1]:
            self.open.pop()

    def handle_data(self, data):
        if self.tags and self.open and self.open[-1] in {"th", "td"}:
            self.cells[-1] += data


def facts_in(html):
    reader = Reader()
    reader.feed(html)
    return reader, dict(zip(reader.cells[::2], reader.cells[1::2], strict=True))


@pytest.fixture(scope="module")
def fitted():
    names = np.array(["setosa", HOSTILE, "virginica"])[Y]
    classifier = DiDiClassifier(max_epochs=3, random_state=0)
    return classifier.fit(X[::2], names[::2], X_val=X[1::2], y_val=names[1::2])


def test_the_facts_are_those_of_the_fit(fitted):
    _, shown = facts_in(fitted._repr_html_())
    last = fitted.history_[-1]
    n_weights = sum(p.numel() for p in fitted.network_.module.state_dict().values())
    assert shown["Network"].endswith(f" {n_weights:,} weights")
    assert shown["Input"] == "4"
    assert shown["Classes"] == f"3: {', '.join(sorted(['setosa', HOSTILE, 'virginica']))}"
    assert shown["Rows seen"].startswith("75 ")
    assert shown["Epochs"] == "3 of 3"
    assert shown["Temperature"] == "1.00"
    assert shown["Device"] == "cpu"
    assert shown["Final loss"] == f"{last['loss']:.3f}"
    assert shown["Validation accuracy"] == f"{100 * last['val_accuracy']:.1f}%"
    assert shown["Validation NLL"] == f"{last['val_nll']:.3f} nats per row"


def test_hostile_class_names_are_text(fitted):
    reader, shown = facts_in(fitted._repr_html_())
    assert HOSTILE not in fitted._repr_html_()
    assert HOSTILE in shown["Classes"]
    assert "script" not in reader.tags


def test_the_page_is_whole_and_of_scikit_learn_too(fitted):
    html = fitted._repr_html_()
    assert html.count("<details") == html.count("</details>")
    assert "sk-top-container" in html
    assert html.index("sk-top-container") < html.rindex('class="skdidicm-facts"')
    assert fitted._repr_mimebundle_()["text/html"].count("<summary>Fitted</summary>") == 1


def test_the_display_setting_of_scikit_learn_counts(fitted):
    with sklearn.config_context(display="text"):
        assert not hasattr(fitted, "_repr_html_")
        assert list(fitted._repr_mimebundle_()) == ["text/plain"]


def test_what_is_not_fitted_has_no_facts():
    html = DiDiClassifier()._repr_html_()
    assert "skdidicm-facts" not in html
    assert "DiDiClassifier" in html


def test_a_pipeline_still_shows_itself(fitted):
    assert "DiDiClassifier" in make_pipeline(StandardScaler(), fitted)._repr_html_()


def test_a_loaded_model_shows_what_its_file_holds(fitted, tmp_path):
    fitted.save(tmp_path / "model.skd")
    _, shown = facts_in(DiDiClassifier.load(tmp_path / "model.skd")._repr_html_())
    before = facts_in(fitted._repr_html_())[1]
    assert before.pop("Rows seen")
    assert shown == before
