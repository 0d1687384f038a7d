"""What users hand over, checked and made ready: rows, labels, weights and settings."""

import math
import numbers
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight

from skdidicm.core import (
    SAMPLERS,
    SCHEDULES,
    Channel,
    ConfusionNoise,
    Process,
    RateProcess,
    Schedule,
    SymmetricNoise,
    UniformProcess,
)
from skdidicm.core.noise_levels import TIMES
from skdidicm.core.samplers import LABEL_RULES, SOLVERS
from skdidicm.errors import reason
from skdidicm.fit.columns import FROM_DTYPE, is_missing
from skdidicm.networks import CONDITIONINGS, is_builtin

MAX_STEPS = 10_000
"""Most reverse steps: each calls the network once, and the posterior changes no more by then."""

MAX_CHAIN_STEPS = 2**24
"""Most steps of all chains of the label sampler, which draws a number for each: 128 MB of them."""

MAX_CLASS_BYTES = 2**28
"""Most bytes of an array of classes; a file of a few names could otherwise claim any width."""

MAX_ROW = 2**26
"""Most numbers in a row of X, such as the pixels of an image: 512 MB of them."""

LABEL_KINDS = "biufUOMm"
"""NumPy's kinds of labels: booleans, integers, floats, strings, objects, dates and durations."""

_FEWEST_COMPARED = 10  # validation rows whose median says where a column is
_FAR, _APART = 3, 0.5  # ranges of a column between training and validation rows: in one, in half

_WIDEST = 8  # bytes of the widest float that frameworks and files have


def as_array(values: Any, name: str) -> Any:
    """Return an argument as something that has a shape.

    Tensors come to the host, and lists become arrays. Arrays and data frames stay as they are, and
    so does None.

    Raises
    ------
    ValueError
        If the argument is no array, or one whose entries would be misread: masked, structured,
        sparse, without data, or with rows of different shapes.
    """
    if values is None:
        return None
    if hasattr(values, "detach"):
        values = _on_host(values, name)
    if not hasattr(values, "shape"):
        values = _from_sequence(values, name)
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.is_masked(values):
            n_masked = int(np.ma.getmaskarray(values).sum())
            raise ValueError(
                f"{name} has {n_masked} masked entries; leave out their rows, or fill them with "
                f"{name}.filled(value)."
            )
        values = values.data
    fields = getattr(getattr(values, "dtype", None), "names", None)
    if fields:
        raise ValueError(
            f"{name} is a structured array with the fields {fields}; expected a plain one, "
            "such as numpy.lib.recfunctions.structured_to_unstructured makes of it."
        )
    return values


def _on_host(tensor: Any, name: str) -> NDArray[Any]:
    """Return a tensor as an array; bfloat16, which NumPy lacks, becomes float32."""
    try:
        tensor = tensor.detach().cpu()
        exact = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
        found: NDArray[Any] = exact.numpy()
    except (TypeError, RuntimeError) as error:
        raise ValueError(
            f"{name} is a tensor that cannot become an array of NumPy ({reason(error)}); pass "
            "a dense tensor of ordinary numbers that has data."
        ) from error
    return found


def _from_sequence(values: Any, name: str) -> NDArray[Any]:
    """Return a sequence as an array; refuse what is not one, such as a generator or a loader."""
    try:
        found = np.asarray(values)
    except (TypeError, ValueError, RuntimeError, LookupError) as error:
        raise ValueError(
            f"{name} is a {type(values).__name__} that cannot become one array "
            f"({reason(error)}); expected rows of the same shape and of ordinary numbers."
        ) from error
    if found.ndim == 0:
        raise ValueError(
            f"{name} is a {type(values).__name__}; expected an array, a data frame, a tensor or "
            "a list, so collect all rows in one of these."
        )
    return found


EFFORTS = ("fast", "auto", "thorough")
ON_INTERRUPT = ("raise", "keep")


