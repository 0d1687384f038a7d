"""What a fit leaves behind that goes wrong, and fits of the smallest batches."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.metrics import log_loss

from skdidicm.fit.training import NonFiniteLossError

pytest.importorskip("torch")

X, y = load_iris(return_X_y=True)


def explode_in_epoch(epoch):
    calls = []

    def augment(x, rng):
        calls.append(1)
        return np.full_like(x, np.inf) if len(calls) == epoch else x

    return augment


def test_a_loss_that_is_not_finite_leaves_an_estimator_that_works(quick):
    model = quick(augment=explode_in_epoch(2), warm_start=True)
    with pytest.raises(NonFiniteLossError, match="in epoch 2;.*smaller learning_rate"):
        model.fit(X, y)
    assert issubclass(NonFiniteLossError, FloatingPointError)
    assert model.n_iter_ == len(model.history_) == 1
    assert all(np.isfinite(value).all() for value in model.network_.state().values())
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    model.set_params(augment=None, max_epochs=30).fit(X, y)
    assert model.score(X, y) > 0.8


@pytest.mark.parametrize("max_epochs", [1, 20])
def test_an_absurd_learning_rate_leaves_finite_weights(quick, max_epochs):
    model = quick(learning_rate=1e300, max_epochs=max_epochs, precision="float64")
    if max_epochs > 1:
        with pytest.raises(FloatingPointError):
            model.fit(X, y)
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    else:
        model.fit(X, y)
        with pytest.warns(RuntimeWarning, match="log scores that are not finite"):
            np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert all(np.isfinite(value).all() for value in model.network_.state().values())


def test_a_loss_that_is_not_finite_leaves_the_best_weights_of_early_stopping(quick, rng):
    noisy = np.where(rng.random(len(y)) < 0.5, rng.integers(0, 3, len(y)), y)
    validation = {"X_val": X[1::2], "y_val": noisy[1::2]}
    settings = {"early_stopping": True, "n_iter_no_change": 20, "learning_rate": 0.05}
    settings["average"] = False  # an average would not become worse here
    model = quick(**settings, max_epochs=40, augment=explode_in_epoch(19))
    with pytest.raises(NonFiniteLossError, match="in epoch 19"):
        model.fit(X[::2], noisy[::2], **validation)
    nll = [row["val_nll"] for row in model.history_]
    assert min(nll) < nll[-1]
    assert log_loss(noisy[1::2], model.predict_proba(X[1::2])) == pytest.approx(min(nll), rel=1e-9)


def fail_in_epoch_two(model, row):
    if row["epoch"] >= 2:
        raise model.failure


def refit(model):
    return model.fit(X[::2], y[::2])


def refit_warm(model):
    return model.set_params(warm_start=True).fit(X, y)


def fit_on(model):
    return model.partial_fit(X, y)


@pytest.mark.parametrize("again", [refit, refit_warm, fit_on])
@pytest.mark.parametrize("failure", [RuntimeError("broken"), KeyboardInterrupt()], ids=repr)
def test_an_error_while_training_leaves_an_earlier_fit_as_it_was(quick, again, failure):
    model = quick().fit(X, y)
    p, history, kept = model.predict_proba(X), list(model.history_), vars(model).keys()
    weights, numbers = model.network_.state(), model._fitted.rng.bit_generator.state
    model.failure = failure
    model.set_params(callbacks=[fail_in_epoch_two])
    with pytest.raises(type(failure)):
        again(model)
    del model.failure
    assert vars(model).keys() == kept
    assert model.history_ == history
    assert model.n_iter_ == len(history)
    assert model._fitted.rng.bit_generator.state == numbers
    np.testing.assert_array_equal(model.predict_proba(X), p)
    for name, value in model.network_.state().items():
        np.testing.assert_array_equal(value, weights[name])
    assert model.set_params(callbacks=None, warm_start=False).fit(X, y).n_iter_ == 2


def test_an_error_in_a_first_fit_leaves_an_estimator_that_is_not_fitted(quick):
    model = quick(callbacks=[fail_in_epoch_two])
    model.failure = ValueError("broken")
    before = dict(vars(model))
    with pytest.raises(ValueError, match="broken"):
        model.fit(X, y)
    assert vars(model) == before


def test_what_auto_came_to_is_an_attribute(quick):
    stop = {"callbacks": [lambda model, row: row["epoch"] == 2]}
    model = quick(max_epochs="auto", choose_epochs=False, **stop)
    assert model.fit(X, y).n_iter_ == 2
    assert model.max_epochs_ == 300
    assert quick().fit(X, y).max_epochs_ == 2
    assert quick().fit(X, y).partial_fit(X, y).max_epochs_ == 3


@pytest.mark.parametrize("size", [1, 3, 8])
def test_batches_of_one_image_are_batches(quick, size):
    images = np.repeat(np.arange(4.0), size**2).reshape(4, size, size)
    model = quick(batch_size=1).fit(images, [0, 0, 1, 1])
    np.testing.assert_allclose(model.predict_proba(images).sum(axis=1), 1)
    table = quick(batch_size=1).fit(X[::30], y[::30])
    np.testing.assert_allclose(table.predict_proba(X[:1]).sum(axis=1), 1)


def interrupt_in_call(number):
    calls = []

    def augment(x, rng):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return x

    return augment


@pytest.mark.parametrize("average", [True, False])
def test_an_interrupted_fit_can_keep_the_last_whole_epoch(quick, average):
    settings = {"max_epochs": 10, "average": average}
    model = quick(**settings, augment=interrupt_in_call(4), on_interrupt="keep")
    with pytest.warns(UserWarning, match="interrupted; the classifier keeps .* in 3 epochs"):
        model.fit(X, y)
    stopped = quick(
        **settings, augment=lambda x, rng: x, callbacks=[lambda model, row: row["epoch"] == 3]
    ).fit(X, y)
    assert model.n_iter_ == len(model.history_) == 3
    np.testing.assert_allclose(model.predict_proba(X), stopped.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("epochs", [3, 5])
def test_an_interrupted_trial_can_keep_the_network_of_all_rows(quick, epochs):
    """Without a finished round the epochs so far are kept, with one those of the best round."""
    pytest.importorskip("torch")
    call = 6 * epochs + 2  # six networks learn together, one batch each
    model = quick(
        max_epochs=32,
        choose_epochs=True,
        augment=interrupt_in_call(call),
        on_interrupt="keep",
        backend="torch",
    )
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    assert model.n_iter_ == len(model.history_) == (3 if epochs == 3 else 4)
    assert len(model.members_) == (0 if epochs == 3 else 5)
    assert np.isfinite(model.predict_proba(X)).all()


def test_an_interruption_before_the_first_epoch_leaves_nothing(quick):
    model = quick(augment=interrupt_in_call(1), on_interrupt="keep")
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert not hasattr(model, "classes_")


def test_a_long_fit_on_a_cpu_is_warned_of_once(quick, monkeypatch):
    pytest.importorskip("torch")
    model = quick(max_epochs=5, device="cpu", backend="torch")
    model.fit(X, y)  # no warning, which would be an error
    monkeypatch.setattr("skdidicm.fit.progress._LONG", 0.0)
    with pytest.warns(UserWarning, match="up to 0 minutes on the CPU.*effort='fast'") as caught:
        model.fit(X, y)
    assert len(caught) == 1
