"""The whole answer of a classifier as an ONNX file, written once it has been checked."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skdidicm.saving.model_file import write_atomically

_TOLERANCE = 1e-3  # of a probability; a tie of labels that rounds differently changes less


def write_onnx(
    path: Path,
    export: Callable[[Path], None],
    classes: NDArray[np.generic],
    rows: NDArray[np.floating],
    expected: NDArray[np.floating],
) -> None:
    """Write what `export` writes to `path`, with the names of the classes, atomically.

    Raises
    ------
    RuntimeError
        If the answers of onnxruntime for `rows` are not those that are `expected`.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        export(file)
        import onnx  # after the export, which says what to install

        model = onnx.load(file)
        names = json.dumps([str(name) for name in classes.tolist()])
        model.metadata_props.add(key="classes", value=names)
        content = model.SerializeToString()
    _check(content, rows, expected)
    write_atomically(path, content)


def _check(content: bytes, rows: NDArray[np.floating], expected: NDArray[np.floating]) -> None:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        wide = session.get_inputs()[0].type == "tensor(double)"
        x = rows.astype(np.float64 if wide else np.float32)
        parts = [session.run(None, {"x": part})[0] for part in (x[:1], x[1:])]
    except Exception as error:  # its kinds of errors have no base of their own
        raise RuntimeError(
            f"onnxruntime cannot run the ONNX model ({type(error).__name__}), so it was not "
            "written; report it with the versions of torch, onnxscript and onnxruntime."
        ) from error
    off = float(np.abs(np.concatenate(parts) - expected).max())
    if not off <= _TOLERANCE:
        raise RuntimeError(
            f"the ONNX model is off by up to {off:.2g}, so it was not written; report it with "
            "the versions of torch, onnxscript and onnxruntime."
        )
