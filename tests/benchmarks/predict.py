"""Eight steps of prediction against plain forward passes of the same trunk."""

import numpy as np
import torch
from skdidicm_torch import create_network

from skdidicm import DiDiClassifier
from tests.benchmarks.timing import Row, ratio

CHUNK = 512


def rows():
    """Yield the ratios for the three conditionings on 28 x 28 images."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((2048, 28, 28)).astype(np.float32), rng.integers(0, 10, 2048)
    asked = {"last": "<= 1.4", "head": "<= 1.15", "blocks": "< 8"}
    for conditioning, bound in asked.items():
        classifier = DiDiClassifier(
            conditioning=conditioning, max_epochs=1, random_state=0, device="cpu"
        ).fit(X[:128], y[:128])
        module = classifier.network_.module.eval()
        if conditioning != "blocks":
            module = create_network("didirn-tiny", 10, 1, "none", image_size=(28, 28)).eval()
            module.to(memory_format=torch.channels_last)
        yield Row(
            f"predict_proba, 8 steps, {conditioning!r}, over one plain forward",
            ratio(
                lambda c=classifier: c.predict_proba(X),
                lambda m=module: [forward(m, part) for part in np.split(X, len(X) // CHUNK)],
            ),
            bound,
        )


@torch.inference_mode()
def forward(module, x):
    """Return one forward pass of a network as a whole."""
    label = torch.zeros(len(x), dtype=torch.int64)
    return module(torch.from_numpy(x)[:, None], label, torch.ones(len(x))).softmax(dim=1).numpy()
