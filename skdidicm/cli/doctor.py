"""`skdidicm doctor`: what is installed, what of it works, and what to install."""

import json as json_text
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata, util
from typing import Annotated, Any, NamedTuple

import typer

from skdidicm.cli.console import print_json, print_table, say

_PATIENCE = 180  # seconds for one fit; the first import of a framework may take a minute
_ENGINES = ("torch", "jax", "tensorflow")  # of Keras

# Runs in a process of its own, so that a broken framework can crash or hang without harm.
_TRIAL = """
import json, sys
import numpy as np
from skdidicm import DiDiClassifier

X, y = np.arange(16.0)[:, None], np.repeat(["a", "b"], 8)
classifier = DiDiClassifier(steps=2, max_epochs=1, backend=sys.argv[1], random_state=0).fit(X, y)
p = classifier.predict_proba(X)
assert p.shape == (16, 2) and np.isfinite(p).all() and np.allclose(p.sum(axis=1), 1), p
print(json.dumps({"device": str(getattr(classifier.network_, "device", ""))}))
"""


class Package(NamedTuple):
    """A distribution, the module that it brings, what it is for, and how to install it."""

    name: str
    module: str
    purpose: str
    install: str


def _extra(name: str) -> str:
    return f'pip install "skdidicm[{name}]"'


PACKAGES = (
    Package("numpy", "numpy", "needed", "pip install skdidicm"),
    Package("scipy", "scipy", "needed", "pip install skdidicm"),
    Package("scikit-learn", "sklearn", "needed", "pip install skdidicm"),
    Package("array-api-compat", "array_api_compat", "needed", "pip install skdidicm"),
    Package("safetensors", "safetensors", "needed", "pip install skdidicm"),
    Package("torch", "torch", "backend; engine of Keras", _extra("torch")),
    Package("keras", "keras", "backend", _extra("keras")),
    Package("jax", "jax", "engine of Keras", "pip install jax"),
    Package("tensorflow", "tensorflow", "engine of Keras", "pip install tensorflow"),
    Package("matplotlib", "matplotlib", "pictures", _extra("plot")),
    Package("jinja2", "jinja2", "reports", _extra("plot")),
    Package("pillow", "PIL", "files of pictures, reports", _extra("plot")),
    Package("pandas", "pandas", "CSV files", _extra("tables")),
    Package("timm", "timm", "train imagenet on torch", _extra("imagenet")),
    Package("torchvision", "torchvision", "train imagenet on torch", _extra("imagenet")),
)


def doctor(
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.")
    ] = False,
) -> None:
    """Show what is installed and test every backend with a tiny fit.

    The exit code is 0 if at least one backend works, else 1.
    """
    packages = [package_status(package) for package in PACKAGES]
    trials = list(_tried())
    works = any(trial["works"] for trial in trials)
    if json:
        system = {"python": platform.python_version(), "platform": platform.platform()}
        print_json({**system, "works": works, "packages": packages, "backends": trials})
    else:
        _print(packages, trials)
    if not works:
        say(_advice(trials))
        raise typer.Exit(1)


def package_status(package: Package) -> dict[str, Any]:
    """Return the version of a package, or how to install it."""
    found = is_installed(package.module)
    try:
        version = metadata.version(package.name) if found else None
    except metadata.PackageNotFoundError:  # it can be imported all the same
        version = "unknown"
    install = None if found else package.install
    return {**package._asdict(), "version": version, "install": install}


def is_installed(module: str) -> bool:
    """Return whether a module can be found; it is not imported."""
    try:
        return util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def planned() -> Iterator[tuple[str, str | None]]:
    """Yield backends to try, with their engine if they have several."""
    from skdidicm.registry import installed_backends

    for name in installed_backends():
        engines = [engine for engine in _ENGINES if is_installed(engine)]
        if name != "keras":
            yield name, None
        elif engines:
            yield from ((name, engine) for engine in engines)
        else:
            yield name, ""  # Keras without an engine


def _tried() -> Iterator[dict[str, Any]]:
    for name, engine in planned():
        say(f"Trying {name}{f' on {engine}' if engine else ''} ...")
        if engine == "":
            error = "Keras has no engine; install one, for instance with: pip install jax"
            result: dict[str, Any] = {"works": False, "device": None, "error": error}
        else:
            result = attempt(name, engine)
        yield {"backend": name, "engine": engine or None, **result}


def attempt(backend: str, engine: str | None, patience: float = _PATIENCE) -> dict[str, Any]:
    """Fit a tiny table in a process of its own; return whether that worked, where, and why not."""
    choice = {"KERAS_BACKEND": engine} if engine else {}
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, "-c", _TRIAL, backend],
            capture_output=True,
            text=True,
            check=False,
            timeout=patience,
            env={**os.environ, **choice},
        )
    except subprocess.TimeoutExpired:
        error = f"no answer after {patience:g} seconds"
        return {"works": False, "device": None, "seconds": patience, "error": error}
    seconds = round(time.perf_counter() - start, 2)
    if done.returncode:
        return {
            "works": False,
            "device": None,
            "seconds": seconds,
            "error": _reason(done.returncode, done.stderr),
        }
    device = json_text.loads(done.stdout.splitlines()[-1])["device"] or None
    return {"works": True, "device": device, "seconds": seconds, "error": None}


def _reason(code: int, stderr: str) -> str:
    """Return why a process ended: its signal, or the last line that it wrote."""
    if code < 0:
        return f"the process crashed with signal {-code}"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"the process ended with status {code}"


def _print(packages: list[dict[str, Any]], trials: list[dict[str, Any]]) -> None:
    print_table(
        f"Python {platform.python_version()}, {platform.platform()}",
        ("Package", "Version", "For", "To install"),
        [
            (row["name"], row["version"] or "missing", row["purpose"], row["install"] or "")
            for row in packages
        ],
    )
    rows = [
        (
            trial["backend"],
            trial["engine"] or "",
            "yes" if trial["works"] else "no",
            trial["device"] or "",
            trial["error"] or f"a tiny fit took {trial['seconds']} s with all imports",
        )
        for trial in trials
    ]
    if rows:
        print_table(None, ("Backend", "Engine", "Works", "Device", ""), rows)


def _advice(trials: list[dict[str, Any]]) -> str:
    what = "No installed backend works" if trials else "No backend is installed"
    return f"{what}, so nothing can be trained; install one, for instance with: {_extra('torch')}"
