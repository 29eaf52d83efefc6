"""Stable names of the classes that a model file may contain.

A file names a class by a key of `CLASSES` instead of its module, so the file stays
readable after a module is renamed. When a class moves, only its place, the value,
changes. A name is never reused for another class.
"""

from __future__ import annotations

import importlib
import sys

__all__ = [
    "CLASSES",
    "ENCODERS",
    "MOVED",
    "RETIRED",
    "RETIRED_PARAMETERS",
    "STATELESS",
    "class_name",
    "find_class",
]

# Classes of packages whose public names are stable.
_PUBLIC = {
    "clapstack.agreement": ("CrossAgreement",),
    "clapstack.calibration": ("IncreasingMap",),
    "clapstack.features": (
        "AudioMaeFeatures",
        "BeatsFeatures",
        "CtcFeatures",
        "EatFeatures",
        "EventFeatures",
        "LaionClapPairFeatures",
        "M2dClapPairFeatures",
        "MgaClapPairFeatures",
        "MsClapPairFeatures",
        "PairFeatures",
        "PeAudioPairFeatures",
        "PrecomputedPairFeatures",
        "SentenceTransformerPairFeatures",
        "WavLmFeatures",
        "WhisperFeatures",
    ),
    "clapstack.stacking": (
        "ClapStackingRegressor",
        "KernelRegressor",
        "PreferenceRegressor",
        "StandardizedRidge",
    ),
    "clapstack.systems": ("PairDistances", "RankEnsembleRegressor"),
    # Estimators that predict with NumPy and Python, where a wrong array raises an
    # exception. Boosted trees are compiled code that trusts its arrays, so these are
    # checked. Support vectors, forests and neighbours are left out for that reason.
    "sklearn.decomposition": ("PCA", "TruncatedSVD"),
    "sklearn.dummy": ("DummyRegressor",),
    "sklearn.ensemble": ("HistGradientBoostingRegressor",),
    "sklearn.linear_model": (
        "BayesianRidge",
        "ElasticNet",
        "ElasticNetCV",
        "HuberRegressor",
        "Lasso",
        "LassoCV",
        "LinearRegression",
        "Ridge",
        "RidgeCV",
    ),
    "sklearn.model_selection": (
        "GroupKFold",
        "KFold",
        "StratifiedGroupKFold",
        "StratifiedKFold",
    ),
    "sklearn.pipeline": ("FeatureUnion", "Pipeline"),
    "sklearn.preprocessing": (
        "MaxAbsScaler",
        "MinMaxScaler",
        "RobustScaler",
        "StandardScaler",
    ),
}

_TREES = "sklearn.ensemble._hist_gradient_boosting"

# Classes in private modules: the name in files, and the current place of the class.
_PRIVATE = {
    "clapstack.stacking.BoostedTrees": "clapstack.stacking._trees:BoostedTrees",
    "clapstack.stacking.Compressor": "clapstack.stacking._compression:Compressor",
    "clapstack.stacking.DisagreementScale": (
        "clapstack.stacking._intervals:DisagreementScale"
    ),
    "clapstack.stacking.EqualWeights": "clapstack.stacking._final:EqualWeights",
    "clapstack.stacking.FinalLevel": "clapstack.stacking._final:FinalLevel",
    "clapstack.stacking.FirstLevel": "clapstack.stacking._first_level:FirstLevel",
    "clapstack.stacking.HeldOutErrors": "clapstack.stacking._intervals:HeldOutErrors",
    "clapstack.stacking.HeldOutLevel": "clapstack.stacking._final:HeldOutLevel",
    "clapstack.stacking.HeldOutNovelty": "clapstack.stacking._novelty:HeldOutNovelty",
    f"{_TREES}.binning._BinMapper": f"{_TREES}.binning:_BinMapper",
    f"{_TREES}.predictor.TreePredictor": f"{_TREES}.predictor:TreePredictor",
    "sklearn._loss._loss.CyAbsoluteError": "sklearn._loss._loss:CyAbsoluteError",
    "sklearn._loss._loss.CyHalfGammaLoss": "sklearn._loss._loss:CyHalfGammaLoss",
    "sklearn._loss._loss.CyHalfPoissonLoss": "sklearn._loss._loss:CyHalfPoissonLoss",
    "sklearn._loss._loss.CyHalfSquaredError": "sklearn._loss._loss:CyHalfSquaredError",
    "sklearn._loss.link.IdentityLink": "sklearn._loss.link:IdentityLink",
    "sklearn._loss.link.Interval": "sklearn._loss.link:Interval",
    "sklearn._loss.link.LogLink": "sklearn._loss.link:LogLink",
    "sklearn._loss.loss.AbsoluteError": "sklearn._loss.loss:AbsoluteError",
    "sklearn._loss.loss.HalfGammaLoss": "sklearn._loss.loss:HalfGammaLoss",
    "sklearn._loss.loss.HalfPoissonLoss": "sklearn._loss.loss:HalfPoissonLoss",
    "sklearn._loss.loss.HalfSquaredError": "sklearn._loss.loss:HalfSquaredError",
}

