"""The page about a run: its numbers, its escaping, and its slider in a browser."""

import base64
import io
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from skdidicm.report import Facts, gather, render
from skdidicm.report.figures import coverage, learning_curves

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
image = pytest.importorskip("PIL.Image")

HOSTILE = "<script>alert('x')</script>"
NAMES = ["ant", HOSTILE, '"quoted" & co', "dog"]
VOID = {"meta", "input", "img", "br", "link"}


class Page(HTMLParser):
    """The tags of a page with their attributes and text; fails on tags that do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.found = [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs), []))
        if tag not in VOID:
            self.open.append(self.found[-1])

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for _, _, text in self.open:
            text.append(data)

    def all(self, tag, css=None):
        return [
            (attrs, "".join(text).strip())
            for name, attrs, text in self.found
            if name == tag and (css is None or css in (attrs.get("class") or "").split())
        ]


@pytest.fixture
def case():
    """Images, labels, probabilities, and a path that goes to them in four steps."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (60, 5, 4), dtype=np.uint8)
    proba = rng.dirichlet(np.full(4, 0.5), 60)
    y = np.array([rng.choice(4, p=p) for p in proba])

    def predict_path(rows):
        place = [int(np.flatnonzero((row == X).all(axis=(1, 2)))[0]) for row in rows]
        return np.linspace(np.full((len(rows), 4), 0.25), proba[place], 5, axis=1)

    return X, y, proba, predict_path


@pytest.fixture
def facts(case):
    return Facts(
        title=f"Run of {HOSTILE}",
        class_names=NAMES,
        about={"Classes": HOSTILE},
        settings={"network": HOSTILE},
        metrics={"accuracy": 0.8125, "nll": 0.4321, "ece": 0.0625, "top5_accuracy": None},
        history=[{"epoch": i, "loss": 3.0 - i, "val_nll": 1 / i} for i in (1, 2)],
        test=gather(*case, NAMES, n_images=5),
        notes=[f"A note of {HOSTILE}"],
    )


def test_the_page_needs_nothing_from_elsewhere(facts):
    html = render(facts)
    page = Page(html)
    for _, attrs, _ in page.found:
        for name in ("src", "href", "action", "data"):
            assert attrs.get(name, "data:").startswith("data:")
    assert "url(" not in html
    assert "@import" not in html
    assert not page.all("link")


def test_names_are_text_wherever_they_stand(facts):
    html = render(facts)
    page = Page(html)
    assert HOSTILE not in html
    assert len(page.all("script")) == 1
    assert page.all("title")[0][1] == f"Run of {HOSTILE}"
    assert [text for _, text in page.all("th") if text == HOSTILE]
    assert not any("<script>" in value for _, attrs, _ in page.found for value in attrs.values())


def test_the_figures_are_those_of_the_run(facts):
    cells = [text for _, text in Page(render(facts)).all("td")]
    assert {"81.2%", "0.432 nats", "6.2%"} <= set(cells)
    assert any("A guess among 4 classes has 1.386." in cell for cell in cells)
    assert "Top-5" not in render(facts)


def test_the_confusion_matrix_counts_every_pair(case, facts):
    _, y, proba, _ = case
    shown = [int(text) for attrs, text in Page(render(facts)).all("td") if "--share" in str(attrs)]
    answers = [row.index(max(row)) for row in proba.tolist()]
    pairs = list(zip(y.tolist(), answers, strict=True))
    assert shown == [pairs.count((i, j)) for i in range(4) for j in range(4)]


def test_many_classes_are_told_by_their_commonest_confusions():
    k = 25
    y = np.arange(k).repeat(4)
    proba = np.full((100, k), 0.01)
    proba[np.arange(100), y] = 0.76
    proba[:3] = np.roll(proba[:3], 7, axis=1)  # three rows of class 0 are taken for class 7
    names = [f"class {i}" for i in range(k)]
    test = gather(proba, y, proba, lambda rows: rows[:, None], names, 0)
    cells = [text for _, text in Page(render(Facts("t", names, test=test))).all("td")]
    assert cells == ["class 0", "class 7", "3"]


def test_the_least_sure_rows_are_shown_with_their_paths(case, facts):
    X, y, proba, predict_path = case
    order = sorted(range(60), key=lambda i: max(proba[i]))[:5]
    cards = Page(render(facts)).all("article", "card")
    pictures = Page(render(facts)).all("img")
    assert len(cards) == 5
    for i, (attrs, text), (picture, _) in zip(order, cards, pictures, strict=True):
        assert f"test row {i}" in text
        assert ("right" in text) == (y[i] == proba[i].argmax())
        path = predict_path(X[[i]])[0]
        columns = sorted(range(4), key=lambda c: -proba[i, c])
        np.testing.assert_allclose(json.loads(attrs["data-path"]), path[:, columns], atol=1e-4)
        content = base64.b64decode(picture["src"].removeprefix("data:image/png;base64,"))
        np.testing.assert_array_equal(np.asarray(image.open(io.BytesIO(content))), X[i])


