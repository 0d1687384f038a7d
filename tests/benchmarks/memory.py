"""Peak memory of `predict_proba`: it must not grow with the rows, beyond input and output.

Every case runs in a fresh process, since freed memory may stay with a process. What counts is by
how much the largest resident set rises from the end of a small fit to the end of the prediction.
"""

import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from tests.benchmarks.timing import Row

SHAPES = {"table of 20 columns": (20,), "uint8 images of 16 x 16": (16, 16)}
FEW, MANY = 10_000, 100_000
MIB = 2**20
# Else glibc raises it as it goes and keeps freed blocks, by tens of MiB and by chance.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**16)}


def rows():
    """Yield the extra memory for few and for many rows, in MiB."""
    for name, shape in SHAPES.items():
        for n in (FEW, MANY):
            found = measured(n, shape)
            yield Row(f"predict_proba, {n:,} rows, {name}: output, MiB", found["output"], "-")
            yield Row("    peak beyond input and output, MiB", found["extra"], "a constant")


def measured(n, shape):
    """Return what `report` says, from a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", json.dumps([n, shape])]
    settings = {"capture_output": True, "text": True, "env": os.environ | MALLOC}
    return json.loads(subprocess.run(command, check=True, **settings).stdout)


def report(n, shape):
    """Return the size of the output and the growth of the peak beyond it, in MiB."""
    from skdidicm import DiDiClassifier

    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    X = X if len(shape) > 1 else X.astype(np.float64)
    classifier = DiDiClassifier(max_epochs=1, device="cpu", random_state=0)
    classifier.fit(X[:500], np.arange(500) % 10)
    with suppress(OSError):  # Linux can forget the peak of making X and of training
        Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    output = classifier.predict_proba(X).nbytes / MIB
    return {"output": output, "extra": peak() - before - output}


def peak():
    """Return the largest resident set that this process has had, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


if __name__ == "__main__":
    print(json.dumps(report(*json.loads(sys.argv[1]))))
