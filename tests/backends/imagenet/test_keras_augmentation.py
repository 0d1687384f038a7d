"""Keras's layers between pixels and network: what they change, and that seeds decide it."""

import numpy as np
import pytest

pytest.importorskip("skdidicm_keras", reason="Keras or its engine is missing", exc_type=ImportError)

from keras import ops
from skdidicm_keras import engine
from skdidicm_keras.imagenet.augmentation import Augmentation, RandAugment, policy

from skdidicm.imagenet.recipes import resolve

pytestmark = pytest.mark.filterwarnings(
    "ignore:Tensor.T is deprecated on 0-D tensors:UserWarning"  # Keras's count_nonzero on torch
)
K = 4


def augmentation(**changes):
    plain = {"color_jitter": 0}
    return Augmentation(resolve({"data": "x", "backend": "keras", **plain, **changes}).config, K)


def pixels(n=8, side=16):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8), rng.integers(0, K, n)


def changed(augment, x, label, seed=0, cut=None):
    seeds, drawn = augment.draw(np.random.default_rng(seed))
    given = (x, label.astype(np.int32), seeds, drawn if cut is None else np.array(cut))
    found = augment(*map(ops.convert_to_tensor, given))
    return tuple(engine.to_host(one) for one in found)


def test_without_jitter_images_are_as_they_were_or_flipped():
    x, label = pixels(32)
    found, q_0 = changed(augmentation(), x, label)
    same = (found == x).all(axis=(1, 2, 3))
    flipped = (found == x[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same | flipped).all()
    assert 8 < flipped.sum() < 24
    np.testing.assert_array_equal(q_0, np.eye(K)[label])


def test_labels_are_smoothed():
    x, label = pixels(2)
    q_0 = changed(augmentation(label_smoothing=0.2), x, label)[1]
    np.testing.assert_allclose(q_0, 0.8 * np.eye(K)[label] + 0.05, atol=1e-6)


@pytest.mark.parametrize(
    "changes", [{"color_jitter": 0.4}, {"auto_augment": "rand-m7"}, {"mixup": 0.2, "cutmix": 1.0}]
)
def test_seeds_decide_what_becomes_of_a_batch(changes):
    x, label = pixels(6)
    augment = augmentation(**changes)
    found = [changed(augment, x, label, seed)[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 1
    assert found[0].shape == x.shape
    assert found[0].min() >= 0
    assert found[0].max() <= 255


def test_jitter_changes_every_image_in_its_own_way():
    x = np.repeat(pixels(1)[0], 5, axis=0)
    found = changed(augmentation(color_jitter=0.4), x, np.zeros(5, int))[0]
    levels = found.mean(axis=(1, 2, 3))
    assert len(np.unique(levels.round(3))) == 5
    assert np.abs(levels - x.mean()).max() < 0.4 * 255 + 60


def test_randaugment_picks_operations_for_every_image():
    x = np.repeat(pixels(1)[0], 24, axis=0)
    found = changed(augmentation(auto_augment="rand-m7-n1"), x, np.zeros(24, int))[0]
    assert len({one.tobytes() for one in found}) > 8


def test_randaugment_moves_as_far_as_the_recipe_says():
    layer = RandAugment(2, 1.0)
    assert layer.random_rotation.factor == pytest.approx((-30 / 360, 30 / 360))
    assert "equalization" not in layer._AUGMENT_LAYERS
    assert len(layer._AUGMENT_LAYERS) == 10


def test_mixup_blends_labels_as_it_blends_images():
    """Images that are constant and tell their label tell what their blend is."""
    label = np.arange(K).repeat(4)
    x = (60 * label[:, None, None, None] * np.ones((1, 8, 8, 3))).astype(np.uint8)
    found, q_0 = changed(augmentation(mixup=1.0), x, label)
    np.testing.assert_allclose(q_0.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[:, 0, 0, 0], q_0 @ (60 * np.arange(K)), atol=1e-2)
    assert (q_0.max(axis=1) < 0.99).any()


def test_cutmix_pastes_a_share_of_the_pixels_and_of_the_label():
    label = np.arange(K).repeat(4)
    x = (60 * label[:, None, None, None] * np.ones((1, 32, 32, 3))).astype(np.uint8)
    found, q_0 = changed(augmentation(cutmix=1.0), x, label)
    assert np.isin(found, 60 * np.arange(K)).all()
    share = (found[..., 0] == 60 * label[:, None, None]).mean(axis=(1, 2))
    np.testing.assert_allclose(share, q_0[np.arange(16), label], atol=0.1)
    assert (share < 0.99).any()


def test_a_batch_is_either_cut_or_mixed():
    label = np.arange(K).repeat(4)
    x = (60 * label[:, None, None, None] * np.ones((1, 8, 8, 3))).astype(np.uint8)
    augment = augmentation(mixup=1.0, cutmix=1.0)
    for cut in (True, False):
        found = changed(augment, x, label, cut=cut)[0]
        assert np.isin(found, 60 * np.arange(K)).all() == cut
    drawn = [bool(augment.draw(np.random.default_rng(i))[1]) for i in range(60)]
    assert 15 < sum(drawn) < 45


@pytest.mark.parametrize(
    ("text", "expected"),
    [("rand-m7-mstd0.5-inc1", (2, 0.7)), ("rand-n3-m9", (3, 0.9)), ("rand", (2, 1.0))],
)
def test_policies_are_read_as_timm_spells_them(text, expected):
    assert policy(text) == expected


@pytest.mark.parametrize("text", ["augmix-m5", "v0", "rand-m0", "rand-m11", "rand-x3"])
def test_another_policy_is_refused(text):
    with pytest.raises(ValueError, match=f"--auto-augment is '{text}'; with --backend keras, exp"):
        policy(text)
