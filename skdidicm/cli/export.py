"""`skdidicm export` and `import-official`: models out of and into run folders."""

from pathlib import Path
from typing import Annotated, Any

import typer

from skdidicm.cli.console import say
from skdidicm.saving import run_folder
from skdidicm.saving.run_folder import RunRecord


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, checkpoint or model.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder to write.", show_default="RUN/export")
    ] = None,
    onnx: Annotated[
        bool, typer.Option(help="Also write the model, and its network in two halves, as ONNX.")
    ] = True,
) -> None:
    """Write a model as JSON and safetensors (model.skd) and as ONNX (model, encode, decode)."""
    from skdidicm.backend import ExportsOnnx

    folder = output or (run if run.is_dir() else run.parent) / "export"
    classifier, record = _load(run)
    with run_folder.locked(folder):
        classifier.save(folder / run_folder.MODEL)
        if record is not None:
            run_folder.write_record(folder, record)
    say(f"{folder / run_folder.MODEL}: for DiDiClassifier.load and skdidicm predict")
    if onnx:
        network = classifier.network_
        if not isinstance(network, ExportsOnnx):
            raise ValueError(
                f"the backend {classifier.backend!r} exports no ONNX; pass --no-onnx, or load the "
                "model with a backend that does, such as torch."
            )
        network.export_onnx(folder)
        say(
            f"{folder}: encode.onnx and decode.onnx, the network that learnt from all rows, to "
            "sample with; checked with onnxruntime"
        )
        config = classifier.network_.config
        if config.channel is not None and config.parameterization == "score":
            say("They give scores of the observed label, without its label noise.")
        _export_whole(classifier, folder / "model.onnx")


def _export_whole(classifier: Any, path: Path) -> None:
    """Write the whole answer, or say why it cannot be."""
    try:
        classifier.export_onnx(path)
    except ValueError as error:
        path.unlink(missing_ok=True)  # of an earlier export
        say(f"There is no {path.name}: {error}")
    else:
        say(f"{path}: from rows to probabilities in one call, checked with onnxruntime")


def _load(run: Path) -> tuple[Any, RunRecord | None]:
    """Return the classifier of a run, model or checkpoint, and what is known about it."""
    from skdidicm import DiDiClassifier
    from skdidicm.imagenet.checkpoint import read_model
    from skdidicm.saving.from_checkpoint import model_of_checkpoint, record_of_checkpoint

    if run.suffix == ".safetensors":
        saved = read_model(run)
        return DiDiClassifier._of_model(model_of_checkpoint(saved)), record_of_checkpoint(saved)
    file = run_folder.find_model(run)
    return DiDiClassifier.load(file, device="cpu"), run_folder.read_record(file)


def import_official(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .pth.tar of the official code.")],
    output: Annotated[Path, typer.Option(help="Run folder to write.")],
    classes: Annotated[
        Path | None,
        typer.Option(help="Class names, one a line, in the order of the outputs."),
    ] = None,
    resolution: Annotated[int, typer.Option(min=8, help="Pixels a side in training.")] = 224,
    backend: Annotated[str, typer.Option(help="The backend that reads the file.")] = "torch",
) -> None:
    """Turn a checkpoint of the paper's code into a run folder, without running code of it."""
    from skdidicm import DiDiClassifier
    from skdidicm.imagenet.checkpoint import BEST, FOLDER, Checkpoint, write
    from skdidicm.imagenet.recipes import resolve
    from skdidicm.imagenet.trainer import get_official_reader
    from skdidicm.saving.from_checkpoint import model_of_checkpoint, record_of_checkpoint

    model, weights = get_official_reader(backend).read_official(file)
    names = _names(classes, len(weights["fc.weight"]))
    config = resolve({"model": model, "resolution": resolution, "backend": backend}).config
    tensors = {f"model.{name}": value for name, value in weights.items()}
    values = {"config": config.plain(), "classes": names, "update": 0, "history": []}
    saved = Checkpoint(tensors, values)
    with run_folder.new_run(output, overwrite=False):
        write(output / FOLDER / BEST, saved)
        DiDiClassifier._of_model(model_of_checkpoint(saved)).save(output / run_folder.MODEL)
        run_folder.write_record(output, record_of_checkpoint(saved))
    say(f"{output}: {model} with {len(names)} classes, for skdidicm predict and evaluate imagenet")


def _names(path: Path | None, k: int) -> list[str]:
    if path is None:
        return [str(i) for i in range(k)]
    names = path.read_text(encoding="utf-8").split("\n")
    names = [name.strip() for name in names if name.strip()]
    if len(names) != k or len(set(names)) != k:
        raise ValueError(
            f"{path} has {len(set(names))} different names for {k} classes; expected one a line, "
            "in the order of the network's outputs."
        )
    return names
