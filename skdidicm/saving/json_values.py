"""What a model file says in JSON: labels, parameters and history, written and read strictly.

What is written can be read again. What is read may come from anyone, so nothing is allocated
beyond what the text itself holds, and types that no model has are refused with a ValueError.
"""

import json
import numbers
import os
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.core import SCHEDULES, Schedule
from skdidicm.fit.columns import Category, Columns
from skdidicm.fit.training import HistoryRow
from skdidicm.fit.validation import LABEL_KINDS, MAX_CLASS_BYTES, check_classes

_APART = (
    "augment", "calibrator", "callbacks", "label_noise", "random_state", "rate_matrix", "schedule",
    "network",
)  # fmt: skip
_DATES = "Mm"  # kinds of NumPy whose values are integers of a unit, written as such
_LARGEST = 2**63  # of a number in a history, which others turn into floats


def plain(value: Any) -> Any:
    """Return a scalar of NumPy as one of Python."""
    is_scalar = isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim)
    return value.item() if is_scalar else value


def write_classes(classes: NDArray[Any]) -> dict[str, Any]:
    """Return classes as their type and their values."""
    as_integers = classes.dtype.kind in _DATES
    values = (classes.astype(np.int64) if as_integers else classes).tolist()
    return {"dtype": classes.dtype.str, "values": [plain(value) for value in values]}


def read_classes(saved: dict[str, Any]) -> NDArray[Any]:
    """Return classes that are sorted and distinct.

    An array of strings is as wide as its type says, whatever the strings are. Its size is checked
    before it is made.
    """
    dtype, values = np.dtype(saved["dtype"]), saved["values"]
    if dtype.kind not in LABEL_KINDS or not isinstance(values, list):
        raise ValueError(f"the classes have type {dtype}, which no model has.")
    if dtype.itemsize * len(values) > MAX_CLASS_BYTES:
        raise ValueError(f"{len(values)} classes have type {dtype}, which is too large together.")
    as_integers = dtype.kind in _DATES
    classes = np.array(values, dtype=np.int64 if as_integers else dtype)
    if classes.tolist() != values:  # NumPy shortens strings and rounds numbers
        raise ValueError(f"the classes are not of their type {dtype}.")
    classes = check_classes(classes.astype(dtype) if as_integers else classes)
    if not np.array_equal(classes, np.unique(classes)):
        raise ValueError("the classes are not a sorted list.")
    return classes


def write_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that JSON can hold, without callables and sources of randomness.

    Parameters that are missing have their defaults when the file is loaded.

    Raises
    ------
    ValueError
        If another parameter is no number, string or the like.
    """
    found = {k: plain(v) for k, v in parameters.items() if k not in _APART}
    class_weight, random_state = parameters.get("class_weight"), parameters.get("random_state")
    if isinstance(class_weight, dict):
        found["class_weight"] = [[_write_label(k), float(v)] for k, v in class_weight.items()]
    if isinstance(random_state, int | np.integer):
        found["random_state"] = int(random_state)
    if not isinstance(found.get("backend"), str):
        found["backend"] = "auto"
    found["device"] = str(found.get("device", "auto"))  # it may be an object of the framework
    if isinstance(found.get("pretrained"), os.PathLike):
        found["pretrained"] = os.fspath(found["pretrained"])
    for name in ("network", "augment"):
        if name in parameters and isinstance(parameters[name], str | None):
            found[name] = parameters[name]
    label_noise = plain(parameters.get("label_noise"))
    if label_noise is None or isinstance(label_noise, str | int | float):
        found["label_noise"] = label_noise
    for name, value in found.items():
        if isinstance(value, np.ndarray):
            found[name] = value = value.tolist()
        if not _is_json(value):
            raise ValueError(
                f"{name} is {value!r}, which a model file cannot hold; replace it with a number or "
                f"a string, with set_params({name}=...), before saving."
            )
    return found


def matrix_of(label_noise: Any) -> NDArray[np.float64] | None:
    """Return label noise that is a matrix, or an object with one; None for other parameters."""
    if hasattr(label_noise, "matrix"):
        label_noise = label_noise.matrix()
    elif label_noise is None or isinstance(label_noise, str | numbers.Real):
        return None
    return np.asarray(label_noise, dtype=np.float64)


def read_parameters(saved: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that `write_parameters` was given, without those it left out."""
    parameters = dict(saved)
    if isinstance(parameters.get("class_weight"), list):
        pairs = parameters["class_weight"]
        parameters["class_weight"] = {_read_label(label): weight for label, weight in pairs}
    return parameters


