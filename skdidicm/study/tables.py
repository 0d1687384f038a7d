"""Tables of a study: means and 95 % intervals over the seeds."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from skdidicm.study.methods import AUTO
from skdidicm.tables import safe_row

FIGURES = ("accuracy", "top5_accuracy", "nll", "nll_oracle", "ece", "brier", "auroc", "fit_seconds",
           "predict_seconds", "calls", "epochs", "chosen_budget", "search_seconds")  # fmt: skip
TASK = ("data", "n", "noise", "resolution", "corruption", "ratio")
METHOD = ("method", "budget", "steps")
"""The columns that name a task, and those that name a method on it."""
_USUAL = {"ratio": 1.0, "corruption": None}  # hidden if all rows have these values
_PERCENT = ("accuracy", "top5_accuracy", "ece")
_DIGITS = {"calls": 0, "epochs": 0, "fit_seconds": 1, "predict_seconds": 1, "search_seconds": 1}

SummaryRow = dict[str, Any]
"""A row of a summary or a comparison: values by column."""


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[SummaryRow]:
    """Return one row per task and method: the mean of every figure and half of its 95 % interval.

    The interval is Student's over the seeds, and NaN for a single seed.

    Examples
    --------
    >>> cell = dict(data="digits", n=9, noise=0.0, resolution=None, method="a", budget="auto")
    >>> rows = [cell | {"seed": i, "nll": nll} for i, nll in enumerate((0.4, 0.6))]
    >>> summary = summarise(rows)[0]
    >>> round(summary["nll"], 3), round(summary["nll_interval"], 2), summary["seeds"]
    (0.5, 1.27, 2)
    """
    result = []
    for key, members in grouped(rows, (*TASK, *METHOD)):
        summary = {**key, "seeds": len(members)}
        for name in FIGURES:
            values = [row[name] for row in members if row.get(name) is not None]
            if values:
                summary[name] = mean(values)
                summary[f"{name}_interval"] = half_width(values)
        result.append(summary)
    return result


def grouped(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> Iterator[tuple[SummaryRow, list[Mapping[str, Any]]]]:
    """Yield groups of rows with equal values in some columns: these values, and the rows."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name, _USUAL.get(name)) for name in names), []).append(row)
    for key, members in groups.items():
        yield dict(zip(names, key, strict=True)), members


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of cells or of a summary as CSV with a header."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(safe_row, rows))
    return text.getvalue()


def to_markdown(summary: Sequence[Mapping[str, Any]], figure: str) -> str:
    """Return a Markdown table of one figure: a line per task, a column per method."""
    methods = list(dict.fromkeys(named(row) for row in summary))
    plain = {k for k, usual in _USUAL.items() if all(r.get(k, usual) == usual for r in summary)}
    names = [name for name in TASK if name not in plain]
    lines = [[*names, *methods], ["---"] * (len(names) + len(methods))]
    for task, rows in grouped(summary, TASK):
        known = {named(row): row for row in rows}
        shown = ["all" if task[name] is None else str(task[name]) for name in names]
        lines.append([*shown, *(_cell(known.get(method), figure) for method in methods)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def named(row: Mapping[str, Any]) -> str:
    """Return the name of a row's method, with budget and steps unless they are the defaults."""
    method, budget, steps = str(row["method"]), budget_text(row["budget"]), row.get("steps")
    method = method if budget == AUTO else f"{method}@{budget}"
    return method if steps is None else f"{method} in {steps}"


def budget_text(budget: float | str) -> str:
    """Return a budget as it is written on the command line."""
    return budget if isinstance(budget, str) else f"{budget:g}"


def _cell(row: Mapping[str, Any] | None, figure: str) -> str:
    if row is None or figure not in row:
        return "-"
    scale, digits = (100, 1) if figure in _PERCENT else (1, _DIGITS.get(figure, 3))
    text = f"{scale * row[figure]:.{digits}f}"
    interval = scale * row[f"{figure}_interval"]
    return text if math.isnan(interval) else f"{text} ± {interval:.{digits}f}"


def mean(values: Sequence[float]) -> float:
    """Return the mean; NaN if there are no values."""
    return float(np.mean(values)) if len(values) else math.nan


def half_width(values: Sequence[float]) -> float:
    """Return half of Student's 95 % interval of the mean; NaN for fewer than two values."""
    n = len(values)
    if n < 2:
        return math.nan
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    return float(scipy.stats.t.ppf(0.975, n - 1)) * error
