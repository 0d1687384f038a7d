"""The direction of imports: cli -> classifier -> training and others -> backend -> core."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = sorted((ROOT / "skdidicm").rglob("*.py"))
BACKENDS = sorted((ROOT / "backends").rglob("*.py"))
CORE = [path for path in LIBRARY if "core" in path.relative_to(ROOT).parts]

FRAMEWORKS = {"torch", "torchvision", "timm", "keras", "jax", "jaxlib", "flax", "tensorflow"}
# What is not listed lies between classifier and backend; the package itself is above classifier.
LAYERS = {"core": 0, "backend": 1, "imagenet": 1, "classifier": 3, "export": 4, "study": 4}
LAYERS |= {"saving": 4, "skdidicm": 4, "cli": 5, "__main__": 6}
BETWEEN = 2


def imports_of(source, package):
    """Return the dotted names that a module imports anywhere, lazily or by string too."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*origin, *([node.module] if node.module else [])])
            names |= {f"{origin}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in {"import_module", "__import__"}:
                names.add(str(node.args[0].value))
    return names


def imports(path):
    return imports_of(path.read_text(encoding="utf-8"), list(path.relative_to(ROOT).parts[:-1]))


def top(name):
    return name.partition(".")[0]


def layer(parts):
    """Return the layer of `skdidicm.<parts>`: of a module, or of a name of the package itself."""
    if parts == ["__version__"]:
        return LAYERS["core"]
    modules = {path.stem if path.suffix else path.name for path in (ROOT / "skdidicm").iterdir()}
    return LAYERS.get(parts[0], BETWEEN) if parts[0] in modules else LAYERS["skdidicm"]


def ids(path):
    return str(path.relative_to(ROOT))


def test_imports_of_every_form_are_seen():
    source = (
        "import a.b, c as d\nfrom e import f\ndef g():\n    from ..h import i\n"
        "    import_module('j.k')\n    __import__('l')\nfrom . import m\n"
    )
    seen = imports_of(source, ["p", "q"])
    assert seen == {"a.b", "c", "e.f", "p.h.i", "j.k", "l", "p.q.m"}


def test_there_is_something_to_look_at():
    assert len(CORE) >= 6
    assert len(LIBRARY) > len(CORE)


@pytest.mark.parametrize("path", CORE, ids=ids)
def test_core_imports_numpy_scipy_the_array_api_and_itself_only(path):
    allowed = {"numpy", "scipy", "array_api_compat", *sys.stdlib_module_names}
    for name in imports(path):
        assert name.startswith("skdidicm.core") or top(name) in allowed, name


@pytest.mark.parametrize("path", LIBRARY, ids=ids)
def test_the_library_imports_no_framework(path):
    assert not {name for name in imports(path) if top(name) in FRAMEWORKS}


@pytest.mark.parametrize("path", LIBRARY, ids=ids)
def test_no_layer_imports_one_above_it(path):
    parts = list(path.relative_to(ROOT / "skdidicm").with_suffix("").parts)
    own = LAYERS["skdidicm"] if parts == ["__init__"] else layer(parts)
    for name in imports(path):
        if top(name) == "skdidicm":
            assert layer(name.split(".")[1:] or ["skdidicm"]) <= own, name


@pytest.mark.parametrize("path", BACKENDS, ids=ids)
def test_a_backend_imports_core_and_the_contract_only(path):
    own = path.relative_to(ROOT / "backends").parts[0]
    for name in imports(path):
        assert top(name) != "sklearn"
        assert top(name) == own or not top(name).startswith("skdidicm_"), name
        if top(name) == "skdidicm":
            trains = "imagenet" in path.parts  # a trainer of pictures shares what all of them need
            assert name.split(".")[1] in {"core", "backend"} | (
                {"imagenet"} if trains else set()
            ), name


def test_importing_the_library_loads_no_framework_and_no_plots():
    heavy = sorted(FRAMEWORKS | {"matplotlib"})
    script = f"import sys, skdidicm; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
