"""Tables of a study: mean and 95 % interval over seeds."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats

FIGURES = ("accuracy", "top5_accuracy", "nll", "nll_oracle", "ece", "brier", "auroc", "fit_seconds",
           "predict_seconds", "calls")  # fmt: skip
_GROUP = ("data", "n", "noise", "resolution", "method", "budget")
_PERCENT = ("accuracy", "top5_accuracy", "ece")

Row = dict[str, Any]


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Return one row per cell and method: every figure's mean and half-width of its 95 % interval.

    The interval is Student's over the seeds; it is NaN for a single seed.

    Examples
    --------
    >>> cell = dict(data="digits", n=9, noise=0.0, resolution=None, method="a", budget=1.0)
    >>> rows = [cell | {"seed": i, "nll": nll} for i, nll in enumerate((0.4, 0.6))]
    >>> summary = summarise(rows)[0]
    >>> round(summary["nll"], 3), round(summary["nll_interval"], 2), summary["seeds"]
    (0.5, 1.27, 2)
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in _GROUP), []).append(row)
    result = []
    for key, members in groups.items():
        summary = {**dict(zip(_GROUP, key, strict=True)), "seeds": len(members)}
        for name in FIGURES:
            values = [row[name] for row in members if row.get(name) is not None]
            if values:
                summary[name] = float(np.mean(values))
                summary[f"{name}_interval"] = _half_width(values)
        result.append(summary)
    return result


def to_csv(rows: Sequence[Row]) -> str:
    """Return rows, of cells or of a summary, as CSV with a header."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_markdown(summary: Sequence[Row], figure: str) -> str:
    """Return a Markdown table of one figure: a line per cell, a column per method."""
    methods = list(dict.fromkeys((row["method"], row["budget"]) for row in summary))
    place = ("data", "n", "noise", "resolution")
    cells = list(dict.fromkeys(tuple(row[name] for name in place) for row in summary))
    known = {(*(r[name] for name in place), r["method"], r["budget"]): r for r in summary}
    names = [m if budget == 1 else f"{m}, budget {budget:g}" for m, budget in methods]
    lines = [[*place, *names], ["---"] * (len(place) + len(names))]
    for cell in cells:
        found = (known.get((*cell, *method)) for method in methods)
        shown = ["all" if value is None else str(value) for value in cell]
        lines.append([*shown, *(_cell(row, figure) for row in found)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(row: Row | None, figure: str) -> str:
    if row is None or figure not in row:
        return "-"
    scale, digits = (100, 1) if figure in _PERCENT else (1, 3)
    text = f"{scale * row[figure]:.{digits}f}"
    interval = scale * row[f"{figure}_interval"]
    return text if math.isnan(interval) else f"{text} ± {interval:.{digits}f}"


def _half_width(values: Sequence[float]) -> float:
    n = len(values)
    if n < 2:
        return math.nan
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    return float(scipy.stats.t.ppf(0.975, n - 1)) * error
