"""Save and load a fitted estimator: what of it goes into a model file, and how it comes back."""

import numbers
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import sklearn
from numpy.typing import NDArray

from skdidicm.backend import (
    BuildNetwork,
    BuildsTrunk,
    KnowsShapes,
    NetworkConfig,
    Preparation,
    ScoreNetwork,
    Trunk,
    TrunkConfig,
)
from skdidicm.core import (
    Channel,
    ConfusionNoise,
    Process,
    RateProcess,
    SymmetricNoise,
    UniformProcess,
)
from skdidicm.fit.columns import Columns
from skdidicm.fit.state import Fitted, Seeds
from skdidicm.fit.validation import MAX_ROW, check_choice, check_class_size, check_number
from skdidicm.registry import get_backend, new_network, new_trunk
from skdidicm.saving import json_values as plain
from skdidicm.saving.additive import additive_tensors, read_additive
from skdidicm.saving.held_out import read_held_out, tensors_of
from skdidicm.saving.model_file import ModelFileError, brief, read, write
from skdidicm.saving.trees import read_trees, trees_tensors

__all__ = ["Model", "ModelFileError", "load", "read", "save"]

Estimator = TypeVar("Estimator")

_NETWORK = "network."  # prefix of the network's own tensors among all tensors
_TRUNK = "trunk."  # prefix of the tensors of a frozen network
_FILL = "columns.fill"
_GIVEN_NOISE = "label_noise_given"  # the parameter, where it is no number and not the networks' T
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
_WRONG = (  # what a wrong header leads to, here or in a framework
    LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError,
    AssertionError,
)  # fmt: skip
_SUM = 1e-3  # by which the sum of class shares may differ from one


