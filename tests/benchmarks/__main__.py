"""`python -m tests.benchmarks [NAME ...]`: ratios of two things timed in one run, and peak memory.

Machines are noisy and differ, so nothing here is a test. Every timing takes its two sides by
turns, several times, and the ratio is that of their medians.
"""

import sys
from importlib import import_module

NAMES = (
    *("core_steps", "predict", "memory", "checks", "fit", "imports", "loader", "gpu"),
    *("keras_engines", "fashion_mnist", "tables", "predict_folder"),
)


def main(chosen):
    """Run the chosen benchmarks, all by default, and print one table."""
    for name in chosen or NAMES:
        for row in import_module(f"tests.benchmarks.{name}").rows():
            print(f"{row.what:<64} {row.value:>10.4g}   asked: {row.asked}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
