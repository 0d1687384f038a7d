"""Finding backends: what is registered, what is installed, what to say if neither."""

from importlib import metadata, util

import pytest

from skdidicm import registry
from skdidicm.registry import get_backend, installed_backends, registered_backends


def build(config):
    raise AssertionError("never called")


@pytest.fixture
def machine(monkeypatch):
    """Pretend that some backends are registered and some frameworks are installed."""

    def pretend(registered, frameworks=()):
        points = [
            metadata.EntryPoint(name, f"{__name__}:build_{name}", registry.GROUP)
            for name in registered
        ]
        monkeypatch.setattr(metadata, "entry_points", lambda *, group: points)
        monkeypatch.setattr(metadata.EntryPoint, "load", lambda point: point.name)
        monkeypatch.setattr(util, "find_spec", lambda name: name in frameworks or None)

    return pretend


def test_backends_of_this_library_come_first_and_others_by_name(machine):
    machine(["zig", "abacus", "keras", "torch"])
    assert list(registered_backends()) == ["torch", "keras", "abacus", "zig"]


def test_a_backend_counts_as_installed_if_its_framework_is_there(machine):
    machine(["abacus", "torch"])
    assert installed_backends() == ["abacus"]
    machine(["abacus", "torch"], frameworks=["torch"])
    assert installed_backends() == ["torch", "abacus"]


def test_auto_is_the_first_that_is_installed(machine):
    machine(["abacus", "torch"], frameworks=["torch"])
    assert get_backend("auto") == "torch"
    machine(["abacus", "torch"])
    assert get_backend() == "abacus"


def test_a_name_is_loaded_from_its_entry_point(machine):
    machine(["abacus", "torch"], frameworks=["torch"])
    assert get_backend("abacus") == "abacus"


def test_a_function_is_taken_as_it_is(machine):
    machine([])
    assert get_backend(build) is build


def test_a_known_backend_without_its_framework_names_the_pip_command(machine):
    machine(["abacus", "torch"])
    with pytest.raises(ImportError, match=r"installed are \['abacus'\].*pip install .*\[torch\]"):
        get_backend("torch")


def test_an_unknown_backend_is_answered_with_those_that_are_installed(machine):
    machine(["torch", "abacus"], frameworks=["torch"])
    with pytest.raises(ValueError, match=r"'flux' is not known; installed are \['torch', 'abacus"):
        get_backend("flux")


@pytest.mark.parametrize("registered", [[], ["torch"]])
def test_without_any_backend_the_message_says_how_to_install_one(machine, registered):
    machine(registered)
    with pytest.raises(ImportError, match=r"No backend .*pip install .*\[torch\]"):
        get_backend("auto")


def test_the_torch_backend_of_this_repository_is_found():
    torch_backend = pytest.importorskip("skdidicm_torch")
    assert "torch" in installed_backends()
    assert get_backend("torch") is torch_backend.build_network
