"""The meaning of "auto": settings for small and large tables and image sets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from skdidicm.fit.augmentation import resolve_augmentation
from skdidicm.fit.pretrained import is_frozen, is_tuned
from skdidicm.fit.state import Fitted, Settings
from skdidicm.fit.validation import make_channel
from skdidicm.networks import LINEAR, is_builtin, resolve_network
from skdidicm.registry import installed_backends

_TRIAL = (30, 50_000)  # rows for a trial; with more, training for all epochs rarely overfits
_FEATURES: dict[str, Any] = {  # of a frozen network, which a linear one learns from
    "objective": "bayes_cross_entropy", "learning_rate": 1e-3, "n_draws": 4,
}  # fmt: skip
_FEW = 5000  # rows; with more of them networks underfit rather than overfit
_SUMMED = 10**6  # numbers of X times classes up to which an additive model takes little time
_FEWER = 2000  # images; with 4,000 raw scores are no better than a plain network, and slower
_FEW_CLASSES = 50  # of images; with 10 scores are level or better, with 1,000 they learn slowly
_ONE_LABEL: dict[str, Any] = {"times": "log_odds", "n_draws": 1}  # a second label adds nothing
_MANY_CLASSES = 20  # of images; with more, the mean of networks is far less sure than each of them
_EXACT = 100  # rows of a table that float64 costs little for
_MAX_ENUMERATED = 64  # draws per row up to which all labels are enumerated instead of drawn


@dataclass(frozen=True)
class Defaults:
    """Settings for one kind of input.

    `max_epochs` follows from the number of updates: `n_updates` for 1,000 rows, growing as n to the
    power of `growth`, but at least `least_updates`. It lies within the bounds `epochs`. With too
    few rows for a trial, training takes the share `untried` of `max_epochs`, and with
    `effort="fast"` the share `fast`. With fewer rows than `ensemble`, the networks of the trial
    also predict. If all rows fit into one mini-batch, labels may be enumerated at `n_levels` noise
    levels instead of drawn; 0 always draws. Where `average` is None, a trial chooses between the
    average and the last weights, and nothing is averaged without one.
    """

    parameterization: str
    objective: str
    conditioning: str
    batch_size: int
    n_updates: int
    growth: float
    least_updates: int
    epochs: tuple[int, int]
    learning_rate: float
    weight_decay: float
    n_draws: int
    n_levels: int
    mixup: float
    average: bool | None
    untried: float
    fast: float
    ensemble: int
    times: str = "uniform"

    def updates(self, n: int) -> float:
        """Return the number of updates for n rows."""
        return max(self.least_updates, self.n_updates * math.pow(n / 1000, self.growth))


FEW_ROWS = Defaults(
    parameterization="score",
    objective="score_entropy",
    conditioning="last",
    batch_size=256,
    n_updates=300,
    growth=0.8,
    least_updates=300,
    epochs=(20, 300),
    learning_rate=5e-3,
    weight_decay=1e-2,
    n_draws=16,
    n_levels=8,
    mixup=0.0,
    average=True,
    untried=0.25,  # the choice of most trials on 20 to 60 rows
    fast=0.25,
    ensemble=1000,  # from 1,000 rows on a trial has two networks, which do not improve predictions
)

HEAD = replace(FEW_ROWS, learning_rate=_FEATURES["learning_rate"], untried=1.0)
"""Settings of the head of a pretrained network while it learns alone."""

MANY_ROWS = replace(
    FEW_ROWS,
    parameterization="posterior",
    objective="bayes_cross_entropy",
    n_draws=8,
    n_levels=0,
)

_FORMS_OF_IMAGES: dict[str, dict[str, Any]] = {
    # Raw scores need many draws; in a head they cost little.
    "score": {
        "parameterization": "score",
        "objective": "score_entropy",
        "conditioning": "head",
        "n_draws": 64,
    },
    "posterior": {
        "parameterization": "posterior",
        "objective": "bayes_cross_entropy",
        "conditioning": "last",
        "n_draws": 4,
    },
}

FEW_IMAGES = Defaults(
    **_FORMS_OF_IMAGES["score"],
    batch_size=64,
    n_updates=1200,
    growth=0.8,
    least_updates=0,
    epochs=(15, 300),
    learning_rate=6e-3,
    weight_decay=5e-2,
    n_levels=0,
    mixup=0.3,
    average=True,
    untried=1.0,
    fast=0.5,
    ensemble=2000,  # from 2,000 images on a trial has one network, which adds little
)

TUNED = replace(  # a pretrained network that learns on
    FEW_IMAGES,
    **_FORMS_OF_IMAGES["posterior"] | {"conditioning": "head"},
    n_updates=160,
    epochs=(3, 20),
    average=False,
)

MANY_IMAGES = replace(FEW_IMAGES, **_FORMS_OF_IMAGES["posterior"], mixup=0.1, average=None)


def resolve(
    parameters: Mapping[str, Any],
    input_shape: tuple[int, ...],
    n: int,
    n_classes: int,
    *,
    on_cpu: bool = False,
) -> Settings:
    """Return the settings of a fit on n rows: the parameters with "auto" replaced.

    Parameters
    ----------
    parameters : mapping
        Checked parameters of `DiDiClassifier`, by name.
    input_shape : tuple of int
        Shape of one row.
    n, n_classes : int
        Number of training rows and of classes.
    on_cpu : bool
        Whether training takes place on a CPU, for which there is a network for large images.

    Examples
    --------
    >>> from skdidicm import DiDiClassifier
    >>> settings = resolve(DiDiClassifier().get_params(), (28, 28), 1000, 10)
    >>> settings.max_epochs, settings.n_draws, settings.enumerate_labels, settings.conditioning
    (75, 64, False, 'head')
    """
    if is_frozen(parameters):  # the rows are its features
        parameters = _of_features(parameters)
    given = parameters
    parameterization, objective = resolve_form(
        given["parameterization"],
        given["objective"],
        input_shape,
        n,
        given["conditioning"],
        given["network"],
        n_classes,
    )
    kind = TUNED if is_tuned(given) else _kind(input_shape, n, parameterization)

    def chosen(name: str) -> Any:
        return getattr(kind, name) if _auto(given[name]) else given[name]

    effort = given["effort"]
    choose_epochs = resolve_trial(
        given["choose_epochs"],
        given["max_epochs"],
        n,
        early_stopping=given["early_stopping"],
        effort=effort,
    )
    batch_size = chosen("batch_size")
    enumerate_labels = _enumerates(given["n_draws"], kind, n, batch_size, n_classes)
    conditioning = resolve_conditioning(given["conditioning"], given["network"], kind.conditioning)
    if kind.conditioning == "head" != conditioning:  # elsewhere many draws are too dear
        kind = replace(kind, n_draws=_FORMS_OF_IMAGES["posterior"]["n_draws"])
    # Pretrained networks were not measured; a frozen one leaves rows that are no images.
    own_network = len(input_shape) > 1 and not is_tuned(given)
    if own_network and n_classes > _FEW_CLASSES and objective == "bayes_cross_entropy":
        kind = replace(kind, **_ONE_LABEL)
    average = chosen("average")
    return Settings(
        backend=given["backend"],
        network=_network(given["network"], input_shape, on_cpu=on_cpu),
        trunk=None,
        trunk_learning_rate=_trunk_rate(given),
        conditioning=conditioning,
        parameterization=parameterization,
        objective=objective,
        label_noise=make_channel(given["label_noise"], n_classes),
        unknown_noise=_auto(given["label_noise"]),
        weight_decay=chosen("weight_decay"),
        device=given["device"],
        precision=resolve_precision(given["precision"], input_shape, n, batch_size),
        compile=given["compile"],
        max_epochs=_epochs(given["max_epochs"], kind, n, batch_size, effort),
        batch_size=batch_size,
        learning_rate=chosen("learning_rate"),
        frozen_epochs=_frozen_epochs(given, n),
        n_draws=kind.n_levels if enumerate_labels else chosen("n_draws"),
        times=chosen("times"),
        enumerate_labels=enumerate_labels,
        augment=resolve_augmentation(given["augment"], input_shape),
        mixup=float(chosen("mixup")),
        average=choose_epochs if average is None else bool(average),
        choose_average=choose_epochs and average is None,
        choose_epochs=choose_epochs,
        every_fold=effort == "thorough",
        ensemble=resolve_ensemble(given["ensemble"], given["network"], input_shape, n, effort),
        additive=choose_epochs and resolve_additive(given["additive"], input_shape, n, n_classes),
        trees=choose_epochs and resolve_additive(given["trees"], input_shape, n, n_classes),
        temperature=None if _auto(given["temperature"]) else float(given["temperature"]),
        many_classes=own_network and n_classes > _MANY_CLASSES,
        early_stopping=given["early_stopping"],
        n_iter_no_change=given["n_iter_no_change"],
        progress=given["verbose"] > 0,
        keep_on_interrupt=given["on_interrupt"] == "keep",
    )


def _of_features(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a network that takes the features of a frozen one.

    Raises
    ------
    ValueError
        If pictures are to be augmented.
    """
    augment = parameters["augment"]
    if augment is not None and not _auto(augment):
        raise ValueError(
            f"augment is {augment!r}, but a frozen network encodes every picture once; set "
            "augment=None, or fine-tune the network with trunk_learning_rate=0.1."
        )
    found = {**parameters, "network": LINEAR, "augment": None}
    for name, value in _FEATURES.items():
        if _auto(found[name]):
            found[name] = value
    return found


