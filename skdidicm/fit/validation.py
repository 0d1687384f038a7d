"""What users hand over, checked and made ready: rows, labels, weights and settings."""

import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import assert_all_finite, check_array, column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight

from skdidicm.core import SAMPLERS, SCHEDULES, Process, RateProcess, Schedule, UniformProcess
from skdidicm.core.samplers import LABEL_RULES, SOLVERS
from skdidicm.networks import CONDITIONINGS


def as_rows(X: Any) -> Any:
    """Return X as something that has a shape: tensors come to the host, lists become arrays."""
    if hasattr(X, "detach"):
        X = X.detach().cpu().numpy()
    return X if hasattr(X, "shape") else np.asarray(X)


def check_row_shape(shape: tuple[int, ...], expected: tuple[int, ...], name: str) -> None:
    """Raise ValueError unless rows have the shape that the estimator of that name was fitted on."""
    if shape != expected and max(len(shape), len(expected)) > 1:  # else scikit-learn says it
        raise ValueError(
            f"X has rows of shape {shape}, but {name} is expecting rows of shape {expected} as in "
            "fit."
        )


def check_images(x: NDArray[Any]) -> None:
    """Raise ValueError unless x are images (n, h, w[, c]) with their channels last."""
    if x.ndim > 4 or min(x.shape) == 0:
        raise ValueError(
            f"X has shape {x.shape}; expected tables (n, d), grey images (n, height, width) or "
            "colour images (n, height, width, channels)."
        )
    if x.ndim == 4 and x.shape[1] in (1, 3, 4) and min(x.shape[2:]) > 4:
        raise ValueError(
            f"X has shape {x.shape}, which looks like channels first; expected images with "
            "channels last. Transpose them with X.transpose(0, 2, 3, 1)."
        )


def check_labels(y: Any) -> NDArray[Any]:
    """Return y as a 1-d array of class labels."""
    if hasattr(y, "detach"):
        y = y.detach().cpu().numpy()
    if y is None:
        raise ValueError(
            "DiDiClassifier requires y to be passed, but the target y is None; pass class labels."
        )
    labels = column_or_1d(y, warn=True)
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    return np.asarray(labels)


def encode_labels(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.intp]:
    """Return the index of every label in the sorted classes.

    Raises
    ------
    ValueError
        If a label is not one of the classes.
    """
    known = set(classes.tolist())
    unknown = [label for label in np.unique(labels).tolist() if label not in known]
    if unknown:
        raise ValueError(
            f"y has labels {unknown[:5]} that are not in the classes {classes[:10].tolist()} "
            "given before; leave such rows out, or fit anew on all classes."
        )
    return np.searchsorted(classes, labels)


def check_weight(sample_weight: ArrayLike | None, x: NDArray[Any]) -> NDArray[np.float64]:
    """Return weights (n,) >= 0 with a positive sum."""
    weight: NDArray[np.float64] = _check_sample_weight(
        sample_weight, x, dtype=np.float64, ensure_non_negative=True
    )
    if not weight.sum() > 0:
        raise ValueError("every sample_weight is zero; at least one row needs a positive weight.")
    return weight


