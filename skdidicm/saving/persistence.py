"""Save and load a fitted estimator: what of it goes into a model file, and how it comes back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray

from skdidicm.backend import BuildNetwork, NetworkConfig, ScoreNetwork
from skdidicm.core import SCHEDULES, RateProcess, Schedule, UniformProcess
from skdidicm.fit.fit import Seeds
from skdidicm.fit.validation import check_settings
from skdidicm.registry import new_network
from skdidicm.saving.model_file import ModelFileError, brief, read, write

__all__ = ["ModelFileError", "load", "read", "save"]

_NETWORK = "network."  # prefix of the network's own tensors among all tensors
_MEMBER = "member{}."  # what precedes the names of a member's tensors
_OWN = "<given at load>"
_CONFIG = (
    "network",
    "conditioning",
    "parameterization",
    "objective",
    "weight_decay",
    "max_grad_norm",
    "precision",
    "compile",
    "seed",
)
_APART = ("augment", "callbacks", "random_state", "rate_matrix", "schedule", "network")
_MAX_PIXELS = 2**26
_MAX_NAME = 2**14  # bytes of a class's name


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator to `path`, atomically: the old file or the new one, never half.

    A network that is a module of your own is saved by its weights only, and `load` then needs
    `network=`. Callables in `augment` and `callbacks`, and a `RandomState`, are left out.
    """
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator)
    tensors, header = describe(estimator)
    write(Path(path), header, tensors)


def load(
    cls: type,
    path: str | os.PathLike[str],
    *,
    backend: str | BuildNetwork | None = None,
    device: str = "auto",
    network: Any = None,
) -> Any:
    """Return the estimator of class `cls` in a file; no code of the file is run.

    Raises
    ------
    ModelFileError
        If the file is damaged, foreign, or of a later version.
    FileNotFoundError
        If there is no such file.
    """
    path = Path(path)
    header, tensors = read(path)
    with _explained(path):
        e, config = _restore(cls, header, tensors, backend, device, network)
        config = replace(config, device=device)
        e.network_ = _network(e.backend, config, tensors, "")
        prefixes = map(_MEMBER.format, range(header["n_members"]))  # lazily: it may claim many
        e.members_ = [_network(e.backend, config, tensors, prefix) for prefix in prefixes]
    return e


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn whatever a wrong header leads to into one sentence."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as e:
        reason = f"no {e}" if isinstance(e, KeyError) else brief(e)
        raise ModelFileError(f"{path} cannot be loaded as a model: {reason}") from e


def _network(
    backend: str | BuildNetwork,
    config: NetworkConfig,
    tensors: dict[str, NDArray[Any]],
    prefix: str,
) -> ScoreNetwork:
    """Return a network with the weights and moments whose names begin with the prefix."""
    mean, scale = tensors[f"{prefix}mean"], tensors[f"{prefix}scale"]
    if not mean.shape == scale.shape == np.shape(config.mean):
        raise ModelFileError("its networks take different rows.")
    network = new_network(backend, replace(config, mean=mean, scale=scale))
    start = prefix + _NETWORK
    state = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
    expected = {name: value.shape for name, value in network.state().items()}
    if {name: value.shape for name, value in state.items()} != expected:
        raise ModelFileError("its weights do not fit the network that is to hold them.")
    network.load_state(state)
    return network