def as_rows(X: Any) -> Any:
    """Return X as an array or a data frame, with numbers that every backend takes."""
    X = np.asarray(X) if X is None else as_array(X, "X")  # scikit-learn refuses a lone None
    kind = getattr(getattr(X, "dtype", None), "kind", "")
    if kind == "c":
        raise ValueError(f"Complex data not supported: X has dtype {X.dtype}; pass real numbers.")
    if kind in ("M", "m"):
        raise ValueError(f"X has dtype {X.dtype}; expected numbers, so convert dates into some.")
    if kind == "V" or (kind == "f" and X.dtype.itemsize > _WIDEST):
        with np.errstate(over="ignore"):  # infinity is refused by the next check
            return np.asarray(X).astype(np.float64)
    return X


def check_row_shape(shape: tuple[int, ...], expected: tuple[int, ...], name: str) -> None:
    """Raise ValueError unless rows have the shape that the estimator of that name was fitted on."""
    if shape != expected and max(len(shape), len(expected)) > 1:  # else scikit-learn says it
        raise ValueError(
            f"X has rows of shape {shape}, but {name} is expecting rows of shape {expected} as in "
            "fit."
        )


def check_row_size(x: NDArray[Any]) -> None:
    """Raise ValueError for rows of more numbers than a model file may claim."""
    size = math.prod(x.shape[1:])
    if size > MAX_ROW:
        raise ValueError(f"a row of X has {size} numbers; expected at most {MAX_ROW}.")


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
    if y is None:
        raise ValueError(
            "DiDiClassifier requires y to be passed, but the target y is None; pass class labels."
        )
    labels = _without_missing(column_or_1d(_plain_labels(as_array(y, "y")), warn=True), "y")
    check_classification_targets(labels)
    return labels


def check_classes(classes: Any) -> NDArray[Any]:
    """Return the names of classes as a 1-d array, in the order given."""
    names = np.asarray(_plain_labels(as_array(classes, "classes")))
    if names.ndim != 1 or len(names) == 0:
        raise ValueError(
            f"classes has shape {names.shape}; expected a list of the names of all classes."
        )
    return _without_missing(names, "classes")


def sorted_classes(labels: NDArray[Any]) -> NDArray[Any]:
    """Return the distinct labels, sorted."""
    return check_class_size(np.unique(labels))


def check_class_size(classes: NDArray[Any]) -> NDArray[Any]:
    """Return classes; raise ValueError if their names are too long for a model file."""
    if classes.nbytes > MAX_CLASS_BYTES:
        raise ValueError(
            f"the {len(classes)} classes take {classes.nbytes / 1e6:.0f} MB as an array of type "
            f"{classes.dtype}, in which every name is as long as the longest, and at most "
            f"{MAX_CLASS_BYTES / 1e6:.0f} MB are allowed; shorten the names, or use dtype=object."
        )
    return classes


def _plain_labels(labels: Any) -> Any:
    """Return labels; types that scikit-learn does not know or turns into floats as NumPy's."""
    dtype = getattr(labels, "dtype", None)
    if getattr(dtype, "kind", "") == "T":  # strings of variable length
        return labels.astype(object)
    plain = getattr(dtype, "numpy_dtype", None)  # of nullable types of pandas
    if plain is not None and plain.kind in "biu" and not labels.isna().any():
        return labels.to_numpy(dtype=plain)
    return labels


def _without_missing(labels: NDArray[Any], name: str) -> NDArray[Any]:
    """Return labels; raise ValueError for missing ones and for types that no class can have."""
    kind = labels.dtype.kind
    if kind not in LABEL_KINDS or (kind == "f" and labels.dtype.itemsize > _WIDEST):
        raise ValueError(
            f"{name} has dtype {labels.dtype}; expected numbers, strings, booleans or dates, so "
            f"convert it, for instance with {name}.astype(str)."
        )
    n_missing = _count_missing(labels)
    if n_missing:
        raise ValueError(
            f"{name} contains NaN, None, NA or NaT in {n_missing} of {len(labels)} rows, which are "
            "missing labels; leave out such rows."
        )
    if kind == "O":
        _check_objects(labels, name)
    assert_all_finite(labels, input_name=name)
    return labels


