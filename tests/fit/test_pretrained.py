import pickle

import numpy as np
import pytest

from skdidicm import DiDiClassifier
from skdidicm.predict.familiarity import features_of

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

NAME = "test_efficientnet"  # timm's smallest
ROUNDS = {"max_epochs": 8, "random_state": 0}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Files of weights of the whole classifier, whose head the trunk leaves out."""
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model(NAME, num_classes=5)
    folder = tmp_path_factory.mktemp("weights")
    save_file(network.state_dict(), folder / "w.safetensors")
    torch.save({"state_dict": network.state_dict()}, folder / "w.pth")
    return folder


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (40, 20, 20, 3)).astype(np.uint8), np.arange(40) % 2
    X[y == 1, :10] //= 3
    return X, y


def build(weights, **settings):
    start = {"network": f"timm/{NAME}", "pretrained": weights / "w.safetensors"}
    return DiDiClassifier(**{**start, **ROUNDS, **settings})


@pytest.fixture(scope="module")
def frozen(weights, pictures):
    return build(weights, choose_epochs=True).fit(*pictures)


def own_features(weights, X, size=160):
    """The features as timm's own recipe for its own network computes them, in float."""
    network = timm.create_model(NAME, num_classes=5)
    network.load_state_dict(torch.load(weights / "w.pth")["state_dict"])
    network.reset_classifier(0)
    data = timm.data.resolve_model_data_config(network)
    x = torch.tensor(X).permute(0, 3, 1, 2) / 255
    x = torch.nn.functional.interpolate(
        x, size=data["input_size"][1:], mode=data["interpolation"], antialias=True
    )
    mean, std = (torch.tensor(data[k])[:, None, None] for k in ("mean", "std"))
    with torch.no_grad():
        return network.eval()((x - mean) / std).numpy()


class TestAFrozenNetwork:
    def test_has_the_features_that_timm_computes(self, frozen, weights, pictures):
        X = pictures[0][:4]
        expected = own_features(weights, X)
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        found = features_of(frozen._fitted.trunk, X)[:, : expected.shape[1]]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)

    def test_also_gives_the_means_of_the_last_three_stages(self, frozen, pictures):
        found = features_of(frozen._fitted.trunk, pictures[0][:4])
        network = timm.create_model(NAME, num_classes=0)
        widths = [stage["num_chs"] for stage in network.feature_info[-3:]]
        assert found.shape[1] == network.num_features + sum(widths)
        np.testing.assert_allclose((found**2).sum(axis=1), 4, rtol=1e-4)

    def test_encodes_every_picture_once_for_all_epochs_and_members(
        self, weights, pictures, monkeypatch
    ):
        from skdidicm_torch.trunk import TorchTrunk

        seen, encode = [], TorchTrunk.features
        monkeypatch.setattr(
            TorchTrunk, "features", lambda trunk, x: (seen.append(len(x)), encode(trunk, x))[1]
        )
        classifier = build(weights, choose_epochs=True, max_epochs=2).fit(*pictures)
        assert len(classifier.members_) == 5
        assert sum(seen) <= len(pictures[0]) + 1  # one more tells how many features there are

    def test_learns(self, frozen, pictures):
        assert frozen.score(*pictures) > 0.8
        assert frozen.input_shape_ == (20, 20, 3)
        assert frozen.resolved_params_["network"] == f"timm/{NAME}"
        assert frozen.predict_set(pictures[0][:3]).shape == (3, 2)
        assert frozen.familiarity(pictures[0][:3]).shape == (3,)

    def test_is_kept_in_the_one_file(self, frozen, pictures, tmp_path):
        expected = frozen.predict_proba(pictures[0])
        frozen.save(tmp_path / "model.skd")
        loaded = DiDiClassifier.load(tmp_path / "model.skd")
        assert (loaded.predict_proba(pictures[0]) == expected).all()
        assert loaded.partial_fit(*pictures).n_iter_ == frozen.n_iter_ + 1

    def test_is_kept_by_pickle_without_the_file_of_weights(self, frozen, pictures):
        again = pickle.loads(pickle.dumps(frozen))
        assert (again.predict_proba(pictures[0]) == frozen.predict_proba(pictures[0])).all()

    def test_takes_numbers_from_0_to_1_as_it_takes_bytes(self, frozen, weights, pictures):
        X, y = pictures
        floats = build(weights, choose_epochs=True).fit(X / 255, y)
        np.testing.assert_allclose(
            floats.predict_proba(X / 255), frozen.predict_proba(X), atol=1e-3
        )

    def test_takes_grey_pictures_as_colour(self, weights, pictures):
        grey = pictures[0][..., 0]
        colour = np.repeat(grey[..., None], 3, axis=-1)
        first, second = (build(weights).fit(X, pictures[1]) for X in (grey, colour))
        np.testing.assert_allclose(
            first.predict_proba(grey), second.predict_proba(colour), atol=1e-4
        )

    def test_both_kinds_of_files_are_read(self, frozen, weights, pictures):
        other = build(weights, choose_epochs=True, pretrained=str(weights / "w.pth"))
        assert (
            other.fit(*pictures).predict_proba(pictures[0]) == frozen.predict_proba(pictures[0])
        ).all()

    def test_may_be_a_module_with_its_weights(self, weights, pictures):
        module = timm.create_model(NAME, num_classes=0)
        before = {k: v.clone() for k, v in module.state_dict().items()}
        own = DiDiClassifier(network=module, pretrained=True, **ROUNDS).fit(*pictures)
        assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())
        assert own.predict_proba(pictures[0]).shape == (40, 2)

    def test_a_module_is_asked_for_when_its_model_is_loaded(self, pictures, tmp_path):
        module = timm.create_model(NAME, num_classes=0)
        own = DiDiClassifier(network=module, pretrained=True, **ROUNDS).fit(*pictures)
        own.save(tmp_path / "own.skd")
        with pytest.raises(ValueError, match="network of your own"):
            DiDiClassifier.load(tmp_path / "own.skd")
        other = timm.create_model(NAME, num_classes=0)
        loaded = DiDiClassifier.load(tmp_path / "own.skd", network=other)
        assert (loaded.predict_proba(pictures[0]) == own.predict_proba(pictures[0])).all()
        assert loaded.set_params(warm_start=True).fit(*pictures)


