"""Find backends by name in the entry-point group `skdidicm.backends`."""

import threading
from importlib import metadata, util

from skdidicm.backend import (
    BuildNetwork,
    BuildsTrunk,
    KnowsDevices,
    NetworkConfig,
    ScoreNetwork,
    Trunk,
    TrunkConfig,
)

GROUP = "skdidicm.backends"

PREFERENCE = ("torch", "keras")
"""Order of preference of backend="auto"; other backends follow alphabetically."""

INSTALL = {
    "torch": 'pip install "skdidicm[torch]"',
    "keras": 'pip install "skdidicm[keras]" jax',  # or torch or tensorflow: Keras needs an engine
}

_FRAMEWORK = {"torch": "torch", "keras": "keras"}

_ONE_AT_A_TIME = threading.Lock()


def registered_backends() -> dict[str, metadata.EntryPoint]:
    """Return every registered backend, whether or not its framework is installed."""
    found = {point.name: point for point in metadata.entry_points(group=GROUP)}
    first = [name for name in PREFERENCE if name in found]
    return {name: found[name] for name in first + sorted(found.keys() - set(first))}


def installed_backends() -> list[str]:
    """Return the names of the backends whose framework is installed, in order of preference."""
    return [name for name in registered_backends() if _framework_found(name)]


def get_backend(name: str | BuildNetwork = "auto") -> BuildNetwork:
    """Return the `build_network` function of a backend.

    Parameters
    ----------
    name : str or callable, default="auto"
        A registered name, or "auto" for the first one that is installed. A callable is used as the
        `build_network` function itself.

    Raises
    ------
    ImportError
        If the framework of the backend is not installed. The message has the pip command.
    ValueError
        If no such backend is registered.
    """
    if callable(name):
        return name
    installed = installed_backends()
    if name == "auto":
        if not installed:
            raise ImportError(
                "No backend of skdidicm is installed, but training needs one. "
                f"Install one, for instance with: {INSTALL['torch']}"
            )
        name = installed[0]
    backends = registered_backends()
    if name not in backends:
        raise ValueError(
            f"backend {name!r} is not known; installed are {installed or 'none'}. Choose one of "
            "them, or install the package that provides it."
        )
    if name not in installed:
        raise ImportError(
            f"backend {name!r} needs a framework that is not installed; installed are "
            f"{installed or 'none'}. Install it with: {INSTALL.get(name, 'pip')}"
        )
    build: BuildNetwork = backends[name].load()
    return build


def on_cpu(build: BuildNetwork, device: str) -> bool:
    """Return whether a backend puts networks on the CPU; False if it does not say.

    Raises
    ------
    ValueError
        If the device is not here.
    """
    return isinstance(build, KnowsDevices) and str(build.resolve_device(device)).startswith("cpu")


def new_network(backend: str | BuildNetwork, config: NetworkConfig) -> ScoreNetwork:
    """Return a network with randomly initialised weights, built by one thread at a time.

    Frameworks draw weights from one generator that all threads share.
    """
    build = get_backend(backend)
    with _ONE_AT_A_TIME:
        return build(config)


def new_trunk(backend: str | BuildNetwork, config: TrunkConfig) -> Trunk:
    """Return a pretrained network with its weights, built by one thread at a time.

    Raises
    ------
    ValueError
        If the backend has no pretrained networks.
    """
    build = get_backend(backend)
    if not isinstance(build, BuildsTrunk):
        named = backend if isinstance(backend, str) else getattr(backend, "__name__", "own")
        raise ValueError(
            f"pretrained is {config.weights!r}, but the backend {named!r} has no pretrained "
            "networks; use backend='torch', or pass features of the pictures as a table."
        )
    with _ONE_AT_A_TIME:
        return build.build_trunk(config)


def _framework_found(name: str) -> bool:
    return name not in _FRAMEWORK or util.find_spec(_FRAMEWORK[name]) is not None