def _network(network: Any, input_shape: tuple[int, ...], *, on_cpu: bool) -> Any:
    """Return the network; on a CPU "auto" becomes a name, since it depends on the machine."""
    if not on_cpu:
        return network
    return resolve_network(network, input_shape, large="didirn-patch")


def _frozen_epochs(given: Mapping[str, Any], n: int) -> int:
    """Return the epochs of the head alone: as many as a linear network needs on features."""
    if not _auto(given["frozen_epochs"]):
        return int(given["frozen_epochs"])
    return _epochs("auto", HEAD, n, HEAD.batch_size, "auto") if is_tuned(given) else 0


def _trunk_rate(given: Mapping[str, Any]) -> float:
    rate = given["trunk_learning_rate"]
    return 1.0 if _auto(rate) else float(rate)


def resolved_parameters(
    fitted: Fitted,
    *,
    backend: Any,
    solver: str,
    ensemble: bool,
    additive: bool,
    trees: bool,
    temperature: float,
) -> dict[str, Any]:
    """Return what the parameters that can be "auto" came to, as JSON values.

    Those of training are missing where an earlier version wrote the model.
    """
    config = fitted.network.config
    network = resolve_network(config.network, config.input_shape)
    if fitted.trunk is not None:
        network = fitted.trunk.config.network
    if isinstance(backend, str):
        backend = installed_backends()[0] if _auto(backend) else backend
    return {
        "solver": resolve_solver(solver, config.parameterization),
        "network": network if isinstance(network, str) else type(network).__name__,
        "trunk_learning_rate": config.trunk_learning_rate if fitted.trunk is None else 0.0,
        "image_size": fitted.input_shape[0] if len(fitted.input_shape) > 1 else None,
        "conditioning": config.conditioning,
        "parameterization": config.parameterization,
        "objective": config.objective,
        "backend": backend if isinstance(backend, str) else getattr(backend, "__name__", "own"),
        "device": str(getattr(fitted.network, "device", config.device)),
        "precision": getattr(fitted.network, "precision", config.precision),
        "weight_decay": config.weight_decay,
        **fitted.training,
        "ensemble": ensemble,
        "additive": additive,
        "trees": trees,
        "temperature": temperature,
    }


