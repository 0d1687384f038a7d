"""
Custom backbone
===============

Any torch module that maps images to features can be the backbone of the classifier. It is copied
and gets a small head that takes the noisy label and the noise level.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import skimage
from torch import nn

from skdidicm import DiDiClassifier
from skdidicm.metrics import score_probabilities

# %%
# Colour patches of photographs, 32 pixels a side, channels last. Training patches are from the left
# half of each photograph, test patches from the right half.

NAMES = ["astronaut", "chelsea", "coffee", "hubble_deep_field", "retina", "rocket"]
rng = np.random.default_rng(0)


def patches(picture, n, size=32):
    rows = rng.integers(0, picture.shape[0] - size + 1, n)
    columns = rng.integers(0, picture.shape[1] - size + 1, n)
    cut = [picture[i : i + size, j : j + size] for i, j in zip(rows, columns, strict=True)]
    return np.stack(cut)


train, test = [], []
for name in NAMES:
    picture = getattr(skimage.data, name)()[..., :3]
    middle = picture.shape[1] // 2
    train.append(patches(picture[:, :middle], 30))
    test.append(patches(picture[:, middle:], 20))
X_train, X_test = np.concatenate(train), np.concatenate(test)
y_train, y_test = np.repeat(NAMES, 30), np.repeat(NAMES, 20)

# %%
# The module maps (n, channels, height, width) to features (n, d) or feature maps (n, d, h, w). Its
# input is standardised by the training data. If it is frozen with `requires_grad_(False)`, only the
# head is trained.

backbone = nn.Sequential(
    nn.Conv2d(3, 16, 5, stride=2, padding=2),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.Conv2d(16, 32, 3, stride=2, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Conv2d(32, 64, 3, stride=2, padding=1),
    nn.ReLU(),
)
classifier = DiDiClassifier(network=backbone, max_epochs=30, random_state=0)
classifier.fit(X_train, y_train)

proba = classifier.predict_proba(X_test)
scores = score_probabilities(y_test, proba, classifier.classes_)
print({name: round(value, 3) for name, value in scores.items()})

# %%
# The file contains weights but no code, so the module must be passed to `load` again.

with tempfile.TemporaryDirectory() as folder:
    classifier.save(Path(folder) / "patches.skd")
    again = DiDiClassifier.load(Path(folder) / "patches.skd", network=backbone)
print(bool((again.predict_proba(X_test) == proba).all()))

# %%
# The mean predicted probabilities for the patches of each photograph show which photographs are
# confused.

mean = np.stack([proba[y_test == name].mean(axis=0) for name in NAMES])
figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
picture = ax.imshow(mean, vmin=0, vmax=1, cmap="Blues")
ax.set_xticks(range(len(NAMES)), NAMES, rotation=40, ha="right")
ax.set_yticks(range(len(NAMES)), NAMES)
ax.set(xlabel="predicted class", ylabel="true class")
figure.colorbar(picture, label="mean probability", shrink=0.8)
plt.show()
