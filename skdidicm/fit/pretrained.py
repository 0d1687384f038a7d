"""The pretrained network that a fit starts from: which one, and whether it is frozen."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.backend import TrunkConfig
from skdidicm.fit.state import Fitted
from skdidicm.networks import resolve_network

_WHITE = 255  # of bytes; floats have the white of bytes, or 1


def is_frozen(parameters: Mapping[str, Any]) -> bool:
    """Return whether a fit starts from a pretrained network that it leaves as it is.

    Examples
    --------
    >>> is_frozen({"pretrained": True, "trunk_learning_rate": "auto"})
    True
    >>> is_frozen({"pretrained": True, "trunk_learning_rate": 0.1})
    False
    """
    rate = parameters["trunk_learning_rate"]
    return bool(parameters["pretrained"]) and (isinstance(rate, str) or rate == 0)


def is_tuned(parameters: Mapping[str, Any]) -> bool:
    """Return whether a fit starts from a pretrained network that learns on.

    Examples
    --------
    >>> is_tuned({"pretrained": True, "trunk_learning_rate": 0.1})
    True
    """
    return bool(parameters["pretrained"]) and not is_frozen(parameters)


def trunk_config(parameters: Mapping[str, Any], x: NDArray[Any]) -> TrunkConfig | None:
    """Return the pretrained network for pictures x (n, h, w[, c]); None without `pretrained`.

    Raises
    ------
    ValueError
        If x is a table, or has values that no picture has.
    """
    pretrained = parameters["pretrained"]
    if not pretrained:
        return None
    if x.ndim < 3:
        raise ValueError(
            f"pretrained is {pretrained!r}, but X is a table of shape {x.shape}; expected pictures "
            "(n, height, width) or (n, height, width, 3)."
        )
    return TrunkConfig(
        network=parameters["network"],
        input_shape=x.shape[1:],
        weights=pretrained if isinstance(pretrained, bool) else str(pretrained),
        white=_white_of(x),
        device=parameters["device"],
        precision=parameters["precision"],
    )


def check_network(parameters: Mapping[str, Any], earlier: Fitted) -> None:
    """Raise ValueError if a training that goes on is to have another network than before."""
    trunk, config = earlier.trunk, earlier.network.config
    own = config.network if trunk is None else trunk.config.network
    given = parameters["network"]
    if trunk is None and config.trunk is None:
        own = resolve_network(own, config.input_shape)
        given = resolve_network(given, config.input_shape, large=_large(own))
    if own is not given and not (isinstance(own, str) and own == given):
        raise ValueError(
            f"network is {_named(given)}, but training goes on with the fitted {_named(own)}; set "
            "warm_start=False to train another one."
        )
    was_frozen = trunk is not None
    if is_frozen(parameters) != was_frozen:
        then, now = ("frozen", "trained") if was_frozen else ("trained", "frozen")
        raise ValueError(
            f"the network was {then} in the fit that training goes on from, and is now to be "
            f"{now}; fit anew with warm_start=False, which starts from the pretrained weights."
        )


def _large(network: Any) -> str:
    """Return what "auto" was for large images, if it was this network."""
    return "didirn-patch" if network == "didirn-patch" else "didirn18"


def _named(network: Any) -> str:
    return repr(network) if isinstance(network, str) else type(network).__name__


def _white_of(x: NDArray[Any]) -> float:
    """Return the value of white: 255 for bytes, and for numbers above 1."""
    if x.dtype == np.uint8:
        return _WHITE
    low, high = float(x.min()), float(x.max())
    if low < 0 or high > _WHITE:
        raise ValueError(
            f"X has values from {low:.4g} to {high:.4g}; a pretrained network takes pictures of "
            "bytes from 0 to 255, or of numbers from 0 to 1, which it standardises itself."
        )
    return _WHITE if high > 1 else 1.0