@dataclass(frozen=True)
class Model:
    """The content of a model file: class and parameters of an estimator, and its fitted state."""

    estimator: str
    parameters: dict[str, Any]
    feature_names: list[str]
    fitted: Fitted
    columns: Columns | None = None


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model to `path`, atomically: the old file or the new one, never half.

    A network that is a module of your own is saved by its weights only, and `load` then needs
    `network=`. Callables in `augment` and `callbacks`, and a `RandomState`, are left out.
    """
    tensors, header = content_of(model)
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
    """Turn any error that a wrong header causes into one sentence."""
    try:
        yield
    except _WRONG as e:
        reason = f"no {e}" if isinstance(e, KeyError) else brief(e)
        raise ModelFileError(f"{path} cannot be loaded as a model: {reason}") from e


def _network(
    backend: str | BuildNetwork,
    config: NetworkConfig,
    tensors: dict[str, NDArray[Any]],
    prefix: str,
) -> ScoreNetwork:
    """Return a network with the weights and moments whose names begin with the prefix.

    The weights are compared with those that the network has before it is built, if its backend
    can tell.
    """
    mean, scale = tensors[f"{prefix}mean"], tensors[f"{prefix}scale"]
    if not mean.shape == scale.shape == np.shape(config.mean):
        raise ModelFileError("its networks take different rows.")
    if not (_all_finite([mean, scale]) and (scale > 0).all()):
        raise ModelFileError("the means and scales of its columns are not finite and positive.")
    config = replace(config, mean=mean, scale=scale)
    state = _below(prefix + _NETWORK, tensors)
    build = get_backend(backend)
    if isinstance(config.network, str) and isinstance(build, KnowsShapes):
        _check_weights(state, build.state_shapes(config))
    network = new_network(build, config)
    _fill(network, state)
    if not _all_finite(network.state().values()):
        raise ModelFileError("a weight is NaN or infinite in the number format of the network.")
    return network


def _below(prefix: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the tensors whose names begin with the prefix, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _fill(network: ScoreNetwork | Trunk, state: dict[str, NDArray[Any]]) -> None:
    """Set the weights of a network, if they are those that it has."""
    _check_weights(state, {name: value.shape for name, value in network.state().items()})
    network.load_state(state)


def _check_weights(
    state: Mapping[str, NDArray[Any]], expected: Mapping[str, tuple[int, ...]]
) -> None:
    if {name: value.shape for name, value in state.items()} != dict(expected):
        raise ModelFileError("its weights do not fit the network that is to hold them.")


def _all_finite(arrays: Iterable[NDArray[Any]]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)


def content_of(model: Model) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return all tensors of a model, and the rest as JSON values."""
    fitted = model.fitted
    check_class_size(fitted.classes)
    if fitted.calibrator is not None:
        raise ValueError(
            f"the calibrator {fitted.calibrator!r} cannot be saved without pickle; pickle the "
            "estimator, or fit it with calibrator=None."
        )
    config: NetworkConfig = fitted.network.config
    tensors = _tensors(fitted.network, "") | {"class_prior": fitted.class_prior}
    for i, network in enumerate(fitted.members):
        tensors |= _tensors(network, _MEMBER.format(i))
    of_held_out, held_out = tensors_of(fitted)
    of_additive, additive = additive_tensors(fitted.additive)
    of_trees, trees = trees_tensors(fitted.trees)
    tensors |= of_held_out | of_additive | of_trees
    if isinstance(fitted.process, RateProcess):
        tensors["rate_matrix"] = fitted.process.rate_matrix
    of_trunk, trunk = _trunk_content(fitted)
    tensors |= of_trunk
    if model.columns is not None:
        tensors[_FILL] = model.columns.fill
    settings = {name: plain.plain(getattr(config, name)) for name in _CONFIG}
    if config.trunk is not None:
        settings["trunk_learning_rate"] = float(config.trunk_learning_rate)
    if config.dropout:
        settings["dropout"] = float(config.dropout)
    if isinstance(config.channel, SymmetricNoise):
        settings["label_noise"] = float(config.channel.rate)
    elif config.channel is not None:
        tensors["label_noise"] = config.channel.matrix()
    given = plain.matrix_of(model.parameters.get("label_noise"))
    if given is not None and not np.array_equal(given, tensors.get("label_noise", ())):
        tensors[_GIVEN_NOISE] = given
    if fitted.annotators is not None:
        tensors["annotators"] = fitted.annotators
    if not isinstance(config.network, str):
        settings["network"] = _OWN
    header = {
        "class": model.estimator,
        "versions": _versions(),
        "parameters": plain.write_parameters(model.parameters),
        "classes": plain.write_classes(fitted.classes),
        "input_shape": list(fitted.input_shape),
        "feature_names_in": model.feature_names,
        "columns": plain.write_columns(model.columns),
        "schedule": plain.write_schedule(fitted.schedule),
        "config": settings,
        "trunk": trunk,
        "history": plain.write_history(fitted.history),
        "trial": plain.write_history(fitted.trial),
        "temperature": float(fitted.temperature),
        "temperature_slope": float(fitted.slope),
        "geometric_mean": fitted.geometric,
        "n_members": len(fitted.members),
        "members_answer": fitted.members_answer,
        "training": fitted.training,
        "held_out": held_out,
        "additive": additive,
        "trees": trees,
        "n_iter": fitted.n_iter,
        "max_epochs": fitted.max_epochs,
        "seeds": fitted.seeds._asdict(),
    }
    return {k: np.asarray(v, order="C") for k, v in tensors.items()}, header


def _trunk_content(fitted: Fitted) -> tuple[dict[str, NDArray[Any]], dict[str, Any] | None]:
    """Return the tensors of a pretrained network that is frozen, and how one takes pictures."""
    config = fitted.network.config.trunk if fitted.trunk is None else fitted.trunk.config
    if config is None or config.preparation is None:
        return {}, None
    state = {} if fitted.trunk is None else fitted.trunk.state()
    named = config.network if isinstance(config.network, str) else _OWN
    preparation = asdict(config.preparation)
    header = {"network": named, "frozen": fitted.trunk is not None, "white": config.white}
    return {f"{_TRUNK}{name}": value for name, value in state.items()}, header | preparation


def _trunk_config(
    saved: dict[str, Any], shape: tuple[int, ...], device: str, precision: str, own_network: Any
) -> TrunkConfig:
    """Return the configuration of a model's pretrained network, without weights."""
    network = _own_or_named(saved["network"], own_network)
    height, width = (plain.read_count(side, "size") for side in saved["size"])
    white = float(saved["white"])
    mean, std = (tuple(map(float, saved[name])) for name in ("mean", "std"))
    sound = 0 < float(height) * width <= MAX_ROW and 0 < white < np.inf
    if not (sound and len(mean) == len(std) and min(std) > 0 and np.isfinite(mean + std).all()):
        raise ModelFileError("its pretrained network takes no possible pictures.")
    check_choice("interpolation", saved["interpolation"], ("nearest", "bilinear", "bicubic"))
    return TrunkConfig(
        network=network,
        input_shape=shape,
        weights=False,
        white=white,
        preparation=Preparation((height, width), mean, std, saved["interpolation"]),
        device=device,
        precision=precision,
    )


