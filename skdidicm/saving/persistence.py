"""Save and load a fitted estimator: what of it goes into a model file, and how it comes back."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import sklearn
from numpy.typing import NDArray

from skdidicm.backend import BuildNetwork, NetworkConfig, ScoreNetwork
from skdidicm.core import SCHEDULES, Process, RateProcess, Schedule, UniformProcess
from skdidicm.fit.state import Fitted, Seeds
from skdidicm.registry import new_network
from skdidicm.saving.model_file import ModelFileError, brief, read, write

__all__ = ["Model", "ModelFileError", "load", "read", "save"]

Estimator = TypeVar("Estimator")

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


@dataclass(frozen=True)
class Model:
    """What a file holds: an estimator's class and parameters, and what its fit has learnt."""

    estimator: str
    parameters: dict[str, Any]
    feature_names: list[str]
    fitted: Fitted


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model to `path`, atomically: the old file or the new one, never half.

    A network that is a module of your own is saved by its weights only, and `load` then needs
    `network=`. Callables in `augment` and `callbacks`, and a `RandomState`, are left out.
    """
    tensors, header = describe(model)
    write(Path(path), header, tensors)


def load(
    path: str | os.PathLike[str],
    estimator: str,
    restore: Callable[[Model], Estimator],
    *,
    backend: str | BuildNetwork | None = None,
    device: str = "auto",
    network: Any = None,
) -> Estimator:
    """Return what `restore` makes of the model in a file; no code of the file is run.

    The file must hold an estimator of the class named `estimator`. What `restore` refuses is an
    error of the file.

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
        if header["class"] != estimator:
            raise ModelFileError(f"the file holds a {header['class']}, not a {estimator}.")
        parameters = _parameters(header, backend, device)
        return restore(_model(header, tensors, parameters, network))


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


def describe(model: Model) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return all tensors of a model, and the rest as JSON values."""
    fitted = model.fitted
    config: NetworkConfig = fitted.network.config
    tensors = _tensors(fitted.network, "") | {"class_prior": fitted.class_prior}
    for i, network in enumerate(fitted.members):
        tensors |= _tensors(network, _MEMBER.format(i))
    if isinstance(fitted.process, RateProcess):
        tensors["rate_matrix"] = fitted.process.rate_matrix
    settings = {name: _plain(getattr(config, name)) for name in _CONFIG}
    if config.dropout:
        settings["dropout"] = config.dropout
    if not isinstance(config.network, str):
        settings["network"] = _OWN
    header = {
        "class": model.estimator,
        "versions": _versions(),
        "parameters": _json_parameters(model.parameters),
        "classes": {"dtype": fitted.classes.dtype.str, "values": fitted.classes.tolist()},
        "input_shape": list(fitted.input_shape),
        "feature_names_in": model.feature_names,
        "schedule": _json_schedule(fitted.schedule),
        "config": settings,
        "history": fitted.history,
        "trial": fitted.trial,
        "temperature": fitted.temperature,
        "n_members": len(fitted.members),
        "members_answer": fitted.members_answer,
        "n_iter": fitted.n_iter,
        "max_epochs": fitted.max_epochs,
        "seeds": fitted.seeds._asdict(),
    }
    return {k: np.asarray(v, order="C") for k, v in tensors.items()}, header


def _tensors(network: ScoreNetwork, prefix: str) -> dict[str, NDArray[Any]]:
    moments = {"mean": network.config.mean, "scale": network.config.scale}
    return {
        **{f"{prefix}{name}": np.asarray(v, dtype=np.float64) for name, v in moments.items()},
        **{f"{prefix}{_NETWORK}{name}": value for name, value in network.state().items()},
    }


def _json_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    found = {k: v for k, v in parameters.items() if k not in _APART}
    class_weight, random_state = parameters["class_weight"], parameters["random_state"]
    if isinstance(class_weight, dict):
        found["class_weight"] = [[_plain(k), float(v)] for k, v in class_weight.items()]
    if isinstance(random_state, int | np.integer):
        found["random_state"] = int(random_state)
    if not isinstance(parameters["backend"], str):
        found["backend"] = "auto"
    for name in ("network", "augment"):
        if isinstance(parameters[name], str | None):
            found[name] = parameters[name]
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


def _parameters(
    header: dict[str, Any], backend: str | BuildNetwork | None, device: str
) -> dict[str, Any]:
    """Return the estimator's parameters, with the backend and the device to load it on."""
    parameters = dict(header["parameters"])
    if isinstance(parameters.get("class_weight"), list):
        parameters["class_weight"] = dict(parameters["class_weight"])
    _rename_objective(parameters)
    return parameters | {"backend": backend or parameters["backend"], "device": device}


