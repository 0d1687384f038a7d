"""What "auto" means: settings for tables and for images, in one place."""

import math
from dataclasses import dataclass
from typing import Any

_MAX_ENUMERATED = 64  # draws per row up to which all labels are enumerated instead of drawn


@dataclass(frozen=True)
class Defaults:
    """Settings for one kind of input.

    `n_updates` and the bounds on epochs make `max_epochs`: few rows are seen often, many seldom.
    `n_levels` is the number of noise levels when labels are enumerated, 0 to always draw.
    """

    batch_size: int
    n_updates: int
    epochs: tuple[int, int]
    learning_rate: float
    weight_decay: float
    n_draws: int
    n_levels: int


TABLES = Defaults(
    batch_size=256,
    n_updates=300,
    epochs=(20, 300),
    learning_rate=5e-3,
    weight_decay=1e-2,
    n_draws=16,
    n_levels=8,
)

IMAGES = Defaults(
    batch_size=64,
    n_updates=1000,
    epochs=(15, 200),
    learning_rate=6e-3,
    weight_decay=5e-2,
    n_draws=4,
    n_levels=0,
)


def resolve(
    given: dict[str, Any], input_shape: tuple[int, ...], n: int, n_classes: int
) -> dict[str, Any]:
    """Return the settings with every "auto" replaced by a number for n rows of that shape.

    Examples
    --------
    >>> given = dict.fromkeys(
    ...     ("batch_size", "max_epochs", "learning_rate", "weight_decay", "n_draws"), "auto"
    ... )
    >>> settings = resolve(given, (28, 28), 1000, 10)
    >>> settings["max_epochs"], settings["n_draws"], settings["enumerate_labels"]
    (63, 4, False)
    """
    kind = TABLES if len(input_shape) == 1 else IMAGES
    settings: dict[str, Any] = {
        k: getattr(kind, k, None) if _auto(v) else v for k, v in given.items()
    }
    if _auto(given["max_epochs"]):
        per_epoch = math.ceil(n / settings["batch_size"])
        low, high = kind.epochs
        settings["max_epochs"] = min(high, max(low, math.ceil(kind.n_updates / per_epoch)))
    enumerate_labels = _auto(given["n_draws"]) and 0 < kind.n_levels * n_classes <= _MAX_ENUMERATED
    if enumerate_labels:
        settings["n_draws"] = kind.n_levels
    return settings | {"enumerate_labels": enumerate_labels}


def _auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"
