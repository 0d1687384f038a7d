"""DiDiClassifier: the scikit-learn estimator."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import cache
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, _safe_indexing, check_array, check_consistent_length
from sklearn.utils.validation import check_is_fitted, validate_data

from skdidicm.backend import BuildNetwork, ExportsAnswer, ReturnsFeatures, ScoreNetwork, Trunk
from skdidicm.core import Channel, Process, SamplerPlan, Schedule, reweighted
from skdidicm.fit import validation as check
from skdidicm.fit.callbacks import CallbackSupportMixin, FitTask, with_callbacks
from skdidicm.fit.columns import (
    FROM_DTYPE,
    Columns,
    Values,
    check_names,
    column_error,
    doubts,
    encode,
    find_categories,
    learn_columns,
    needs_reading,
    read_values,
)
from skdidicm.fit.defaults import (
    resolve,
    resolve_solver,
    resolved_parameters,
    training_parameters,
)
from skdidicm.fit.fit import continued, fit, untrained
from skdidicm.fit.label_noise import fit_unknown_noise
from skdidicm.fit.pictures import check_pictures, decoded, labelled, sources_of
from skdidicm.fit.plan import hold_out, rebuilt, weighted_rows, with_class_weights
from skdidicm.fit.pretrained import check_network, is_frozen, trunk_config
from skdidicm.fit.state import Fitted, HeldOut, Seeds
from skdidicm.fit.training import HistoryRow, NonFiniteLossError, Rows
from skdidicm.fit.votes import Votes, most_likely_annotators, noise_of_soft_labels
from skdidicm.metrics import score_probabilities
from skdidicm.pictures import Pictures
from skdidicm.predict.calibration import calibrated, fit_calibrator, is_estimator
from skdidicm.predict.conformal import (
    SCORES,
    nonconformity,
    p_values,
    prediction_sets,
    uniforms,
)
from skdidicm.predict.familiarity import familiarity, features_of
from skdidicm.predict.graph import Answer, example_rows
from skdidicm.predict.label_quality import LabelQuality, quality_of_labels, quality_of_votes
from skdidicm.predict.prediction import initial_law, posterior, posteriors
from skdidicm.predict.temperature import tempered
from skdidicm.predict.threshold import Threshold, choose_threshold
from skdidicm.registry import get_backend, new_trunk, on_cpu
from skdidicm.saving import hub, persistence
from skdidicm.saving.model_file import check_folder
from skdidicm.saving.onnx_file import write_onnx
from skdidicm.saving.run_folder import MODEL

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import ArrayLike, NDArray

    from skdidicm.fit.augmentation import Augmentation
    from skdidicm.predict.additive import Additive
    from skdidicm.predict.beside import Beside
    from skdidicm.predict.trees import Trees

Callback = Callable[["DiDiClassifier", HistoryRow], bool | None]


class DiDiClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classifier that estimates P(class | x) by discrete diffusion over labels.

    A network that sees a row, a noisy label and the noise level learns the ratios of the class
    probabilities under noise. At prediction, a few reverse steps turn noise into the posterior.
    X holds tables (n, d) or images (n, height, width) or (n, height, width, channels), uint8 or
    float.

    Start with the first five parameters: `effort`, `network`, `pretrained`, `random_state` and
    `verbose`. The defaults of the others suit most data. They come in groups: the sampler (`steps`
    to `n_chains`), network and loss (`trunk_learning_rate` to `n_draws`), hardware (`backend` to
    `compile`), training (`max_epochs` to `mixup`), what answers (`choose_epochs` to `calibrator`),
    early stopping, and the run of `fit` (`class_weight` to `warm_start`).

    Parameters
    ----------
    effort : {"fast", "auto", "thorough"}, default="auto"
        What the settings that are "auto" may cost. "fast" trains one network without a trial, for
        a quarter of the epochs on tables and half of them on images. "thorough" runs a trial with
        five folds for any number of rows from 30 on, and all its networks predict.
    network : str or object, default="auto"
        A name that the backend knows ("mlp", "didirn-tiny", "didirn18", "didirn50", ..., or
        "timm/NAME" for a network of timm, "keras/NAME" for a pretrained application of Keras), or a
        module of its framework that maps images to features. "auto" is "mlp" for tables,
        "didirn-tiny" for images under 64 pixels, and for larger ones "didirn-patch" on a CPU, which
        trains it in minutes, else "didirn18".
    pretrained : bool or path-like, default=False
        Whether `network`, "timm/NAME", "keras/NAME" or a module of torch, starts from weights:
        those that belong to the name, which timm or Keras downloads once, those that the module
        has, or those in a file (.safetensors or .pth; .weights.h5 of Keras). It takes pictures in
        the size and standardisation that it was trained with.
    random_state : int or RandomState, optional
        Seed of weights, order of rows, noise and sampler.
    verbose : int, default=0
        1 shows a progress bar on stderr.
    steps : int, default=8
        Reverse steps at prediction. Like all settings of the sampler it can be changed after fit.
    sampler : {"cp", "cl"}, default="cp"
        "cp" propagates class probabilities; "cl" samples `n_chains` chains of class labels and
        returns their frequencies.
    solver : {"auto", "euler", "bridge"}, default="auto"
        The paper's explicit Euler step, or the exact Bayes bridge. "auto" is "bridge" for the
        posterior parameterization and "euler" for scores.
    label_rule : {"argmin", "argmax", "draw"}, default="argmin"
        Which label a step of "cp" conditions on.
    n_chains : int, default=16
        Chains per row of "cl".
    trunk_learning_rate : float, default="auto"
        Factor of the learning rate for the weights of `network`, beside the head on it. 0, which
        is "auto" with `pretrained`, freezes it: every picture is encoded once, and the classifier
        learns on the features. 0.1 fine-tunes it. Without `pretrained`, "auto" is 1.
    frozen_epochs : int, default="auto"
        Epochs before `max_epochs` in which the head learns alone, on features of `network` that
        are computed once. "auto" is about 300 updates if a pretrained network is fine-tuned, so
        that it starts from what the frozen network gives, else 0.
    image_size : int, default="auto"
        Side in pixels to which `fit` brings pictures that it gets as paths, PIL images or a data
        set of torch, in colour; of those that are no square, it takes the centre. "auto" is the
        size of a pretrained network, else the median shorter side, at most 48.
    conditioning : {"auto", "blocks", "last", "head", "none"}, default="auto"
        Where the network takes the noisy label and the noise level: in every block (the paper),
        in the last block, or in a small head. "auto" is "head" for scores of images, for your own
        modules and for networks of timm, else "last". "none" trains an ordinary classifier, for
        comparison.
    parameterization : {"auto", "score", "posterior"}, default="auto"
        Whether the outputs are log scores or logits of the posterior. "auto" is "score" for
        tables of up to 5,000 rows and for fewer than 2,000 images, else "posterior", unless the
        objective decides. On images it is also "posterior" for more than 50 classes, for a
        network that is not built in, and if the conditioning is "blocks" or "last".
    objective : {"auto", "score_entropy", "bayes_cross_entropy", "cross_entropy"}, default="auto"
        Training loss. "bayes_cross_entropy" is the Bayes-corrected cross-entropy and needs the
        posterior parameterization. "cross_entropy" is the loss of ordinary classifiers, that is
        of `conditioning="none"`. "auto" is "score_entropy" where the parameterization
        is "score", else "bayes_cross_entropy", unless the conditioning decides.
    schedule : {"loglinear", "geometric", "cosine"} or Schedule, default="loglinear"
        Noise over time.
    times : {"auto", "uniform", "log_odds"}, default="auto"
        What is uniform in training: the time, as in the paper, or the log odds that the noisy
        label gives its class, which depend on the number of classes; see
        :func:`skdidicm.core.noise_levels`. "auto" is "log_odds" for images of more than 50 classes,
        if the loss is "bayes_cross_entropy" and the network not pretrained, else "uniform".
    rate_matrix : array-like (k, k), optional
        Rates at which noise turns class j into class i, [i, j]; uniform by default.
    n_draws : int, default="auto"
        Noisy labels per row and update. "auto" is 64 for scores of images in a head, 1 for images
        whose "auto" times are "log_odds" and 4 for other images; 16 for tables of up to 5,000 rows
        and 8 for longer ones. For tables of up to 256 rows and 8 classes it is the sum over all
        labels at 8 noise levels. With 8 draws or more, all rows of an update share their noise
        levels.
    backend : str or callable, default="auto"
        Name of an installed backend, or your own `build_network` function.
    device, precision : str, default="auto"
        Where and in which number format the backend computes. Tables of more than 100 rows are
        trained in float32; otherwise the backend chooses.
    compile : bool, default=False
        Whether the backend compiles the network; worthwhile in long trainings on a GPU.
    max_epochs, batch_size : int, default="auto"
        Passes over the data, and rows per update.
    learning_rate, weight_decay : float, default="auto"
        Peak learning rate of AdamW, which warms up, stays and decays along a cosine, and its
        weight decay.
    average : bool, default="auto"
        Whether prediction uses a weighted average of the weights after each epoch; later epochs
        weigh more. The learning rate then stays at its peak for the first half of `max_epochs`;
        otherwise it decays from the start. "auto" averages, except with more than 5,000 images:
        there the trial chooses between the average and the last weights of the same course, and
        nothing is averaged without a trial.
    augment : {"auto", "shift"} or callable or None, default="auto"
        Augmentation of every training batch. "shift" moves images by up to a 14th of their size.
        "auto" is "shift" for images and None for tables. A callable maps
        (rows, numpy.random.Generator) to changed rows.
    mixup : float, default="auto"
        Blends pairs of training rows and their class probabilities, with weights drawn from
        Beta(mixup, mixup); 0 disables it. "auto" is 0 for tables, 0.3 for up to 5,000 images and
        0.1 for more.
    choose_epochs : bool, default="auto"
        Whether fit first runs a trial: it trains on four fifths of the rows for an eighth up to
        all of `max_epochs`, and stops when the NLL of the other fifth no longer improves. With
        fewer than 2,000 rows it uses several such folds. "auto" runs a trial for 30 to 50,000
        rows, unless `max_epochs` is a number. There is no trial with `early_stopping`, nor when
        training continues.
    ensemble : bool, default="auto"
        Whether the networks of the trial also predict: probabilities are then the mean over all
        networks, for images of more than 20 classes the geometric mean, which takes as many times
        as long. "auto" is True for fewer than 2,000 images or 1,000 rows of a table, unless the
        network is your own module or one of timm. It can be changed after fit. Without a trial
        there is one network.
    additive : bool, default="auto"
        Whether an additive model of a table's columns answers beside the networks: the logits of
        the classes are sums of one piecewise linear function for each column. The rows that the
        trial holds out choose its share in the answer. "auto" is True for tables of up to 5,000
        rows that are not wide. It can be switched off after fit. Images, and fits without a trial,
        have none.
    trees : bool, default="auto"
        Whether 100 extremely randomised trees answer beside both, with a share that the same rows
        choose. "auto" is True for the same tables. They can be switched off after fit.
    temperature : float, default="auto"
        Probabilities are raised to the power of 1 / temperature and normalised: values above 1
        make them less confident. "auto" chooses it on the rows that a trial or early stopping
        holds out, else it is 1. For images of more than 20 classes it then depends on the row:
        it is multiplied by the relative entropy of the row, H / log k, to the power of
        `temperature_slope_`. It can be changed after fit.
    calibrator : callable or estimator, optional
        Calibrates the probabilities in place of a temperature. A callable maps probabilities
        (n, k) to calibrated ones. An estimator is fitted on the out-of-fold probabilities and the
        numbers of their true classes, and its `predict_proba` is used.
    early_stopping : bool, default=False
        Stop when the NLL of held-out rows has not improved for `n_iter_no_change` epochs, and
        restore the best weights.
    validation_fraction : float, default=0.1
        Share of the rows that early stopping holds out if `X_val` is not given.
    n_iter_no_change : int, default=10
        Patience of early stopping, in epochs.
    class_weight : dict or "balanced", optional
        Weights of the classes.
    label_noise : float, array-like (k, k) or "auto", optional
        Wrong labels in y: a share of labels that are replaced by each other class with equal
        probability, or the matrix of P(observed class i | true class j) in [i, j]. Predictions
        then are about the true class, and training and all choices on held-out rows account for
        the noise. "auto" estimates the matrix from held-out rows, by up to five fits, and takes
        labels to be right unless held-out labels are clearly likelier with noise.
    categorical_features : "from_dtype" or array-like or None, default="from_dtype"
        Columns of a table that are categories. "from_dtype" finds those of a data frame (pandas or
        polars) that hold categories or text; an array-like has names, places or a bool for every
        column. See the notes on gaps and categories in `fit`.
    callbacks : list of callable, optional
        Called as callback(estimator, history_row) after every epoch; returning True stops
        training. For callbacks of scikit-learn's own protocol (1.9 and later) use
        `set_callbacks`.
    on_interrupt : {"raise", "keep"}, default="raise"
        What Ctrl-C does to `fit`: "raise" restores the estimator as it was and raises
        KeyboardInterrupt; "keep" ends the training with a warning and keeps the network of the
        last epoch, if there is one.
    warm_start : bool, default=False
        Whether fit continues from the last weights.

    Attributes
    ----------
    classes_ : ndarray (k,)
        Class labels, sorted.
    history_ : list of dict
        One row per epoch: epoch, loss, learning_rate, seconds, and with validation rows
        val_accuracy and val_nll.
    n_iter_ : int
        Number of epochs trained.
    max_epochs_ : int
        Bound on the epochs of the last fit: the value of `max_epochs`, or the one that "auto"
        resolved to.
    trial_ : list of dict
        One row per round of the trial: epochs, temperature, and val_nll at that temperature.
        Empty without a trial.
    temperature_ : float
        The temperature of the answer: the one that was given, or that held-out rows chose, else 1.
    temperature_slope_ : float
        The power of a row's relative entropy in its temperature, which held-out rows choose for
        images of more than 20 classes; else 0.
    additive_share_, trees_share_ : float
        Shares of the additive model and of the trees in the answer, which held-out rows chose; 0
        where there are none. The networks have the rest.
    label_noise_ : ndarray (k, k)
        P(observed class i | true class j) through which the networks learnt, among rows that count
        by `class_weight`; the identity without label noise.
    annotators_ : ndarray (annotators, k, k)
        P(annotator says class i | true class j), after `fit_votes`.
    oob_decision_function_ : ndarray (n, k)
        Class probabilities of every training row by the network of the trial that has not seen it,
        and by an additive model and trees that have not either; NaN for rows that were not held
        out. The temperature, or the calibrator, is that of `predict_proba`, which these same rows
        have chosen.
    label_quality_ : LabelQuality
        How trustworthy the training labels are, by `oob_decision_function_`: the `probability`
        (n,) that each is the true class, NaN for rows that were not held out, and the `likelier`
        class (n,), masked there. After `fit_votes` the label is the class that is most likely by
        the votes. `effort="thorough"` holds out every row.
    oob_untempered_ : ndarray (n, k)
        `oob_decision_function_` without temperature or calibrator.
    oob_member_ : ndarray (n,)
        Which of `members_` has not seen the row; -1 for rows that were not held out.
    resolved_params_ : dict
        What the parameters that can be "auto" came to.
    network_ : ScoreNetwork
        The network that was trained on all rows.
    members_ : list of DiDiClassifier
        The networks of the trial's folds, each as an estimator that predicts alone; with `ensemble`
        they predict together with `network_`. Empty without a trial and after further training.
    columns_ : Columns or None
        What the columns of a table were taken for: means, which columns had gaps, and the levels
        of categories. None for images.
    input_shape_ : tuple of int
        Shape of one row of X.
    n_features_in_ : int
        Size of the second axis of X.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = DiDiClassifier(steps=8, random_state=0).fit(X, y)
    >>> classifier.predict(X[:3])
    array([0, 0, 0])
    >>> classifier.predict_proba(X[:3]).shape
    (3, 3)
    """

    _fitted: Fitted
    _columns: Columns | None = None
    n_features_in_: int
    feature_names_in_: NDArray[Any]

    def __init__(
        self,
        steps: int = 8,
        *,
        sampler: str = "cp",
        solver: str = "auto",
        label_rule: str = "argmin",
        n_chains: int = 16,
        network: Any = "auto",
        pretrained: bool | str | PathLike[str] = False,
        trunk_learning_rate: float | str = "auto",
        frozen_epochs: int | str = "auto",
        image_size: int | str = "auto",
        conditioning: str = "auto",
        parameterization: str = "auto",
        objective: str = "auto",
        schedule: str | Schedule = "loglinear",
        times: str = "auto",
        rate_matrix: ArrayLike | None = None,
        n_draws: int | str = "auto",
        backend: str | BuildNetwork = "auto",
        device: str = "auto",
        precision: str = "auto",
        compile: bool = False,  # noqa: A002 - the name that torch users know
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        learning_rate: float | str = "auto",
        weight_decay: float | str = "auto",
        augment: Augmentation | str | None = "auto",
        mixup: float | str = "auto",
        average: bool | str = "auto",
        choose_epochs: bool | str = "auto",
        ensemble: bool | str = "auto",
        additive: bool | str = "auto",
        trees: bool | str = "auto",
        temperature: float | str = "auto",
        calibrator: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        class_weight: dict[Any, float] | str | None = None,
        label_noise: Any = None,
        categorical_features: ArrayLike | None = FROM_DTYPE,
        callbacks: list[Callback] | None = None,
        on_interrupt: str = "raise",
        effort: str = "auto",
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.steps = steps
        self.sampler = sampler
        self.solver = solver
        self.label_rule = label_rule
        self.n_chains = n_chains
        self.network = network
        self.pretrained = pretrained
        self.trunk_learning_rate = trunk_learning_rate
        self.frozen_epochs = frozen_epochs
        self.image_size = image_size
        self.conditioning = conditioning
        self.parameterization = parameterization
        self.objective = objective
        self.schedule = schedule
        self.times = times
        self.rate_matrix = rate_matrix
        self.n_draws = n_draws
        self.backend = backend
        self.device = device
        self.precision = precision
        self.compile = compile
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.augment = augment
        self.mixup = mixup
        self.average = average
        self.choose_epochs = choose_epochs
        self.ensemble = ensemble
        self.additive = additive
        self.trees = trees
        self.temperature = temperature
        self.calibrator = calibrator
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.label_noise = label_noise
        self.categorical_features = categorical_features
        self.callbacks = callbacks
        self.on_interrupt = on_interrupt
        self.effort = effort
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Train on rows and their class labels.

        Parameters
        ----------
        X : array-like (n, d), (n, height, width) or (n, height, width, channels)
            Rows; images have their channels last. Tables may be data frames of pandas or polars
            and may have gaps (NaN, None, NA). Or a list of pictures of any sizes, as paths or
            PIL images, or a data set of torch; see `image_size`.
        y : array-like (n,)
            Class labels: numbers, strings, booleans, dates or durations. Only for a data set of
            torch with items (picture, label) it is left out.
        sample_weight : array-like (n,), optional
            Weights >= 0 of the rows.
        X_val, y_val : array-like, optional
            Rows and labels to validate on after every epoch.

        Returns
        -------
        self

        Raises
        ------
        NonFiniteLossError
            When the loss becomes NaN; the estimator keeps its best weights before that and can
            predict. After any other error it is as it was before, and after Ctrl-C unless
            `on_interrupt="keep"`.

        Notes
        -----
        A gap in a number is replaced by the mean of the column, and if there are gaps in fit, a
        further input tells the network of them. A category becomes one input for each of its levels
        (at most 100 that occur more than once). Levels that `fit` has not seen are treated as one
        level, as are rare ones, and gaps are a level, too. Levels are compared as text: 3, 3.0 and
        "3" are the same. All this is learnt in the first fit, without labels or weights, and stays
        with `partial_fit` and `warm_start`.

        Callbacks see the estimator while it is trained. Predicting in another thread while the same
        estimator is refitted is therefore undefined; fit a clone and replace the estimator by it.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=2, random_state=0)
        >>> classifier.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2]).n_iter_
        2
        >>> sorted(classifier.history_[-1])
        ['epoch', 'learning_rate', 'loss', 'seconds', 'val_accuracy', 'val_nll']
        """
        if y is None:
            X, y = labelled(X)
        labels = check.check_labels(y)
        classes = check.sorted_classes(labels)
        q_0 = np.eye(len(classes))[check.encode_labels(labels, classes)]
        return self._fit(X, q_0, classes, sample_weight, X_val, y_val)

    def fit_soft(
        self,
        X: ArrayLike,
        q_0: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on rows whose labels are class probabilities, such as shares of annotators' votes.

        Parameters
        ----------
        X : array-like
            Rows as for `fit`.
        q_0 : array-like (n, k)
            Class probabilities, rows summing to one.
        classes : array-like (k,), optional
            Sorted names of the columns; default 0 to k - 1.
        sample_weight : array-like (n,), optional
            Weights >= 0 of the rows.

        Returns
        -------
        self

        Examples
        --------
        >>> import numpy as np
        >>> from skdidicm import DiDiClassifier
        >>> X, votes = np.array([[0.0], [1.0], [2.0]]), np.array([[3, 0], [1, 2], [0, 3]])
        >>> classifier = DiDiClassifier(max_epochs=2, random_state=0)
        >>> classifier.fit_soft(X, votes / 3, classes=["cat", "dog"]).classes_
        array(['cat', 'dog'], dtype='<U3')
        """
        target = check.check_soft_labels(q_0)
        names = np.arange(target.shape[1]) if classes is None else check.check_classes(classes)
        if len(names) != target.shape[1] or not np.array_equal(names, check.sorted_classes(names)):
            raise ValueError(
                f"classes has {len(names)} names for {target.shape[1]} columns of q_0; expected "
                "one name for each column, sorted and without repeats."
            )
        if check.is_one_vote(target):
            warnings.warn(
                "all rows of q_0 have the same two values, as if single votes had been smoothed, "
                "and probabilities would be smoothed like them. If labels may be wrong, pass them "
                "to fit with label_noise, or the votes of several annotators to fit_votes.",
                UserWarning,
                stacklevel=2,
            )
        return self._fit(X, target, names, sample_weight, None, None)

    def fit_votes(
        self,
        X: ArrayLike,
        votes: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on the votes of several annotators, who are wrong at unknown rates.

        Parameters
        ----------
        X : array-like
            Rows as for `fit`.
        votes : array-like (n, annotators)
            The label that each annotator gave each row. NaN, None and masked entries are missing;
            rows without any vote are left out.
        classes : array-like, optional
            All classes, sorted; default those that occur.
        sample_weight : array-like (n,), optional
            Weights >= 0 of the rows.

        Returns
        -------
        self
            `annotators_` (annotators, k, k) then has P(annotator says class i | true class j).

        Notes
        -----
        Soft labels are those of Dawid and Skene. Networks learn the true class through the noise
        that these have, `label_noise_`. Answers to rows that networks have not seen then give a
        better estimate of that noise, through which all is fitted again, and of `annotators_`
        (Raykar et al., 2010). If no row has two votes, votes say nothing of each other, and
        training is that of `fit`, with its `label_noise`.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> rng = np.random.default_rng(0)
        >>> wrong = rng.random((150, 3)) < [0.1, 0.2, 0.5]
        >>> votes = np.where(wrong, rng.integers(0, 3, (150, 3)), y[:, None])
        >>> classifier = DiDiClassifier(max_epochs=30, random_state=0).fit_votes(X, votes)
        >>> classifier.annotators_.shape, bool(classifier.score(X, y) > 0.9)
        ((3, 3, 3), True)
        """
        array, given = check.check_votes(votes)
        labels = check.voted_labels(array, given)
        names = check.sorted_classes(labels if classes is None else check.check_classes(classes))
        row, annotator = np.nonzero(given)
        shape = (len(array), array.shape[1], len(names))
        found = Votes(row, annotator, check.encode_labels(labels, names), shape)
        weight = (np.bincount(row, minlength=len(array)) > 0).astype(np.float64)
        if sample_weight is not None:
            weight = weight * check.check_weight(sample_weight, weight)
        going_on = hasattr(self, "_fitted") and self.warm_start
        with self._restored_on_error(going_on=going_on):
            self._fit_to_votes(X, found, names, weight, going_on=going_on)
        return self

    def _fit_to_votes(
        self,
        X: Any,
        found: Votes,
        names: NDArray[Any],
        weight: NDArray[np.float64],
        *,
        going_on: bool,
    ) -> None:
        """Train on votes, and estimate the confusions of the annotators; see `fit_votes`."""
        if not found.overlap:
            target = np.where(found.counts.any(axis=1, keepdims=True), found.counts, 1 / len(names))
            self._fit(X, target, names, weight, None, None)
        elif self.label_noise is not None and not isinstance(self.label_noise, str):
            raise ValueError(
                "label_noise is given, but fit_votes estimates the noise of every annotator; leave "
                "one of them out."
            )
        else:
            target, _ = most_likely_annotators(found)
            counted = with_class_weights(weight, target, names, self.class_weight)
            noise = noise_of_soft_labels(target, counted)
            self._fit(X, target, names, weight, None, None, label_noise=noise)
            held = self._fitted.held_out
            done = going_on or self._fitted.interrupted
            if held is not None and noise is not None and not done:
                truth, _ = self._with_answers(found, held)
                better = noise_of_soft_labels(held.target, held.weight, truth)
                self._fit(X, target, names, weight, None, None, anew=True, label_noise=better)
        held = self._fitted.held_out
        _, self._fitted.annotators = (
            most_likely_annotators(found) if held is None else self._with_answers(found, held)
        )

    def _with_answers(
        self, votes: Votes, held: HeldOut
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the true classes of held-out rows and all confusions, by votes and answers.

        Rows without an answer have the shares of the classes in its place.
        """
        proba = held.spread(self._answer_to(held))
        proba = np.where(np.isnan(proba), held.target.mean(axis=0), proba)
        truth, confusions = most_likely_annotators(votes, proba)
        return truth[held.row], confusions

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch at a constant learning rate, on new rows or the same ones.

        Parameters
        ----------
        X, y : array-like
            Rows and labels as for `fit`.
        classes : array-like (k,), optional
            All classes that will ever occur; required in the first call.
        sample_weight : array-like (n,), optional
            Weights >= 0 of the rows.

        Returns
        -------
        self

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(random_state=0)
        >>> for start in range(0, 150, 50):
        ...     part = slice(start, start + 50)
        ...     classifier = classifier.partial_fit(X[part], y[part], classes=[0, 1, 2])
        >>> classifier.n_iter_
        3
        """
        first = not hasattr(self, "_fitted")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if classes is None:
            names = self.classes_
        else:
            names = check.sorted_classes(check.check_classes(classes))
        if not first and not np.array_equal(names, self.classes_):
            raise ValueError(
                f"classes={names.tolist()} is not the same as on the last call to partial_fit: "
                f"{self.classes_.tolist()}."
            )
        labels = check.check_labels(y)
        q_0 = np.eye(len(names))[check.encode_labels(labels, names)]
        return self._fit(X, q_0, names, sample_weight, None, None, one_epoch=True)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of every row.

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given, or pictures in a form that it takes.

        Returns
        -------
        ndarray (n,)
            Class labels, of the type that `fit` was given.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> names = np.array(["setosa", "versicolor", "virginica"])[y]
        >>> DiDiClassifier(max_epochs=30, random_state=0).fit(X, names).predict(X[:2])
        array(['setosa', 'setosa'], dtype='<U10')
        """
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return P(class | x).

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given, or pictures in a form that it takes.

        Returns
        -------
        ndarray (n, k)
            Positive numbers; rows sum to one, columns are in the order of `classes_`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> p = DiDiClassifier(max_epochs=30, random_state=0).fit(X, y).predict_proba(X[:2])
        >>> p.sum(axis=1).round(6)
        array([1., 1.])
        """
        return self._sample(X)

    def predict_observed_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return P(label | x) for the label that an annotator with `label_noise_` would give.

        Without label noise, this is `predict_proba`.

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given.

        Returns
        -------
        ndarray (n, k)
            Rows sum to one, columns are in the order of `classes_`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=30, label_noise=0.3, random_state=0).fit(X, y)
        >>> float(classifier.predict_observed_proba(X).min().round(2))
        0.15
        """
        return self._observed(self.predict_proba(X))

    def _observed(self, proba: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the law (n, k) of the label that would be given, for that of the true class."""
        channel = self._fitted.channel
        return proba if channel is None else np.asarray(channel.observe(proba))

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return log P(class | x).

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given, or pictures in a form that it takes.

        Returns
        -------
        ndarray (n, k)
            The logarithm of `predict_proba`.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=2, random_state=0).fit(X, y)
        >>> np.allclose(np.exp(classifier.predict_log_proba(X)), classifier.predict_proba(X))
        True
        """
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def predict_path(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the posterior before the first and after every step.

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given, or pictures in a form that it takes.

        Returns
        -------
        ndarray (n, steps + 1, k)
            The first entry is the noise that the sampler starts from; the last is
            `predict_proba`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(steps=4, max_epochs=2, random_state=0).fit(X, y)
        >>> path = classifier.predict_path(X[:2])
        >>> path.shape
        (2, 5, 3)
        >>> path[0, 0].round(3)
        array([0.333, 0.333, 0.333])
        """
        return self._sample(X, path=True)

    def sample_labels(self, X: ArrayLike, n_chains: int | None = None) -> NDArray[np.float64]:
        """Return the fraction of sampled label chains that end in each class.

        This is the "cl" sampler, whatever the parameter `sampler` is.

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given, or pictures in a form that it takes.
        n_chains : int, optional
            Chains per row, >= 1; default the parameter `n_chains`.

        Returns
        -------
        ndarray (n, k)
            Multiples of 1 / n_chains; with an ensemble, their mean over its networks. Other
            models have no chains and no part in it.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=2, random_state=0).fit(X, y)
        >>> shares = classifier.sample_labels(X[:2], n_chains=4)
        >>> (4 * shares).sum(axis=1)
        array([4., 4.])
        """
        chosen = self.n_chains if n_chains is None else n_chains
        check.check_number("n_chains", chosen)
        check.check_sampler_size(self.steps, chosen)
        return self._sample(X, raw=True, sampler="cl", n_chains=chosen)

    def predict_set(
        self, X: ArrayLike, coverage: float = 0.9, *, score: str = "lac", allow_empty: bool = False
    ) -> NDArray[np.bool_]:
        """Return for every row a set of classes that holds the true one with a given probability.

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given, or pictures in a form that it takes.
        coverage : float, default=0.9
            Wanted probability that the set holds the true class.
        score : {"lac", "aps"}, default="lac"
            "lac" makes the smallest sets. "aps" makes larger sets where a row is ambiguous, so that
            coverage varies less between easy and hard rows. It uses a random number for each
            row, which depends on the row and `random_state` only.
        allow_empty : bool, default=False
            Whether sets may be empty. By default, an empty set becomes the best class.

        Returns
        -------
        ndarray (n, k) of bool
            Whether the class of the column is in the row's set.

        Raises
        ------
        ValueError
            If no rows were held out, or the settings of the sampler have changed since fit.

        Notes
        -----
        These are the cross-conformal sets of CV+ over the trial's networks [1]_, without refitting.
        With alpha = 1 - `coverage`, sets hold the true class with a probability of at least
        1 - 2 alpha - 2 / m, for m held-out rows in a fold; in practice it is near 1 - alpha. With
        one fold (2,000 rows and more) or early stopping they are those of split conformal
        prediction, with a probability of at least 1 - alpha.

        The conditions: new rows and training rows are exchangeable, such as independent draws from
        one distribution, and held-out rows are no copies of others. The probability is that over
        rows and training sets, not that for a given row or class. Held-out rows choose
        the number of epochs, one of at most four, which is neglected. Rows count by their weights
        in training; the guarantee is then that for rows drawn in proportion to these.

        Sets come from untempered probabilities of the members alone. So they may leave out the
        class that `predict` returns, though seldom.

        References
        ----------
        .. [1] Romano, Sesia and Candès, "Classification with valid and adaptive coverage", 2020.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=30, choose_epochs=True, random_state=0)
        >>> sets = classifier.fit(X[::2], y[::2]).predict_set(X[1::2], coverage=0.9)
        >>> bool(sets[range(75), y[1::2]].mean() > 0.8)
        True
        """
        held = self._answers_of_held_out("predict_set")
        check.check_choice("score", score, SCORES)
        check.check_share("coverage", coverage)
        x = self._check_rows(X, expected=self.input_shape_)
        proba = posteriors(self._fitted.unseeing, self._encoded(x), self._sampler_plan())
        seed = self._fitted.seeds.sampling
        u = uniforms(x, seed) if score == "aps" else np.zeros(len(x))
        new = nonconformity(proba, score, u[:, None])
        u = np.random.default_rng([seed, 1]).random(len(held.proba))
        row, label = np.nonzero(held.target)  # a soft label counts as several rows
        own = nonconformity(held.proba, score, u)[row, label]
        p = p_values(own, held.weight[row] * held.target[row, label], held.fold[row], new)
        return prediction_sets(p, coverage, None if allow_empty else proba.mean(axis=1))

    def predict_members(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return P(class | x) by each network: that of all rows first, then those of the trial.

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given, or pictures in a form that it takes.

        Returns
        -------
        ndarray (n, 1 + members, k)
            Untempered probabilities. Their mean, with the temperature, is `predict_proba` if all
            networks answer, and neither an additive model nor trees. For images of more than 20
            classes it is the geometric mean. How they disagree is measured by
            :func:`skdidicm.metrics.uncertainty`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=4, choose_epochs=True, random_state=0)
        >>> classifier.fit(X, y).predict_members(X).shape
        (150, 6, 3)
        """
        x = self._new_rows(X)
        networks = [self.network_, *self._fitted.members]
        return posteriors(networks, x, self._sampler_plan())

    def familiarity(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return how like the training rows each row is: a p-value, small for unfamiliar rows.

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given, or pictures in a form that it takes.

        Returns
        -------
        ndarray (n,)
            The share of held-out training rows that are at least as far from the rest as this row.
            Of new rows from the distribution of the training rows, about a share a has
            a value of at most a.

        Notes
        -----
        The distance is that of Mahalanobis from the nearest class, among the features that the
        trial's networks extract. Labels and probabilities have no part in it: a row can be
        familiar and ambiguous, or unfamiliar and classified with confidence. The smallest possible
        value is 1 / (m + 1) for m held-out rows.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=30, choose_epochs=True, random_state=0)
        >>> classifier.fit(X, y).familiarity(1000 * X[:2]).round(3)
        array([0.007, 0.007])
        """
        check_is_fitted(self)
        self._need_held_out("familiarity")
        networks = [n for n in self._fitted.unseeing if isinstance(n, ReturnsFeatures)]
        if not (self._fitted.familiar and networks):
            raise ValueError(
                f"familiarity cannot be used: the backend {self.backend!r} does not return the "
                "features of rows; use torch or keras."
            )
        x = self._encoded(self._check_rows(X, expected=self.input_shape_))
        features = [features_of(network, x) for network in networks]
        return familiarity(self._fitted.familiar, features)

    def choose_threshold(
        self, accuracy: float = 0.95, *, error: float | None = None, level: float = 0.95
    ) -> Threshold:
        """Return the confidence from which on out-of-fold answers are right often enough.

        Parameters
        ----------
        accuracy : float, default=0.95
            Wanted share of right answers among the rows that are answered.
        error : float, optional
            Wanted share of wrong ones, in place of `accuracy`.
        level : float, default=0.95
            Probability with which the accuracy is to be reached, over draws of the training rows.

        Returns
        -------
        Threshold
            `confidence`, the smallest highest probability of a row that is answered; the
            out-of-fold `accuracy` there and its lower `bound`; `n_rows`, the number of
            held-out rows that are answered, and `coverage`, their share. If no
            threshold reaches the accuracy, the confidence is infinite and no row is answered.

        Notes
        -----
        Out-of-fold answers are those of single networks that learnt from four fifths of the rows.
        `predict_proba` is usually a little more accurate, so that the bound is on the safe side.
        It holds for new rows from the distribution of the training rows.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=30, choose_epochs=True, random_state=0)
        >>> found = classifier.fit(X, y).choose_threshold(accuracy=0.9)
        >>> answered = classifier.predict_proba(X).max(axis=1) >= found.confidence
        """
        held = self._answers_of_held_out("choose_threshold")
        wanted = accuracy if error is None else 1 - error
        check.check_share("accuracy" if error is None else "error", wanted)
        check.check_share("level", level)
        proba = self._answer_to(held)
        best = proba.argmax(axis=1)
        right = held.target[np.arange(len(best)), best]
        return choose_threshold(proba.max(axis=1), right, held.weight, wanted, level)

    def label_quality(self, X: ArrayLike, y: ArrayLike) -> LabelQuality:
        """Return how trustworthy given labels are.

        Training rows should be judged by `label_quality_`: networks remember the labels that they
        have learnt.

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given.
        y : array-like (n,)
            Their given labels.

        Returns
        -------
        LabelQuality
            `probability` (n,) that the given label is the true class, and the `likelier` class
            (n,). With label noise, the label is evidence too: it is then the probability given the
            row and its label.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=30, random_state=0).fit(X, y)
        >>> quality = classifier.label_quality(X[:2], [0, 2])
        >>> quality.probability.round() + 0, quality.likelier
        (array([1., 0.]), array([0, 0]))
        """
        proba = self.predict_proba(X)
        labels = check.encode_labels(check.check_labels(y), self.classes_)
        check_consistent_length(proba, labels)
        target = np.eye(len(self.classes_))[labels]
        right, likelier = quality_of_labels(proba, target, self._fitted.channel)
        return LabelQuality(right, self.classes_[likelier])

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted estimator to one file of JSON and safetensors, atomically.

        Parameters
        ----------
        path : path-like
            The file, by convention with the suffix `.skd`; an existing file is replaced.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=2, random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     classifier.save(Path(folder) / "iris.skd")
        ...     again = DiDiClassifier.load(Path(folder) / "iris.skd")
        >>> bool((again.predict_proba(X) == classifier.predict_proba(X)).all())
        True
        """
        persistence.save(self._model, path)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        backend: str | BuildNetwork | None = None,
        device: str = "auto",
        network: Any = None,
    ) -> Self:
        """Return the estimator that `save` wrote; no code in the file is run.

        Parameters
        ----------
        path : path-like
            The file.
        backend : str or callable, optional
            Another backend than the one it was trained on; required if that was your own function.
        device : str, default="auto"
            Where to put the network.
        network : object, optional
            The module that was passed as `network`, if it was your own: its architecture is not in
            the file.

        Returns
        -------
        DiDiClassifier
            It predicts as the saved one did, and training can continue.

        Examples
        --------
        >>> DiDiClassifier.load("no-such-file.skd")
        Traceback (most recent call last):
        ...
        FileNotFoundError: no-such-file.skd is not a file; expected a model that `save` wrote.
        """
        return persistence.load(
            path, cls.__name__, cls._of_model, backend=backend, device=device, network=network
        )

    def export_onnx(self, path: str | PathLike[str]) -> None:
        """Write one ONNX graph from raw rows to class probabilities, and check it.

        The graph does what `predict_proba` does with the present settings: all networks that
        answer, every step of the sampler, additive model and trees of a table, and the temperature.

        Parameters
        ----------
        path : path-like
            The file, by convention with the suffix `.onnx`; an existing file is replaced.

        Raises
        ------
        ValueError
            If something that answers cannot be in a graph, such as categories or a calibrator.
        FileNotFoundError
            If the folder of `path` does not exist.
        ImportError
            If a package is missing that the extra `onnx` installs.
        RuntimeError
            If onnxruntime gives other probabilities than `predict_proba`; nothing is written.

        Notes
        -----
        The input "x" (n, *input_shape) has any number of rows, in the units of `fit`: numbers of a
        table, with NaN for gaps if `fit` had some, or pixels. The output "probabilities" (n, k) has
        its columns in the order of `classes_`, whose names are in the metadata. The export of an
        ensemble takes about a minute.
        """
        check_is_fitted(self)
        self._checked_parameters()
        check_folder(Path(path))  # before the export, which takes long
        network, *others = self._networks
        if not isinstance(network, ExportsAnswer):
            raise ValueError(
                f"the backend {self.backend!r} exports no ONNX; load the saved model with one that "
                "does, such as torch."
            )
        answer, trunk = self._whole_answer(), self._fitted.trunk
        config = network.config
        mean, scale = (config.mean, config.scale) if trunk is None else (trunk.config.white / 2, 1)
        x = example_rows(self.input_shape_, mean, scale, answer, 5)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            expected = self.predict_proba(x)

        def export(file: Path) -> None:
            network.export_answer(others, answer, self.input_shape_, file, trunk)

        write_onnx(Path(path), export, self.classes_, x, expected)

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write the fitted estimator to a folder as on the Hugging Face Hub: model.skd and a card.

        Parameters
        ----------
        folder : path-like
            It is created if necessary. A card, README.md, that is already there stays.

        Examples
        --------
        >>> import tempfile
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=2, random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     classifier.save_pretrained(folder)
        ...     again = DiDiClassifier.from_pretrained(folder)
        >>> again.n_iter_
        2
        """
        self._write_pretrained(Path(folder), str(folder))

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        commit_message: str = "Upload a DiDiClassifier",
    ) -> str:
        """Upload the fitted estimator to the Hugging Face Hub, with a card that describes it.

        Parameters
        ----------
        repo_id : str
            Repository, "user/model"; it is created if necessary. A card that it has stays.
        private : bool, optional
            Whether a new repository is private; default the setting of the account.
        token : str or bool, optional
            Token that may write; default the one that `hf auth login` has stored.
        commit_message : str
            First line of the commit.

        Returns
        -------
        str
            Address of the commit.

        Raises
        ------
        ImportError
            If huggingface_hub is not installed, which the extra `hub` installs.
        OSError
            If the upload fails.
        """
        with tempfile.TemporaryDirectory() as folder:
            self._write_pretrained(Path(folder), repo_id)
            return hub.publish(
                Path(folder), repo_id, private=private, token=token, message=commit_message
            )

    @classmethod
    def from_pretrained(
        cls,
        name: str | PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | PathLike[str] | None = None,
        local_files_only: bool = False,
        backend: str | BuildNetwork | None = None,
        device: str = "auto",
        network: Any = None,
    ) -> Self:
        """Return the estimator of a folder or a repository; no code in the file is run.

        Parameters
        ----------
        name : str or path-like
            Folder that `save_pretrained` wrote, or repository "user/model" of the Hugging Face Hub.
        revision : str, optional
            Branch, tag or commit of the repository.
        token : str or bool, optional
            Token for private repositories.
        cache_dir : path-like, optional
            Where downloads are kept.
        local_files_only : bool, default=False
            Whether to take what was downloaded before, without asking the Hub.
        backend, device, network
            As for `load`.

        Returns
        -------
        DiDiClassifier
            It predicts as the saved one did, and training can continue.

        Raises
        ------
        FileNotFoundError
            If there is no such folder or repository.
        ImportError
            If a repository is asked for without huggingface_hub, which the extra `hub` installs.
        """
        file = hub.find_pretrained(
            Path(name) if Path(name).is_dir() else str(name),
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        return cls.load(file, backend=backend, device=device, network=network)

    @property
    def classes_(self) -> NDArray[Any]:
        """Class labels (k,), sorted."""
        return self._fitted.classes

    @property
    def history_(self) -> list[HistoryRow]:
        """One row per epoch of the last fit."""
        return self._fitted.history

    @property
    def n_iter_(self) -> int:
        """Epochs trained."""
        return self._fitted.n_iter

    @property
    def max_epochs_(self) -> int:
        """Epochs that the last fit could take at most."""
        return self._fitted.max_epochs

    @property
    def trial_(self) -> list[HistoryRow]:
        """One row per round of the trial."""
        return self._fitted.trial

    @property
    def temperature_(self) -> float:
        """The temperature that was given, or that held-out rows chose, else 1."""
        beside = self._beside
        return beside[-1].temperature if beside else self._fitted.temperature

    @property
    def temperature_slope_(self) -> float:
        """The power of a row's relative entropy in its temperature; 0 if it has none."""
        return self._fitted.slope

    @property
    def additive_share_(self) -> float:
        """Share of the additive model in the answer; 0 where there is none."""
        share = 0.0 if self._additive is None else self._additive.share
        return share * (1 - self.trees_share_)

    @property
    def trees_share_(self) -> float:
        """Share of the trees in the answer; 0 where there are none."""
        return 0.0 if self._trees is None else self._trees.share

    @property
    def oob_decision_function_(self) -> NDArray[np.float64]:
        """Out-of-fold probabilities (n, k) of the training rows; NaN where there are none."""
        held = self._held_out
        return held.spread(self._answer_to(held))

    @property
    def oob_untempered_(self) -> NDArray[np.float64]:
        """The same without temperature and calibrator."""
        held = self._held_out
        return held.spread(self._untempered(held))

    @property
    def oob_member_(self) -> NDArray[np.intp]:
        """Which of `members_` has not seen a training row (n,); -1 where there is none."""
        held = self._held_out
        fold = held.spread(held.fold.astype(np.float64))
        return np.where(np.isnan(fold), -1, fold).astype(np.intp)

    @property
    def label_quality_(self) -> LabelQuality:
        """How trustworthy the training labels are, by networks that have not seen the row."""
        held = self._held_out
        proba = self._answer_to(held)
        if ((held.target > 0).sum(axis=1) > 1).any() and self._fitted.annotators is not None:
            # Votes were weighed with the shares of the classes without weights of rows or classes.
            right, likelier = quality_of_votes(proba, held.target, held.target.mean(axis=0))
        else:
            right, likelier = quality_of_labels(proba, held.target, self._fitted.channel)
        own = held.row >= 0  # else they are the user's validation rows
        missing = np.ones(held.n_rows, dtype=bool)
        missing[held.row[own]] = False
        classes = np.zeros(held.n_rows, dtype=np.intp)
        classes[held.row[own]] = likelier[own]
        named = self.classes_[classes]
        if missing.any():
            named = np.ma.masked_array(named, missing)
        return LabelQuality(held.spread(right), named)

    @property
    def resolved_params_(self) -> dict[str, Any]:
        """What the parameters that can be "auto" came to."""
        return resolved_parameters(
            self._fitted,
            backend=self.backend,
            solver=self.solver,
            ensemble=len(self._networks) > 1,
            additive=self._additive is not None,
            trees=self._trees is not None,
            temperature=self._used_temperature,
        )

    @property
    def network_(self) -> ScoreNetwork:
        """The network that was trained on all rows."""
        return self._fitted.network

    @property
    def members_(self) -> list[Self]:
        """The networks of the trial's folds, each as an estimator that predicts alone."""
        return [self._with_network(network) for network in self._fitted.members]

    @property
    def columns_(self) -> Columns | None:
        """What the columns of a table were taken for; None for images."""
        check_is_fitted(self)
        return self._columns

    @property
    def input_shape_(self) -> tuple[int, ...]:
        """Shape of one row of X."""
        return self._shape_in(self._fitted.input_shape)

    def _shape_in(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a row of X, given that of the network's."""
        return shape if self._columns is None else self._columns.fill.shape

    @property
    def class_prior_(self) -> NDArray[np.float64]:
        """Weighted shares (k,) of the classes among the training rows."""
        return self._fitted.class_prior

    @property
    def label_noise_(self) -> NDArray[np.float64]:
        """P(observed class i | true class j), (k, k)."""
        channel = self._fitted.channel
        return np.eye(len(self.classes_)) if channel is None else channel.matrix()

    @property
    def annotators_(self) -> NDArray[np.float64]:
        """P(annotator says class i | true class j), (annotators, k, k), after `fit_votes`."""
        if self._fitted.annotators is None:
            raise AttributeError("annotators_ is known after fit_votes only.")
        return self._fitted.annotators

    @property
    def process_(self) -> Process:
        """The process that diffuses labels."""
        return self._fitted.process

    @property
    def schedule_(self) -> Schedule:
        """Noise over time."""
        return self._fitted.schedule

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        return tags

    def _repr_html_inner(self) -> str:
        return str(super()._repr_html_inner()) + self._facts_html()

    def _repr_mimebundle_(self, **settings: Any) -> dict[str, str]:
        bundle: dict[str, str] = super()._repr_mimebundle_(**settings)
        if "text/html" in bundle:
            bundle["text/html"] += self._facts_html()
        return bundle

    def _facts_html(self) -> str:
        from skdidicm.report import notebook

        return notebook.table(self._facts().items()) if self.__sklearn_is_fitted__() else ""

    def _facts(self) -> dict[str, str]:
        """Return what notebooks and reports show of the fit."""
        from skdidicm.report import notebook

        numbers = self._used_temperature, self._used_slope
        return notebook.facts(self._fitted, *numbers, len(self._networks))

    def _whole_answer(self) -> Answer:
        """Return `predict_proba` as a function of rows, or raise ValueError if it is none."""
        if self._calibrator is not None:
            raise ValueError(
                f"the calibrator {self.calibrator!r} cannot be in an ONNX graph; set "
                "calibrator=None, or calibrate the exported probabilities with it."
            )
        columns = self._columns
        if columns is not None and columns.categories:
            raise ValueError(
                f"the columns {list(columns.categories)} are categories, which ONNX does not take; "
                "fit on numbers instead, such as those of scikit-learn's OneHotEncoder."
            )
        beside: list[tuple[Any, float]] = []
        if self._additive is not None:
            beside.append((self._additive, self._additive.share))
        if self._trees is not None:
            beside.append((self._trees.unrolled, self._trees.share))
        return Answer(
            self._sampler_plan(),
            float(self._used_temperature),
            beside,
            None if columns is None else columns.fill,
            () if columns is None else columns.gaps,
            self._used_slope,
            self._fitted.geometric,
        )

    def _write_pretrained(self, folder: Path, name: str) -> None:
        """Write the model, and a card that says how to load it by that name unless there is one."""
        from skdidicm.report.card import model_card

        model = self._model
        folder.mkdir(parents=True, exist_ok=True)
        persistence.save(model, folder / MODEL)
        if not (folder / hub.CARD).exists():
            held, scores, n = self._fitted.held_out, None, 0
            if held is not None:
                proba, n = self._observed(self._answer_to(held)), len(held.proba)
                scores = score_probabilities(held.target.argmax(axis=1), proba)
            noisy = self._fitted.channel is not None
            card = model_card(name, self.input_shape_, self._facts(), scores, n, noisy=noisy)
            (folder / hub.CARD).write_text(card, encoding="utf-8")

    def _checked_parameters(self, **changes: Any) -> dict[str, Any]:
        """Return the parameters with changes, or raise ValueError if one is out of range."""
        # get_params reads the signature every time, which takes longer than small networks do.
        parameters = {
            name: getattr(self, name) for name in _parameter_names(type(self).__init__)
        } | changes
        check.check_settings(parameters)
        return parameters

    @property
    def _networks(self) -> list[ScoreNetwork]:
        """The networks whose mean is the prediction."""
        given = self.ensemble
        answer = self._fitted.members_answer if isinstance(given, str) else given
        return [self.network_, *(self._fitted.members if answer else ())]

    @property
    def _additive(self) -> Additive | None:
        """The additive model, if it is not switched off."""
        given = self.additive
        return self._fitted.additive if isinstance(given, str) or given else None

    @property
    def _trees(self) -> Trees | None:
        """The trees, if they are not switched off."""
        given = self.trees
        return self._fitted.trees if isinstance(given, str) or given else None

    @property
    def _beside(self) -> list[Beside]:
        """The models that answer beside the networks, in the order in which they join."""
        return [model for model in (self._additive, self._trees) if model is not None]

    def _untempered(self, held: HeldOut) -> NDArray[np.float64]:
        """Return what networks, additive model and trees say of the held-out rows, untempered."""
        return held.answer(self._additive, self._trees)

    def _answer_to(self, held: HeldOut) -> NDArray[np.float64]:
        """Return what `predict_proba` would say of the held-out rows."""
        return self._calibrated(self._untempered(held))

    def _with_network(self, network: ScoreNetwork) -> Self:
        """Return an estimator that predicts with this network alone."""
        single = copy(self)
        single._fitted = replace(
            self._fitted, network=network, members=[], held_out=None, additive=None, trees=None
        )
        return single

    @property
    def _used_temperature(self) -> float:
        if self._calibrator is not None:
            return 1.0
        return self.temperature_ if isinstance(self.temperature, str) else self.temperature

    @property
    def _used_slope(self) -> float:
        chosen = self._calibrator is None and isinstance(self.temperature, str)
        return self._fitted.slope if chosen else 0.0

    @property
    def _calibrator(self) -> Any:
        """What calibrates in place of a temperature; None after calibrator=None was set."""
        return None if self.calibrator is None else self._fitted.calibrator

    def _calibrated(self, proba: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return untempered probabilities (..., k) as `predict_proba` gives them."""
        if self._calibrator is not None:
            return calibrated(self._calibrator, proba)
        return tempered(proba, self._used_temperature, self._used_slope)

    @property
    def _held_out(self) -> HeldOut:
        """What networks say of rows that they have not seen."""
        if self._fitted.held_out is None:
            raise AttributeError(self._why_none_is_held_out)
        return self._fitted.held_out

    @property
    def _why_none_is_held_out(self) -> str:
        if self._fitted.trial:
            why = (
                "training went on with partial_fit or warm_start after the trial, or an earlier "
                "version saved the model"
            )
        else:
            why = "there was neither a trial (choose_epochs) nor early stopping"
        return (
            f"no rows are held out from a network, since {why}; call fit with choose_epochs=True "
            "or early_stopping=True."
        )

    def _need_held_out(self, method: str) -> HeldOut:
        """Return what networks say of unseen rows, or raise ValueError if there are none."""
        if self._fitted.held_out is None:
            raise ValueError(f"{method} cannot be used: {self._why_none_is_held_out}")
        return self._fitted.held_out

    def _answers_of_held_out(self, method: str) -> HeldOut:
        """Return what `method` needs, or raise ValueError if the sampler has changed since."""
        check_is_fitted(self)
        self._checked_parameters()
        held = self._need_held_out(method)
        now = self._sampler_settings()
        changed = [f"{k} from {v!r} to {now[k]!r}" for k, v in held.sampler.items() if now[k] != v]
        if changed:
            raise ValueError(
                f"{method} compares with answers of the fit, but since then {', '.join(changed)} "
                "has changed; set it back, or fit again."
            )
        return held

    @property
    def _model(self) -> persistence.Model:
        """The content of a file for the fitted estimator."""
        check_is_fitted(self)
        return persistence.Model(
            estimator=type(self).__name__,
            parameters=self._checked_parameters(),  # a file with others could not be loaded
            feature_names=[str(name) for name in getattr(self, "feature_names_in_", ())],
            columns=self._columns,
            fitted=self._fitted,
        )

    @classmethod
    def _of_model(cls, model: persistence.Model) -> Self:
        """Return the fitted estimator that a file or a checkpoint holds."""
        classifier = cls(**model.parameters)
        classifier._checked_parameters()
        classifier._fitted, classifier._columns = model.fitted, model.columns
        classifier.n_features_in_ = classifier.input_shape_[0]
        if model.feature_names:
            classifier.feature_names_in_ = np.array(model.feature_names, dtype=object)
        return classifier

    def _new_rows(self, X: Any) -> Any:
        """Return what the networks take of checked rows, if there is a fit."""
        check_is_fitted(self)
        self._checked_parameters()
        return self._encoded(self._check_rows(X, expected=self.input_shape_))

    def _encoded(self, x: Any) -> Any:
        """Return what the networks take of checked rows: features if there is a frozen trunk."""
        trunk = self._fitted.trunk
        return x if trunk is None else features_of(trunk, x)

    def _check_rows(self, X: Any, *, expected: tuple[int, ...] | None) -> Any:
        """Return X as table rows (n, d) of floats or images (n, h, w[, c]) of their own type.

        Files and the like become `Pictures`, which are decoded when they are indexed.

        Rows have the `expected` shape; None begins a fit, which takes any. Raises ValueError for
        other shapes, infinity, and NaN in images. Tables are as the network receives them.
        """
        sources = sources_of(X)
        if sources is not None:
            pictures = check_pictures(sources, self.get_params(deep=False), expected)
            validate_data(self, np.zeros((1, pictures.size)), reset=expected is None)
            self._columns = None
            return pictures
        X = check.as_rows(X)
        reset = expected is None
        if expected is not None:
            check.check_row_shape(tuple(X.shape[1:]), expected, type(self).__name__)
        if len(X.shape) < 3:
            x = self._check_table(X, reset=reset)
        else:
            x = validate_data(self, X, reset=reset, dtype="numeric", allow_nd=True)
        if reset:
            check.check_row_size(x)
            if len(X.shape) > 2:
                check.check_images(x)
                self._columns = None
        return x.astype(x.dtype.newbyteorder("="), copy=False)

    def _check_table(self, X: Any, *, reset: bool) -> NDArray[np.floating]:
        """Return the rows of a table without gaps and categories; learn its columns on `reset`."""
        table = len(X.shape) == 2  # else it is refused below
        categories: Iterable[int] = ()
        if table:
            check_names(X)
            categories = find_categories(X, self.categorical_features) if reset else ()
        if not reset and self._columns:
            categories = self._columns.categories
        finite = "allow-nan" if reset or self._columns else True
        checks = {"dtype": [np.float64, np.float32], "ensure_all_finite": finite}
        values = None
        if table and needs_reading(X, categories):
            validate_data(self, X, reset=reset, skip_check_array=True)  # names of the columns
            values = read_values(X, categories, in_fit=reset)
        try:
            if values is None:
                values = Values(validate_data(self, X, reset=reset, **checks))
            else:
                numbers = check_array(values.numbers, **checks, estimator=self, input_name="X")
                values = replace(values, numbers=numbers)
        except ValueError as error:
            better = column_error(X, in_fit=reset)
            if better is None:
                raise
            raise better from error
        if reset:
            self._columns = learn_columns(values)
            if isinstance(self.categorical_features, str):
                for doubt in doubts(X, values, self._columns):
                    warnings.warn(doubt, UserWarning, stacklevel=2)
        return values.numbers if self._columns is None else encode(values, self._columns)

    def _fit(
        self, *arguments: Any, one_epoch: bool = False, anew: bool = False, **changes: Any
    ) -> Self:
        """Fit with changed parameters; after an error, restore the previous state.

        With `anew`, training does not go on from an earlier fit whatever `warm_start` is.
        """
        going_on = hasattr(self, "_fitted") and (one_epoch or self.warm_start) and not anew
        with self._restored_on_error(going_on=going_on):
            self._learn(*arguments, changes=changes, one_epoch=one_epoch, going_on=going_on)
        return self

    @contextmanager
    def _restored_on_error(self, *, going_on: bool) -> Iterator[None]:
        """Restore the estimator if its fit fails, unless the loss is not finite.

        With `going_on` the fit may change the weights of the network in place.
        """
        before = dict(vars(self))
        weights = self.network_.state() if going_on else None
        try:
            yield
        except NonFiniteLossError:  # the estimator keeps its best weights
            raise
        except BaseException:
            trained = self.__dict__.get("_fitted") is not before.get("_fitted")
            self.__dict__.clear()
            self.__dict__.update(before)
            if weights is not None and trained:
                self.network_.load_state(weights)
                # A new network has none of what the optimiser has gathered since.
                self._fitted.network = rebuilt(self.network_, self.backend)
            raise

    @with_callbacks
    def _learn(
        self,
        X: Any,
        q_0: NDArray[np.float64],
        classes: NDArray[Any],
        sample_weight: ArrayLike | None,
        X_val: Any,
        y_val: Any,
        *,
        changes: dict[str, Any],
        one_epoch: bool,
        going_on: bool,
    ) -> None:
        parameters = self._checked_parameters(**changes)
        earlier = self._fitted if going_on else None
        seeds = earlier.seeds if earlier else Seeds.draw(self.random_state)
        given = self._check_rows(X, expected=self.input_shape_ if earlier else None)
        backend = get_backend(self.backend)
        if earlier:
            check_network(parameters, earlier)
            trunk, pretrained = earlier.trunk, earlier.network.config.trunk
        else:
            trunk, pretrained = None, trunk_config(parameters, given)
            if pretrained is not None and is_frozen(parameters):
                trunk, pretrained = new_trunk(backend, pretrained), None
        if trunk is None and isinstance(given, Pictures):
            given = decoded(given)
        x = given if trunk is None else features_of(trunk, given)
        all_rows, place = weighted_rows(x, q_0, classes, sample_weight, self.class_weight)
        if earlier and not np.array_equal(classes, earlier.classes):
            raise ValueError(
                f"y has classes {classes.tolist()}, but with warm_start=True they must stay "
                f"those of the first fit: {earlier.classes.tolist()}."
            )
        held = self._validation_rows(X_val, y_val, given, classes, trunk)
        rows, shown = all_rows, place
        held_place = place if held is None else np.full(len(held.x), -1)
        if held is None and self.early_stopping and not one_epoch:
            learnt, validated = hold_out(all_rows, self.validation_fraction, seeds.split)
            rows, held = all_rows.take(learnt), all_rows.take(validated)
            held_place, shown = place[validated], place[learnt]
        cpu = on_cpu(backend, self.device)
        settings = resolve(parameters, x.shape[1:], len(rows.x), len(classes), on_cpu=cpu)
        # Looked up once: that reads the metadata of every installed package.
        settings = replace(settings, backend=backend, trunk=pretrained)
        noise = settings.label_noise
        if noise is not None and self.class_weight is not None and not changes:
            given_weight = check.check_weight(sample_weight, x)
            of_class = check.class_weights(self.class_weight, classes, q_0, given_weight)
            noise = reweighted(noise, of_class)
        if earlier and not (changes or settings.unknown_noise or self.class_weight == "balanced"):
            check.check_same_noise(noise, earlier.channel)
        process = check.make_process(self.rate_matrix, len(classes))
        schedule = check.make_schedule(self.schedule)
        labels = classes[rows.target.argmax(axis=1)]
        seen: Any = rows.x  # callbacks may predict them
        if trunk is not None:
            seen = given.take(shown) if isinstance(given, Pictures) else given[shown]
        elif self._columns is not None and not self._columns.plain:
            seen = _safe_indexing(check.as_rows(X), shown)
        observer = FitTask(self, self.callbacks or (), seen, labels)

        def train(channel: Channel | None) -> Fitted:
            chosen = replace(settings, label_noise=channel)
            self._fitted = (
                continued(earlier, counting=one_epoch)
                if earlier
                else untrained(chosen, all_rows, classes, process, schedule, seeds, trunk)
            )
            self._fitted.training = training_parameters(settings, len(classes))
            fit(
                self._fitted,
                rows,
                held,
                chosen,
                self._answer,
                observer,
                going_on=going_on,
                one_epoch=one_epoch,
            )
            return self._fitted

        if settings.unknown_noise and not earlier:
            self._fitted = fit_unknown_noise(train)
        else:
            train(noise)
        if self._fitted.held_out:
            of_rows = held_place if self.early_stopping else place  # else those of a trial
            self._fitted.held_out = self._fitted.held_out.among(
                of_rows, len(x), self._sampler_settings()
            )
        self._fit_calibrator()

    def _fit_calibrator(self) -> None:
        """Fit the calibrator on held-out rows; training on keeps the earlier one."""
        if self.calibrator is None or not is_estimator(self.calibrator):
            self._fitted.calibrator = self.calibrator
        elif self._fitted.held_out is not None:
            held = self._fitted.held_out
            self._fitted.calibrator = fit_calibrator(
                self.calibrator, self._untempered(held), held.target, held.weight
            )
        elif self._fitted.calibrator is None:
            raise ValueError(f"the calibrator cannot be fitted: {self._why_none_is_held_out}")

    def _validation_rows(
        self,
        X_val: Any,
        y_val: Any,
        given: Any,
        classes: NDArray[Any],
        trunk: Trunk | None,
    ) -> Rows | None:
        """Return the rows that the user gave to validate on, checked and encoded."""
        if (X_val is None) != (y_val is None):
            raise ValueError("one of X_val and y_val is missing; pass both or neither.")
        if X_val is None:
            return None
        x = self._check_rows(X_val, expected=self._shape_in(given.shape[1:]))
        if isinstance(x, np.ndarray) and isinstance(given, np.ndarray):  # else pictures in files
            check.warn_of_other_units(x, given, self._input_columns())
        labels = check.encode_labels(check.check_labels(y_val), classes)
        check_consistent_length(x, labels)
        x = np.asarray(x) if trunk is None else features_of(trunk, x)
        return Rows(x, np.eye(len(classes))[labels], np.ones(len(x)))

    def _input_columns(self) -> list[object] | None:
        """Return the name, or else the place, of the column of every input; None for images."""
        names = getattr(self, "feature_names_in_", None)
        if self._columns is None:
            return None
        return [i if names is None else str(names[i]) for i in self._columns.sources]

    def _answer(self, network: ScoreNetwork, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probabilities of one network for checked rows, without temperature."""
        return posterior([network], x, self._sampler_plan())

    def _sample(
        self, X: Any, *, path: bool = False, raw: bool = False, **changes: Any
    ) -> NDArray[np.float64]:
        x = self._new_rows(X)
        plan = self._sampler_plan(**changes)
        p = posterior(
            self._networks,
            x,
            plan,
            self._used_temperature,
            self._used_slope,
            geometric=self._fitted.geometric,
            beside=self._beside,
            path=path,
            raw=raw,
        )
        return p if raw or self._calibrator is None else self._calibrated(p)

    def _sampler_settings(self) -> dict[str, Any]:
        """Return the settings of the sampler, which may change after a fit."""
        return {
            "sampler": self.sampler,
            "solver": resolve_solver(self.solver, self.network_.config.parameterization),
            "steps": int(self.steps),  # a small integer of NumPy would overflow
            "label_rule": self.label_rule,
            "n_chains": int(self.n_chains),
        }

    def _sampler_plan(self, **changes: Any) -> SamplerPlan:
        """Return how to sample."""
        prior, channel = self.class_prior_, self._fitted.channel
        if channel is not None and self.network_.config.parameterization == "posterior":
            prior, channel = channel.recover(prior), None  # it describes the true class already
        return SamplerPlan(
            process=self.process_,
            schedule=self.schedule_,
            p_init=initial_law(self.process_, self.schedule_, prior),
            channel=channel,
            seed=self._fitted.seeds.sampling,
            **(self._sampler_settings() | changes),
        )


@cache
def _parameter_names(initialise: Callable[..., None]) -> tuple[str, ...]:
    return tuple(signature(initialise).parameters)[1:]