def _rename_objective(settings: dict[str, Any]) -> None:
    """Rename the Bayes-corrected loss, which earlier files call "cross_entropy".

    With `conditioning="none"` that name is right: the plain loss has the same optimum there.
    """
    if settings.get("objective") == "cross_entropy" and settings.get("conditioning") != "none":
        settings["objective"] = "bayes_cross_entropy"


def _model(
    header: dict[str, Any],
    tensors: dict[str, NDArray[Any]],
    parameters: dict[str, Any],
    own_network: Any,
) -> Model:
    """Return the model of a file, with its networks built and filled."""
    schedule = dict(header["schedule"])
    parameters["schedule"] = SCHEDULES[schedule.pop("name")](**schedule)
    classes = _classes(header["classes"])
    process: Process = UniformProcess(len(classes))
    if "rate_matrix" in tensors:
        parameters["rate_matrix"] = tensors["rate_matrix"]
        process = RateProcess(tensors["rate_matrix"])
    shape = tuple(header["input_shape"])
    names = header["feature_names_in"]
    if names and (len(names) != shape[0] or not all(isinstance(name, str) for name in names)):
        raise ModelFileError("it does not name every column.")
    seeds = Seeds(**{name: int(seed) for name, seed in header["seeds"].items()})
    if min(seeds) < 0:
        raise ModelFileError("a seed is negative.")
    temperature = float(header["temperature"])
    if not 0 < temperature < np.inf:
        raise ModelFileError(f"its temperature is {temperature}.")
    prior = np.asarray(tensors["class_prior"], dtype=np.float64)
    _check_shapes(shape, len(classes), prior, process, tensors)
    config = _config(header["config"], shape, process, tensors, own_network)
    if own_network is not None and config.network is own_network:
        parameters["network"] = own_network
    config = replace(config, device=parameters["device"])
    backend = parameters["backend"]
    network = _network(backend, config, tensors, "")
    prefixes = map(_MEMBER.format, range(header["n_members"]))  # lazily: it may claim many
    fitted = Fitted(
        classes=classes,
        input_shape=shape,
        class_prior=prior,
        process=process,
        schedule=parameters["schedule"],
        seeds=seeds,
        rng=np.random.default_rng(seeds.training),
        network=network,
        members=[_network(backend, config, tensors, prefix) for prefix in prefixes],
        members_answer=bool(header.get("members_answer", True)),  # earlier files keep no others
        history=header["history"],
        trial=header["trial"],
        temperature=temperature,
        n_iter=int(header["n_iter"]),
        max_epochs=int(header["max_epochs"]),
    )
    return Model(header["class"], parameters, list(names), fitted)


def _classes(saved: dict[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(saved["dtype"])
    if dtype.kind not in "biufUO" or dtype.itemsize > _MAX_NAME:
        raise ModelFileError(f"classes have type {dtype}, which no model has.")
    classes = np.array(saved["values"], dtype=dtype)
    if not np.array_equal(classes, np.unique(classes)):
        raise ModelFileError("the classes are not a sorted list.")
    return classes


def _check_shapes(
    shape: tuple[int, ...],
    k: int,
    prior: NDArray[np.float64],
    process: Process,
    tensors: dict[str, NDArray[Any]],
) -> None:
    """Raise ModelFileError if a declared shape exceeds or contradicts the tensors."""
    channels = shape[-1] if len(shape) != 2 else 1
    fitting = (
        1 <= len(shape) <= 3
        and all(isinstance(size, int) and size > 0 for size in shape)
        and tensors["mean"].shape in {(), (channels,)}
        and tensors["scale"].shape == tensors["mean"].shape
        and prior.shape == (k,)
        and process.n_classes == k
        and np.prod(shape, dtype=float) <= _MAX_PIXELS
    )
    if not fitting:
        raise ModelFileError(f"rows of shape {shape} and {k} classes do not fit its tensors.")


def _config(
    settings: dict[str, Any],
    shape: tuple[int, ...],
    process: Process,
    tensors: dict[str, NDArray[Any]],
    own_network: Any,
) -> NetworkConfig:
    """Return the configuration of the model's networks."""
    chosen = {name: settings[name] for name in _CONFIG}
    _rename_objective(chosen)
    chosen["dropout"] = settings.get("dropout", 0.0)
    if chosen["network"] == _OWN:
        if own_network is None:
            raise ModelFileError(
                "the model was trained on a network of your own, which is not in the file; pass "
                "one of the same architecture as network=..."
            )
        chosen["network"] = own_network
    return NetworkConfig(
        input_shape=shape,
        n_classes=process.n_classes,
        process=process,
        mean=tensors["mean"],
        scale=tensors["scale"],
        **chosen,
    )
