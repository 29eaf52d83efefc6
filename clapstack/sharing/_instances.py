"""Checks of rebuilt instances, before anything computes with them.

Most wrong states raise an exception, because NumPy refuses shapes that do not match.
The checks here cover the rest: arrays used by compiled code without checks, shapes that
would broadcast a small file to gigabytes, and numbers that are widths.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from clapstack.sharing._names import RETIRED_PARAMETERS, class_name

__all__ = [
    "MOST_COLUMNS",
    "check_array",
    "check_dtype",
    "check_instance",
    "check_random_state",
    "check_state",
    "with_defaults",
]

# Most columns of a table; the stack of the ten published families has 32,000.
MOST_COLUMNS = 1_000_000
# Limit of any other width, such as that of an embedding.
_WIDEST = 100_000
_COUNTS_OF_ROWS = frozenset({"n_samples_", "n_samples_seen_"})
# Predictions have one column.
_ONE = ("n_outputs_", "n_trees_per_iteration_")

# Most dimensions of an array. A matrix in place of a vector would multiply the rows.
_MOST_DIMENSIONS = dict.fromkeys(
    (
        "coef",
        "dual_coef_",
        "errors",
        "held_out_",
        "intercept_",
        "knots_",
        "mean_",
        "min_",
        "offset",
        "scale_",
        "scaled",
        "var_",
        "x_knots_",
        "y_knots_",
    ),
    1,
)
_DIMENSIONS = 2
_LARGEST_ITEM = 1 << 16  # bytes: a text of 16,384 characters

_HISTOGRAM_TREES = "sklearn.ensemble.HistGradientBoostingRegressor"
_BIN_MAPPER = "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper"
_TREE = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
_AGREEMENT = "clapstack.agreement.CrossAgreement"
_N_MERSENNE = 624  # words of a Mersenne Twister
_N_PHILOX = 4  # numbers that Philox generates at once


def with_defaults(cls: type, state: dict[str, Any]) -> dict[str, Any]:
    """Return a state with the current parameters of a class."""
    if not issubclass(cls, BaseEstimator):
        return state
    known = inspect.signature(cls).parameters.values()
    added = {
        parameter.name: parameter.default
        for parameter in known
        if parameter.name not in state and parameter.default is not parameter.empty
    }
    retired = RETIRED_PARAMETERS.get(class_name(cls), {})
    kept = {key: value for key, value in state.items() if key not in retired}
    return {**kept, **added}


def check_state(cls: type, state: dict[str, Any]) -> None:
    """Refuse a state that would replace a method with a value."""
    for key in state:
        static = inspect.getattr_static(cls, key, None)
        method = callable(static) or hasattr(static, "__get__")
        if method or key.startswith("__") or key == "_parameter_constraints":
            msg = f"the state of {class_name(cls)} replaces its {key!r}"
            raise ValueError(msg)


def check_dtype(dtype: np.dtype) -> np.dtype:
    """Return a dtype of numbers or texts, or refuse it."""
    names = dtype.names
    parts = [dtype] if names is None else [dtype[name] for name in names]
    plain = all(part.kind in "biufcU" for part in parts)
    if not plain or dtype.itemsize > _LARGEST_ITEM:
        msg = f"an array of dtype {str(dtype)[:80]}"
        raise ValueError(msg)
    return dtype


def check_array(array: np.ndarray) -> np.ndarray:
    """Return an array of numbers or texts, or refuse it."""
    check_dtype(array.dtype)
    # An empty array takes no space for any shape, but its sums do.
    if array.size == 0 and max(array.shape) > MOST_COLUMNS:
        msg = f"an empty array of shape {array.shape}"
        raise ValueError(msg)
    return array


def check_random_state(state: Any) -> None:
    """Refuse a state whose position is outside its numbers.

    Compiled code trusts the position. `state` is the dict of a NumPy bit generator.
    """
    kind = state["bit_generator"]
    if kind == "MT19937":
        place, length, key = state["state"]["pos"], _N_MERSENNE, state["state"]["key"]
    elif kind == "Philox":
        place, length, key = state["buffer_pos"], _N_PHILOX, state["buffer"]
    else:
        return
    sound = type(place) is int and 0 <= place <= length and np.shape(key) == (length,)
    if not sound:
        msg = f"the state of a random generator ({kind}) points outside its numbers"
        raise ValueError(msg)


def check_instance(instance: Any) -> None:
    """Refuse an instance of a known class that no fit could have created."""
    name = class_name(type(instance))
    state = vars(instance)
    _check_widths(name, state)
    for key, value in state.items():
        allowed = _MOST_DIMENSIONS.get(key, _DIMENSIONS)
        for array in _arrays_in(value):
            if array.ndim > allowed or (array.dtype.names and name != _TREE):
                msg = (
                    f"{key!r} of {name} is an array of shape {array.shape} and dtype "
                    f"{str(array.dtype)[:80]}"
                )
                raise ValueError(msg)
    if name.startswith("clapstack.") and hasattr(instance, "_parameter_constraints"):
        instance._validate_params()
    if name == _AGREEMENT:
        _check_agreement(state)
    if name == _HISTOGRAM_TREES:
        _check_histogram_trees(state)


def _check_widths(name: str, state: dict[str, Any]) -> None:
    for key, value in state.items():
        if not key.endswith("_") or key in _COUNTS_OF_ROWS:
            continue
        most = MOST_COLUMNS if key == "n_features_in_" else _WIDEST
        numbers = value.values() if isinstance(value, dict) else [value]
        for number in numbers:
            if isinstance(number, Integral) and not 0 <= int(number) <= most:
                msg = f"{key!r} of {name} is {number!r:.40}, outside 0 to {most}"
                raise ValueError(msg)
        if key in _ONE and value != 1:
            msg = f"{key!r} of {name} is {value!r:.40}, not 1"
            raise ValueError(msg)


def _arrays_in(value: Any) -> Iterator[np.ndarray]:
    """Yield the arrays in containers; inner instances are already checked."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _arrays_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _arrays_in(item)


