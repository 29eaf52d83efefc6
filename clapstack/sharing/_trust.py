"""Which classes a model file may name, and what may stand in their state."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

# Our estimators and what they are made of. Not the whole package: importing
# clapstack.__main__, say, would run the command line.
_OUR_PARTS = (
    "clapstack.agreement",
    "clapstack.calibration",
    "clapstack.features",
    "clapstack.ranking",
    "clapstack.stacking",
    "clapstack.systems",
    "clapstack.tuning",
)

_HISTOGRAM_TREES = "sklearn.ensemble.HistGradientBoostingRegressor"
_BIN_MAPPER = "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper"
_TREE = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"

# Estimators whose predictions are numpy and Python: a wrong array there is an
# exception. The trees are compiled code that believes its arrays, so they are checked
# below; support vectors, other trees and neighbours are left out for that reason.
_SKLEARN = frozenset(
    {
        "sklearn.decomposition.PCA",
        "sklearn.decomposition.TruncatedSVD",
        "sklearn.dummy.DummyRegressor",
        "sklearn.linear_model.BayesianRidge",
        "sklearn.linear_model.ElasticNet",
        "sklearn.linear_model.ElasticNetCV",
        "sklearn.linear_model.HuberRegressor",
        "sklearn.linear_model.Lasso",
        "sklearn.linear_model.LassoCV",
        "sklearn.linear_model.LinearRegression",
        "sklearn.linear_model.Ridge",
        "sklearn.linear_model.RidgeCV",
        "sklearn.model_selection.GroupKFold",
        "sklearn.model_selection.KFold",
        "sklearn.model_selection.StratifiedGroupKFold",
        "sklearn.model_selection.StratifiedKFold",
        "sklearn.pipeline.FeatureUnion",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing.MaxAbsScaler",
        "sklearn.preprocessing.MinMaxScaler",
        "sklearn.preprocessing.RobustScaler",
        "sklearn.preprocessing.StandardScaler",
        _HISTOGRAM_TREES,
        _BIN_MAPPER,
        _TREE,
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogLink",
        "sklearn._loss.loss.AbsoluteError",
        "sklearn._loss.loss.HalfGammaLoss",
        "sklearn._loss.loss.HalfPoissonLoss",
        "sklearn._loss.loss.HalfSquaredError",
    }
)

# Compiled classes without any state, made by a call without arguments.
STATELESS = frozenset(
    {
        "sklearn._loss._loss.CyAbsoluteError",
        "sklearn._loss._loss.CyHalfGammaLoss",
        "sklearn._loss._loss.CyHalfPoissonLoss",
        "sklearn._loss._loss.CyHalfSquaredError",
    }
)


# What scikit-learn 1.6 says of these, for short.
_TRUE_HOMES = {"_loss": "sklearn._loss._loss"}


# Classes that earlier releases had, and what does their work now.
RETIRED = {
    "clapstack.calibration.CalibratedRegressor": (
        "Fit the model again with ClapStackingRegressor(calibration=True), or load the "
        "file with the release that wrote it"
    ),
}


def class_name(cls: type) -> str:
    """Name a class by its public home, so that a private module may be renamed."""
    home = _TRUE_HOMES.get(cls.__module__, cls.__module__)
    public = home.partition("._")[0]
    if getattr(sys.modules.get(public), cls.__qualname__, None) is cls:
        home = public
    return f"{home}.{cls.__qualname__}"


def is_known(name: str) -> bool:
    """Tell whether a file may name this class without the user's word."""
    ours = name.startswith(tuple(f"{part}." for part in _OUR_PARTS))
    return ours or name in _SKLEARN or name in STATELESS


def trusted_names(trusted: Iterable[str | type]) -> frozenset[str]:
    """Return the names of what the user trusts."""
    if isinstance(trusted, (str, bool)) or not isinstance(trusted, Iterable):
        msg = (
            "trusted must be a list of types or of their names, such as "
            f"['mypackage.MyEncoder']. Got {trusted!r} instead. Name only types whose "
            "code you know."
        )
        raise TypeError(msg)
    return frozenset(
        class_name(entry) if isinstance(entry, type) else str(entry)
        for entry in trusted
    )


def import_class(name: str) -> type:
    """Import a class that has been found trustworthy by its name."""
    home, _, short = name.rpartition(".")
    found = getattr(importlib.import_module(home), short, None)
    if not isinstance(found, type) or class_name(found) != name:
        msg = f"{name} is no class here"
        raise ValueError(msg)
    return found


def check_state(cls: type, state: dict[str, Any]) -> None:
    """Refuse a state that would put a value in a method's place."""
    for key in state:
        static = inspect.getattr_static(cls, key, None)
        method = callable(static) or hasattr(static, "__get__")
        if method or key.startswith("__"):
            msg = f"the state of {class_name(cls)} replaces its {key!r}"
            raise ValueError(msg)


def check_instance(instance: Any) -> None:
    """Refuse boosted trees that would lead compiled code out of their arrays."""
    if class_name(type(instance)) == _HISTOGRAM_TREES:
        _check_histogram_trees(vars(instance))


def _check_histogram_trees(state: dict[str, Any]) -> None:
    n_features = state.get("n_features_in_", 0)
    mapper = state.get("_bin_mapper")
    sound = (
        type(n_features) is int
        and state.get("_preprocessor") is None
        and not state.get("_in_fit", False)
        and mapper is not None
        and class_name(type(mapper)) == _BIN_MAPPER
        and not np.any(mapper.is_categorical_)
    )
    if not sound:
        msg = "boosted trees must be fitted on numbers alone, without categories"
        raise ValueError(msg)
    for iteration in state["_predictors"]:
        for tree in iteration:
            if class_name(type(tree)) != _TREE:
                msg = f"boosted trees hold a {class_name(type(tree))}"
                raise ValueError(msg)
            _check_nodes(tree.nodes, n_features)


def _check_nodes(nodes: np.ndarray, n_features: int) -> None:
    """Check that every path through a tree stays in it, and ends."""
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    left, right, feature, by_category = (
        nodes[field][inner]
        for field in ("left", "right", "feature_idx", "is_categorical")
    )
    sound = (
        nodes.ndim == 1
        and nodes.size > 0
        # A child after its parent: no path comes back.
        and (left > inner).all()
        and (right > inner).all()
        and (left < nodes.size).all()
        and (right < nodes.size).all()
        and (feature >= 0).all()
        and (feature < n_features).all()
        and not by_category.any()
    )
    if not sound:
        msg = "a boosted tree leads out of its nodes, its columns, or in a circle"
        raise ValueError(msg)