def class_weights(
    class_weight: dict[Any, float] | str,
    classes: NDArray[Any],
    q_0: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the weight (k,) of every class; "balanced" gives all classes that occur equal sums."""
    mass: NDArray[np.float64] = weight @ q_0
    if isinstance(class_weight, str) and class_weight == "balanced":
        share = mass.sum() / np.count_nonzero(mass)
        return np.where(mass > 0, share / np.where(mass > 0, mass, 1.0), 0.0)
    found: NDArray[np.float64] = compute_class_weight(class_weight, classes=classes, y=classes)
    if not (found.min() >= 0 and 0 < mass @ found < np.inf):
        raise ValueError(
            f"class_weight is {class_weight!r}; expected weights >= 0, and one of them positive "
            "for a class that occurs."
        )
    return found


def check_soft_labels(q_0: ArrayLike) -> NDArray[np.float64]:
    """Return class probabilities (n, k): entries >= 0, rows summing to one."""
    q: NDArray[np.float64] = check_array(q_0, dtype=np.float64, input_name="q_0")
    if q.min() < 0 or np.abs(q.sum(axis=1) - 1).max() > 1e-3:
        raise ValueError(
            "q_0 must hold class probabilities: entries >= 0 with rows that sum to 1; divide each "
            "row by its sum."
        )
    return np.asarray(q / q.sum(axis=1, keepdims=True))


def check_settings(parameters: Mapping[str, Any]) -> None:
    """Raise ValueError for a parameter of `DiDiClassifier` that is out of its range."""
    given = parameters
    for name, choices in (
        ("sampler", SAMPLERS),
        ("solver", ("auto", *SOLVERS)),
        ("label_rule", LABEL_RULES),
        ("conditioning", ("auto", *CONDITIONINGS)),
    ):
        check_choice(name, given[name], choices)
    if given["conditioning"] == "none" and given["parameterization"] == "score":
        raise ValueError(
            "conditioning='none' is an ordinary classifier, whose outputs are a posterior; leave "
            "parameterization='auto', or set it to 'posterior'."
        )
    for name in ("steps", "n_chains", "n_iter_no_change"):
        check_number(name, given[name], numbers.Integral, 1)
    for name in ("max_epochs", "batch_size", "n_draws"):
        check_number(name, given[name], numbers.Integral, 1, auto=True)
    for name in ("learning_rate", "weight_decay", "mixup"):
        check_number(name, given[name], numbers.Real, 0, auto=True)
    temperature, average = given["temperature"], given["average"]
    warm = isinstance(temperature, numbers.Real) and 0 < temperature < np.inf  # type: ignore[operator]
    if temperature != "auto" and not warm:
        raise ValueError(f"temperature is {temperature!r}; expected a number > 0 or 'auto'.")
    if average != "auto" and not isinstance(average, bool | np.bool_):
        raise ValueError(f"average is {average!r}; expected True, False or 'auto'.")
    for name in ("choose_epochs", "ensemble"):
        if given[name] not in (True, False, "auto"):
            raise ValueError(f"{name} is {given[name]!r}; expected True, False or 'auto'.")
    share = given["validation_fraction"]
    if not isinstance(share, float | np.floating) or not 0 < share < 1:
        raise ValueError(f"validation_fraction is {share!r}; expected a share between 0 and 1.")
    callbacks = given["callbacks"] or []
    if not isinstance(callbacks, list | tuple) or not all(map(callable, callbacks)):
        raise ValueError(
            f"callbacks is {callbacks!r}; expected a list of callables (estimator, history_row)."
        )


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise ValueError unless the value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {tuple(choices)}.")


def check_number(
    name: str, value: Any, kind: type = numbers.Integral, low: float = 1, *, auto: bool = False
) -> None:
    """Raise ValueError unless the value is such a number >= low, or "auto" where allowed."""
    if auto and isinstance(value, str) and value == "auto":
        return
    noun = "an integer" if kind is numbers.Integral else "a number"
    if isinstance(value, bool) or not isinstance(value, kind) or not value >= low:  # type: ignore[operator]
        alternative = " or 'auto'" if auto else ""
        raise ValueError(f"{name} is {value!r}; expected {noun} >= {low}{alternative}.")


def make_schedule(schedule: str | Schedule) -> Schedule:
    """Return a schedule by its name, or the schedule itself."""
    if isinstance(schedule, str):
        check_choice("schedule", schedule, SCHEDULES)
        return SCHEDULES[schedule]()
    if not all(hasattr(schedule, method) for method in ("total", "rate", "survival")):
        raise ValueError(
            f"schedule is {schedule!r}; expected one of {tuple(SCHEDULES)}, or an object with the "
            "methods total(t), rate(t) and survival(t)."
        )
    return schedule


def make_process(rate_matrix: ArrayLike | None, n_classes: int) -> Process:
    """Return the uniform process, or that of a rate matrix (k, k)."""
    if rate_matrix is None:
        return UniformProcess(n_classes)
    process = RateProcess(rate_matrix)
    if process.n_classes != n_classes:
        raise ValueError(
            f"rate_matrix is for {process.n_classes} classes, but y has {n_classes}; give one row "
            "and one column for each class, in sorted order."
        )
    return process


def moments(x: NDArray[Any], weight: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return weighted mean and scale of every column (d,), or image channel (c,)."""
    axes = tuple(range(1, 3)) if x.ndim > 2 else ()
    share = weight / weight.sum()

    def average(power: int, centre: NDArray[Any] | float) -> Any:
        total: Any = 0.0
        for start in range(0, len(x), 1024):  # in parts: a float copy of uint8 images is large
            rows = slice(start, start + 1024)
            part = ((x[rows].astype(np.float64) - centre) ** power).mean(axis=axes)
            total = total + np.tensordot(share[rows], part, axes=1)
        return total

    with np.errstate(over="ignore"):
        mean = average(1, 0.0)
        scale = np.sqrt(average(2, mean))
    if not np.isfinite(scale).all():
        raise ValueError(
            f"X has values as large as {np.abs(x).max():.0e}, whose squares overflow; divide them "
            "by a constant."
        )
    return np.asarray(mean), np.where(scale > 1e-12 * (1 + np.abs(mean)), scale, 1.0)