CLASSES: dict[str, str] = {
    **{f"{home}.{cls}": f"{home}:{cls}" for home in _PUBLIC for cls in _PUBLIC[home]},
    **_PRIVATE,
}

# Compiled classes without state, created by a call without arguments.
STATELESS = frozenset(name for name in CLASSES if "._loss._loss." in name)

# Classes that read clips, texts or weights when they predict.
ENCODERS = frozenset(name for name in CLASSES if name.startswith("clapstack.features."))

# Module names in files of format 1, with the names used since then.
MOVED = {
    "clapstack.stacking._compression.Compressor": "clapstack.stacking.Compressor",
    "clapstack.stacking._final.EqualWeights": "clapstack.stacking.EqualWeights",
    "clapstack.stacking._final.FinalLevel": "clapstack.stacking.FinalLevel",
    "clapstack.stacking._first_level.FirstLevel": "clapstack.stacking.FirstLevel",
    "clapstack.stacking._intervals.DisagreementScale": (
        "clapstack.stacking.DisagreementScale"
    ),
    "clapstack.stacking._intervals.HeldOutErrors": "clapstack.stacking.HeldOutErrors",
    "clapstack.stacking._trees.BoostedTrees": "clapstack.stacking.BoostedTrees",
}

# Classes that clapstack no longer has, with the remedy.
RETIRED = {
    "clapstack.stacking.BlendRidge": (
        "Fit the preset 'best' again, which now has a kernel model that did better on "
        "human scores, or load the file with the release that wrote it."
    ),
    "clapstack.stacking.RbfSvr": (
        "Fit the preset 'best' again, which now has a kernel model that did better on "
        "human scores, or load the file with the release that wrote it."
    ),
    "clapstack.calibration.CalibratedRegressor": (
        "Fit a ClapStackingRegressor with calibration=True instead, or load the file "
        "with the release that wrote it."
    ),
    "clapstack.ranking.RankingRegressor": (
        "Fit a StandardizedRidge with alpha=15 instead, which did better on human "
        "scores, or load the file with the release that wrote it."
    ),
    "clapstack.tuning.ProjectionTuning": (
        "Fit the model without that step, which did not improve its predictions, or "
        "load the file with the release that wrote it."
    ),
}

# Parameters that clapstack no longer has, by class: the value that leaves predictions
# unchanged, and the remedy for any other value.
RETIRED_PARAMETERS = {
    "clapstack.stacking.ClapStackingRegressor": {
        "alpha_criterion": (
            "srcc",
            "Penalties are now chosen by SRCC. Fit the model again, or load the file "
            "with the release that wrote it.",
        ),
        "passthrough": (
            False,
            "The final level now uses only predictions. Fit the model again, or load "
            "the file with the release that wrote it.",
        ),
    },
}

# scikit-learn 1.6 gives these compiled classes a shorter module name.
_TRUE_HOMES = {"_loss": "sklearn._loss._loss"}
_STABLE = {place: name for name, place in _PRIVATE.items()}


def class_name(cls: type) -> str:
    """Return the name of a class in a model file.

    For classes outside the table, it is the public home if that exports the class, so
    that its authors may rename private modules.
    """
    home = _TRUE_HOMES.get(cls.__module__, cls.__module__)
    known = _STABLE.get(f"{home}:{cls.__qualname__}")
    if known is not None:
        return known
    # A public class may be defined in a package below its public home.
    parts = home.split(".")
    for length in range(len(parts), 0, -1):
        name = f"{'.'.join(parts[:length])}.{cls.__qualname__}"
        if name in CLASSES:
            return name
    public = home.partition("._")[0]
    if getattr(sys.modules.get(public), cls.__qualname__, None) is cls:
        home = public
    return f"{home}.{cls.__qualname__}"


def find_class(name: str) -> type:
    """Import a class by its name in model files, after the name was trusted.

    Raises
    ------
    ImportError
        If there is no such module, or no class of that name in it.
    """
    home, _, short = CLASSES.get(name, ":".join(name.rpartition(".")[::2])).partition(
        ":"
    )
    try:
        found = getattr(importlib.import_module(home), short, None)
    except ValueError as error:  # an empty name
        raise ImportError(str(error)) from error
    if not isinstance(found, type) or class_name(found) != name:
        msg = f"{name} is not a class here"
        raise ImportError(msg)
    return found
