"""What a model file holds of the rows that a fit held out, as tensors."""

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.fit.state import Fitted, HeldOut
from skdidicm.predict.familiarity import Familiar
from skdidicm.saving import json_values as plain
from skdidicm.saving.model_file import ModelFileError

_SUM = 1e-3  # by which the sum of class probabilities may differ from one
_MOST_ROWS = 2**31  # of a fit; more would not fit into memory when they are spread out
_SAMPLER = {"sampler": str, "solver": str, "steps": int, "label_rule": str, "n_chains": int}


def tensors_of(fitted: Fitted) -> tuple[dict[str, NDArray[Any]], dict[str, Any] | None]:
    """Return the tensors, and the rest as JSON values; None if no rows were held out."""
    held = fitted.held_out
    if held is None:
        return {}, None
    label = held.target.argmax(axis=1)
    hard = bool((held.target[np.arange(len(label)), label] == 1).all())
    tensors: dict[str, NDArray[Any]] = {
        "held_out.row": held.row.astype(np.int64),
        "held_out.fold": held.fold.astype(np.int64),
        "held_out.proba": held.proba,
        "held_out.weight": held.weight.astype(np.float64),
        "held_out.target": label.astype(np.int64) if hard else held.target.astype(np.float64),
    }
    if held.additive is not None:
        tensors["held_out.additive"] = held.additive
    if held.trees is not None:
        tensors["held_out.trees"] = held.trees
    for i, familiar in enumerate(fitted.familiar):
        tensors |= {f"familiar{i}.{name}": value for name, value in vars(familiar).items()}
    return tensors, {"n_rows": int(held.n_rows), "sampler": held.sampler}


def read_held_out(
    saved: Any, tensors: dict[str, NDArray[Any]], n_classes: int, n_folds: int
) -> tuple[HeldOut | None, list[Familiar]]:
    """Return what a file holds of them; earlier files hold nothing.

    Raises
    ------
    ModelFileError
        If arrays do not fit each other, the classes or the networks.
    """
    if saved is None:
        return None, []
    held = _held_out(saved, tensors, n_classes, n_folds)
    return held, _familiar(tensors, n_folds, len(held.row)) if "familiar0.own" in tensors else []


def _held_out(
    saved: dict[str, Any], tensors: dict[str, NDArray[Any]], k: int, n_folds: int
) -> HeldOut:
    row, fold, proba, weight, target = (
        tensors[f"held_out.{name}"] for name in ("row", "fold", "proba", "weight", "target")
    )
    additive, trees = (tensors.get(f"held_out.{name}") for name in ("additive", "trees"))
    n_rows, m = plain.read_count(saved["n_rows"], "n_rows"), len(proba)
    if target.ndim == 1:
        if target.dtype.kind != "i" or not _within(target, 0, k):
            raise ModelFileError("the labels of its held-out rows are none of its classes.")
        target = np.eye(k)[target]
    laws = [law for law in (proba, target, additive, trees) if law is not None]
    fitting = (
        all(law.shape == (m, k) for law in laws)
        and row.shape == fold.shape == weight.shape == (m,)
        and row.dtype.kind == fold.dtype.kind == "i"
        and m > 0
        and n_rows <= _MOST_ROWS
        and _within(row, -1, n_rows)
        and len(np.unique(row[row >= 0])) == np.count_nonzero(row >= 0)
        and _within(fold, 0, n_folds)
        and all(np.isfinite(v).all() and v.min() >= 0 for v in (*laws, weight))
        and weight.min() > 0
        and np.abs(np.stack(laws).sum(axis=2) - 1).max() < _SUM
    )
    if not fitting:
        raise ModelFileError("the arrays of its held-out rows do not fit each other.")
    sampler = {name: kind(saved["sampler"][name]) for name, kind in _SAMPLER.items()}
    return HeldOut(row, fold, proba, target, weight, n_rows, sampler, additive, trees)


def _familiar(tensors: dict[str, NDArray[Any]], n_folds: int, n_held: int) -> list[Familiar]:
    found = []
    for i in range(n_folds):
        familiar = Familiar(**{f.name: tensors[f"familiar{i}.{f.name}"] for f in fields(Familiar)})
        centre, whiten, classes, own = vars(familiar).values()
        fitting = (
            centre.ndim == own.ndim == 1
            and whiten.ndim == classes.ndim == 2
            and whiten.shape == (len(centre), classes.shape[1])
            and min(classes.shape) > 0
            and not np.isnan(own).any()
            and bool((np.diff(own) >= 0).all())
            and all(np.isfinite(v).all() for v in (centre, whiten, classes))
        )
        if not fitting:
            raise ModelFileError("what it holds of the features of its rows does not fit.")
        found.append(familiar)
    if sum(len(familiar.own) for familiar in found) != n_held:
        raise ModelFileError("what it holds of the features of its rows does not fit.")
    return found


def _within(values: NDArray[Any], low: int, high: int) -> bool:
    return bool(values.min(initial=low) >= low and values.max(initial=low) < high)