def _trunk(
    backend: str | BuildNetwork, config: TrunkConfig, tensors: dict[str, NDArray[Any]]
) -> Trunk:
    """Return a frozen network with the weights of the file."""
    state = _below(_TRUNK, tensors)
    build = get_backend(backend)
    if isinstance(config.network, str) and isinstance(build, BuildsTrunk):
        _check_weights(state, build.trunk_shapes(config))
    trunk = new_trunk(build, config)
    _fill(trunk, state)
    if not _all_finite(state.values()):
        raise ModelFileError("a weight of its pretrained network is NaN or infinite.")
    return trunk


def _tensors(network: ScoreNetwork, prefix: str) -> dict[str, NDArray[Any]]:
    moments = {"mean": network.config.mean, "scale": network.config.scale}
    return {
        **{f"{prefix}{name}": np.asarray(v, dtype=np.float64) for name, v in moments.items()},
        **{f"{prefix}{_NETWORK}{name}": value for name, value in network.state().items()},
    }


def _versions() -> dict[str, str]:
    from skdidicm import __version__

    return {"skdidicm": __version__, "scikit-learn": sklearn.__version__, "numpy": np.__version__}


def _parameters(
    header: dict[str, Any], backend: str | BuildNetwork | None, device: str
) -> dict[str, Any]:
    """Return the estimator's parameters, with the backend and the device to load it on."""
    parameters = plain.read_parameters(header["parameters"])
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
    plain.read_versions(header["versions"])
    parameters["schedule"] = plain.read_schedule(header["schedule"])
    classes = plain.read_classes(header["classes"])
    process: Process = UniformProcess(len(classes))
    if "rate_matrix" in tensors:
        parameters["rate_matrix"] = tensors["rate_matrix"]
        process = RateProcess(tensors["rate_matrix"])
    shape = tuple(header["input_shape"])
    seeds = Seeds(**{name: plain.read_count(v, name) for name, v in header["seeds"].items()})
    temperature = float(header["temperature"])
    if not 0 < temperature < np.inf:
        raise ModelFileError(f"its temperature is {temperature}.")
    slope = float(header.get("temperature_slope", 0.0))  # earlier files have none
    if not abs(slope) <= 1:
        raise ModelFileError(f"the slope of its temperature is {slope}.")
    prior = _class_prior(tensors["class_prior"])
    backend, device, saved = parameters["backend"], parameters["device"], header.get("trunk")
    trunk = config_of_trunk = None
    seen = shape
    if saved is not None:
        precision = header["config"]["precision"]
        config_of_trunk = _trunk_config(saved, shape, device, precision, own_network)
        if saved["frozen"]:
            trunk, config_of_trunk = _trunk(backend, config_of_trunk, tensors), None
            seen = tensors["mean"].shape
    _check_shapes(shape, seen, len(classes), prior, process, tensors)
    columns = plain.read_columns(header.get("columns"), tensors.get(_FILL), shape)
    row = shape if columns is None else columns.fill.shape
    names = _column_names(header["feature_names_in"], row)
    config = _config(header["config"], seen, process, tensors, own_network)
    if "label_noise" not in parameters:  # a matrix, which is apart from the others
        parameters["label_noise"] = tensors.get(_GIVEN_NOISE, tensors.get("label_noise"))
    if own_network is not None and header["parameters"].get("network") is None:
        parameters["network"] = own_network
    config = replace(config, device=device, trunk=config_of_trunk)
    network = _network(backend, config, tensors, "")
    # lazily: it may claim many
    prefixes = map(_MEMBER.format, range(plain.read_count(header["n_members"], "n_members")))
    members = [_network(backend, config, tensors, prefix) for prefix in prefixes]
    n_folds = max(1, len(members))
    held_out, familiar = read_held_out(header.get("held_out"), tensors, len(classes), n_folds)
    fitted = Fitted(
        classes=classes,
        input_shape=shape,
        class_prior=prior,
        process=process,
        schedule=parameters["schedule"],
        seeds=seeds,
        rng=np.random.default_rng(seeds.training),
        network=network,
        trunk=trunk,
        members=members,
        held_out=held_out,
        additive=read_additive(header.get("additive"), tensors, shape, len(classes)),
        trees=read_trees(header.get("trees"), tensors, shape, len(classes)),
        familiar=familiar,
        annotators=_annotators(tensors, len(classes)),
        training=_training(header.get("training", {})),
        members_answer=bool(header.get("members_answer", True)),  # earlier files keep no others
        history=plain.read_history(header["history"]),
        trial=plain.read_history(header["trial"]),
        temperature=temperature,
        slope=slope,
        geometric=bool(header.get("geometric_mean", False)),
        n_iter=plain.read_count(header["n_iter"], "n_iter"),
        max_epochs=plain.read_count(header["max_epochs"], "max_epochs"),
    )
    return Model(header["class"], parameters, names, fitted, columns)


