"""The types in a fitted estimator, for skops, which loads only those that it is told to trust."""

SKOPS_TRUSTED = [
    "skdidicm.backend.NetworkConfig",
    "skdidicm.backend.Preparation",
    "skdidicm.backend.TrunkConfig",
    "skdidicm.classifier.DiDiClassifier",
    "skdidicm.core.channel.ConfusionNoise",
    "skdidicm.core.channel.SymmetricNoise",
    "skdidicm.core.process.UniformProcess",
    "skdidicm.core.rate_process.RateProcess",
    "skdidicm.core.schedules.Cosine",
    "skdidicm.core.schedules.Geometric",
    "skdidicm.core.schedules.LogLinear",
    "skdidicm.fit.columns.Category",
    "skdidicm.fit.columns.Columns",
    "skdidicm.fit.state.Fitted",
    "skdidicm.fit.state.HeldOut",
    "skdidicm.fit.state.Seeds",
    "skdidicm.predict.additive.Additive",
    "skdidicm.predict.additive.Shape",
    "skdidicm.predict.familiarity.Familiar",
    "skdidicm.predict.trees.Trees",
    "skdidicm_keras.backend.KerasNetwork",
    "skdidicm_keras.trunk.KerasTrunk",
    "skdidicm_torch.backend.TorchNetwork",
    "skdidicm_torch.trunk.TorchTrunk",
]
"""Types of the library that a `DiDiClassifier` with a built-in network or one of timm holds.

None of them runs code from a file: they hold values, or build a network by its name and set its
weights. They are for `skops.io.load(file, trusted=SKOPS_TRUSTED)`, and for mlflow's
`skops_trusted_types`.
"""
