"""The direction of imports, for every module: cli -> study -> classifier -> ... -> core."""

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

# Modules and folders of `skdidicm`, from the top down: each may import those below it, and leaves.
# "" stands for the package itself, whose attributes are loaded when they are asked for.
ORDER = (
    "__main__", "cli", "study", "", "classifier", "report", "saving", "fit", "predict",
    "plotting", "imagenet", "registry", "backend", "core",
)  # fmt: skip
LEAVES = {
    "networks",
    "metrics",
    "datasets",
    "tables",
    "frames",
    "folders",
    "pictures",
    "errors",
}  # import no room of `skdidicm`
# What the order alone would allow.
APART = {
    "plotting": {"registry", "backend"},
    "imagenet": {"registry", "backend"},
}
FOR_BACKENDS = {"core", "backend", "networks", "errors"}
OF_TRAINERS = {"imagenet", "folders", "pictures"}


def imports_of(source, package):
    """Return the dotted names that a module imports anywhere, lazily or by string too.

    A string may be a constant of the module: NAME = "a.b" and import_module(NAME).
    """
    tree, names = ast.parse(source), set()
    constants = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*origin, *([node.module] if node.module else [])])
            names |= {f"{origin}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and node.args:
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in {"import_module", "__import__"}:
                first = node.args[0]
                name = (
                    first.value
                    if isinstance(first, ast.Constant)
                    else constants.get(getattr(first, "id", ""))
                )
                names |= {str(name)} if name else set()
    return names


def imports(path):
    return imports_of(path.read_text(encoding="utf-8"), list(path.relative_to(ROOT).parts[:-1]))


def top(name):
    return name.partition(".")[0]


def room(parts):
    """Return the module or folder that `skdidicm.<parts>` lies in, "" for the package itself."""
    rooms = {path.stem if path.suffix else path.name for path in (ROOT / "skdidicm").iterdir()}
    return parts[0] if parts and parts[0] in rooms - {"__init__"} else ""


def may_import(own, other):
    if own == other or other in LEAVES:
        return True
    if own in LEAVES:
        return False
    return ORDER.index(own) < ORDER.index(other) and other not in APART.get(own, set())


def ids(path):
    return str(path.relative_to(ROOT))


def test_imports_of_every_form_are_seen():
    source = (
        "import a.b, c as d\nfrom e import f\ndef g():\n    from ..h import i\n"
        "    import_module('j.k')\n    __import__('l')\nfrom . import m\n"
        "N = 'o.p'\nimportlib.import_module(N)\nimport_module(unknown)\n"
    )
    seen = imports_of(source, ["p", "q"])
    assert seen == {"a.b", "c", "e.f", "p.h.i", "j.k", "l", "p.q.m", "o.p"}


def test_every_module_and_folder_has_its_place():
    rooms = {room(path.relative_to(ROOT / "skdidicm").with_suffix("").parts) for path in LIBRARY}
    assert rooms <= {*ORDER, *LEAVES}
    assert not set(ORDER) & LEAVES


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
def test_no_module_imports_one_above_it_or_a_backend(path):
    own = room(path.relative_to(ROOT / "skdidicm").with_suffix("").parts)
    for name in imports(path):
        assert not top(name).startswith("skdidicm_"), name
        if top(name) == "skdidicm" and name != "skdidicm.__version__":
            assert may_import(own, room(name.split(".")[1:])), name


@pytest.mark.parametrize("path", BACKENDS, ids=ids)
def test_a_backend_imports_core_and_the_contract_only(path):
    own = path.relative_to(ROOT / "backends").parts[0]
    allowed = FOR_BACKENDS | (OF_TRAINERS if "imagenet" in path.parts else set())
    for name in imports(path):
        assert top(name) != "sklearn"
        assert top(name) == own or not top(name).startswith("skdidicm_"), name
        if top(name) == "skdidicm":
            assert name.split(".")[1] in allowed, name


def test_importing_the_library_loads_no_framework_and_no_plots():
    heavy = sorted(FRAMEWORKS | {"matplotlib"})
    script = f"import sys, skdidicm; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
