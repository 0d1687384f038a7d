import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.special

from skdidicm.core import (
    ConfusionNoise,
    LogLinear,
    RateProcess,
    SymmetricNoise,
    UniformProcess,
    bayes_cross_entropy,
    check_objective,
    cross_entropy,
    denoising_loss,
    denoising_loss_and_gradient,
    log_score,
    score_entropy,
)

PAIRS = [
    ("score", "score_entropy"),
    ("posterior", "score_entropy"),
    ("posterior", "bayes_cross_entropy"),
    ("posterior", "cross_entropy"),
]


@pytest.fixture(params=["torch", "jax"])
def differentiate(request):
    """Make the function that gives value and gradient of `function(output, array)`, as NumPy."""
    library = pytest.importorskip(request.param)

    def with_torch(function):
        def compute(output):
            x = library.tensor(output, requires_grad=True)
            value = function(x, library.asarray)
            value.backward()
            return value.detach().numpy(), x.grad.numpy()

        return compute

    def with_jax(function):
        compiled = library.jit(
            library.value_and_grad(lambda output: function(output, library.numpy.asarray))
        )
        return lambda output: [np.asarray(x) for x in compiled(output)]

    return with_torch if request.param == "torch" else with_jax


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_value_and_gradient_of_the_official_code(parity, differentiate, labels, agree):
    numbers, process = parity("losses.npz"), UniformProcess(7)
    rate, sigma = LogLinear().rate(numbers["t"]), LogLinear().total(numbers["t"])
    q_t = numbers["soft_pt"]
    if labels == "hard":
        q_t = process.diffuse(np.eye(7)[numbers["hard_c0"]], sigma)

    def weighted_mean(output, array):
        label = array(numbers["label"])
        scores = log_score(output, label, array(sigma), process=process)
        loss = score_entropy(scores, process.ratio(array(q_t), label))
        return (array(rate) * loss).mean()

    value, gradient = differentiate(weighted_mean)(numbers[f"{labels}_output"])
    constant = -rate.mean() / 7 if labels == "soft" else 0.0
    agree(value, numbers[f"{labels}_value"] - constant, float64=1e-6, float32=1e-4)
    agree(gradient, numbers[f"{labels}_grad"], float64=1e-6, float32=1e-4)


def test_soft_labels_of_the_official_code_are_noised_alike(parity):
    numbers = parity("losses.npz")
    q_t = UniformProcess(7).diffuse(numbers["soft_p0"], LogLinear().total(numbers["t"]))
    np.testing.assert_allclose(q_t, numbers["soft_pt"], atol=1e-6)


def test_score_entropy_is_the_integral_of_its_slope(array, agree, rng):
    # d/ds (s - r log s) = 1 - r / s, and the loss is 0 at s = r.
    ratio, score = rng.uniform(0.1, 4, (5, 3)), rng.uniform(0.1, 4, (5, 3))
    terms = np.vectorize(lambda r, s: scipy.integrate.quad(lambda x: 1 - r / x, r, s)[0])
    expected = terms(ratio, score).mean(axis=1)
    agree(score_entropy(array(np.log(score)), array(ratio)), expected)


def test_score_entropy_is_zero_only_where_the_score_is_right(array, rng):
    scores = rng.uniform(-20, 20, (50, 6))
    right = score_entropy(array(scores), array(np.exp(scores)))
    ratio = np.asarray(array(np.exp(scores)))
    assert (np.abs(np.asarray(right)) <= 1e-6 * ratio.sum(axis=1)).all()
    wrong = (
        scores + rng.choice([-1e-2, 1e-2, 3.0], scores.shape) * np.eye(6)[rng.integers(0, 6, 50)]
    )
    assert (np.asarray(score_entropy(array(wrong), array(np.exp(scores)))) > 0).all()


def test_score_entropy_of_an_impossible_class_is_its_score(array, agree):
    agree(score_entropy(array(np.log([[1.0, 4.0]])), array([[1.0, 0.0]])), [2.0])


