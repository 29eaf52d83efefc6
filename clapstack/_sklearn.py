"""The private scikit-learn names that we rely on, in one place."""

from functools import wraps

from sklearn import config_context, get_config
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Hidden,
    Interval,
    Options,
    StrOptions,
)
from sklearn.utils._set_output import _get_output_config

__all__ = [
    "HasMethods",
    "Hidden",
    "Interval",
    "Options",
    "StrOptions",
    "_fit_context",
    "_get_output_config",
    "_safe_indexing",
]


def _fit_context(*, prefer_skip_nested_validation):
    """Return a decorator of fits: check parameters first, undo a fit that fails.

    A fit sets attributes as it proceeds, the width of `X` first. Left as they are, a
    fit that fails halfway would pass `check_is_fitted` and mix the attributes of two
    fits. One function does both, and not scikit-learn's decorator within another,
    because warnings count the calls between them and the caller.

    Parameters
    ----------
    prefer_skip_nested_validation : bool
        Whether estimators that the fit uses leave their parameters unchecked.
    """

    def decorator(fit_method):
        @wraps(fit_method)
        def wrapper(estimator, *args, **kwargs):
            skip = get_config()["skip_parameter_validation"]
            # A shallow copy is enough: fits replace attributes and never edit them.
            before = vars(estimator).copy()
            try:
                if not skip:
                    estimator._validate_params()
                nested = skip or prefer_skip_nested_validation
                with config_context(skip_parameter_validation=nested):
                    return fit_method(estimator, *args, **kwargs)
            except BaseException:
                vars(estimator).clear()
                vars(estimator).update(before)
                raise

        return wrapper

    return decorator
