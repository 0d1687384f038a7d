"""Compare methods with a baseline, paired by seed within every task."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from skdidicm.study.tables import (
    METHOD,
    TASK,
    SummaryRow,
    budget_text,
    grouped,
    half_width,
    mean,
    named,
)

_TINY = 1e-12  # replaces an NLL or a time of 0, so that ratios exist
_PAIRED = (("accuracy", "difference"), ("nll", "ratio"), ("fit_seconds", "ratio"))
_FIGURES = ("accuracy", "nll", "fit_seconds", "ece")


def compare(rows: Sequence[Mapping[str, Any]], baseline: str) -> list[SummaryRow]:
    """Return one row per task and method: differences from the baseline over the seeds.

    Parameters
    ----------
    rows : sequence of dict
        Rows of cells, as `run` returns them.
    baseline : str
        Name of a method. Methods are compared with it at equal budget, and at equal steps if it
        was run with steps. "NAME@BUDGET" compares all of them with it at that budget.

    Returns
    -------
    list of dict
        `accuracy_difference`, `nll_ratio` and `fit_seconds_ratio`, each with the bounds `_low` and
        `_high` of the paired 95 % interval, and the `ece` of the method. Ratios are geometric
        means.

    Raises
    ------
    ValueError
        If the baseline has no rows.
    """
    paired = list(_pairs(rows, baseline))
    return [
        key | {"seeds": len(members)} | _estimates(members, members)
        for key, members in grouped(paired, (*TASK, *METHOD))
    ]


def overall(rows: Sequence[Mapping[str, Any]], baseline: str) -> list[SummaryRow]:
    """Return one row per method: the unweighted mean over the tasks, and the worst task.

    Intervals are those of the mean over tasks between seeds; seeds that lack a task are left out.

    Returns
    -------
    list of dict
        As `compare`, and `accuracy_worst`, `nll_worst`, `ece_worst`; `ahead` and `behind` count
        the tasks whose interval of the accuracy difference lies above and below 0.
    """
    cells = {tuple(key.values()): own for key, own in grouped(compare(rows, baseline), METHOD)}
    result = []
    for key, members in grouped(list(_pairs(rows, baseline)), METHOD):
        own = cells[tuple(key.values())]
        tasks = [_means(of) for _, of in grouped(members, TASK)]
        seeds = [_means(of) for _, of in grouped(members, ("seed",)) if len(of) == len(tasks)]
        counts = {"cells": len(own), "seeds": len(seeds)}
        result.append(key | counts | _estimates(tasks, seeds) | _extremes(own))
    return result


def to_text(rows: Sequence[Mapping[str, Any]], baseline: str) -> str:
    """Return the comparison as a Markdown table: a line per method."""
    head = ["method", "cells", "seeds", "accuracy, points", "worst cell", "ahead / behind",
            "NLL, ratio", "worst cell", "ECE, %", "worst cell", "training time, ratio"]  # fmt: skip
    lines = [head, ["---"] * len(head)]
    for row in overall(rows, baseline):
        half = 100 * (row["accuracy_difference_high"] - row["accuracy_difference"])
        accuracy = f"{100 * row['accuracy_difference']:+.1f}"
        low, high = row["nll_ratio_low"], row["nll_ratio_high"]
        lines.append([
            named(row), f"{row['cells']}", f"{row['seeds']}",
            accuracy if math.isnan(half) else f"{accuracy} ± {half:.1f}",
            f"{100 * row['accuracy_worst']:+.1f}", f"{row['ahead']} / {row['behind']}",
            f"{row['nll_ratio']:.3f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})"),
            f"{row['nll_worst']:.3f}", f"{100 * row['ece']:.1f}", f"{100 * row['ece_worst']:.1f}",
            f"{row['fit_seconds_ratio']:.2f}",
        ])  # fmt: skip
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _pairs(rows: Sequence[Mapping[str, Any]], baseline: str) -> Iterator[SummaryRow]:
    """Yield every row with its accuracy minus the baseline's and the logarithms of its ratios."""
    name, _, fixed = baseline.partition("@")
    peers = {
        (*_task(row), None if fixed else row["budget"], row.get("steps")): row
        for row in rows
        if row["method"] == name and fixed in ("", budget_text(row["budget"]))
    }
    if not peers:
        known = ", ".join(dict.fromkeys(named(row) for row in rows))
        raise ValueError(f"baseline is {baseline!r}; expected a method of the study: {known}.")
    for row in rows:
        own = (*_task(row), None if fixed else row["budget"])
        peer = peers.get((*own, row.get("steps"))) or peers.get((*own, None))
        if peer is not None:
            change = {"accuracy": row["accuracy"] - peer["accuracy"]}
            yield {
                **row,
                **change,
                **{k: _log_ratio(row[k], peer[k]) for k in ("nll", "fit_seconds")},
            }


def _estimates(
    tasks: Sequence[Mapping[str, Any]], seeds: Sequence[Mapping[str, Any]]
) -> SummaryRow:
    """Return means over tasks, and intervals from the differences between seeds."""
    result: SummaryRow = {}
    for figure, kind in _PAIRED:
        middle = mean([row[figure] for row in tasks])
        half = half_width([row[figure] for row in seeds])
        for end, value in (("", middle), ("_low", middle - half), ("_high", middle + half)):
            result[f"{figure}_{kind}{end}"] = math.exp(value) if kind == "ratio" else value
    return result | {"ece": mean([row["ece"] for row in tasks])}


def _extremes(cells: Sequence[Mapping[str, Any]]) -> SummaryRow:
    return {
        "accuracy_worst": min(row["accuracy_difference"] for row in cells),
        "nll_worst": max(row["nll_ratio"] for row in cells),
        "ece_worst": max(row["ece"] for row in cells),
        "ahead": sum(row["accuracy_difference_low"] > 0 for row in cells),
        "behind": sum(row["accuracy_difference_high"] < 0 for row in cells),
    }


def _means(rows: Sequence[Mapping[str, Any]]) -> SummaryRow:
    return {figure: mean([row[figure] for row in rows]) for figure in _FIGURES}


def _task(row: Mapping[str, Any]) -> tuple[object, ...]:
    return (*(row.get(name) for name in TASK), row["seed"])


def _log_ratio(a: float, b: float) -> float:
    return math.log(max(a, _TINY) / max(b, _TINY))
