import math

import pytest

from skdidicm.core.losses import OBJECTIVES, PARAMETERIZATIONS
from skdidicm.core.noise_levels import TIMES
from skdidicm.imagenet.config import FREE, SETTINGS, RunConfig, changes
from skdidicm.imagenet.recipes import RECIPES, resolve
from skdidicm.networks import CONDITIONINGS

# Written out from the paper's table of recipes.
BOTH = {
    "optimizer": "lamb",
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "epochs": 600,
    "warmup_epochs": 5,
    "warmup_learning_rate": 1e-5,
    "min_crop": 0.08,
    "color_jitter": 0.4,
    "crop": 0.875,
    "schedule": "loglinear",
    "eps_t": 1e-5,
    "sampler": "cp",
    "steps": 8,
    "model": "didirn50",
    "conditioning": "blocks",
    "resolution": 224,
}
PAPER = {
    "weak": {
        "batch_size": 128,
        "global_batch": 1024,
        "auto_augment": "",
        "mixup": 0,
        "cutmix": 0,
        "label_smoothing": 0,
        "repeats": 1,
    },
    "strong": {
        "batch_size": 256,
        "global_batch": 2048,
        "auto_augment": "rand-m7-mstd0.5-inc1",
        "mixup": 0.2,
        "cutmix": 1.0,
        "label_smoothing": 0.1,
        "repeats": 3,
    },
}