def test_the_bars_of_the_reliability_diagram_are_the_accuracies(case, facts):
    _, y, proba, _ = case
    (chart,) = [
        inside
        for inside in re.findall("<svg.*?</svg>", render(facts), re.DOTALL)
        if 'aria-label="Reliability"' in inside
    ]
    tips = [text for _, text in Page(chart).all("title")][1:]  # the first is that of the chart
    expected, shares, accuracies = [], [], []
    for b in range(10):
        inside = [
            (p.index(max(p)) == label, max(p))
            for p, label in zip(proba.tolist(), y, strict=True)
            if b / 10 < max(p) <= (b + 1) / 10
        ]
        if inside:
            hits, sure = (sum(values) / len(inside) for values in zip(*inside, strict=True))
            expected.append(f"{len(inside)} rows: confidence {sure:.1%}, accuracy {hits:.1%}")
            shares.append(len(inside) / len(y))
            accuracies.append(hits)
    assert tips == expected
    bars = [points_of(path) for path in re.findall(r'</title> *<path d="([^"]+)"', chart)]
    drawn = np.array([max(y for _, y in bar) - min(y for _, y in bar) for bar in bars])
    np.testing.assert_allclose(drawn / drawn.max(), np.array(shares) / max(shares), rtol=1e-4)
    curve = curve_in(chart)
    scaled = np.polynomial.Polynomial.fit(accuracies, curve[:, 1], 1)
    np.testing.assert_allclose(scaled(np.array(accuracies)), curve[:, 1], atol=1e-3)


def points_of(path):
    """The points that a path of straight lines goes through."""
    numbers = re.findall(r"[ML] *(-?[\d.]+) (-?[\d.]+)", path)
    return [(float(x), float(y)) for x, y in numbers]


def curve_in(chart):
    """The points of the blue curve of a chart; upwards is positive."""
    (path,) = re.findall(r'<path d="([^"]+)" style="fill: none; stroke: var\(--blue\)', chart)
    return np.array([(x, -y) for x, y in points_of(path)])


def test_curves_pass_through_their_points():
    values = [4.0, 1.0, 2.0, 0.5]
    history = [{"epoch": i, "loss": v, "val_nll": math.nan} for i, v in enumerate(values, start=1)]
    (chart,) = learning_curves(history)
    curve = curve_in(chart)
    for drawn, given in zip(curve.T, ([1, 2, 3, 4], values), strict=True):
        scaled = np.polynomial.Polynomial.fit(given, drawn, 1)
        np.testing.assert_allclose(scaled(np.array(given)), drawn, atol=1e-3)
        assert scaled(1.0) > scaled(0.0)


def test_the_coverage_falls_to_the_accuracy_of_all_rows(case):
    X, y, proba, predict_path = case
    test = gather(X, y, proba, predict_path, NAMES, 0)
    curve = curve_in(coverage(test))
    order = sorted(range(60), key=lambda i: -max(proba[i]))
    hits = [y[i] == proba[i].argmax() for i in order]
    expected = [sum(hits[: i + 1]) / (i + 1) for i in range(60)]
    scaled = np.polynomial.Polynomial.fit(expected, curve[:, 1], 1)
    np.testing.assert_allclose(scaled(np.array(expected)), curve[:, 1], atol=1e-3)


def test_charts_take_the_colours_of_the_page_and_share_no_ids(facts):
    html = render(facts)
    for chart in re.findall("<svg.*?</svg>", html, re.DOTALL):
        assert "#000000" not in chart
        assert "var(--blue)" in chart
        assert "<style" not in chart
    ids = re.findall(r'\bid="([^"]+)"', html)
    referred = set(re.findall(r'xlink:href="#([^"]+)"', html))
    assert {name for name in ids if ids.count(name) > 1} == set()
    assert referred <= set(ids)


def test_rows_of_a_table_have_cards_without_pictures(case):
    _, y, proba, _ = case
    test = gather(proba, y, proba, lambda rows: rows[:, None], NAMES, 3)
    page = Page(render(Facts("table", NAMES, test=test)))
    assert len(page.all("article", "card")) == 3
    assert page.all("img") == []


def test_a_page_of_little_is_whole(case):
    page = Page(render(Facts("nothing yet")))
    assert [text for _, text in page.all("h1")] == ["nothing yet"]
    assert page.all("h2") == []
    assert page.all("script") == []
    one = Page(render(Facts("one epoch", history=[{"epoch": 1, "loss": 0.5}])))
    assert len(one.all("svg")) == 1


def test_jinja_is_named_where_it_is_missing(facts, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(ImportError, match=r'needs jinja2, .* pip install "skdidicm\[plot\]"'):
        render(facts)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


def dom_after(html, script, folder):
    """Return the page as a browser has it after a script of the test ran in it."""
    file = folder / "page.html"
    file.write_text(html.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    profile = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [*command, profile, file.as_uri()], capture_output=True, text=True, check=True, timeout=60
    )
    return Page(done.stdout)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_the_slider_moves_the_bars_in_a_browser(facts, tmp_path):
    move = """
        const set = (input, v) => { input.value = v; input.dispatchEvent(new Event("input")) };
        set(document.getElementById("all"), 1);
        set(document.querySelectorAll(".card input")[2], 0);
    """
    page = dom_after(render(facts), move, tmp_path)
    assert "js" in page.all("html")[0][0]["class"]
    cards = page.all("article", "card")
    widths = [float(attrs["style"][6:].rstrip(";%")) for attrs, _ in page.all("span", "bar")]
    values = [float(text.rstrip("%")) for _, text in page.all("output")]
    steps = [text for _, text in page.all("span", "step")]
    assert steps == ["1", "1", "0", "1", "1"]
    expected = [
        100 * p
        for (attrs, _), step in zip(cards, steps, strict=True)
        for p in json.loads(attrs["data-path"])[int(step)]
    ]
    np.testing.assert_allclose(widths, expected, atol=0.006)
    np.testing.assert_allclose(values, expected, atol=0.051)