def _check_agreement(state: dict[str, Any]) -> None:
    widths = {np.shape(vectors)[1] for vectors in state["components_"].values()}
    if widths - {state["n_components_"]}:
        msg = (
            f"CrossAgreement has {state['n_components_']} components, but arrays of "
            f"{widths}"
        )
        raise ValueError(msg)
    if len(widths) == 0 and state["n_components_"] != 0:
        msg = "CrossAgreement has components without a family"
        raise ValueError(msg)


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
        msg = "boosted trees must be fitted on numbers only, without categories"
        raise ValueError(msg)
    for iteration in state["_predictors"]:
        for tree in iteration:
            if class_name(type(tree)) != _TREE:
                msg = f"boosted trees contain a {class_name(type(tree))}"
                raise ValueError(msg)
            _check_nodes(tree.nodes, n_features)


def _check_nodes(nodes: np.ndarray, n_features: int) -> None:
    """Check that every path through a tree stays inside and ends in a number.

    The dtype must equal scikit-learn's: compiled code accesses fields by position, so a
    field with the name of another would pass unchecked.
    """
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

    if nodes.dtype != PREDICTOR_RECORD_DTYPE:
        msg = f"nodes of a boosted tree have the dtype {str(nodes.dtype)[:200]}"
        raise ValueError(msg)
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    left, right, feature, by_category = (
        nodes[field][inner]
        for field in ("left", "right", "feature_idx", "is_categorical")
    )
    sound = (
        nodes.ndim == 1
        and nodes.size > 0
        # Children come after their parent, so no path is a loop.
        and (left > inner).all()
        and (right > inner).all()
        and (left < nodes.size).all()
        and (right < nodes.size).all()
        and (feature >= 0).all()
        and (feature < n_features).all()
        and not by_category.any()
        and np.isfinite(nodes["value"]).all()
    )
    if not sound:
        msg = "a boosted tree leaves its nodes or columns, or has a loop"
        raise ValueError(msg)
