"""Pretrained applications of Keras: pictures to features, with the network's own preparation."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from skdidicm.backend import Preparation, TrunkConfig, on_this_machine
from skdidicm.errors import reason
from skdidicm.networks import KERAS, n_channels
from skdidicm_keras import engine
from skdidicm_keras.device import resolve_device
from skdidicm_keras.layers import mean
from skdidicm_keras.padding import filled, padded
from skdidicm_keras.weights import check_state

_STAGES = 3  # sizes of maps whose means are features beside the last ones
_FEWEST = 3  # layers of a size that is a stage, and no padding
_CHANNELS = 3  # that applications take; grey pictures are repeated
_SUFFIXES = (".h5", ".keras")
_SIDE = 224  # pixels in which applications were trained, unless they are named here
_SIDES = {
    "EfficientNetB1": 240, "EfficientNetB2": 260, "EfficientNetB3": 300, "EfficientNetB4": 380,
    "EfficientNetB5": 456, "EfficientNetB6": 528, "EfficientNetB7": 600, "EfficientNetV2B1": 240,
    "EfficientNetV2B2": 260, "EfficientNetV2B3": 300, "EfficientNetV2S": 384,
    "EfficientNetV2M": 480, "EfficientNetV2L": 480, "InceptionResNetV2": 299, "InceptionV3": 299,
    "NASNetLarge": 331, "Xception": 299,
}  # fmt: skip


class KerasTrunk:
    """A `Trunk` on Keras, in float32.

    Parameters
    ----------
    config : TrunkConfig
        What to build. `config.network` is "keras/NAME", with a name of `keras.applications`.
    """

    def __init__(self, config: TrunkConfig) -> None:
        self.device = resolve_device(config.device)
        build, name = _application(config)
        side = _SIDES.get(name, _SIDE)
        # Values from 0 to 255, which the application's own function prepares.
        white = (1 / 255,) * _CHANNELS
        usual = Preparation((side, side), (0.0,) * _CHANNELS, white, "bilinear")
        preparation = config.preparation or usual
        self.config = replace(config, preparation=preparation)
        self._size, self._interpolation = preparation.size, preparation.interpolation
        self._prepare = sys.modules[build.__module__].preprocess_input
        with self._scope():
            self._whole = _with_weights(build, name, preparation.size, config.weights)
            self.model = keras.Model(self._whole.input, _stages(self._whole))
            self._run = engine.stateful(self._features, self.model.variables)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays of `state`."""
        return {str(i): tuple(v.shape) for i, v in enumerate(self._whole.weights)}

    def features(self, x: NDArray[Any], /) -> NDArray[np.floating]:
        """Return the features (n, f) of pictures (n, *input_shape)."""
        rows = filled(np.asarray(x), padded(len(x)) if engine.COMPILES else len(x))
        with self._scope():
            return engine.to_host(self._run(ops.convert_to_tensor(rows)))[: len(x)]

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of weights and buffers, numbered as Keras orders them."""
        return {str(i): engine.to_host(v.value) for i, v in enumerate(self._whole.weights)}

    def load_state(self, state: Mapping[str, NDArray[Any]], /) -> None:
        """Set weights and buffers; names and shapes must match."""
        check_state(self.shapes, state)
        with self._scope():
            for i, variable in enumerate(self._whole.weights):
                variable.assign(np.asarray(state[str(i)]))

    def _features(self, x: Any) -> Any:
        """Return the features (n, f) of a tensor of pictures: parts of length one."""
        rows = ops.cast(x, "float32") * (255 / self.config.white)
        rows = rows[..., None] if len(rows.shape) == 3 else rows
        if tuple(rows.shape[1:3]) != self._size:
            smooth = self._interpolation != "nearest"
            rows = ops.image.resize(
                rows, self._size, self._interpolation, antialias=smooth, data_format="channels_last"
            )
        if rows.shape[3] != _CHANNELS:
            rows = ops.concatenate([rows] * _CHANNELS, axis=3)
        parts = [mean(maps, (1, 2)) for maps in self.model(self._prepare(rows), training=False)]
        return ops.concatenate([ops.normalize(part, axis=-1) for part in parts], axis=-1)

    def _scope(self) -> AbstractContextManager[None]:
        return engine.scope(self.device)

    def __getstate__(self) -> dict[str, Any]:
        return {"config": replace(self.config, weights=False), "state": self.state()}

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        self.__init__(on_this_machine(pickled["config"], resolve_device))  # type: ignore[misc]
        self.load_state(pickled["state"])


def _application(config: TrunkConfig) -> tuple[Any, str]:
    """Return the function that builds an application, and its name.

    Raises
    ------
    ValueError
        If there is none of this name, or the pictures do not suit it.
    """
    network = config.network
    if not (isinstance(network, str) and network.startswith(KERAS)):
        named = repr(network) if isinstance(network, str) else type(network).__name__
        raise ValueError(
            f"pretrained is {config.weights!r} and network {named}; the Keras backend expects "
            "'keras/NAME' with a name of keras.applications. Pass a model of your own without "
            "pretrained, and freeze what is not to learn."
        )
    name = network.removeprefix(KERAS)
    build = getattr(keras.applications, name, None)
    if not callable(build):
        known = [k for k in dir(keras.applications) if k[0].isupper()]
        raise ValueError(f"Keras has no application {name!r}; expected one of {', '.join(known)}.")
    channels = n_channels(config.input_shape)
    if channels not in (1, _CHANNELS):
        raise ValueError(
            f"X has pictures of {channels} channels, but a pretrained network takes grey or RGB; "
            "leave the others out, for instance X[..., :3] of RGBA."
        )
    return build, name


def _with_weights(build: Any, name: str, size: tuple[int, int], weights: bool | str) -> Any:
    """Return an application without its classifier.

    Raises
    ------
    OSError
        If its weights cannot be had.
    ValueError
        If a file has no weights, or those of another network.
    """
    settings = {"include_top": False, "input_shape": (*size, _CHANNELS)}
    if weights is True:
        try:
            return build(weights="imagenet", **settings)
        except Exception as error:  # Keras raises whatever its download meets
            raise OSError(
                f"the weights of {name} cannot be had ({reason(error)}); connect this machine "
                "once so that Keras can download them, or set pretrained to the path of a file of "
                "weights."
            ) from error
    model = build(weights=None, **settings)
    if isinstance(weights, str):
        path = Path(weights)
        if not path.is_file() or path.suffix not in _SUFFIXES:
            raise FileNotFoundError(
                f"pretrained is {weights!r}; expected True, False, or the path of a file of "
                "weights (.weights.h5 or .keras)."
            )
        try:
            model.load_weights(path)
        except Exception as error:  # readers of damaged files raise whatever they meet
            raise ValueError(
                f"{path} does not have the weights of {name} ({reason(error)}); expected what "
                "save_weights wrote of the same application with include_top=False."
            ) from error
    return model


def _stages(model: Any) -> list[Any]:
    """Return the last maps of a model, and the last ones of the sizes before."""
    maps = [layer.output for layer in model.layers if len(layer.output.shape) == 4]
    sizes = [tuple(m.shape[1:3]) for m in maps]
    stages = {size: m for size, m in zip(sizes, maps, strict=True) if sizes.count(size) >= _FEWEST}
    stages.pop(tuple(model.output.shape[1:3]), None)
    smallest = sorted(stages, key=lambda size: size[0] * size[1])[: _STAGES - 1]
    return [model.output, *(stages[size] for size in smallest)]