def _count_missing(labels: NDArray[Any]) -> int:
    if labels.dtype.kind == "O":
        return sum(map(is_missing, labels.tolist()))
    if labels.dtype.kind in "Mm":
        return int(np.isnat(labels).sum())
    return int(np.isnan(labels).sum()) if labels.dtype.kind == "f" else 0


def _check_objects(labels: NDArray[Any], name: str) -> None:
    """Raise ValueError unless the labels are all strings or all numbers."""
    kinds = {type(label) for label in labels.tolist()}
    if all(issubclass(kind, str) for kind in kinds):
        return
    if not all(issubclass(kind, numbers.Real | np.bool_) for kind in kinds):
        found = ", ".join(sorted(kind.__name__ for kind in kinds)[:5])
        raise ValueError(
            f"{name} has labels of type {found}; expected all strings or all numbers, so "
            "convert them."
        )


def encode_labels(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.intp]:
    """Return the index of every label in the sorted classes.

    Raises
    ------
    ValueError
        If a label is not one of the classes.
    """
    if labels.dtype.kind == classes.dtype.kind and labels.dtype.kind in "Mm":
        unit = np.promote_types(labels.dtype, classes.dtype)  # days and seconds are one kind
        labels, classes = labels.astype(unit), classes.astype(unit)
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
        as_array(sample_weight, "sample_weight"), x, dtype=np.float64, ensure_non_negative=True
    )
    with np.errstate(over="ignore"):
        total = weight.sum()
    if total == np.inf:
        raise ValueError(
            f"sample_weight is as large as {weight.max():.0e}, so that its sum overflows; divide "
            "the weights by a constant."
        )
    if not total > 0:
        raise ValueError("every sample_weight is zero; at least one row needs a positive weight.")
    return weight


def class_weights(
    class_weight: dict[Any, float] | str,
    classes: NDArray[Any],
    q_0: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the weight (k,) of every class; "balanced" gives all classes that occur equal sums.

    A class that a dictionary leaves out has weight one.
    """
    mass: NDArray[np.float64] = weight @ q_0
    if isinstance(class_weight, str):
        share = mass.sum() / np.count_nonzero(mass)
        return np.where(mass > 0, share / np.where(mass > 0, mass, 1.0), 0.0)
    left_out = [label for label in classes if label not in class_weight]
    if left_out and len(classes) - len(left_out) < len(class_weight):
        raise ValueError(
            f"the classes {np.array(left_out[:5]).tolist()} are not in class_weight, which has "
            f"other keys instead; expected keys among {classes[:10].tolist()}."
        )
    found = np.array([class_weight.get(label, 1.0) for label in classes], dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        total = mass @ found
    if not 0 < total < np.inf:
        raise ValueError(
            f"class_weight is {class_weight!r}; expected weights >= 0, and one of them positive "
            "for a class that occurs."
        )
    return found


def is_one_vote(q: NDArray[np.float64]) -> bool:
    """Return whether all rows of soft labels have the same two values, one of them once.

    Examples
    --------
    >>> rows = np.array([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05]])
    >>> is_one_vote(rows), is_one_vote(np.eye(3)), is_one_vote(rows[:1])
    (True, False, False)
    """
    low, high = q.min(axis=1, keepdims=True), q.max(axis=1, keepdims=True)
    same = np.ptp(low) < 1e-6 and np.ptp(high) < 1e-6
    single = bool(((np.abs(q - low) > 1e-6).sum(axis=1) == 1).all())
    return len(q) > 1 and bool(same) and single and float(low.min()) > 1e-6


def check_votes(votes: ArrayLike) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return votes (n, a) and where one was given; NaN, None and masked entries are missing."""
    array = np.asarray(votes)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"votes has shape {array.shape}; expected (n, annotators), with one row for each of X."
        )
    given = np.ones(array.shape, dtype=bool)
    if isinstance(votes, np.ma.MaskedArray):
        given = ~np.ma.getmaskarray(votes)
    if array.dtype.kind == "f":
        given &= ~np.isnan(array)
    elif array.dtype == object:
        given &= np.array([[not is_missing(v) for v in row] for row in array.tolist()])
    if not given.any():
        raise ValueError("votes has none that was given; expected at least one label.")
    return array, given