def _training(saved: Any) -> dict[str, Any]:
    scalar = str | int | float | None
    if not isinstance(saved, dict) or not all(isinstance(v, scalar) for v in saved.values()):
        raise ModelFileError("its settings of training are no simple values.")
    return saved


def _column_names(saved: Any, shape: tuple[int, ...]) -> list[str]:
    names: list[str] = list(saved)
    whole = isinstance(saved, list) and all(isinstance(name, str) for name in names)
    if not whole or (names and len(names) != shape[0]):
        raise ModelFileError("it does not name every column.")
    return names


def _class_prior(saved: NDArray[Any]) -> NDArray[np.float64]:
    prior = np.asarray(saved, dtype=np.float64)
    if not (_all_finite([prior]) and (prior >= 0).all() and abs(prior.sum() - 1) < _SUM):
        raise ModelFileError("the shares of its classes are not positive numbers that sum to 1.")
    return prior


def _check_shapes(
    shape: tuple[int, ...],
    seen: tuple[int, ...],
    k: int,
    prior: NDArray[np.float64],
    process: Process,
    tensors: dict[str, NDArray[Any]],
) -> None:
    """Raise ModelFileError if a declared shape exceeds or contradicts the tensors.

    The networks take rows that are `seen`: features, if a frozen network makes some of the rows.
    """
    channels = seen[-1] if len(seen) in (1, 3) else 1
    fitting = (
        1 <= len(shape) <= 3
        and 1 <= len(seen) <= 3
        and all(type(size) is int and size > 0 for size in shape)
        and tensors["mean"].shape in {(), (channels,)}
        and tensors["scale"].shape == tensors["mean"].shape
        and prior.shape == (k,)
        and process.n_classes == k
        and np.prod(shape, dtype=float) <= MAX_ROW
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
    for name in ("weight_decay", "max_grad_norm", "dropout"):
        check_number(name, chosen[name], numbers.Real, 0)
    plain.read_count(chosen["seed"], "seed")
    chosen["network"] = _own_or_named(chosen["network"], own_network)
    rate = float(settings.get("trunk_learning_rate", 1.0))
    check_number("trunk_learning_rate", rate, numbers.Real, 0)
    return NetworkConfig(
        input_shape=shape,
        n_classes=process.n_classes,
        process=process,
        channel=_channel(settings, process.n_classes, tensors),
        mean=tensors["mean"],
        scale=tensors["scale"],
        trunk_learning_rate=rate,
        **chosen,
    )


def _own_or_named(saved: Any, own_network: Any) -> Any:
    """Return the network of a file: its name, or the user's module."""
    if not isinstance(saved, str):
        raise ModelFileError(f"its network is {saved!r}, not the name of one.")
    if saved == _OWN and own_network is None:
        raise ModelFileError(
            "the model was trained on a network of your own, which is not in the file; pass one "
            "of the same architecture as network=..."
        )
    return own_network if saved == _OWN else saved


def _channel(settings: dict[str, Any], k: int, tensors: dict[str, NDArray[Any]]) -> Channel | None:
    """Return the label noise of the model's networks; earlier files have none."""
    if "label_noise" in settings:
        return SymmetricNoise(k, settings["label_noise"])
    if "label_noise" not in tensors:
        return None
    matrix = tensors["label_noise"]
    if matrix.shape != (k, k):
        raise ModelFileError(f"its label noise has shape {matrix.shape} for {k} classes.")
    return ConfusionNoise(matrix)


def _annotators(tensors: dict[str, NDArray[Any]], k: int) -> NDArray[np.float64] | None:
    """Return the confusions of annotators; earlier files and most fits have none."""
    if "annotators" not in tensors:
        return None
    confusions = tensors["annotators"]
    if confusions.ndim != 3 or confusions.shape[1:] != (k, k):
        raise ModelFileError(f"its annotators have shape {confusions.shape} for {k} classes.")
    return confusions
