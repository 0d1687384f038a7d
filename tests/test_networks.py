import numpy as np
import pytest

from skdidicm.networks import (
    NETWORKS,
    PASSES,
    RESNETS,
    DropoutMasks,
    block_widths,
    image_size,
    is_builtin,
    n_channels,
    resnet_size,
    resolve_network,
)


@pytest.mark.parametrize(
    ("shape", "network"),
    [
        ((1,), "mlp"),
        ((500,), "mlp"),
        ((8, 8), "didirn-tiny"),
        ((63, 63, 3), "didirn-tiny"),
        ((63, 64), "didirn18"),
        ((224, 224, 3), "didirn18"),
    ],
)
def test_auto_depends_on_the_shape_of_a_row(shape, network):
    assert resolve_network("auto", shape) == network


def test_another_network_may_be_auto_for_large_images_only():
    shapes = [(5,), (63, 63), (64, 64), (224, 224, 3)]
    found = [resolve_network("auto", shape, large="didirn-patch") for shape in shapes]
    assert found == ["mlp", "didirn-tiny", "didirn-patch", "didirn-patch"]
    assert resolve_network("didirn50", (64, 64), large="didirn-patch") == "didirn50"


@pytest.mark.parametrize("network", [len, "didirn50", "timm/resnet18", "unheard-of"])
def test_a_network_for_images_stays_as_it_is(network):
    assert resolve_network(network, (64, 64)) is network


@pytest.mark.parametrize(
    ("network", "shape", "fitting"),
    [("mlp", (8, 8), "didirn-tiny"), ("didirn18", (5,), "network='mlp'")],
)
def test_a_network_for_other_rows_is_refused(network, shape, fitting):
    with pytest.raises(ValueError, match=f"network is '{network}'.*{fitting}"):
        resolve_network(network, shape)


@pytest.mark.parametrize(
    ("shape", "size", "channels"), [((7,), None, 7), ((4, 5), (4, 5), 1), ((4, 5, 3), (4, 5), 3)]
)
def test_size_and_channels_of_rows(shape, size, channels):
    assert image_size(shape) == size
    assert n_channels(shape) == channels


def test_the_names_say_how_many_layers_a_network_has():
    for name, size in RESNETS.items():
        if name not in ("didirn-tiny", "didirn-patch"):
            layers = (3 if size.bottleneck else 2) * sum(size.depths) + 2  # with stem and output
            assert name == f"didirn{layers}"


def test_only_the_smallest_images_are_not_pooled_in_the_stem():
    pools = [resnet_size("didirn-tiny", size).stem_pool for size in [(15, 40), (16, 16), None]]
    assert pools == [None, "average", "average"]
    assert resnet_size("didirn18", (8, 8)).stem_pool == "max"


@pytest.mark.parametrize("pixels", [8, 32, 63, 64, 100, 224, 1000])
def test_the_stem_of_patches_sees_every_pixel_and_reduces_large_images(pixels):
    size = resnet_size("didirn-patch", (pixels, pixels + 5))
    assert size.stem_size >= size.stem_stride
    if pixels >= 32:
        assert 32 <= pixels // size.stem_stride < 64
    assert (size.stem_pool is None) == (pixels >= 128)


def test_every_block_has_a_width():
    assert block_widths("mlp") == [64, 64]
    assert block_widths("didirn50") == [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3
    assert len(block_widths("didirn34")) == 16


def test_networks_of_users_and_of_timm_are_not_built_in():
    assert all(map(is_builtin, ("auto", *NETWORKS)))
    assert not any(map(is_builtin, (len, "timm/vit_tiny_patch16_224")))


def test_masks_drop_their_share_and_keep_the_mean():
    masks = DropoutMasks("didirn-tiny", "none", 0.25, seed=0).of_rows(2000)
    assert [mask.shape for mask in masks] == [(2000, 32), (2000, 64), (2000, 64)]
    for mask in masks:
        assert {float(value) for value in np.unique(mask)} == {0.0, float(np.float32(4 / 3))}
        assert mask.mean() == pytest.approx(1, abs=0.02)


def test_masks_of_passes_are_the_same_at_each_prediction_and_those_of_training_are_not():
    masks = DropoutMasks("mlp", "none", 0.5, seed=4)
    first, rows, second = masks.of_passes(), masks.of_rows(3), masks.of_passes()
    assert len(first) == PASSES
    assert {mask.shape for of_pass in first for mask in of_pass} == {(1, 64)}
    np.testing.assert_array_equal(first, second)
    assert len({mask.tobytes() for of_pass in first for mask in of_pass}) == 2 * PASSES
    assert not np.array_equal(rows, masks.of_rows(3))
    np.testing.assert_array_equal(rows, DropoutMasks("mlp", "none", 0.5, seed=4).of_rows(3))


def test_without_dropout_there_are_no_masks_for_any_network():
    assert DropoutMasks(len, "head", 0.0, seed=0).of_rows(5) == []


@pytest.mark.parametrize(
    ("network", "conditioning", "share", "message"),
    [
        ("mlp", "none", 1.0, "dropout is 1.0; expected a share"),
        ("mlp", "none", -0.1, "dropout is -0.1; expected a share"),
        ("mlp", "last", 0.1, "set dropout=0"),
        (len, "none", 0.1, "set dropout=0"),
        ("timm/resnet18", "none", 0.1, "set dropout=0"),
    ],
)
def test_dropout_that_no_network_can_have_is_refused(network, conditioning, share, message):
    with pytest.raises(ValueError, match=message):
        DropoutMasks(network, conditioning, share, seed=0)