@pytest.mark.parametrize(("parameterization", "objective"), PAIRS)
@pytest.mark.parametrize("k", [2, 1000, 20000])
def test_value_and_gradient_are_finite_in_float32(
    differentiate, parameterization, objective, k, rng
):
    sigma = np.repeat(np.geomspace(1e-6, 7.0, 8), 2).astype(np.float32)
    label = np.tile([0, 1], 8)  # the clean label and another one
    q_0 = np.tile(np.eye(1, k, dtype=np.float32), (16, 1))

    def mean(output, array):
        settings = {"process": UniformProcess(k), "parameterization": parameterization}
        return denoising_loss(
            output, array(label), array(sigma), array(q_0), objective=objective, **settings
        ).mean()

    compute = differentiate(mean)
    for scale in (0.0, 1.0, 20.0):
        output = (scale * rng.uniform(-1, 1, (16, k))).astype(np.float32)
        value, gradient = compute(output)
        assert value > 0
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("kind", ["uniform", "general", "cycle"])
@pytest.mark.parametrize("parameterization", ["score", "posterior"])
def test_the_best_score_over_noisy_labels_is_the_true_one(generator, kind, parameterization):
    process, posterior = RateProcess(generator(kind, 3)), np.array([0.6, 0.3, 0.1])
    sigma, label = 0.8, 1
    before = scipy.linalg.expm(sigma * process.rate_matrix)  # [j, i] = P(c_t = j | c_0 = i)
    joint = before[label] * posterior  # P(c_t = label, c_0 = i)

    def expected_loss(output):  # over the clean class, given the noisy label
        rows = np.tile(output, (3, 1)), np.full(3, label), sigma, np.eye(3)
        losses = denoising_loss(*rows, process=process, parameterization=parameterization)
        return losses @ (joint / joint.sum())

    start = np.zeros(3)
    best = scipy.optimize.minimize(expected_loss, start, method="BFGS", options={"gtol": 1e-9}).x
    found = log_score(
        best[None], np.array([label]), sigma, process=process, parameterization=parameterization
    )
    q_t = before @ posterior
    np.testing.assert_allclose(np.exp(found[0]), q_t / q_t[label], atol=1e-5)


@pytest.mark.parametrize("kind", ["uniform", "general", "chain"])
def test_bayes_cross_entropy_is_that_of_the_posterior_given_both(
    array, agree, generator, kind, rng
):
    process = RateProcess(generator(kind, 4))
    q_0, sigma = rng.dirichlet(np.ones(4), 6), np.geomspace(1e-2, 7, 6)
    output, label = rng.standard_normal((6, 4)), np.array([3, 0, 1, 2, 3, 3])
    expected = []
    for i in range(6):
        likelihood = scipy.linalg.expm(sigma[i] * process.rate_matrix)[label[i]]
        joint, target = likelihood * scipy.special.softmax(output[i]), likelihood * q_0[i]
        possible = joint > 0
        log_posterior = np.log(joint[possible] / joint.sum())
        expected.append(-(target[possible] / target.sum()) @ log_posterior)
    result = bayes_cross_entropy(array(output), array(label), array(sigma), array(q_0), process)
    agree(result, expected, float64=1e-9, float32=1e-3)


def test_cross_entropy_exceeds_the_entropy_by_the_divergence(array, agree, rng):
    q_0, output = rng.dirichlet(np.ones(4), 6), 3 * rng.standard_normal((6, 4))
    p = scipy.special.softmax(output, axis=1)
    expected = scipy.special.entr(q_0).sum(axis=1) + scipy.special.rel_entr(q_0, p).sum(axis=1)
    agree(cross_entropy(array(output + 7), array(q_0)), expected, float32=1e-4)