@pytest.mark.parametrize("recipe", PAPER)
def test_recipes_are_those_of_the_paper(recipe):
    settings = resolve({"recipe": recipe}).config.plain()
    expected = BOTH | PAPER[recipe]
    assert {name: settings[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("recipe", "ratio", "rate"),
    [
        ("weak", 1.0, 0.002),
        ("weak", 0.5, 0.0028284271247461903),
        ("weak", 0.25, 0.004),
        ("strong", 1.0, 0.0035),
        ("strong", 0.25, 0.0035),
        ("fast", 0.25, 0.002),
    ],
)
def test_the_weak_recipe_learns_faster_from_fewer_images(recipe, ratio, rate):
    config, origins = resolve({"recipe": recipe, "data_ratio": ratio})
    assert config.learning_rate == pytest.approx(rate, rel=1e-15)
    assert origins["learning_rate"] == "derived"


def test_flags_come_before_the_file_that_before_the_recipe_and_that_before_defaults(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('recipe = "strong"\nmixup = 0.5\nepochs = 90\nlearning-rate = 1\n')
    config, origins = resolve({"epochs": 30, "mixup": 0.7}, file)
    found = {
        name: (getattr(config, name), origins[name])
        for name in ("epochs", "mixup", "recipe", "learning_rate", "cutmix", "keep")
    }
    assert found == {
        "epochs": (30, "--epochs"),
        "mixup": (0.7, "--mixup"),
        "recipe": ("strong", str(file)),
        "learning_rate": (1.0, str(file)),
        "cutmix": (1.0, "recipe strong"),
        "keep": (3, "default"),
    }
    assert isinstance(config.learning_rate, float)
    assert set(origins) == set(SETTINGS)


def test_a_recipe_on_the_command_line_replaces_all_of_that_in_the_file(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('recipe = "strong"\n')
    config, origins = resolve({"recipe": "weak"}, file)
    assert (config.repeats, config.global_batch) == (1, 1024)
    assert origins["recipe"] == "--recipe"


def test_a_recipe_sets_settings_that_exist_to_values_other_than_the_default():
    for recipe in RECIPES.values():
        assert set(recipe) <= set(SETTINGS)
    weak = {name: getattr(RunConfig(), name) for name in RECIPES["weak"]}
    assert weak == RECIPES["weak"]


@pytest.mark.parametrize(
    ("model", "objective", "conditioning"),
    [
        ("didirn50", "score-entropy", "blocks"),
        ("didirn-tiny", "score-entropy", "blocks"),
        ("resnet18", "score-entropy", "head"),
        ("didirn50", "cross-entropy", "none"),
        ("resnet18", "cross-entropy", "none"),
    ],
)
def test_conditioning_follows_from_network_and_objective(model, objective, conditioning):
    config, origins = resolve({"model": model, "objective": objective})
    assert (config.conditioning, origins["conditioning"]) == (conditioning, "derived")


def test_the_fast_recipe_has_another_form_in_the_last_block_or_on_the_features():
    for model, conditioning in (("didirn18", "last"), ("resnet18", "head")):
        config = resolve({"recipe": "fast", "model": model}).config
        assert (config.conditioning, config.parameterization) == (conditioning, "posterior")
    paper = resolve({"recipe": "fast", "objective": "score_entropy"}).config
    assert (paper.parameterization, paper.solver, paper.times) == ("score", "euler", "log_odds")


@pytest.mark.parametrize(
    ("flags", "parameterization", "solver"),
    [
        ({}, "score", "euler"),
        ({"parameterization": "posterior"}, "posterior", "bridge"),
        ({"objective": "bayes_cross_entropy"}, "posterior", "bridge"),
        ({"objective": "bayes_cross_entropy", "solver": "euler"}, "posterior", "euler"),
        ({"objective": "cross_entropy"}, "posterior", "bridge"),
    ],
)
def test_parameterization_and_solver_follow_from_the_objective(flags, parameterization, solver):
    config, origins = resolve(flags)
    assert (config.parameterization, config.solver) == (parameterization, solver)
    assert origins["solver"] == ("--solver" if "solver" in flags else "derived")


def test_choices_are_those_of_the_core_and_of_the_networks():
    for name, choices in {
        "objective": OBJECTIVES,
        "parameterization": PARAMETERIZATIONS,
        "times": TIMES,
        "conditioning": CONDITIONINGS,
    }.items():
        expected = " or ".join(choices)
        with pytest.raises(ValueError, match=f"^--{name} is 'x'; expected {expected}.$"):
            resolve({name: "x"})


def test_settings_of_earlier_versions_are_the_papers_form_or_the_baseline():
    for objective, conditioning in (("score-entropy", "blocks"), ("cross-entropy", "none")):
        now = resolve({"data": "x", "objective": objective, "solver": "euler"}).config
        saved = now.plain() | {"objective": objective}
        del saved["parameterization"], saved["times"]
        read = RunConfig.parse(saved)
        assert read == now
        assert (read.objective, read.conditioning) == (objective.replace("-", "_"), conditioning)
        assert changes(now, saved) == ""
        other = resolve({"data": "x", "objective": "bayes_cross_entropy", "times": "log_odds"})
        listed = changes(other.config, saved)
        assert f"objective '{read.objective}' -> 'bayes_cross_entropy'" in listed
        assert "times 'uniform' -> 'log_odds'" in listed


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            {"objective": "mse"},
            "--objective is 'mse'; expected score_entropy or bayes_cross_entropy",
        ),
        ({"on_bad_image": "ask"}, "--on-bad-image is 'ask'; expected error or skip."),
        ({"recipe": "huge"}, "--recipe is 'huge'; expected weak or strong or fast."),
        ({"sampler": "xx"}, "--sampler is 'xx'; expected cp or cl."),
        ({"solver": "xx"}, "--solver is 'xx'; expected euler or bridge."),
        ({"schedule": "x"}, "--schedule is 'x'; expected loglinear or geometric or cosine."),
        ({"resolution": 4}, "--resolution is 4; expected 8 to 4096."),
        ({"n_classes": 1}, "--n-classes is 1; expected 2 to 1000000."),
        ({"workers": -1}, "--workers is -1; expected 0 to 1024."),
        ({"epochs": 0}, "--epochs is 0; expected 1 to 1000000."),
        ({"max_grad_norm": -1.0}, "--max-grad-norm is -1.0; expected 0 or more."),
        ({"label_smoothing": 1.0}, "--label-smoothing is 1.0; expected 0 to 0.99."),
        ({"learning_rate": math.nan}, "--learning-rate is nan; expected 0 to 10."),
        ({"warmup_learning_rate": -1.0}, "--warmup-learning-rate is -1.0; expected 0 to 10."),
        ({"color_jitter": -0.1}, "--color-jitter is -0.1; expected 0 to 10."),
        ({"ema": 1.5}, "--ema is 1.5; expected 0 to 1."),
        ({"keep": 0}, "--keep is 0; expected 1 to 10000."),
        ({"data_ratio": 0.0}, "--data-ratio is 0.0; expected a share in (0, 1]."),
        ({"data_ratio": 1.1}, "--data-ratio is 1.1; expected a share in (0, 1]."),
        ({"mixup": 0.2, "batch_size": 3}, "--batch-size is 3; mixup and cutmix pair images"),
        (
            {"objective": "cross-entropy", "conditioning": "head"},
            "--conditioning is 'head' with --objective cross_entropy",
        ),
        (
            {"objective": "bayes_cross_entropy", "parameterization": "score"},
            "--parameterization is 'score' with --objective bayes_cross_entropy",
        ),
        ({"conditioning": "none"}, "--conditioning is 'none' with --objective score_entropy"),
    ],
)
def test_a_bad_value_ends_with_a_sentence_that_names_it(flags, words):
    with pytest.raises(ValueError, match="expected|baseline") as raised:
        resolve(flags)
    assert str(raised.value).startswith(words)
    assert str(raised.value).endswith(".")


@pytest.mark.parametrize("name", ["max_grad_norm", "checkpoint_minutes"])
def test_no_setting_can_be_infinite_since_json_has_no_such_number(name):
    with pytest.raises(ValueError, match="is inf; expected"):
        resolve({name: math.inf})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs = [", "is not valid TOML"),
        ("epoch = 3", "sets 'epoch', which is not a setting; expected some of: data, reader"),
        ("epochs = 3.5", "sets epochs to 3.5; expected a value of type"),
        ("epochs = true", "sets epochs to True; expected a value of type"),
        ("ema = true", "sets ema to True; expected a value of type"),
        ("tensorboard = 1", "sets tensorboard to 1; expected a value of type"),
        ("[data]\nfolder = 'x'", "sets data to {'folder': 'x'}; expected a value of type"),
    ],
)
def test_a_bad_file_of_settings_ends_with_a_sentence_that_names_it(tmp_path, text, words):
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"run\.toml") as raised:
        resolve({}, file)
    assert words in str(raised.value)


def test_every_setting_has_a_flag_with_help_and_a_panel():
    for setting in SETTINGS.values():
        assert setting.metadata["help"].endswith(".")
        assert setting.metadata["panel"]
    assert set(SETTINGS) >= FREE