def training_parameters(settings: Settings, n_classes: int) -> dict[str, Any]:
    """Return the settings of training by the names of the parameters, as JSON values.

    `n_draws` counts all labels where they are enumerated.
    """
    augment = settings.augment
    per_level = n_classes if settings.enumerate_labels else 1
    return {
        "max_epochs": settings.max_epochs,
        "batch_size": settings.batch_size,
        "learning_rate": float(settings.learning_rate),
        "frozen_epochs": settings.frozen_epochs,
        "n_draws": int(settings.n_draws) * per_level,
        "times": settings.times,
        "augment": augment if augment is None else getattr(augment, "__name__", "own"),
        "mixup": settings.mixup,
        "average": settings.average,
        "choose_epochs": settings.choose_epochs,
    }


def _epochs(max_epochs: int | str, kind: Defaults, n: int, batch_size: int, effort: str) -> int:
    """Return the maximum number of epochs; "auto" follows from the number of updates."""
    if not _auto(max_epochs):
        return int(max_epochs)
    per_epoch = math.ceil(n / batch_size)
    low, high = kind.epochs
    longest = min(high, math.ceil(kind.updates(n) / per_epoch))
    share = kind.untried if n < _TRIAL[0] else (kind.fast if effort == "fast" else 1.0)
    return max(low, math.ceil(share * longest))


def _enumerates(
    n_draws: int | str, kind: Defaults, n: int, batch_size: int, n_classes: int
) -> bool:
    """Return whether the loss sums over all labels; with mini-batches, more levels are better."""
    few = 0 < kind.n_levels * n_classes <= _MAX_ENUMERATED
    return _auto(n_draws) and n <= batch_size and few


