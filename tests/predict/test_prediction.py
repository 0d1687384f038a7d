"""Sampling, with a network whose posterior is known, and prediction in chunks."""

import tracemalloc
import warnings

import numpy as np
import pytest
from scipy.special import softmax

from skdidicm import DiDiClassifier
from skdidicm.core import Geometric, LogLinear, RateProcess, UniformProcess
from skdidicm.predict.prediction import in_chunks, initial_law

K = 4


class KnownPosterior:
    """A backend without a framework, and without training: a row is the logits of its posterior."""

    def __init__(self, config):
        self.config = config

    def encode(self, x):
        return softmax(x, axis=1)

    def log_score(self, posterior, label, sigma):
        a = np.exp(-sigma)[..., None]
        law = np.log(a * posterior.reshape(len(label), *[1] * (label.ndim - 1), K) + (1 - a) / K)
        return law - np.take_along_axis(law, label[..., None], axis=-1)

    def start(self, values):
        return np.array(values, dtype=np.float64)

    def train_step(self, batch, learning_rate):
        return 1.0

    def state(self):
        return {}

    def load_state(self, state):
        pass


@pytest.fixture
def logits(rng):
    return rng.normal(0, 2, (30, K))


@pytest.fixture
def known(logits):
    """A classifier that knows the posterior of every row."""
    labels = np.arange(30) % K
    return DiDiClassifier(backend=KnownPosterior, max_epochs=1, random_state=0).fit(logits, labels)


@pytest.mark.parametrize("label_rule", ["argmin", "argmax", "draw"])
@pytest.mark.parametrize(("steps", "solver"), [(8, "euler"), (8, "bridge"), (1, "bridge")])
def test_an_exact_score_gives_the_posterior(known, logits, steps, solver, label_rule):
    known.set_params(steps=steps, solver=solver, label_rule=label_rule)
    # The law at t = 0.001 is returned: a label has met noise with that probability. As little of
    # the clean label is left at t = 1, where sampling starts from noise alone.
    np.testing.assert_allclose(known.predict_proba(logits), softmax(logits, axis=1), atol=2e-3)


def test_shares_of_chains_scatter_about_the_posterior(known, logits):
    posterior, n_chains = softmax(logits, axis=1), 4000
    known.set_params(sampler="cl", solver="bridge", n_chains=n_chains)
    error = np.sqrt(posterior * (1 - posterior) / n_chains)
    np.testing.assert_array_less(
        np.abs(known.predict_proba(logits) - posterior), 5 * error + 1.1e-3
    )


def test_the_answer_has_met_the_noise_of_the_earliest_time_that_is_trained_on(known, logits):
    raw = known.sample_labels(logits, 16)
    survival = LogLinear().survival(1e-3)
    expected = survival * raw + (1 - survival) / K
    known.set_params(sampler="cl", n_chains=16)
    np.testing.assert_allclose(known.predict_proba(logits), expected, atol=1e-12)


@pytest.mark.parametrize("sampler", ["cp", "cl"])
def test_probabilities_are_positive_and_sum_to_one_however_sharp_the_posterior(known, sampler):
    p = known.set_params(sampler=sampler).predict_proba(300 * np.eye(K))
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    assert p.min() > 0
    assert p.dtype == np.float64
    assert known.predict(300 * np.eye(K)).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(known.predict_log_proba(300 * np.eye(K)), np.log(p))


@pytest.mark.parametrize("sampler", ["cp", "cl"])
def test_a_path_leads_from_noise_to_the_answer(known, logits, sampler):
    known.set_params(sampler=sampler, steps=5, n_chains=400)
    path = known.predict_path(logits)
    assert path.shape == (30, 6, K)
    np.testing.assert_allclose(path.sum(axis=2), 1, rtol=1e-12)
    error = 0 if sampler == "cp" else np.sqrt(0.25 * 0.75 / 400)
    np.testing.assert_allclose(path[:, 0], 0.25, atol=5 * error + 1e-12)
    np.testing.assert_array_equal(path[:, -1], known.predict_proba(logits))
    distance = np.abs(path - path[:, -1:]).sum(axis=2).mean(axis=0)
    assert (np.diff(distance) < 0).all()


@pytest.mark.parametrize("n_chains", [1, 3, 16])
def test_sampled_labels_are_shares_of_whole_chains(known, logits, n_chains):
    shares = known.sample_labels(logits, n_chains)
    np.testing.assert_allclose(shares * n_chains, np.round(shares * n_chains), atol=1e-9)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    known.set_params(n_chains=n_chains)
    np.testing.assert_array_equal(known.sample_labels(logits), shares)


@pytest.mark.parametrize("n_chains", [0, -1, 2.5, True])
def test_no_chains_are_refused(known, logits, n_chains):
    with pytest.raises(ValueError, match=f"n_chains is {n_chains}; expected an integer >= 1"):
        known.sample_labels(logits, n_chains)


def test_a_long_schedule_starts_from_pure_noise_and_a_short_one_from_the_prior():
    prior = np.array([0.8, 0.1, 0.1])
    start = initial_law(UniformProcess(3), LogLinear(), prior)
    np.testing.assert_allclose(start, np.full(3, 1 / 3))
    start = initial_law(UniformProcess(3), Geometric(sigma_max=1.0), prior)
    np.testing.assert_allclose(start, prior / np.e + (1 - 1 / np.e) / 3)
    rates = np.array([[-1.0, 3.0, 0.0], [1.0, -3.0, 1.0], [0.0, 0.0, -1.0]])
    np.testing.assert_allclose(
        initial_law(RateProcess(rates), LogLinear(), prior), [0.75, 0.25, 0], atol=1e-9
    )


