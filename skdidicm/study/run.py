"""Run the cells of a study; one JSON line per finished cell, so that a study can go on."""

import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score

from skdidicm.metrics import score_probabilities
from skdidicm.predict.temperature import best_temperature
from skdidicm.study.budget import CANDIDATES, answer_within
from skdidicm.study.data import load
from skdidicm.study.grid import Cell
from skdidicm.study.settings import agree

Row = dict[str, Any]

_LATER = {"corruption": None, "ratio": 1.0, "steps": None}  # columns that older files lack


def run(
    wanted: Iterable[Cell],
    path: str | Path,
    *,
    folder: str | None = None,
    jobs: int = 1,
    settings: dict[str, Any] | None = None,
    candidates: Sequence[float] = CANDIDATES,
) -> list[Row]:
    """Run the cells that `path` does not hold yet, and return all its rows that were asked for.

    Parameters
    ----------
    wanted : iterable of Cell
        The cells of the study.
    path : path-like
        File of JSON lines; a line is appended as soon as a cell is finished, and those of cells
        that differ in their steps alone together.
    folder : str, optional
        Where the files of Fashion-MNIST are.
    jobs : int, default=1
        Cells at a time, through joblib: its backend (processes, Dask, Ray) may be set around
        this call with `joblib.parallel_config`.
    settings : dict, optional
        Parameters of `DiDiClassifier` that every method shall have, such as device or max_epochs.
    candidates : sequence of float
        The budgets that a budget "best" chooses from.

    Raises
    ------
    ValueError
        If `settings.json` beside `path` says that its rows had other settings or candidates, or a
        cell cannot be.
    """
    from joblib import Parallel, delayed

    path, wanted = Path(path), list(wanted)
    path.parent.mkdir(parents=True, exist_ok=True)
    done = {_key(row) for row in finished(path)}
    shared = {**(settings or {}), "candidates": list(candidates)}
    agree(path.parent, shared, begun=len(done) > 0)
    open_cells = [cell for cell in wanted if cell.key not in done]
    fits = itertools.groupby(open_cells, lambda cell: replace(cell, steps=None))
    work = Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(_measured)(list(of), folder, settings or {}, candidates) for _, of in fits
    )
    for rows in work:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    keys = {cell.key for cell in wanted}
    return [row for row in finished(path) if _key(row) in keys]


def finished(path: str | Path) -> list[Row]:
    """Return the rows of a file of JSON lines; a last line that was cut short is left out."""
    path, rows = Path(path), []
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    for line in text.splitlines():
        try:
            rows.append(_LATER | json.loads(line))
        except json.JSONDecodeError:
            continue
    if text and not text.endswith("\n"):
        with path.open("a", encoding="utf-8") as file:
            file.write("\n")
    return rows


def _measured(
    of: Sequence[Cell], folder: str | None, settings: dict[str, Any], candidates: Sequence[float]
) -> list[Row]:
    """Return the rows of cells that differ in their steps alone: one process trains them once."""
    return [measure(cell, folder, settings, candidates) for cell in of]


def measure(
    cell: Cell, folder: str | None, settings: dict[str, Any], candidates: Sequence[float]
) -> Row:
    """Return one row: the cell, its metrics and its costs."""
    split = load(cell, folder)
    if cell.steps is not None:
        settings = {**settings, "steps": cell.steps}
    found, note = answer_within(cell.method, split, cell.seed, cell.budget, settings, candidates)
    costs = {name: round(float(getattr(found, name)), 3) for name in found._fields[1:]}
    return {**asdict(cell), **metrics(split.y_test, found.proba), **costs, **note}


def metrics(y: NDArray[Any], proba: NDArray[np.float64]) -> dict[str, float | None]:
    """Return the figures of a study.

    `auroc` is that of entropy as a sign of wrong answers. `nll_oracle` is the NLL at the
    temperature that suits these very rows best: no honest temperature reaches a lower one.
    """
    scores = dict(score_probabilities(y, proba))
    wrong = proba.argmax(axis=1) != y
    q_0 = np.eye(proba.shape[1])[y]
    brier = np.square(proba - q_0).sum(axis=1).mean()
    mixed = 0 < wrong.sum() < len(wrong)
    scores["brier"] = float(brier)
    scores["nll_oracle"] = best_temperature(proba, q_0)[1]
    scores["auroc"] = float(roc_auc_score(wrong, entropy(proba, axis=1))) if mixed else None
    return scores  # type: ignore[return-value]


def _key(row: Row) -> tuple[Any, ...]:
    return Cell(**{name: row[name] for name in Cell.__dataclass_fields__}).key
