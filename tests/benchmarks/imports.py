"""Start-up: importing the library, and the command line's help."""

import subprocess
import sys

from tests.benchmarks.timing import Row, ratio


def run(*arguments):
    """Run Python once."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def rows():
    """Yield import time over that of scikit-learn, and help over an empty interpreter."""
    yield Row(
        "import skdidicm.DiDiClassifier over import sklearn",
        ratio(
            lambda: run("-c", "from skdidicm import DiDiClassifier"),
            lambda: run("-c", "import sklearn"),
        ),
        "<= 1.3 (for import skdidicm)",
    )
    yield Row(
        "import skdidicm over import sklearn",
        ratio(lambda: run("-c", "import skdidicm"), lambda: run("-c", "import sklearn")),
        "<= 1.3",
    )
    yield Row(
        "skdidicm --help over an empty Python",
        ratio(lambda: run("-m", "skdidicm", "--help"), lambda: run("-c", "")),
        "help in under 0.5 s",
    )