@pytest.mark.parametrize("sigma", [1e-3, 0.5, 3.0])
def test_the_true_logits_have_no_expected_gradient_in_bayes_cross_entropy(sigma):
    torch = pytest.importorskip("torch")
    posterior, k = np.array([0.5, 0.3, 0.15, 0.05]), 4
    joint = scipy.linalg.expm(sigma * (np.ones((k, k)) / k - np.eye(k))) * posterior
    label, clean = np.indices((k, k)).reshape(2, -1)

    def gradient(logits):
        logits = torch.tensor(logits, requires_grad=True)
        rows = logits.expand(k * k, k), torch.asarray(label), sigma, torch.eye(k)[clean]
        loss = bayes_cross_entropy(*rows, UniformProcess(k))
        (loss @ torch.asarray(joint.ravel())).backward()
        return np.abs(logits.grad.numpy()).max()

    assert gradient(np.log(posterior)) < 1e-12
    assert gradient(np.log(posterior) + np.array([0.1, 0.0, 0.0, 0.0])) > 1e-6


@pytest.mark.parametrize("label", [0, 3])
def test_soft_labels_leave_true_logits_no_gradient_whatever_the_noisy_label(label):
    torch = pytest.importorskip("torch")
    posterior = np.array([[0.5, 0.3, 0.15, 0.05]])
    logits = torch.tensor(np.log(posterior), requires_grad=True)
    rows = logits, torch.asarray([label]), 0.5, torch.asarray(posterior)
    bayes_cross_entropy(*rows, UniformProcess(4)).sum().backward()
    assert np.abs(logits.grad.numpy()).max() < 1e-12


@pytest.mark.parametrize("parameterization", ["score", "posterior"])
def test_log_score_is_exactly_zero_at_the_noisy_label(array, parameterization, rng):
    output, label = array(5 * rng.standard_normal((40, 5)), np.float32), np.arange(40) % 5
    scores = log_score(
        output, array(label), 0.3, process=UniformProcess(5), parameterization=parameterization
    )
    scores = np.asarray(scores)
    assert (scores[np.arange(40), label] == 0).all()
    assert (np.count_nonzero(scores, axis=1) == 4).all()


def test_log_score_of_true_logits_is_the_concrete_score(array, agree, rng):
    q_0, label = rng.dirichlet(np.ones(4), 3), np.array([2, 0, 3])
    q_t = q_0 @ scipy.linalg.expm(0.9 * (np.ones((4, 4)) / 4 - np.eye(4))).T
    scores = log_score(
        array(np.log(q_0) + 7.0),
        array(label),
        0.9,
        process=UniformProcess(4),
        parameterization="posterior",
    )
    agree(scores, np.log(q_t / q_t[[0, 1, 2], label][:, None]), float32=1e-4)


@pytest.mark.parametrize(("parameterization", "objective"), PAIRS)
def test_draws_of_a_row_are_rows_of_their_own(array, agree, parameterization, objective, rng):
    output, q_0 = rng.standard_normal((3, 2, 5)), rng.dirichlet(np.ones(5), (3, 2))
    label, sigma = rng.integers(0, 5, (3, 2)), rng.uniform(0.1, 3, (3, 2))
    settings = {"parameterization": parameterization, "objective": objective}
    loss = denoising_loss(
        array(output), array(label), array(sigma), array(q_0), process=UniformProcess(5), **settings
    )
    flat = (x.reshape(6, *x.shape[2:]) for x in (output, label, sigma, q_0))
    alone = denoising_loss(*flat, process=UniformProcess(5), **settings)
    agree(loss, alone.reshape(3, 2), float32=1e-4)


def test_a_label_that_cannot_be_adds_nothing_but_finite_numbers(generator):
    process = RateProcess(generator("reducible", 4))
    loss = denoising_loss(np.zeros((1, 4)), np.array([3]), 0.5, np.eye(4)[:1], process=process)
    assert np.isfinite(loss).all()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("scores", "score_entropy"), "parameterization is 'scores'"),
        (("score", "mse"), "objective is 'mse'"),
        (("score", "bayes_cross_entropy"), "set parameterization='posterior'"),
        (("score", "cross_entropy"), "set parameterization='posterior'"),
        (("posterior", "cross_entropy", "last"), "set conditioning='none' too"),
    ],
)
def test_settings_that_do_not_exist_or_go_together_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        check_objective(*names)


@pytest.mark.parametrize(("parameterization", "objective"), PAIRS)
def test_settings_that_go_together_pass(parameterization, objective):
    check_objective(parameterization, objective)


