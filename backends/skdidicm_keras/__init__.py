"""The Keras 3 backend of skdidicm, on the engine that Keras uses: JAX, torch or TensorFlow."""

from skdidicm.networks import NETWORKS
from skdidicm_keras.choice import import_keras

import_keras()

from skdidicm_keras.backend import KerasNetwork  # noqa: E402 - Keras picks its engine once
from skdidicm_keras.networks import create_network  # noqa: E402

__all__ = ["NETWORKS", "KerasNetwork", "build_network", "create_network"]

build_network = KerasNetwork
