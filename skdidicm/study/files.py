"""The files with the tables and figures of a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skdidicm.study.comparison import compare, to_text
from skdidicm.study.tables import FIGURES, SummaryRow, summarise, to_csv, to_markdown

_SHOWN = ("accuracy", "nll", "ece")


def write_tables(
    rows: Sequence[Mapping[str, Any]], folder: Path, baseline: str | None = None
) -> list[str]:
    """Write results.csv and results.md, and with a baseline comparison.csv and comparison.md.

    Returns
    -------
    list of str
        The most important of these tables, in Markdown.

    Raises
    ------
    ValueError
        If the baseline has no rows.
    """
    summary = summarise(rows)
    present = [name for name in FIGURES if any(name in row for row in summary)]
    tables = {name: f"{name}\n\n{to_markdown(summary, name)}\n" for name in present}
    _write(folder / "results.csv", to_csv(rows))
    _write(folder / "results.md", "".join(tables.values()))
    shown = ["".join(tables[name] for name in _SHOWN)]
    if baseline is not None:
        text = f"against {baseline}, mean over cells and worst cell\n\n{to_text(rows, baseline)}"
        _write(folder / "comparison.csv", to_csv(compare(rows, baseline)))
        _write(folder / "comparison.md", text)
        shown.append(text)
    return shown


def write_figures(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write accuracy and NLL against every quantity with several values, as PNG files.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    from skdidicm.study.figures import against, axes_of, with_severity

    summary: list[SummaryRow] = with_severity(summarise(rows))
    for x in axes_of(summary):
        for y in ("accuracy", "nll"):
            against(summary, x, y).savefig(folder / f"{y}_against_{x}.png", dpi=150)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
