"""A transformer that tunes CLAP projections against human scores."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from clapstack._compat import Interval, StrOptions, _fit_context
from clapstack._numerics.checks import check_weight, check_y
from clapstack._numerics.lazy_table import read_table
from clapstack._numerics.ranks import folds_by_rank
from clapstack.families import check_features
from clapstack.features import pair_features
from clapstack.tuning._layout import check_unit, column_names, find_layouts
from clapstack.tuning._maps import CosineProblem, apply_map
from clapstack.tuning._shrinkage import check_shrinkages, choose_shrinkage


class ProjectionTuning(TransformerMixin, BaseEstimator):
    r"""Tune the embeddings of each CLAP model on scores, by a small low-rank map.

    The unit embeddings `a` and `b` of every contrastive family become the directions of
    :math:`(I + U V^\top) a` and :math:`(I + S T^\top) b`, such that their cosine tells
    the scores better, and its pair features are built anew. How far the maps may leave
    the identity is chosen out of fold, and not at all is a choice. Read more in the
    :ref:`User Guide <tuning>`.

    Parameters
    ----------
    rank : int, default=4
        Columns of `U`, `V`, `S` and `T`: an upper bound of the directions that change.
    shrinkage : float or sequence of float, default=(1.0, 0.7, 0.5)
        Penalty on the maps, over the least penalty at which the identity is best; in
        (0, 1], and 1 is the identity. Of several, each family takes the largest that
        the next smaller one does not clearly beat out of fold.
    n_folds : int, default=3
        Folds that choose the shrinkage, and folds of :meth:`fit_transform`.
    output : {"replace", "add"}, default="replace"
        Whether the tuned pair features take the place of the others, or come after all
        columns under the names ``<family>__tuned_<feature>``.
    max_iter : int, default=50
        Most steps of a fit; ending early is a shrinkage too.

    Attributes
    ----------
    families_ : list of str
        Contrastive families, in column order; one without names is ``"features"``.
    maps_ : dict of str to ndarray of shape (2, 2, projection_dim, n_directions)
        Of each family: audio and text, left and right factor. No directions is the
        identity.
    shrinkage_ : dict of str to float
        What was taken.
    n_features_in_ : int
        Number of features seen during :term:`fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` has names.

    See Also
    --------
    clapstack.ClapStackingRegressor : Takes it, in a pipeline, for a family.

    Notes
    -----
    **Leaks.** Features that were tuned on scores must not be handed to a stack as they
    are: its members would learn from features that know the scores it holds out. Put
    the tuning into each member instead::

        member = make_pipeline(ProjectionTuning(), StandardizedRidge())
        ClapStackingRegressor(base_estimators=["ridge", member])

    Every member of every fold then fits maps of its own, and the stack's out-of-fold
    predictions stay what they are called. A stack hands over columns without names;
    where the embeddings stand is found by their unit norm.

    ``fit_transform(X, y)`` is not ``fit(X, y).transform(X)``: it gives each row the
    features of maps that were fitted, and whose shrinkage was chosen, on other folds,
    so that a row's features do not depend on its own score, and the regressor that
    follows in a pipeline does not trust them too much. The features of other rows do
    depend on it, so even these are no features for a stack.

    A weight counts a pair as often as it says. The folds go by the order of cosines,
    which read no score.

    For `n` pairs of width `d`, a step takes O(n d rank), and each fit one SVD of a d by
    d matrix; :meth:`fit_transform` fits ``(n_folds + 1) (n_folds (k - 1) + 1)`` times
    for `k` shrinkages, one of which is 1.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from clapstack.features import pair_feature_names, pair_features
    >>> from clapstack.tuning import ProjectionTuning
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(2, 200, 4))
    >>> a /= np.linalg.norm(a, axis=1, keepdims=True)
    >>> b /= np.linalg.norm(b, axis=1, keepdims=True)
    >>> names = [f"clap__{name}" for name in pair_feature_names(4)]
    >>> X = pd.DataFrame(pair_features(a, b), columns=names)
    >>> y = 5 + 4 * a[:, 0] * b[:, 0]
    >>> tuning = ProjectionTuning(shrinkage=0.1).set_output(transform="pandas")
    >>> tuned = tuning.fit_transform(X, y)["clap__cosine"]
    >>> bool(np.corrcoef(tuned, y)[0, 1] > np.corrcoef(X["clap__cosine"], y)[0, 1])
    True
    """

    _parameter_constraints: dict = {
        "rank": [Interval(Integral, 1, None, closed="left")],
        "shrinkage": [Interval(Real, 0, 1, closed="right"), "array-like"],
        "n_folds": [Interval(Integral, 2, None, closed="left")],
        "output": [StrOptions({"replace", "add"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        rank=4,
        shrinkage=(1.0, 0.7, 0.5),
        n_folds=3,
        output="replace",
        max_iter=50,
    ):
        self.rank = rank
        self.shrinkage = shrinkage
        self.n_folds = n_folds
        self.output = output
        self.max_iter = max_iter

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the maps of every family to all pairs.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Pair features with unit embeddings (blocks ``audio``, ``text`` and
            ``cosine`` at least), of one family or more; other columns may be there.
            Without column names, the pair features of one family come first.
        y : array-like of shape (n_pairs,)
            Scores.
        sample_weight : array-like of shape (n_pairs,), default=None
            Weights, zero or more; a weight counts a pair as often as it says.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If `X` has no contrastive family or embeddings that are not of unit norm
            (the row is named), if `X` or `y` has NaN or infinity, if `y` is constant,
            also in a training part alone, or if there are too few pairs for `n_folds`.
        """
        self._fit(*self._checked(X, y, sample_weight))
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, y, sample_weight=None):
        """Fit, and return features of each row from maps that have not seen its score.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            As for :meth:`fit`.
        y : array-like of shape (n_pairs,)
            Scores.
        sample_weight : array-like of shape (n_pairs,), default=None
            Weights, zero or more; a weight counts a pair as often as it says.

        Returns
        -------
        X_out : ndarray of shape (n_pairs, n_features_out)
            As :meth:`transform` returns, from other maps: see Notes.

        Raises
        ------
        ValueError
            As for :meth:`fit`.
        """
        X, y, weight = self._checked(X, y, sample_weight)
        self._fit(X, y, weight)
        out = np.empty((len(X), len(self.get_feature_names_out())), X.dtype)
        for train, test in self._folds(X):
            maps, _ = self._fit_maps(X, y, weight, train)
            out[test] = self._tuned(X[test], maps)
        return out

    def transform(self, X):
        """Return features from the maps that were fitted to all pairs.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Features, with the columns of `fit`.

        Returns
        -------
        X_out : ndarray of shape (n_pairs, n_features_out)
            The columns of `X`, with tuned pair features in place of the others or after
            them; of the dtype of `X`. Families whose maps are the identity keep their
            bits.

        Raises
        ------
        ValueError
            If an embedding is all zeros; the row is named.
        """
        check_is_fitted(self)
        X = check_features(self, X, reset=False)
        X = read_table(X, slice(None))
        # Of any length, since model files are checked on rows that are no embeddings.
        check_unit(X, self._layouts(), tolerance=np.inf)
        return self._tuned(X, self.maps_)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns that :meth:`transform` returns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the input columns; None takes those of `fit`.

        Returns
        -------
        names : ndarray of str objects of shape (n_features_out,)
            The input names, then with ``output="add"`` those of the tuned features.
        """
        check_is_fitted(self)
        names = list(_check_feature_names_in(self, input_features))
        if self.output == "add":
            for family, layout in self._layouts().items():
                names += [f"{family}__tuned_{name}" for name in layout.names]
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _checked(self, X, y, sample_weight):
        X = check_features(self, X, reset=True)
        y = check_y(self, X, y)
        weight = check_weight(sample_weight, X.shape[0])
        X = read_table(X, slice(None))
        self._names = column_names(X, getattr(self, "feature_names_in_", None))
        check_unit(X, self._layouts())
        return X, y, np.ones(len(y)) if weight is None else weight

    def _layouts(self):
        return find_layouts(self._names)

    def _fit(self, X, y, weight):
        self.families_ = list(self._layouts())
        every = np.arange(len(y))
        self.maps_, self.shrinkage_ = self._fit_maps(X, y, weight, every)

    def _fit_maps(self, X, y, weight, rows):
        """Return the maps of every family, learned from some rows, and shrinkages."""
        rows = rows[weight[rows] > 0]
        shrinkages = check_shrinkages(self.shrinkage)
        splits = []
        if len(shrinkages) > 1:
            splits = [(rows[train], rows[test]) for train, test in self._folds(X[rows])]
        for part in (rows, *(train for train, _ in splits)):
            _check_varies(y[part])
        maps, chosen = {}, {}
        for family, layout in self._layouts().items():
            a, b = (
                X[:, side].astype(np.float64) for side in (layout.audio, layout.text)
            )
            best = choose_shrinkage(a, b, y, weight, splits, shrinkages, self._fit_one)
            fitted = self._fit_one(a[rows], b[rows], y[rows], weight[rows], [best])
            maps[family], chosen[family] = fitted[0], best
        return maps, chosen

    def _fit_one(self, a, b, y, weight, shrinkages):
        """Return the maps of one family, for several shrinkages."""
        nothing = np.zeros((2, 2, a.shape[1], 0))
        if list(shrinkages) == [1.0]:
            return [nothing]
        problem = CosineProblem(a, b, y, weight, self.rank)
        return [
            problem.fit(one * problem.largest_penalty, self.max_iter)
            if one < 1
            else nothing
            for one in shrinkages
        ]

    def _folds(self, X):
        """Return training and test rows; rows of equal cosines stay together."""
        cosine = np.zeros(len(X))
        for layout in self._layouts().values():
            cosine += np.einsum("ij,ij->i", X[:, layout.audio], X[:, layout.text])
        folds = folds_by_rank(cosine, self.n_folds)
        if len(folds) < self.n_folds:
            msg = (
                f"ProjectionTuning with n_folds={self.n_folds} needs at least "
                f"{self.n_folds} pairs with different cosines in every training part; "
                f"one of n_samples={len(X)} has fewer. Lower n_folds, or bring more "
                "pairs."
            )
            raise ValueError(msg)
        return folds

    def _tuned(self, X, maps):
        """Return the output for rows, by these maps."""
        out, added = X.copy(), []
        for family, layout in self._layouts().items():
            audio, text = maps[family]
            features = X[:, layout.columns]
            if audio.shape[2]:
                features = pair_features(
                    apply_map(audio, X[:, layout.audio]),
                    apply_map(text, X[:, layout.text]),
                    layout.blocks,
                )
            if self.output == "replace":
                out[:, layout.columns] = features
            else:
                added.append(features.astype(X.dtype, copy=False))
        return np.hstack([out, *added])


def _check_varies(y):
    if not len(y) or np.ptp(y) == 0:
        msg = (
            f"y is constant in a training part of {len(y)} pairs, so there is nothing "
            "to tune on. Pass scores that differ, or bring more pairs."
        )
        raise ValueError(msg)