def voted_labels(votes: NDArray[Any], given: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the labels of the votes that were given; whole numbers are integers again."""
    labels = votes[given]
    if labels.dtype == object:
        labels = np.array(labels.tolist())
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.rint(labels)).all():
        labels = labels.astype(np.int64)
    return check_labels(labels)


def check_soft_labels(q_0: ArrayLike) -> NDArray[np.float64]:
    """Return class probabilities (n, k): entries >= 0, rows summing to one."""
    q: NDArray[np.float64] = check_array(as_array(q_0, "q_0"), dtype=np.float64, input_name="q_0")
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
        ("times", ("auto", *TIMES)),
        ("conditioning", ("auto", *CONDITIONINGS)),
        ("effort", EFFORTS),
        ("on_interrupt", ON_INTERRUPT),
    ):
        check_choice(name, given[name], choices)
    if given["conditioning"] == "none" and given["parameterization"] == "score":
        raise ValueError(
            "conditioning='none' is an ordinary classifier, whose outputs are a posterior; leave "
            "parameterization='auto', or set it to 'posterior'."
        )
    _check_label_noise(given)
    for name in ("steps", "n_chains", "n_iter_no_change"):
        check_number(name, given[name], numbers.Integral, 1)
    check_sampler_size(given["steps"], given["n_chains"])
    for name in ("max_epochs", "batch_size", "n_draws"):
        check_number(name, given[name], numbers.Integral, 1, auto=True)
    for name in ("learning_rate", "weight_decay", "mixup", "trunk_learning_rate"):
        check_number(name, given[name], numbers.Real, 0, auto=True)
    check_number("frozen_epochs", given["frozen_epochs"], low=0, auto=True)
    check_number("image_size", given["image_size"], auto=True)
    _check_pretrained(given)
    if given["device"] is None:
        raise ValueError("device is None; expected 'auto' or a device such as 'cpu' or 'cuda'.")
    _check_random_state(given["random_state"])
    _check_class_weight(given["class_weight"])
    if isinstance(given["categorical_features"], str):
        check_choice("categorical_features", given["categorical_features"], (FROM_DTYPE,))
    temperature, average = given["temperature"], given["average"]
    warm = isinstance(temperature, numbers.Real) and 0 < temperature < np.inf  # type: ignore[operator]
    if temperature != "auto" and not warm:
        raise ValueError(f"temperature is {temperature!r}; expected a number > 0 or 'auto'.")
    if average != "auto" and not isinstance(average, bool | np.bool_):
        raise ValueError(f"average is {average!r}; expected True, False or 'auto'.")
    for name in ("choose_epochs", "ensemble", "additive", "trees"):
        if given[name] not in (True, False, "auto"):
            raise ValueError(f"{name} is {given[name]!r}; expected True, False or 'auto'.")
    check_share("validation_fraction", given["validation_fraction"])
    calibrator = given["calibrator"]
    usable = callable(calibrator) or all(hasattr(calibrator, m) for m in ("fit", "predict_proba"))
    if calibrator is not None and not usable:
        raise ValueError(
            f"calibrator is {calibrator!r}; expected a function of probabilities, or an estimator "
            "with fit and predict_proba."
        )
    if calibrator is not None and temperature != "auto":
        raise ValueError(
            f"temperature is {temperature!r}, but a calibrator takes its place; pass one of them."
        )
    callbacks = given["callbacks"] or []
    if not isinstance(callbacks, list | tuple) or not all(map(callable, callbacks)):
        raise ValueError(
            f"callbacks is {callbacks!r}; expected a list of callables (estimator, history_row)."
        )


def _check_pretrained(given: Mapping[str, Any]) -> None:
    """Raise ValueError unless the network can start from weights, if it is to."""
    pretrained, network = given["pretrained"], given["network"]
    if not isinstance(pretrained, bool | np.bool_ | str | PathLike) or pretrained == "":
        raise ValueError(
            f"pretrained is {pretrained!r}; expected True, False, or the path of a file of weights."
        )
    if pretrained and is_builtin(network):
        raise ValueError(
            f"pretrained is {pretrained!r}, but network={network!r} has no weights to start from; "
            "expected a network such as 'timm/resnet18.a1_in1k', or a module."
        )
    if is_builtin(network) and given["frozen_epochs"] not in (0, "auto"):
        raise ValueError(
            f"frozen_epochs is {given['frozen_epochs']!r}, but network={network!r} has no head "
            "that learns alone; set frozen_epochs='auto', or pass a pretrained network."
        )
    if not pretrained and given["trunk_learning_rate"] == 0:
        raise ValueError(
            "trunk_learning_rate is 0, which freezes the network, but its weights are random; set "
            "pretrained=True, or another rate."
        )


def _check_label_noise(given: Mapping[str, Any]) -> None:
    label_noise = given["label_noise"]
    if label_noise is None:
        return
    if isinstance(label_noise, bool) or (isinstance(label_noise, str) and label_noise != "auto"):
        raise ValueError(
            f"label_noise is {label_noise!r}; expected None, 'auto', a share of wrong labels such "
            "as 0.2, or a matrix (k, k) of P(observed i | true j)."
        )
    if hasattr(given["calibrator"], "fit"):
        raise ValueError(
            f"the calibrator {given['calibrator']!r} would be fitted to wrong labels too, since "
            "label_noise is given or votes disagree; set calibrator=None."
        )


def check_sampler_size(steps: int, n_chains: int) -> None:
    """Raise ValueError for so many steps or chains that a prediction would not end."""
    if steps > MAX_STEPS:
        raise ValueError(f"steps is {steps}; expected an integer from 1 to {MAX_STEPS}.")
    if int(n_chains) * int(steps) > MAX_CHAIN_STEPS:
        raise ValueError(
            f"n_chains is {n_chains} with {steps} steps; expected at most "
            f"{MAX_CHAIN_STEPS // steps} chains."
        )


def _check_random_state(random_state: Any) -> None:
    is_seed = isinstance(random_state, numbers.Integral) and 0 <= int(random_state) < 2**32
    is_source = random_state is None or isinstance(random_state, np.random.RandomState)
    if not (is_seed or is_source or random_state is np.random):
        raise ValueError(
            f"random_state is {random_state!r}; expected None, an integer from 0 to {2**32 - 1}, "
            "or a numpy.random.RandomState."
        )


def _check_class_weight(class_weight: Any) -> None:
    if class_weight is None or (isinstance(class_weight, str) and class_weight == "balanced"):
        return
    if not isinstance(class_weight, dict) or not all(
        isinstance(value, numbers.Real) and 0 <= float(value) < np.inf
        for value in class_weight.values()
    ):
        raise ValueError(
            f"class_weight is {class_weight!r}; expected weights >= 0 in a dictionary, 'balanced' "
            "or None."
        )


def check_share(name: str, value: Any) -> None:
    """Raise ValueError unless the value is a float between 0 and 1, both excluded."""
    if not isinstance(value, float | np.floating) or not 0 < value < 1:
        raise ValueError(f"{name} is {value!r}; expected a share between 0 and 1.")


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
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value < np.inf:  # type: ignore[operator]
        alternative = " or 'auto'" if auto else ""
        raise ValueError(f"{name} is {value!r}; expected {noun} >= {low}{alternative}.")


def make_schedule(schedule: str | Schedule) -> Schedule:
    """Return a schedule by its name, or the schedule itself."""
    if isinstance(schedule, str):
        check_choice("schedule", schedule, SCHEDULES)
        return SCHEDULES[schedule]()
    if not isinstance(schedule, Schedule):
        raise ValueError(
            f"schedule is {schedule!r}; expected one of {tuple(SCHEDULES)}, or an object with the "
            "methods total(t), rate(t) and survival(t)."
        )
    if type(schedule) in SCHEDULES.values():  # plain numbers, as in a file
        fields: dict[str, Any] = asdict(schedule)  # type: ignore[call-overload]
        return type(schedule)(**{name: float(value) for name, value in fields.items()})
    return schedule


def make_channel(label_noise: Any, n_classes: int) -> Channel | None:
    """Return label noise: None, symmetric noise of a rate, or any confusions (k, k)."""
    if label_noise is None or isinstance(label_noise, str):
        return None
    if isinstance(label_noise, SymmetricNoise | ConfusionNoise):
        channel: Channel = label_noise
    elif isinstance(label_noise, numbers.Real):
        return SymmetricNoise(n_classes, float(label_noise)) if label_noise else None
    else:
        channel = ConfusionNoise(as_array(label_noise, "label_noise"))
    if channel.n_classes != n_classes:
        raise ValueError(
            f"label_noise is for {channel.n_classes} classes, but y has {n_classes}; give one row "
            "for each observed and one column for each true class, in sorted order."
        )
    return channel


def check_same_noise(noise: Channel | None, earlier: Channel | None) -> None:
    """Raise ValueError if training that goes on is to learn through other noise than before."""
    if noise is None and earlier is None:
        return
    if noise is None or earlier is None or not np.allclose(noise.matrix(), earlier.matrix()):
        now = "given" if earlier is None else "None" if noise is None else "changed"
        then = "without it" if earlier is None else "through other noise"
        raise ValueError(
            f"label_noise is {now}, but training goes on with a network that has learnt {then}; "
            "fit anew with warm_start=False."
        )


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


def warn_of_other_units(
    x_val: NDArray[Any], x: NDArray[Any], columns: Sequence[object] | None = None
) -> None:
    """Warn if validation rows are in other units than the training rows, as before a scaler.

    They are if the middle of a column, or of all pixels, lies three ranges of the training values
    outside these, or half a range in at least two columns and half of all. Draws from one
    distribution do not, nor do rows of another class or of later years. `columns` are the names of
    the columns, by default their places.
    """
    if len(x_val) < _FEWEST_COMPARED:
        return
    if x.ndim > 2:  # most pixels may be black, so that their median would say nothing
        found = [[x.min()], [x.max()], [x_val.mean()]]
    else:
        found = [x.min(axis=0), x.max(axis=0), np.median(x_val, axis=0)]
    low, high, middle = np.asarray(found, dtype=np.float64)
    beyond = np.maximum(low - middle, middle - high)
    varied = high > low
    far, apart = (varied & (beyond > ranges * (high - low)) for ranges in (_FAR, _APART))
    if far.any() or max(2, varied.sum() / 2) <= apart.sum():
        i = int(np.argmax(np.where(apart, beyond, -np.inf)))
        name = i if columns is None else columns[i]
        where = "its pixels have the mean" if x.ndim > 2 else f"its column {name!r} has the median"
        warnings.warn(
            f"X_val is in other units than X: {where} {middle[i]:.4g}, but in X all values there "
            f"are from {low[i]:.4g} to {high[i]:.4g}; transform it as X, in a Pipeline with "
            "transform_input=['X_val'].",
            UserWarning,
            stacklevel=2,
        )
