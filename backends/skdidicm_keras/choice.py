"""Choice of the Keras engine: the one the user configured, else one that is installed.

Keras reads its engine once, at import, and defaults to TensorFlow.
"""

import importlib
import json
import os
import sys
from importlib import util
from pathlib import Path
from types import ModuleType

ENGINES = ("torch", "jax", "tensorflow")
"""Engines that can train, in order of preference."""

_VARIABLE = "KERAS_BACKEND"
_INSTALL = (
    "pip install keras, and one of: pip install torch, pip install jax, pip install tensorflow"
)


def import_keras() -> ModuleType:
    """Import Keras with an engine that can train, without changing the environment.

    Raises
    ------
    ImportError
        If Keras or its engine is not installed. The message has the pip commands.
    """
    if "keras" not in sys.modules:
        engine = choose_engine()
        before = os.environ.get(_VARIABLE)
        os.environ[_VARIABLE] = engine
        try:
            importlib.import_module("keras")
        finally:
            if before is None:
                del os.environ[_VARIABLE]
            else:
                os.environ[_VARIABLE] = before
    keras = sys.modules["keras"]
    _check_engine(keras.config.backend(), "Keras is already imported and computes with")
    return keras


def choose_engine() -> str:
    """Return the engine in KERAS_BACKEND, else in keras.json, else the first one installed.

    keras.json is ignored if its engine is not installed: Keras itself writes the file, with
    TensorFlow, at its first import.
    """
    if util.find_spec("keras") is None:
        raise ImportError(f"backend 'keras' needs Keras, which is not installed; {_INSTALL}")
    asked = os.environ.get(_VARIABLE)
    if asked:
        _check_engine(asked, f"{_VARIABLE} is")
        return asked
    configured = _configured_engine()
    for engine in (configured, *ENGINES):
        if engine in ENGINES and util.find_spec(engine) is not None:
            return engine
    raise ImportError(
        f"backend 'keras' needs one of the engines {ENGINES}, but none is installed; {_INSTALL}"
    )


def _check_engine(engine: str, origin: str) -> None:
    if engine not in ENGINES:
        raise ImportError(
            f"{origin} {engine!r}, which cannot train here; set {_VARIABLE} to one of {ENGINES} "
            "before Keras is imported."
        )
    if util.find_spec(engine) is None:
        raise ImportError(
            f"{origin} {engine!r}, which is not installed; install it with: pip install {engine}, "
            f"or set {_VARIABLE} to an installed engine."
        )


def _configured_engine() -> str | None:
    """Return the engine in keras.json, which is in KERAS_HOME or in ~/.keras."""
    folder = os.environ.get("KERAS_HOME")
    path = (Path(folder) if folder else Path.home() / ".keras") / "keras.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None