class TestFineTuning:
    def test_moves_the_network_and_is_kept_in_the_file(self, weights, pictures, tmp_path):
        tuned = build(weights, trunk_learning_rate=0.1, max_epochs=1).fit(*pictures)
        backbone = tuned.network_.module.backbone.network.state_dict()
        start = torch.load(weights / "w.pth")["state_dict"]
        assert not torch.equal(backbone["conv_stem.weight"], start["conv_stem.weight"])
        tuned.save(tmp_path / "model.skd")
        loaded = DiDiClassifier.load(tmp_path / "model.skd")
        assert (loaded.predict_proba(pictures[0]) == tuned.predict_proba(pictures[0])).all()

    def test_starts_from_what_the_frozen_network_gives(self, weights, pictures, monkeypatch):
        from skdidicm_torch.backend import TorchNetwork

        seen, encode = [], TorchNetwork.trunk_features
        monkeypatch.setattr(
            TorchNetwork, "trunk_features", lambda own, x: (seen.append(len(x)), encode(own, x))[1]
        )
        start = torch.load(weights / "w.pth")["state_dict"]
        # With no rate, the head stays as the epochs before have left it.
        tuned = build(weights, trunk_learning_rate=0.1, learning_rate=0.0, max_epochs=1)
        tuned.fit(*pictures)
        backbone = tuned.network_.module.backbone.network.state_dict()
        assert all(torch.equal(backbone[k], start[k]) for k in backbone)
        assert sum(seen) == len(pictures[0]) + 1  # one tells how many features there are
        assert tuned.n_iter_ == 1
        frozen = build(weights, max_epochs=300).fit(*pictures)
        assert tuned.score(*pictures) == pytest.approx(frozen.score(*pictures), abs=0.1)
        without = build(weights, **tuned.get_params() | {"frozen_epochs": 0}).fit(*pictures)
        assert np.ptp(without.predict_proba(pictures[0]), axis=0).max() < 1e-6

    def test_leaves_the_statistics_of_the_network_as_they_were(self, weights, pictures):
        tuned = build(weights, trunk_learning_rate=0.1, max_epochs=1).fit(*pictures)
        backbone = tuned.network_.module.backbone.network.state_dict()
        start = torch.load(weights / "w.pth")["state_dict"]
        statistics = [name for name in backbone if "running" in name]
        assert statistics
        assert all(torch.equal(backbone[k], start[k]) for k in statistics)

    def test_goes_on_without_training_the_head_alone_again(self, weights, pictures, monkeypatch):
        from skdidicm_torch.backend import TorchNetwork

        tuned = build(weights, trunk_learning_rate=0.1, max_epochs=1, warm_start=True)
        tuned.fit(*pictures)
        monkeypatch.setattr(TorchNetwork, "hold_trunk", None)
        assert tuned.fit(*pictures).partial_fit(*pictures).n_iter_ == 2

    @pytest.mark.slow
    def test_a_trial_trains_the_head_of_every_network_alone_once(
        self, weights, pictures, monkeypatch
    ):
        from skdidicm_torch.backend import TorchNetwork

        held, hold = [], TorchNetwork.hold_trunk
        monkeypatch.setattr(
            TorchNetwork, "hold_trunk", lambda own, x: (held.append(x is None), hold(own, x))[1]
        )
        rate = {"trunk_learning_rate": 0.1, "choose_epochs": True}
        tuned = build(weights, max_epochs=2, **rate).fit(*pictures)
        assert held == [False, True] * 6  # five folds, and all rows
        assert [row["epochs"] for row in tuned.trial_] == [2]  # it is better at its end only

    def test_a_module_of_ones_own_may_learn_its_head_first(self, pictures):
        module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        rate = {"learning_rate": 0.0, "max_epochs": 1, "random_state": 0}
        heads = []
        for n in (0, 3):
            own = DiDiClassifier(network=module, frozen_epochs=n, **{**rate, "learning_rate": 0.01})
            own.fit(*pictures)
            heads.append(own.network_.module.head.fc.weight.detach().numpy())
        assert not np.allclose(*heads, atol=1e-3)

    def test_may_be_an_ordinary_classifier(self, weights, pictures):
        plain = build(weights, trunk_learning_rate=0.1, conditioning="none", max_epochs=1)
        assert plain.fit(*pictures).predict_proba(pictures[0]).shape == (40, 2)

    def test_the_rate_is_a_factor_of_that_of_the_head(self, weights, pictures):
        tuned = build(weights, trunk_learning_rate=0.25, max_epochs=1).fit(*pictures)
        rates = {group["lr"] for group in tuned.network_.optimizer.param_groups}
        assert len(rates) == 2
        assert min(rates) == pytest.approx(0.25 * max(rates))


