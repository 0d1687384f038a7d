"""From facts to one HTML page that needs no other file."""

import math
from importlib.resources import files
from typing import Any

from skdidicm.report import figures
from skdidicm.report.facts import Facts, Shown
from skdidicm.tables import readable

_MEANING = {
    "accuracy": ("Accuracy", "{:.1%}", "Share of rows whose most probable class is the true one."),
    "top5_accuracy": (
        "Top-5 accuracy",
        "{:.1%}",
        "Share of rows whose true class is among the five most probable.",
    ),
    "nll": (
        "Negative log-likelihood",
        "{:.3f} nats",
        "Mean negative log-probability of the true class; lower is better. Confident errors "
        "cost most.",
    ),
    "ece": (
        "Expected calibration error",
        "{:.1%}",
        "Mean difference between confidence and accuracy over 15 bins; lower is better.",
    ),
    "training_seconds": ("Training", "{:.1f} s", "Time that the training took."),
    "prediction_seconds": ("Prediction", "{:.2f} s", "Time for all test rows."),
}


def render(facts: Facts) -> str:
    """Return the page.

    Raises
    ------
    ImportError
        Without Jinja2, matplotlib or Pillow, which come with the extra `plot`.
    """
    try:
        import matplotlib as _  # noqa: F401
        import PIL.Image  # noqa: F401
        from jinja2 import Environment
        from markupsafe import Markup
    except ImportError as error:
        raise ImportError(
            f"a report needs {error.name}, which is not installed; install it with: "
            'pip install "skdidicm[plot]"'
        ) from error
    source = (files("skdidicm.report") / "page.html").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        source
    )
    test = facts.test
    page = template.render(
        facts=facts,
        test=test,
        metrics=_metrics(facts),
        curves=[Markup(chart) for chart in figures.learning_curves(facts.history)],
        reliability=Markup(figures.reliability(test)) if test else "",
        coverage=Markup(figures.coverage(test)) if test else "",
        cards=[_card(shown) for shown in test.shown] if test else [],
        matrix=_matrix(facts),
    )
    return readable(page)


def _metrics(facts: Facts) -> list[tuple[str, str, str]]:
    """Return name, value and meaning of the figures that there are."""
    rows = []
    for key, (name, form, meaning) in _MEANING.items():
        value = facts.metrics.get(key)
        if value is None:
            continue
        if key == "nll" and facts.class_names:
            k = len(facts.class_names)
            meaning = f"{meaning} A guess among {k} classes has {math.log(k):.3f}."
        rows.append((name, form.format(value), meaning))
    return rows


def _card(shown: Shown) -> dict[str, Any]:
    return {
        "shown": shown,
        "image": None if shown.image is None else figures.data_uri(shown.image),
        "right": shown.true == shown.answer,
        "bars": list(zip(shown.classes, shown.path[-1], strict=True)),
        "last": len(shown.path) - 1,
    }


def _matrix(facts: Facts) -> list[tuple[str, list[tuple[int, float]]]]:
    """Return the rows of the confusion matrix: counts, and shares of the true class."""
    if facts.test is None or facts.test.confusion is None:
        return []
    rows = facts.test.confusion.tolist()
    return [
        (name, [(count, count / max(1, sum(row))) for count in row])
        for name, row in zip(facts.class_names, rows, strict=True)
    ]
