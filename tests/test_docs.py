"""What the documentation says exists: names, commands, modules. Its examples run as doctests."""

import ast
import importlib
import importlib.util
import inspect
import re
import shlex
import textwrap
from pathlib import Path

import pytest
import typer

from skdidicm import DiDiClassifier
from skdidicm.cli import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.rst")), *sorted(DOCS.glob("user_guide/*.rst"))]
EXAMPLES = sorted((DOCS / "examples").glob("plot_*.py"))
SOURCES = [*PAGES, *sorted((DOCS / "examples").glob("*.py"))]
PACKAGES = [ROOT / "skdidicm", *sorted((ROOT / "backends").glob("skdidicm_*"))]


def reference():
    """Return the dotted names on the page of the API."""
    module, names, listing = "", set(), False
    for line in (DOCS / "api.rst").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = match[1]
        elif match := re.match(r"\.\. data:: (\S+)", line):
            names.add(f"{module}.{match[1]}")
        elif line.startswith(".. autosummary::"):
            listing = True
        elif line and not line.startswith(" "):
            listing = False
        elif listing and re.fullmatch(r" +[\w.]+", line):
            names.add(f"{module}.{line.strip()}")
    return names


def declared(path):
    """Return the names in the `__all__` of a package, from its source."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part not in ("backends", "__init__"))


def blocks(path, kind):
    """Return the blocks of code of a kind on a page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return re.findall(rf"(?ms)^```{kind}\n(.*?)^```$", text)
    found = re.findall(rf"(?m)^( *)\.\. code-block:: {kind}\n\n((?:\1 +.*\n|\n)+)", text)
    return [textwrap.dedent(block) for _, block in found]


def python_on(path):
    """Return the Python on a page, doctests included, or of an example."""
    if path.suffix == ".py":
        return [path.read_text(encoding="utf-8")]
    lines = re.findall(r"(?m)^ *(?:>>>|\.\.\.) ?(.*)$", path.read_text(encoding="utf-8"))
    doctest = "\n".join(line for line in lines if not line.startswith("."))
    imports = re.findall(r"(?m)^from skdidicm.*$", doctest)
    return [*blocks(path, "python"), "\n".join(imports)]


def imports_of(source):
    """Return (module, name) for every name that is imported from this project."""
    return {
        (node.module, alias.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("skdidicm")
        for alias in node.names
    }


def ids(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("package", PACKAGES, ids=ids)
def test_every_public_name_is_in_the_reference(package):
    names = {f"{dotted(path)}.{n}" for path in package.rglob("__init__.py") for n in declared(path)}
    assert names
    assert names - reference() - {"skdidicm.__version__"} == set()


@pytest.mark.parametrize("module", ["backend", "datasets", "metrics", "registry"])
def test_every_function_and_class_of_a_public_module_is_in_the_reference(module):
    module = importlib.import_module(f"skdidicm.{module}")
    own = {
        f"{module.__name__}.{name}"
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }
    assert own
    assert own - reference() == set()


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_what_the_documentation_imports_exists_and_is_in_the_reference(path):
    public = reference()
    for source in python_on(path):
        for module, name in imports_of(source):
            if module.startswith("skdidicm_keras"):
                continue  # importing it would choose an engine for this process
            found = importlib.import_module(module)
            assert hasattr(found, name) or importlib.util.find_spec(f"{module}.{name}")
            full = f"{module}.{name}"
            assert full in public or any(entry.startswith(f"{full}.") for entry in public)


@pytest.mark.parametrize("path", SOURCES, ids=ids)
def test_blocks_of_python_name_parameters_that_there_are(path):
    known = inspect.signature(DiDiClassifier).parameters
    for source in python_on(path):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "DiDiClassifier":
                assert {keyword.arg for keyword in node.keywords} - {None} <= known.keys()


def signatures(module, owner=None):
    """Return the signatures of the public functions and methods that a module defines."""
    for name, value in vars(owner or module).items():
        function = getattr(value, "__func__", value)
        if getattr(function, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            yield from signatures(module, value)
        elif inspect.isfunction(function) and (name == "__init__" or not name.startswith("_")):
            yield inspect.signature(function)


@pytest.mark.parametrize(
    "module", ["classifier", "datasets", "metrics", "plotting.path", "plotting.reliability",
               "plotting.steps", "plotting.uncertainty"]
)  # fmt: skip
def test_help_shows_types_by_their_names(module):
    shown = list(signatures(importlib.import_module(f"skdidicm.{module}")))
    assert shown
    types = [inspect.formatannotation(p.annotation) for s in shown for p in s.parameters.values()]
    assert max(map(len, types)) <= 60
    own = inspect.signature(DiDiClassifier)
    assert len(str(own)) <= 45 * len(own.parameters)


def test_the_parameters_to_start_with_come_first():
    text = inspect.getdoc(DiDiClassifier)
    listed = text.partition("Parameters\n----------\n")[2].partition("\n\n")[0]
    names = [n for line in re.findall(r"(?m)^(\w[\w, ]*) : ", listed) for n in line.split(", ")]
    assert sorted(names) == sorted(inspect.signature(DiDiClassifier).parameters)
    (sentence,) = re.findall(r"Start with the first five parameters: ([^.]*)\.", text)
    assert re.findall(r"`(\w+)`", sentence) == names[:5]
    groups = text.partition("They come in groups:")[2].partition("Parameters")[0]
    assert set(re.findall(r"`(\w+)`", groups)) <= {*names, "fit"}


COMMANDS = [
    pytest.param(command, id=f"{path.name}: {command[:60]}")
    for path in PAGES
    for block in blocks(path, "sh")
    for command in re.findall(
        r"(?:^|-m |&& )(skdidicm .*?) *(?:#.*|>.*)?$", block.replace("\\\n", ""), re.MULTILINE
    )
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_documentation_are_understood(command):
    arguments = shlex.split(command)[1:]
    group = typer.main.get_command(app)
    context = group.make_context("skdidicm", arguments, resilient_parsing=False)
    while hasattr(group, "resolve_command"):
        name, group, rest = group.resolve_command(context, context._protected_args + context.args)
        assert group is not None, name
        context = group.make_context(name, rest, parent=context)
    assert context.params


def test_the_tree_in_the_architecture_names_every_module():
    tree = (DOCS / "architecture.rst").read_text(encoding="utf-8").split("Direction of imports")[0]
    for path in (ROOT / "skdidicm").iterdir():
        if not path.name.startswith(("_", ".", "py.typed")):
            name = f"{path.name}/" if path.is_dir() else path.name
            assert re.search(rf"(?<!\w){re.escape(name)}", tree), name


def test_every_equation_has_its_function_and_its_place_in_the_paper():
    text = (DOCS / "mathematics.rst").read_text(encoding="utf-8")
    equations = text.split(":label:")[1:]
    for equation in equations:
        assert re.search(r"\*Code:\*\s+:(meth|func|class):", equation), equation
        assert "*Paper:*" in equation, equation
    assert len(equations) == 15  # the numbers that docstrings cite


@pytest.mark.parametrize("path", EXAMPLES, ids=ids)
def test_an_example_has_a_title_and_a_picture(path):
    source = path.read_text(encoding="utf-8")
    title, line = ast.get_docstring(ast.parse(source)).splitlines()[:2]
    assert len(line) == len(title)
    assert set(line) == {"="}
    assert "plt.show()" in source