class TestGoingOn:
    def test_a_frozen_fit_cannot_be_thawed(self, weights, pictures):
        frozen = build(weights).fit(*pictures)
        thawed = frozen.set_params(warm_start=True, trunk_learning_rate=0.1)
        with pytest.raises(ValueError, match="was frozen in the fit"):
            thawed.fit(*pictures)

    def test_another_network_is_refused(self, pictures):
        first = DiDiClassifier(network="didirn-tiny", max_epochs=1, warm_start=True).fit(*pictures)
        with pytest.raises(ValueError, match="goes on with the fitted 'didirn-tiny'"):
            first.set_params(network="didirn18").fit(*pictures)
        assert first.set_params(network="auto").fit(*pictures)  # means the same

    def test_auto_goes_on_with_what_it_was(self):
        x, y = np.random.default_rng(0).random((4, 64, 64)), [0, 1, 0, 1]
        first = DiDiClassifier(max_epochs=1, warm_start=True, device="cpu").fit(x, y)
        assert first.network_.config.network == "didirn-patch"
        network = first.network_
        assert first.fit(x, y).network_ is network
        with pytest.raises(ValueError, match="goes on with the fitted 'didirn-patch'"):
            first.set_params(network="didirn18").fit(x, y)

    def test_a_thawed_module_learns_whole(self, pictures):
        module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        module.requires_grad_(False)
        own = DiDiClassifier(network=module, max_epochs=1, warm_start=True).fit(*pictures)
        start = {k: v.clone() for k, v in own.network_.module.backbone.state_dict().items()}
        assert all(torch.equal(v, start[k]) for k, v in module.state_dict().items())
        module.requires_grad_(True)
        own.fit(*pictures)
        now = own.network_.module.backbone.state_dict()
        assert not any(torch.equal(now[k], start[k]) for k in ("0.weight", "1.running_mean"))

    def test_statistics_of_a_frozen_part_stay(self, pictures):
        frozen, learns = (torch.nn.BatchNorm2d(3) for _ in range(2))
        module = torch.nn.Sequential(frozen.requires_grad_(False), learns)
        own = DiDiClassifier(network=module, max_epochs=1).fit(*pictures)
        found = own.network_.module.backbone
        assert torch.equal(found[0].running_mean, torch.zeros(3))
        assert not torch.equal(found[1].running_mean, torch.zeros(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "didirn18"}, "has no weights to start from"),
        ({"pretrained": False, "trunk_learning_rate": 0}, "weights are random"),
        ({"pretrained": "missing.pth"}, "not a file"),
        ({"pretrained": 3}, "expected True, False, or the path"),
        ({"network": "timm/test_vit"}, "lacks"),
        ({"network": "timm/none-such"}, "timm has no network"),
        ({"augment": "shift"}, "encodes every picture once"),
        ({"backend": "keras"}, "expects 'keras/NAME'"),
        ({"network": "keras/MobileNetV2"}, "or backend='keras' with 'keras/NAME'"),
        ({"frozen_epochs": -1}, "frozen_epochs is -1"),
        ({"network": "auto", "pretrained": False, "frozen_epochs": 2}, "has no head that learns"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(weights, pictures, settings, message):
    with pytest.raises((ValueError, OSError), match=message):
        build(weights).set_params(**settings).fit(*pictures)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X.reshape(40, -1), "X is a table"),
        (lambda X: X.astype(np.float32) - 100, "values from -100"),
        (lambda X: np.concatenate([X, X[..., :1]], axis=-1), "4 channels"),
    ],
)
def test_pictures_that_do_not_suit_it_are_refused(weights, pictures, change, message):
    with pytest.raises(ValueError, match=message):
        build(weights).fit(change(pictures[0]), pictures[1])


def test_code_in_a_file_of_weights_is_not_run(weights, pictures, tmp_path):
    ran = tmp_path / "ran"

    class Harm:
        def __reduce__(self):
            return (open, (str(ran), "w"))

    torch.save({"conv": Harm()}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        build(weights, pretrained=tmp_path / "bad.pth").fit(*pictures)
    assert not ran.exists()