@pytest.mark.parametrize("sampler", ["cp", "cl"])
def test_both_samplers_start_from_what_a_short_schedule_leaves_of_the_prior(logits, sampler):
    labels = np.repeat(np.arange(K), [21, 3, 3, 3])
    settings = {"max_epochs": 1, "random_state": 0, "sampler": sampler, "n_chains": 4000}
    model = DiDiClassifier(backend=KnownPosterior, schedule=Geometric(sigma_max=1.0), **settings)
    start = model.fit(logits, labels).predict_path(logits[:2])[:, 0]
    expected = np.array([0.7, 0.1, 0.1, 0.1]) / np.e + (1 - 1 / np.e) / K
    np.testing.assert_allclose(start, np.tile(expected, (2, 1)), atol=5 * 0.5 / np.sqrt(4000))


@pytest.mark.parametrize("n", [1, 63, 4096, 9001])
def test_chunks_are_bounded_and_put_together_in_order(n):
    sizes = []

    def sample(part):
        sizes.append(len(part))
        return part * 2

    x = np.arange(2.0 * n).reshape(n, 2)
    np.testing.assert_array_equal(in_chunks(sample, x, (2,)), 2 * x)
    assert max(sizes) <= 4096
    assert sum(sizes) == n


def test_chunks_of_large_rows_are_small():
    sizes = []

    def sample(part):
        sizes.append(len(part))
        return np.zeros((len(part), 3))

    images = np.broadcast_to(np.uint8(0), (200, 224, 224, 3))
    in_chunks(sample, images, (3,))
    in_chunks(sample, np.zeros((5000, 10)), (3,), rows_cost=1000)
    assert max(sizes) == 64


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
     RuntimeError("DefaultCPUAllocator: can't allocate memory")],
    ids=["host", "gpu", "cpu allocator"],
)  # fmt: skip
def test_a_chunk_that_does_not_fit_is_halved_with_one_warning(error):
    fitted = []

    def sample(part):
        if len(part) > 600:
            raise error
        fitted.append(len(part))
        return part

    x = np.arange(5000.0)[:, None]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = in_chunks(sample, x, (1,))
    np.testing.assert_array_equal(result, x)
    assert [w.category for w in caught] == [RuntimeWarning]
    assert "4096 rows did not fit into memory" in str(caught[0].message)
    assert max(fitted) == 512


def test_memory_that_does_not_suffice_for_one_row_is_an_error():
    def sample(part):
        raise MemoryError("nothing left")

    with pytest.warns(RuntimeWarning), pytest.raises(MemoryError, match="nothing left"):
        in_chunks(sample, np.zeros((8, 1)), (1,))


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("out of memory")])
def test_other_errors_pass_through(error):
    def sample(part):
        raise error

    with pytest.raises(type(error), match=str(error)):
        in_chunks(sample, np.zeros((8, 1)), (1,))


def test_a_network_out_of_memory_still_predicts(logits):
    class Cramped(KnownPosterior):
        def encode(self, x):
            if len(x) > 10:
                raise RuntimeError("HIP out of memory")
            return super().encode(x)

    labels = np.arange(30) % K
    cramped = DiDiClassifier(backend=Cramped, max_epochs=1, random_state=0).fit(logits, labels)
    with pytest.warns(RuntimeWarning, match="30 rows did not fit"):
        p = cramped.predict_proba(logits)
    np.testing.assert_allclose(p, softmax(logits, axis=1), atol=2e-3)


def test_scores_that_overflow_are_warned_of_once_and_leave_a_law(logits):
    class Overflowing(KnownPosterior):
        def log_score(self, features, label, sigma):
            scores = np.array(super().log_score(features, label, sigma))
            scores[..., 0] = np.where(np.arange(len(scores)) % 2, np.inf, np.nan)
            return scores

    rows = np.tile(logits, (400, 1))  # several chunks
    model = DiDiClassifier(backend=Overflowing, max_epochs=1, random_state=0)
    model.fit(rows, np.arange(len(rows)) % K)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        p = model.predict_proba(rows)
    assert [str(w.message)[:44] for w in caught] == ["the network gave log scores that are not fin"]
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_memory_beyond_the_answer_does_not_grow_with_the_number_of_rows():
    def extra(n):
        x = np.broadcast_to(np.uint8(1), (n, 64))
        tracemalloc.start()
        result = in_chunks(lambda part: part.astype(np.float64)[:, :5], x, (5,))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - result.nbytes

    few, many = extra(10_000), extra(100_000)
    assert many < 1.1 * few + 2**16


@pytest.mark.parametrize("label_rule", ["argmin", "argmax", "draw"])
@pytest.mark.parametrize("path", [False, True])
def test_few_rows_are_answered_as_among_many(known, logits, label_rule, path):
    """Few rows take one call of each network, many a call for every step."""
    known.set_params(steps=5, label_rule=label_rule)
    ask = known.predict_path if path else known.predict_proba
    many = np.tile(logits, (10, 1))
    np.testing.assert_allclose(ask(many[:3]), ask(many)[:3], rtol=1e-9)
