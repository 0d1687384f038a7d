"""`skdidicm info` and `skdidicm backends`: what a model is, and what is installed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from skdidicm.cli import runs
from skdidicm.cli.console import print_json, print_table
from skdidicm.saving import run_folder

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


def info(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Run folder, or a model file.")],
    json: Json = False,
) -> None:
    """Describe a saved model: classes, input, size, parameters and what "auto" came to."""
    content = model_info(model)
    if json:
        print_json(content)
        return
    parameters, resolved = content.pop("parameters"), content.pop("resolved")
    columns = content.pop("columns")
    parameters |= {
        name: f"{resolved[name]} (auto)"
        for name, value in parameters.items()
        if value == "auto" and name in resolved
    }
    content["classes"] = ", ".join(content["classes"])
    content["versions"] = ", ".join(f"{name} {v}" for name, v in content["versions"].items())
    content["input_shape"] = " x ".join(map(str, content["input_shape"]))
    content["n_weights"] = f"{content['n_weights']:,}"
    content["temperature"] = f"{content['temperature']:.2f}"
    rows = [
        (name.removeprefix("n_").replace("_", " "), str(value)) for name, value in content.items()
    ]
    print_table(None, ("Model", ""), rows)
    if columns:
        print_table(None, ("Column", "Taken as"), columns.items())
    print_table(None, ("Parameter", ""), [(name, str(v)) for name, v in parameters.items()])


def model_info(model: Path) -> dict[str, Any]:
    """Return what `info` prints of a saved model."""
    from skdidicm.saving.persistence import read

    file = run_folder.find_model(model)
    record = run_folder.read_record(file) or run_folder.RunRecord()
    classifier = runs.load_model(file, {}, {})
    header, _ = read(file)
    return {
        "file": str(file),
        "classes": record.names_of(classifier.classes_.tolist()),
        "input_shape": list(classifier.input_shape_),
        "columns": kinds_of_inputs(classifier),
        "versions": header["versions"],
        "epochs": classifier.n_iter_,
        "temperature": classifier._used_temperature,
        "n_networks": len(classifier._networks),
        "n_weights": sum(v.size for n in classifier._networks for v in n.state().values()),
        "parameters": {
            name: value if isinstance(value, str | int | float | None) else repr(value)
            for name, value in classifier.get_params(deep=False).items()
        },
        "resolved": classifier.resolved_params_,
    }


def kinds_of_inputs(classifier: Any) -> dict[str, str] | None:
    """Return what a fitted classifier takes every column for; None if all are plain numbers."""
    columns = classifier.columns_
    if columns is None or columns.plain:
        return None
    d = len(columns.fill)
    names = getattr(classifier, "feature_names_in_", range(d))
    kinds = ["number"] * d
    for i in columns.gaps:
        kinds[i] = "number with gaps"
    for i, category in columns.categories.items():
        n = len(category.levels)
        kinds[i] = f"category of {n} level{'s' * (n != 1)}" + ", and others" * category.other
    return {str(name): kind for name, kind in zip(names, kinds, strict=True)}


def backends(json: Json = False) -> None:
    """List the backends: which are installed, which is the default, how to install the others."""
    found = list_backends()
    if json:
        print_json({"backends": found})
        return
    rows = [
        (
            row["name"],
            row["package"] or "",
            "yes" if row["installed"] else "no",
            "yes" if row["default"] else "",
            row["install"] or "",
        )
        for row in found
    ]
    print_table(None, ("Backend", "Package", "Installed", "Default", "To install"), rows)


def list_backends() -> list[dict[str, Any]]:
    """Return what is known about every registered backend."""
    from skdidicm.registry import INSTALL, installed_backends, registered_backends

    installed = installed_backends()
    return [
        {
            "name": name,
            "package": point.dist.name if point.dist else None,
            "installed": name in installed,
            "default": name == installed[0] if installed else False,
            "install": None if name in installed else INSTALL.get(name),
        }
        for name, point in registered_backends().items()
    ]
