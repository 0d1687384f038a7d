"""Run the cells of a study and append a row for each, so that a stopped study can continue."""

import itertools
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
from skdidicm.saving.run_folder import locked
from skdidicm.study.budget import CANDIDATES, answer_within
from skdidicm.study.data import load
from skdidicm.study.grid import Cell
from skdidicm.study.rows import CellRow, StudyScores, append, cell_of, finished
from skdidicm.study.settings import check_or_write


def run(
    wanted: Iterable[Cell],
    path: str | Path,
    *,
    folder: str | None = None,
    jobs: int = 1,
    settings: dict[str, Any] | None = None,
    candidates: Sequence[float] = CANDIDATES,
) -> list[CellRow]:
    """Run the cells that `path` does not hold yet, and return the rows of all cells wanted.

    One process at a time may run cells into a folder; `jobs` sets how many it computes at once.

    Parameters
    ----------
    wanted : iterable of Cell
        The cells of the study; equal ones count once.
    path : path-like
        File of JSON lines. A line is appended as soon as a cell is finished; cells that differ
        only in their steps are trained once and written together.
    folder : str, optional
        Folder with the files of Fashion-MNIST.
    jobs : int, default=1
        Number of cells at a time, through joblib. Set its backend (processes, Dask, Ray) around
        this call with `joblib.parallel_config`.
    settings : dict, optional
        Parameters of `DiDiClassifier` for every method, such as device or max_epochs.
    candidates : sequence of float
        The budgets that "best" and "best-accuracy" choose from.

    Raises
    ------
    RunFolderError
        If another process runs a study in the folder of `path`.
    ValueError
        If `settings.json` beside `path` has other settings or candidates, or if a cell is not
        valid.
    """
    path, wanted = Path(path), list(dict.fromkeys(wanted))
    with locked(path.parent):
        _run_missing(wanted, path, folder, jobs, settings or {}, candidates)
        rows, kept = finished(path), set(wanted)
    return [row for row in rows if cell_of(row) in kept]


def _run_missing(
    wanted: Sequence[Cell],
    path: Path,
    folder: str | None,
    jobs: int,
    settings: dict[str, Any],
    candidates: Sequence[float],
) -> None:
    from joblib import Parallel, delayed

    done = {cell_of(row) for row in finished(path)}
    check_or_write(path.parent, {**settings, "candidates": list(candidates)}, begun=len(done) > 0)
    missing = [cell for cell in wanted if cell not in done]
    trainings = itertools.groupby(missing, lambda cell: replace(cell, steps=None))
    work = Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(_measured)(list(cells), folder, settings, candidates) for _, cells in trainings
    )
    for rows in work:
        append(path, rows)


def _measured(
    cells: Sequence[Cell], folder: str | None, settings: dict[str, Any], candidates: Sequence[float]
) -> list[CellRow]:
    """Return the rows of cells that differ only in their steps: one process trains them once."""
    return [measure(cell, folder, settings, candidates) for cell in cells]


def measure(
    cell: Cell, folder: str | None, settings: dict[str, Any], candidates: Sequence[float]
) -> CellRow:
    """Return the row of a cell: the cell itself, its scores and its costs."""
    split = load(cell, folder)
    if cell.steps is not None:
        settings = {**settings, "steps": cell.steps}
    found, search = answer_within(cell.method, split, cell.seed, cell.budget, settings, candidates)
    costs = {name: round(float(getattr(found, name)), 3) for name in found._fields[1:]}
    costs |= {} if search is None else search._asdict()
    return {**asdict(cell), **score(split.y_test, found.proba), **costs}  # type: ignore[typeddict-item]


def score(y: NDArray[Any], proba: NDArray[np.float64]) -> StudyScores:
    """Return the scores of probabilities (n, k) for labels (n,) from 0 to k - 1."""
    wrong = proba.argmax(axis=1) != y
    q_0 = np.eye(proba.shape[1])[y]
    mixed = 0 < wrong.sum() < len(wrong)
    return StudyScores(
        **score_probabilities(y, proba),
        brier=float(np.square(proba - q_0).sum(axis=1).mean()),
        nll_oracle=best_temperature(proba, q_0)[1],
        auroc=float(roc_auc_score(wrong, entropy(proba, axis=1))) if mixed else None,
    )