def _write_label(label: Any) -> Any:
    if isinstance(label, np.datetime64 | np.timedelta64):
        return {"dtype": label.dtype.str, "value": int(label.astype(np.int64))}
    return plain(label)


def _read_label(saved: Any) -> Any:
    if isinstance(saved, dict):
        return np.array(saved["value"], dtype=np.int64).astype(saved["dtype"])[()]
    return saved


def write_history(rows: list[HistoryRow]) -> list[dict[str, Any]]:
    """Return rows of numbers.

    Raises
    ------
    ValueError
        If a callback has put something else into a row.
    """
    found = [{name: plain(value) for name, value in row.items()} for row in rows]
    for i, row in enumerate(found):
        for name, value in row.items():
            if not isinstance(name, str) or not _is_number(value):
                raise ValueError(
                    f"history_[{i}][{name!r}] is {value!r}, but a model file keeps numbers only; "
                    "remove it before saving."
                )
    return found


def read_history(saved: Any) -> list[HistoryRow]:
    """Return the rows that `write_history` was given."""
    sound = isinstance(saved, list) and all(
        isinstance(row, dict) and all(map(_is_number, row.values())) for row in saved
    )
    if not sound:
        raise ValueError("its history is not a list of rows of numbers.")
    rows: list[HistoryRow] = saved
    return rows


def write_schedule(schedule: Schedule) -> dict[str, Any]:
    """Return a schedule of the library by its name and its fields."""
    for name, kind in SCHEDULES.items():
        if type(schedule) is kind:
            fields = asdict(schedule)  # type: ignore[call-overload]
            return {"name": name, **{field: plain(value) for field, value in fields.items()}}
    raise ValueError(
        f"schedule {schedule!r} is a class of your own and cannot be saved without pickle; "
        f"use one of {tuple(SCHEDULES)}, or pickle the estimator."
    )


def read_schedule(saved: dict[str, Any]) -> Schedule:
    """Return the schedule that `write_schedule` was given."""
    fields = dict(saved)
    kind = SCHEDULES[fields.pop("name")]
    if not all(map(_is_number, fields.values())):
        raise ValueError("its schedule has fields that are no numbers.")
    return kind(**fields)


def write_columns(columns: Columns | None) -> dict[str, Any] | None:
    """Return columns as JSON values, but for their means."""
    if columns is None:
        return None
    categories = [
        {"column": i, **asdict(found), "levels": list(found.levels)}
        for i, found in columns.categories.items()
    ]
    return {"gaps": list(columns.gaps), "categories": categories}


def read_columns(saved: Any, fill: NDArray[Any] | None, shape: tuple[int, ...]) -> Columns | None:
    """Return the columns that `write_columns` was given; earlier files have none.

    A network that takes rows of this `shape` must fit them.
    """
    if saved is None:
        return None
    gaps, categories = saved["gaps"], {}
    for found in saved["categories"]:
        levels, other, missing = found["levels"], found["other"], found["missing"]
        texts = isinstance(levels, list) and all(isinstance(level, str) for level in levels)
        if not texts or len(set(levels)) < len(levels) or {type(other), type(missing)} != {bool}:
            raise ValueError("the levels of a category are not different texts.")
        categories[found["column"]] = Category(tuple(levels), other, missing)
    places = [*gaps, *categories]
    whole = (
        fill is not None
        and fill.dtype == np.float64
        and fill.ndim == 1
        and bool(np.isfinite(fill).all())
        and all(type(i) is int and 0 <= i < len(fill) for i in places)
        and len(set(places)) == len(gaps) + len(saved["categories"])
    )
    if not whole or fill is None:
        raise ValueError("what it says of its columns does not fit them.")
    columns = Columns(fill, tuple(gaps), categories)
    if shape != (columns.width,):
        raise ValueError("its network does not take its columns.")
    return columns


def read_count(saved: Any, name: str) -> int:
    """Return an integer >= 0."""
    if not isinstance(saved, int) or saved < 0:
        raise ValueError(f"its {name} is {saved!r}, not an integer >= 0.")
    return saved


def read_versions(saved: Any) -> dict[str, str]:
    """Return versions of packages by their names."""
    if not isinstance(saved, dict) or not all(isinstance(v, str) for v in saved.values()):
        raise ValueError("its versions are not strings by the names of packages.")
    return saved


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < _LARGEST)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