def describe(e: Any) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return all tensors of a fitted estimator, and the rest as JSON values."""
    config: NetworkConfig = e.network_.config
    tensors = _tensors(e.network_, "") | {"class_prior": e.class_prior_}
    for i, network in enumerate(e.members_):
        tensors |= _tensors(network, _MEMBER.format(i))
    if isinstance(e.process_, RateProcess):
        tensors["rate_matrix"] = e.process_.rate_matrix
    settings = {name: _plain(getattr(config, name)) for name in _CONFIG}
    if not isinstance(config.network, str):
        settings["network"] = _OWN
    header = {
        "class": type(e).__name__,
        "versions": _versions(),
        "parameters": _json_parameters(e),
        "classes": {"dtype": e.classes_.dtype.str, "values": e.classes_.tolist()},
        "input_shape": list(e.input_shape_),
        "feature_names_in": [str(name) for name in getattr(e, "feature_names_in_", ())],
        "schedule": _json_schedule(e.schedule_),
        "config": settings,
        "history": e.history_,
        "trial": e.trial_,
        "temperature": e.temperature_,
        "n_members": len(e.members_),
        "n_iter": e.n_iter_,
        "max_epochs": e.max_epochs_,
        "seeds": e._seeds._asdict(),
    }
    return {k: np.asarray(v, order="C") for k, v in tensors.items()}, header


def _tensors(network: ScoreNetwork, prefix: str) -> dict[str, NDArray[Any]]:
    moments = {"mean": network.config.mean, "scale": network.config.scale}
    return {
        **{f"{prefix}{name}": np.asarray(v, dtype=np.float64) for name, v in moments.items()},
        **{f"{prefix}{_NETWORK}{name}": value for name, value in network.state().items()},
    }


def _json_parameters(e: Any) -> dict[str, Any]:
    found = {k: v for k, v in e.get_params(deep=False).items() if k not in _APART}
    if isinstance(e.class_weight, dict):
        found["class_weight"] = [[_plain(k), float(v)] for k, v in e.class_weight.items()]
    if isinstance(e.random_state, int | np.integer):
        found["random_state"] = int(e.random_state)
    if not isinstance(e.backend, str):
        found["backend"] = "auto"
    for name in ("network", "augment"):
        if isinstance(getattr(e, name), str | None):
            found[name] = getattr(e, name)
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _json_schedule(schedule: Schedule) -> dict[str, Any]:
    for name, kind in SCHEDULES.items():
        if type(schedule) is kind:
            return {"name": name, **asdict(schedule)}  # type: ignore[call-overload]
    raise ValueError(
        f"schedule {schedule!r} is a class of your own and cannot be saved without pickle; "
        f"use one of {tuple(SCHEDULES)}, or pickle the estimator."
    )


def _versions() -> dict[str, str]:
    from skdidicm import __version__

    return {"skdidicm": __version__, "scikit-learn": sklearn.__version__, "numpy": np.__version__}


def _restore(
    cls: type,
    header: dict[str, Any],
    tensors: dict[str, NDArray[Any]],
    backend: str | BuildNetwork | None,
    device: str,
    network: Any,
) -> tuple[Any, NetworkConfig]:
    """Return the estimator without its network, and what to build that from."""
    if header["class"] != cls.__name__:
        raise ModelFileError(f"the file holds a {header['class']}, not a {cls.__name__}.")
    parameters = dict(header["parameters"])
    if isinstance(parameters.get("class_weight"), list):
        parameters["class_weight"] = dict(parameters["class_weight"])
    parameters |= {"backend": backend or parameters["backend"], "device": device}
    schedule = dict(header["schedule"])
    e = cls(**parameters)
    check_settings(e)
    e.schedule_ = SCHEDULES[schedule.pop("name")](**schedule)
    e.schedule = e.schedule_
    e.classes_ = _classes(header["classes"])
    e.input_shape_ = tuple(header["input_shape"])
    e.n_features_in_ = e.input_shape_[0]
    names = header["feature_names_in"]
    if names:
        if len(names) != e.n_features_in_ or not all(isinstance(name, str) for name in names):
            raise ModelFileError("it does not name every column.")
        e.feature_names_in_ = np.array(names, dtype=object)
    e.class_prior_ = np.asarray(tensors["class_prior"], dtype=np.float64)
    if "rate_matrix" in tensors:
        e.rate_matrix = tensors["rate_matrix"]
        e.process_ = RateProcess(e.rate_matrix)
    else:
        e.process_ = UniformProcess(len(e.classes_))
    e.history_, e.n_iter_ = header["history"], int(header["n_iter"])
    e.trial_ = header["trial"]
    e.temperature_ = float(header["temperature"])
    if not 0 < e.temperature_ < np.inf:
        raise ModelFileError(f"its temperature is {e.temperature_}.")
    e.max_epochs_ = int(header["max_epochs"])
    e._seeds = Seeds(**{name: int(seed) for name, seed in header["seeds"].items()})
    if min(e._seeds) < 0:
        raise ModelFileError("a seed is negative.")
    e._rng = np.random.default_rng(e._seeds.training)
    return e, _config(e, header["config"], tensors, network)


def _classes(saved: dict[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(saved["dtype"])
    if dtype.kind not in "biufUO" or dtype.itemsize > _MAX_NAME:
        raise ModelFileError(f"classes have type {dtype}, which no model has.")
    classes = np.array(saved["values"], dtype=dtype)
    if not np.array_equal(classes, np.unique(classes)):
        raise ModelFileError("the classes are not a sorted list.")
    return classes


def _config(
    e: Any, settings: dict[str, Any], tensors: dict[str, NDArray[Any]], network: Any
) -> NetworkConfig:
    """Return the configuration, after checking that no declared shape exceeds the tensors."""
    shape, k = e.input_shape_, len(e.classes_)
    channels = shape[-1] if len(shape) != 2 else 1
    fitting = (
        1 <= len(shape) <= 3
        and all(isinstance(size, int) and size > 0 for size in shape)
        and tensors["mean"].shape in {(), (channels,)}
        and tensors["scale"].shape == tensors["mean"].shape
        and e.class_prior_.shape == (k,)
        and e.process_.n_classes == k
        and np.prod(shape, dtype=float) <= _MAX_PIXELS
    )
    if not fitting:
        raise ModelFileError(f"rows of shape {shape} and {k} classes do not fit its tensors.")
    chosen = {name: settings[name] for name in _CONFIG}
    if chosen["network"] == _OWN:
        if network is None:
            raise ModelFileError(
                "the model was trained on a network of your own, which is not in the file; pass "
                "one of the same architecture as network=..."
            )
        e.network = chosen["network"] = network
    return NetworkConfig(
        input_shape=shape,
        n_classes=k,
        process=e.process_,
        mean=tensors["mean"],
        scale=tensors["scale"],
        **chosen,
    )
