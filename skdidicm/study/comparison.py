"""Methods against one of them, the baseline: paired by seed within every cell."""

import math
from collections.abc import Iterator, Sequence

from skdidicm.study.tables import METHOD, PLACE, Row, budget_text, grouped, half_width, mean, named

_TINY = 1e-12  # in place of an NLL or a time of 0, which has no ratio
_PAIRED = (("accuracy", "difference"), ("nll", "ratio"), ("fit_seconds", "ratio"))
_FIGURES = ("accuracy", "nll", "fit_seconds", "ece")


def compare(rows: Sequence[Row], baseline: str) -> list[Row]:
    """Return one row per cell and method: differences from the baseline over the seeds.

    Parameters
    ----------
    rows : sequence of dict
        Rows of cells, as `run` returns them.
    baseline : str
        Name of a method, to be compared with at equal budget, and at equal steps if it was run
        with them; "NAME@BUDGET" is compared with at that budget only.

    Returns
    -------
    list of dict
        `accuracy_difference`, `nll_ratio` and `fit_seconds_ratio`, each with `_low` and `_high` of
        the paired 95 % interval, and the method's own `ece`. Ratios are geometric means.

    Raises
    ------
    ValueError
        If there are no rows of the baseline.
    """
    paired = list(_pairs(rows, baseline))
    return [
        key | {"seeds": len(members)} | _estimates(members, members)
        for key, members in grouped(paired, (*PLACE, *METHOD))
    ]


def overall(rows: Sequence[Row], baseline: str) -> list[Row]:
    """Return one row per method: the mean over cells, which count alike, and the worst cell.

    Intervals are those of the seeds' means over cells, from the seeds that have all cells.

    Returns
    -------
    list of dict
        As `compare`, and `accuracy_worst`, `nll_worst`, `ece_worst`; `ahead` and `behind` count
        the cells whose interval of accuracy lies above and below 0.
    """
    cells = {tuple(key.values()): own for key, own in grouped(compare(rows, baseline), METHOD)}
    result = []
    for key, members in grouped(list(_pairs(rows, baseline)), METHOD):
        own = cells[tuple(key.values())]
        places = [_means(of) for _, of in grouped(members, PLACE)]
        seeds = [_means(of) for _, of in grouped(members, ("seed",)) if len(of) == len(places)]
        counts = {"cells": len(own), "seeds": len(seeds)}
        result.append(key | counts | _estimates(places, seeds) | _extremes(own))
    return result


def to_text(rows: Sequence[Row], baseline: str) -> str:
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


def _pairs(rows: Sequence[Row], baseline: str) -> Iterator[Row]:
    """Yield the rows with accuracy less the baseline's, and logarithms of the other ratios."""
    name, _, fixed = baseline.partition("@")
    peers = {
        (*_place(row), None if fixed else row["budget"], row.get("steps")): row
        for row in rows
        if row["method"] == name and fixed in ("", budget_text(row["budget"]))
    }
    if not peers:
        known = ", ".join(dict.fromkeys(named(row) for row in rows))
        raise ValueError(f"baseline is {baseline!r}; expected a method of the study: {known}.")
    for row in rows:
        own = (*_place(row), None if fixed else row["budget"])
        peer = peers.get((*own, row.get("steps"))) or peers.get((*own, None))
        if peer is not None:
            change = {"accuracy": row["accuracy"] - peer["accuracy"]}
            yield row | change | {k: _log_ratio(row[k], peer[k]) for k in ("nll", "fit_seconds")}


def _estimates(places: Sequence[Row], seeds: Sequence[Row]) -> Row:
    """Return means over places, and intervals from what the seeds scatter."""
    result: Row = {}
    for figure, kind in _PAIRED:
        middle = mean([row[figure] for row in places])
        half = half_width([row[figure] for row in seeds])
        for end, value in (("", middle), ("_low", middle - half), ("_high", middle + half)):
            result[f"{figure}_{kind}{end}"] = math.exp(value) if kind == "ratio" else value
    return result | {"ece": mean([row["ece"] for row in places])}


def _extremes(cells: Sequence[Row]) -> Row:
    return {
        "accuracy_worst": min(row["accuracy_difference"] for row in cells),
        "nll_worst": max(row["nll_ratio"] for row in cells),
        "ece_worst": max(row["ece"] for row in cells),
        "ahead": sum(row["accuracy_difference_low"] > 0 for row in cells),
        "behind": sum(row["accuracy_difference_high"] < 0 for row in cells),
    }


def _means(rows: Sequence[Row]) -> Row:
    return {figure: mean([row[figure] for row in rows]) for figure in _FIGURES}


def _place(row: Row) -> tuple[object, ...]:
    return (*(row.get(name) for name in PLACE), row["seed"])


def _log_ratio(a: float, b: float) -> float:
    return math.log(max(a, _TINY) / max(b, _TINY))
