"""Development sessions: `nox -l` lists them, `nox -s tests` runs one."""

from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests"]

GROUPS = nox.project.load_toml("pyproject.toml")
EVERYTHING = ("-m", "")
TWO_PROCESSES = ("-n", "2", "--dist", "loadfile")


def groups(*names: str) -> list[str]:
    return [dep for name in names for dep in nox.project.dependency_groups(GROUPS, name)]


@nox.session
def lint(session: nox.Session) -> None:
    """Style and common mistakes."""
    session.install(*groups("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Static types, strictly."""
    session.install("-e", ".[imagenet]", *groups("types"))
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The tests that take seconds, with every backend of this repository, in two processes."""
    session.install("-e", ".[imagenet]", *groups("test"))
    session.run("pytest", *(session.posargs or TWO_PROCESSES))


@nox.session
def tests_slow(session: nox.Session) -> None:
    """The tests that take longer: scikit-learn's checks on the defaults, killed runs, and more."""
    session.install("-e", ".[imagenet]", *groups("test"))
    session.run("pytest", "-m", "slow", *(session.posargs or TWO_PROCESSES))


@nox.session
@nox.parametrize("engine", ["torch", "jax", "tensorflow"])
def tests_keras(session: nox.Session, engine: str) -> None:
    """The tests of the Keras backend on one engine: a process can have one only."""
    package = {"tensorflow": "tensorflow-cpu"}.get(engine, engine)
    session.install("-e", ".[keras]", package, *groups("test-core"))
    env = {"KERAS_BACKEND": engine, "TF_CPP_MIN_LOG_LEVEL": "3"}
    session.run("pytest", "tests/backends", "-k", "keras", *EVERYTHING, *session.posargs, env=env)


@nox.session
def tests_core(session: nox.Session) -> None:
    """The core's tests where no framework is installed."""
    session.install("-e", ".", *groups("test-core"))
    session.run("pytest", "tests/core", *session.posargs)


@nox.session
def tests_floor(session: nox.Session) -> None:
    """The tests on the lowest versions that the project promises to work with."""
    session.install("-e", ".[torch,plot]", *groups("test-core"), *groups("floor"))
    session.run("pytest", "-W", "default", *EVERYTHING, *session.posargs)


@nox.session
def doctests(session: nox.Session) -> None:
    """The examples in docstrings."""
    session.install("-e", ".[imagenet]", *groups("test"))
    session.run("pytest", "--doctest-modules", "skdidicm", "backends", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, with warnings as errors."""
    session.install("-e", ".[imagenet,keras]", *groups("docs"))
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session
def build(session: nox.Session) -> None:
    """Wheel and source distribution, and the tests against the installed wheel."""
    session.install("build", *groups("test"))
    out = session.create_tmp()
    session.run("python", "-m", "build", "--outdir", out)  # the wheel is made from the sdist
    wheel = max(Path(out).glob("*.whl"), key=lambda path: path.stat().st_mtime)
    session.install("--force-reinstall", "--no-deps", str(wheel))
    session.install(f"{wheel}[imagenet]")
    session.run("pytest", *EVERYTHING, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Benchmarks: ratios of two things timed in one run."""
    session.install("-e", ".[torch,plot]", *groups("bench"))
    session.run("python", "-m", "tests.benchmarks", *session.posargs)
