"""The state of a run beside its tensors: the JSON values of a checkpoint, checked when read."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.fingerprint import Fingerprint

_LARGEST = 10**12  # updates: far more than any run has, and small enough for all arithmetic


@dataclass(frozen=True, kw_only=True)
class RunState:
    """All that a run continues from, except its tensors.

    Attributes
    ----------
    config : dict
        The settings.
    classes : list of str
        Names of the classes, in the order of their numbers.
    world : int
        Number of processes that wrote the checkpoint.
    history : list of dict
        One row per finished epoch.
    best : float or None
        The highest validation accuracy so far.
    is_best : bool
        Whether this checkpoint is the one with that accuracy.
    seconds : list of float
        Time of the current epoch so far, and the part of it spent waiting for data.
    data : dict or None
        The `Fingerprint` of the data; None in files of an earlier version.
    """

    config: dict[str, Any]
    classes: list[str]
    world: int
    history: list[dict[str, Any]]
    best: float | None
    is_best: bool
    seconds: list[float]
    data: dict[str, Any] | None = None

    def plain(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "RunState":
        """Return the state in the values of a checkpoint, which may hold those of the engine, too.

        Files of an earlier version lack some; the rest `missing_values` lists.
        """
        defaults = {"world": 1, "is_best": False, "data": None}
        names = cls.__dataclass_fields__
        return cls(**{name: values.get(name, defaults.get(name)) for name in names})


_REQUIRED = ("config", "classes", "history", "best", "seconds", "update", "optimizer", "scaler")


def missing_values(values: Mapping[str, Any]) -> list[str]:
    """Return the names of the values that a run needs to continue but a checkpoint lacks."""
    return [name for name in _REQUIRED if name not in values]


def check_values(values: Mapping[str, Any]) -> None:
    """Check the values of a checkpoint that are present; unknown ones are ignored.

    Raises
    ------
    ValueError
        If one is not what a run writes.
    """
    for name, check in _CHECKS.items():
        if name in values:
            check(values[name], name)
    history = values.get("history")
    if history and history[-1]["update"] > values.get("update", _LARGEST):
        raise _fail("update", values["update"], "one after the last epoch of the history")


def _fail(name: str, value: object, expected: str) -> ValueError:
    text = repr(value)
    return ValueError(f"{name} is {text[:60]}{'...' * (len(text) > 60)}; expected {expected}")


def _check_count(value: Any, name: str) -> None:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise _fail(name, value, "a whole number from 0 on")


def _check_number(value: Any, name: str) -> None:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise _fail(name, value, "a finite number")


def _check_best(value: Any, name: str) -> None:
    if value is not None:
        _check_number(value, name)


def _check_flag(value: Any, name: str) -> None:
    if type(value) is not bool:
        raise _fail(name, value, "true or false")


def _check_object(value: Any, name: str) -> None:
    if type(value) is not dict:
        raise _fail(name, value, "an object")


def _check_seconds(value: Any, name: str) -> None:
    if type(value) is not list or len(value) != 2:
        raise _fail(name, value, "two numbers")
    for number in value:
        _check_number(number, name)


def _check_classes(value: Any, name: str) -> None:
    if type(value) is not list or len(value) < 2 or not all(type(one) is str for one in value):
        raise _fail(name, value, "a list of at least two names")


def _check_config(value: Any, name: str) -> None:
    _check_object(value, name)
    RunConfig.parse(value)


def _check_history(value: Any, name: str) -> None:
    if type(value) is not list:
        raise _fail(name, value, "a list of epochs")
    for i, row in enumerate(value, start=1):
        where = f"row {i} of the history"
        _check_object(row, where)
        for key in ("epoch", "update"):
            _check_count(row.get(key), f"{key} in {where}")
        if row["epoch"] != i:
            raise _fail(f"epoch in {where}", row["epoch"], str(i))
        for key, number in row.items():
            if key == "figures":
                _check_figures(number, f"figures in {where}")
            else:
                _check_number(number, f"{key} in {where}")


def _check_figures(value: Any, name: str) -> None:
    _check_object(value, name)
    for key, figure in value.items():
        for number in figure if type(figure) is list else [figure]:
            _check_number(number, f"{key} of {name}")


def _check_data(value: Any, name: str) -> None:  # noqa: ARG001 - as all checks
    if value is not None:
        Fingerprint.parse(value)


_CHECKS: dict[str, Callable[[Any, str], None]] = {
    "config": _check_config,
    "classes": _check_classes,
    "world": _check_count,
    "history": _check_history,
    "best": _check_best,
    "is_best": _check_flag,
    "seconds": _check_seconds,
    "data": _check_data,
    "update": _check_count,
    "optimizer": _check_object,
    "scaler": _check_object,
}