@pytest.mark.parametrize("rates", [None, [[-1.0, 0.5, 0.1], [0.8, -0.7, 0.2], [0.2, 0.2, -0.3]]])
@pytest.mark.parametrize(("parameterization", "objective"), PAIRS)
def test_the_gradient_is_that_of_finite_differences(rng, rates, parameterization, objective):
    process = UniformProcess(3) if rates is None else RateProcess(np.array(rates))
    output, label = rng.standard_normal((4, 3)), np.array([0, 2, 1, 1])
    sigma, q_0 = rng.uniform(0.1, 3, 4), rng.dirichlet(np.ones(3), 4)
    names = {"parameterization": parameterization, "objective": objective}

    def loss(output):
        return denoising_loss(output, label, sigma, q_0, process=process, **names)

    value, gradient = denoising_loss_and_gradient(
        output, label, sigma, q_0, process=process, **names
    )
    np.testing.assert_allclose(value, loss(output), rtol=1e-12)
    for i, step in enumerate(1e-6 * np.eye(3)):
        slope = (loss(output + step) - loss(output - step)) / 2e-6
        np.testing.assert_allclose(gradient[:, i], slope, rtol=1e-5, atol=1e-7)


CONFUSION = np.array([[0.7, 0.1, 0.0], [0.2, 0.6, 0.3], [0.1, 0.3, 0.7]])
CHANNELS = [SymmetricNoise(3, 0.3), ConfusionNoise(CONFUSION)]
LOGITS = [pair for pair in PAIRS if pair[0] == "posterior"]


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(("parameterization", "objective"), LOGITS)
def test_the_gradient_through_label_noise_is_that_of_finite_differences(
    rng, channel, parameterization, objective
):
    output, label = rng.standard_normal((4, 3)), np.array([0, 2, 1, 1])
    sigma, q_0 = rng.uniform(0.1, 3, 4), rng.dirichlet(np.ones(3), 4)
    names = {"parameterization": parameterization, "objective": objective, "channel": channel}

    def loss(output):
        return denoising_loss(output, label, sigma, q_0, process=UniformProcess(3), **names)

    value, gradient = denoising_loss_and_gradient(
        output, label, sigma, q_0, process=UniformProcess(3), **names
    )
    np.testing.assert_allclose(value, loss(output), rtol=1e-12)
    for i, step in enumerate(1e-6 * np.eye(3)):
        slope = (loss(output + step) - loss(output - step)) / 2e-6
        np.testing.assert_allclose(gradient[:, i], slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(("parameterization", "objective"), LOGITS)
def test_the_best_logits_through_label_noise_are_those_of_the_true_class(
    channel, parameterization, objective
):
    truth, sigma, k = np.array([0.75, 0.2, 0.05]), 0.8, 3
    seen = channel.matrix() @ truth
    noise = scipy.linalg.expm(sigma * (np.ones((k, k)) / k - np.eye(k)))
    label, observed = np.indices((k, k)).reshape(2, -1)
    joint = (noise * seen)[label, observed]  # P(c_t = label, c_0 = observed)

    def expected_loss(output):
        rows = np.tile(output, (k * k, 1)), label, sigma, np.eye(k)[observed]
        names = {"parameterization": parameterization, "objective": objective}
        return joint @ denoising_loss(*rows, process=UniformProcess(k), channel=channel, **names)

    best = scipy.optimize.minimize(expected_loss, np.zeros(k), options={"gtol": 1e-9}).x
    np.testing.assert_allclose(scipy.special.softmax(best), truth, atol=1e-4)


def test_log_scores_are_those_of_the_observed_label(rng):
    rows = rng.standard_normal((4, 3)), np.array([0, 2, 1, 1]), 0.5, np.eye(3)[[0, 1, 2, 0]]
    for function in (denoising_loss, denoising_loss_and_gradient):
        plain = function(*rows, process=UniformProcess(3))
        noisy = function(*rows, process=UniformProcess(3), channel=CHANNELS[0])
        np.testing.assert_array_equal(noisy[0], plain[0])
