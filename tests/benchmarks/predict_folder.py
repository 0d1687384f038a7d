"""Predicting a folder of JPEGs against the limit: decoding and resizing alone on the same cores.

The network is small, so that the answer tells what reading and writing cost. A large network on a
CPU is itself the limit.
"""

import tempfile
import time
from pathlib import Path

import torch

from skdidicm import DiDiClassifier
from skdidicm.pictures import Pictures
from skdidicm.predict.inputs import RowFormat
from skdidicm.saving.predictions import FolderJob, predict_folder
from tests.benchmarks.loader import CORES, make_pictures
from tests.benchmarks.timing import Row

SIZE, REPEATS = 8, 4


def rows():
    """Yield pictures a second of decoding alone and of predicting, and their ratio."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = make_pictures(Path(folder))
        for copy in range(REPEATS - 1):
            for file in files:
                file.with_stem(f"{file.stem}-{copy}").hardlink_to(file)
        files = sorted((Path(folder) / "train").rglob("*.jpg"))
        labels = [file.parent.name for file in files[:64]]
        model = DiDiClassifier(image_size=SIZE, max_epochs=1, random_state=0).fit(
            [files[i] for i in range(0, len(files), len(files) // 64)][:64], labels
        )
        rounds = [(decode_speed(files), predict_speed(model, folder, len(files))) for _ in range(3)]
    limit, speed = (sorted(column)[1] for column in zip(*rounds, strict=True))
    yield Row(f"decode and resize to {SIZE} alone, {CORES} cores: images/s", limit, "-")
    yield Row(f"predict --data, {CORES} threads: images/s", speed, "-")
    yield Row("predict --data over the decode limit", speed / limit, ">= 0.9")


def decode_speed(files):
    """Return images/s of decoding and resizing in threads."""
    start = time.perf_counter()
    for i in range(0, len(files), 512):
        Pictures(files[i : i + 512], SIZE)[:]
    return len(files) / (time.perf_counter() - start)


def predict_speed(model, folder, n):
    """Return images/s of the whole prediction."""
    job = FolderJob(
        root=Path(folder) / "train",
        output=Path(folder) / "out.csv",
        model="",
        names=[str(name) for name in model.classes_],
        top=5,
        row_format=RowFormat(shape=model.input_shape_, crop=1.0),
        workers=CORES,
    )
    start = time.perf_counter()
    predict_folder(job, model.predict_proba, lambda done, of: None)
    return n / (time.perf_counter() - start)