def resolve_form(
    parameterization: str,
    objective: str,
    input_shape: tuple[int, ...],
    n: int,
    conditioning: str = "auto",
    network: Any = "auto",
    n_classes: int = 2,
) -> tuple[str, str]:
    """Return parameterization and objective with "auto" replaced by compatible values.

    With `conditioning="none"`, an ordinary classifier, "auto" is the plain cross-entropy. Raw
    scores of images need many draws, which are too dear where the condition enters a block. They
    are slow to learn with many classes, and were not measured with networks that are not built in.

    Examples
    --------
    >>> resolve_form("auto", "auto", (28, 28), 1000)
    ('score', 'score_entropy')
    >>> resolve_form("posterior", "auto", (28, 28), 1000)
    ('posterior', 'bayes_cross_entropy')
    """
    if conditioning == "none":
        return "posterior", "cross_entropy" if _auto(objective) else objective
    kind = _kind(input_shape, n)
    if _auto(parameterization):
        in_a_head = conditioning in ("auto", "head") and is_builtin(network)
        logits = objective in ("bayes_cross_entropy", "cross_entropy")
        if len(input_shape) > 1:
            logits |= n >= _FEWER or n_classes > _FEW_CLASSES or not in_a_head
        parameterization = "posterior" if logits else kind.parameterization
    if _auto(objective):
        kind = _kind(input_shape, n, parameterization)
        objective = kind.objective if parameterization == kind.parameterization else "score_entropy"
    return parameterization, objective


def resolve_trial(
    choose_epochs: bool | str,
    max_epochs: int | str,
    n: int,
    *,
    early_stopping: bool = False,
    effort: str = "auto",
) -> bool:
    """Return whether a trial chooses the number of epochs; never with early stopping.

    Examples
    --------
    >>> resolve_trial("auto", "auto", 1000), resolve_trial("auto", 50, 1000)
    (True, False)
    """
    if early_stopping:
        return False
    if not _auto(choose_epochs):
        return bool(choose_epochs)
    low, high = _TRIAL
    enough = low <= n and (n <= high or effort == "thorough")
    return _auto(max_epochs) and enough and effort != "fast"


def resolve_conditioning(conditioning: str, network: Any, usual: str = "last") -> str:
    """Return where label and noise enter; "auto" is the head unless the network is built in.

    `usual` is the place in networks that are.

    Examples
    --------
    >>> resolve_conditioning("auto", "mlp"), resolve_conditioning("auto", "timm/resnet18")
    ('last', 'head')
    """
    if not _auto(conditioning):
        return conditioning
    return usual if is_builtin(network) else "head"


def resolve_precision(precision: str, input_shape: tuple[int, ...], n: int, batch_size: int) -> str:
    """Return the precision; "auto" is float32 for tables of more than 100 rows.

    In float64, with one batch, a weight of 2 equals a repeated row to many digits. float32 takes
    half the time and gives the same NLL. The backend resolves all other cases.

    Examples
    --------
    >>> [resolve_precision("auto", (5,), n, 256) for n in (100, 101)]
    ['auto', 'float32']
    """
    table = len(input_shape) == 1
    exact = n <= min(batch_size, _EXACT)
    return "float32" if _auto(precision) and table and not exact else precision


def resolve_ensemble(
    ensemble: bool | str,
    network: Any,
    input_shape: tuple[int, ...],
    n: int,
    effort: str = "auto",
) -> bool:
    """Return whether the networks of a trial on n rows also predict.

    "auto" uses built-in networks only, such as those on the features of a frozen one: others may
    be large, and share pretrained weights.

    Examples
    --------
    >>> [resolve_ensemble("auto", "auto", (28, 28), n) for n in (1000, 2000)]
    [True, False]
    >>> [resolve_ensemble("auto", "auto", (5,), n) for n in (999, 1000)]
    [True, False]
    """
    if not _auto(ensemble):
        return bool(ensemble)
    few = n < _kind(input_shape, n).ensemble
    return (few or effort == "thorough") and is_builtin(network)


def resolve_additive(
    additive: bool | str, input_shape: tuple[int, ...], n: int, n_classes: int
) -> bool:
    """Return whether an additive model, or trees, answer beside networks; they need a trial, too.

    "auto" uses them for tables for which that takes a small part of the time of a fit.

    Examples
    --------
    >>> [resolve_additive("auto", shape, 1000, 3) for shape in ((5,), (28, 28), (2000,))]
    [True, False, False]
    """
    if len(input_shape) > 1 or not _auto(additive):
        return len(input_shape) == 1 and bool(additive)
    return n <= _FEW and n * input_shape[0] * n_classes <= _SUMMED


def resolve_solver(solver: str, parameterization: str) -> str:
    """Return the solver; "auto" depends on the parameterization."""
    if not _auto(solver):
        return solver
    return "bridge" if parameterization == "posterior" else "euler"


def _kind(input_shape: tuple[int, ...], n: int, parameterization: str | None = None) -> Defaults:
    """Return the settings for n rows, by default with the parameterization that is usual there."""
    table, few = len(input_shape) == 1, n <= _FEW
    if table:
        return FEW_ROWS if few else MANY_ROWS
    kind = FEW_IMAGES if few else MANY_IMAGES
    if parameterization in (None, kind.parameterization):
        return kind
    return replace(kind, **_FORMS_OF_IMAGES[parameterization])


def _auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"
