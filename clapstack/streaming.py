"""Feature tables computed row by row from embeddings in memory or on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import EllipsisType
from typing import Any

import numpy as np

from clapstack._numerics.lazy_table import (
    LazyTable,
    Part,
    Rows,
    as_slice,
    read_table,
    row_slices,
)
from clapstack.features import pair_feature_names, pair_features

__all__ = ["StreamedFeatures"]

_ROWS = 4096
# Embeddings normalised in float32 are this close to unit norm.
_NORM_TOLERANCE = 1e-3


class StreamedFeatures(LazyTable):
    """A table of pair features that is never fully in memory.

    The table contains the features of all families side by side. Rows are computed from
    the embeddings when they are read, so only the rows in use need memory; with
    memory-mapped embeddings, the number of pairs is limited only by the disk.
    :class:`~clapstack.CrossAgreement` and :class:`~clapstack.ClapStackingRegressor`
    accept it instead of an array, also within scikit-learn's searches and
    cross-validation. Read more in the :ref:`User Guide <streaming>`.

    Parameters
    ----------
    pair_families : mapping of str to tuple of (audio, text)
        Embeddings of contrastive families: two float32 arrays of shape (n_pairs,
        projection_dim) each, of unit norm. They are not copied, and can be
        memory-mapped (``np.load(path, mmap_mode="r")``).
    numeric_families : mapping of str to ndarray, default=None
        Families used without conversion: float32 arrays of shape (n_pairs, n_columns).
    names : mapping of str to sequence of str, default=None
        Feature names of numeric families, without ``<family>__``. The default names are
        ``feature0``, ``feature1``, …

    Attributes
    ----------
    shape : tuple of (n_pairs, n_features)
        Size of the table.
    dtype : dtype
        float32.
    columns : ndarray of str objects of shape (n_features,)
        Column names: ``<family>__audio0`` and so on, as from
        :func:`clapstack.features.pair_feature_names`.

    See Also
    --------
    clapstack.features.pair_features : The same features, in memory.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack.streaming import StreamedFeatures
    >>> a = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    >>> b = np.array([[0.6, 0.8], [0.6, 0.8]], dtype=np.float32)
    >>> X = StreamedFeatures({"laion": (a, b)})
    >>> X.shape
    (2, 11)
    >>> X.rows(slice(0, 2), [4, 5, 10])
    array([[0.6, 0. , 0.6],
           [0. , 0.8, 0.8]], dtype=float32)
    """

    def __init__(
        self,
        pair_families: Mapping[str, tuple[np.ndarray, np.ndarray]],
        numeric_families: Mapping[str, np.ndarray] | None = None,
        *,
        names: Mapping[str, Sequence[str]] | None = None,
    ):
        numeric = numeric_families or {}
        _check_names(pair_families, numeric, names or {})
        sources: list[_Source] = [
            _Pairs(family, *sides) for family, sides in pair_families.items()
        ]
        sources += [
            _Numbers(family, values, (names or {}).get(family))
            for family, values in numeric.items()
        ]
        self._set_sources(sources)

    def _set_sources(self, sources: list[_Source]) -> None:
        lengths = {source.family: source.n_rows for source in sources}
        if len(set(lengths.values())) > 1:
            msg = (
                "All families must have the same number of rows, one per pair; got "
                f"{lengths}. Use embeddings of the same pairs, in the same order."
            )
            raise ValueError(msg)
        self._sources = sources
        names = [f"{s.family}__{name}" for s in sources for name in s.names]
        self.columns = np.array(names, dtype=object)
        self.shape = (sources[0].n_rows, len(names))
        self.dtype = np.dtype(np.float32)
        stops = np.cumsum([len(source.names) for source in sources])
        self._starts = stops - [len(source.names) for source in sources]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows | tuple[Rows, EllipsisType]) -> StreamedFeatures:
        """Return a table of some rows, without computing them.

        Parameters
        ----------
        rows : slice or array-like of int or bool
            Rows to select, optionally followed by an ellipsis for the columns.

        Returns
        -------
        table : StreamedFeatures
            A table that reads from the same embeddings.
        """
        if isinstance(rows, tuple):
            rows, columns = rows
            if columns is not Ellipsis:
                msg = (
                    "StreamedFeatures can be indexed by rows only. For columns, use "
                    ".rows(rows, columns)."
                )
                raise IndexError(msg)
        numbers = np.atleast_1d(np.arange(self.shape[0])[rows])
        table = object.__new__(StreamedFeatures)
        table._set_sources([source.take(numbers) for source in self._sources])
        return table

    def rows(
        self, rows: Rows, columns: Sequence[int] | np.ndarray | None = None
    ) -> np.ndarray:
        """Compute some rows.

        Parameters
        ----------
        rows : slice or array-like of int or bool
            Rows to compute.
        columns : sequence of int, default=None
            Column numbers; None selects all.

        Returns
        -------
        values : ndarray of shape (n_rows, n_columns), dtype float32
            The features.
        """
        if not isinstance(rows, slice):
            rows = np.arange(self.shape[0])[np.atleast_1d(rows)]
        wanted = None if columns is None else np.asarray(columns, dtype=int)
        return read_table(self, rows, wanted)

    def reader(self, columns: np.ndarray) -> Callable[[Rows], Iterator[Part]]:
        """Return a function that yields selected rows and columns, family by family.

        Parameters
        ----------
        columns : ndarray of int of shape (n_taken,)
            Column numbers.

        Returns
        -------
        parts : callable
            Accepts a slice or an array of row numbers. For each family, yields
            positions in `columns` and values of shape (n_rows, n_positions), float32.
        """
        plan = []
        for source, start in zip(self._sources, self._starts, strict=True):
            here = np.flatnonzero(
                (columns >= start) & (columns < start + len(source.names))
            )
            if here.size:
                plan.append((source, as_slice(here), as_slice(columns[here] - start)))

        def parts(rows: Rows) -> Iterator[Part]:
            for source, here, there in plan:
                yield here, source.read(rows)[:, there]

        return parts

    def check(self, owner: str) -> None:
        """Check that values are finite and embeddings have unit norm.

        Parameters
        ----------
        owner : str
            Name of the estimator that uses the table, for the error message.

        Raises
        ------
        ValueError
            If values are NaN or infinite, or embeddings do not have unit norm; the
            message names the family and the first row.
        """
        for source in self._sources:
            source.check(owner)

    def with_family(
        self,
        family: str,
        names: Sequence[str],
        read: Callable[[Rows], np.ndarray],
        *,
        keep: bool = True,
    ) -> StreamedFeatures:
        """Return a table with an additional family, computed when it is read.

        Parameters
        ----------
        family : str
            Name of the new family.
        names : sequence of str
            Feature names of the new family, without ``<family>__``.
        read : callable
            Function of a slice or an array of row numbers that returns a float32 array
            of shape (n_rows, n_names).
        keep : bool, default=True
            Whether to keep the columns of this table, before the new ones.

        Returns
        -------
        table : StreamedFeatures
            The new table; this one does not change.
        """
        table = object.__new__(StreamedFeatures)
        made = _Computed(family, list(names), self.shape[0], read)
        table._set_sources([*(self._sources if keep else []), made])
        return table


class _Source(ABC):
    """Columns of one family."""

    family: str
    names: list[str]
    n_rows: int

    @abstractmethod
    def read(self, rows: Rows) -> np.ndarray:
        """Return rows of all columns, float32."""

    @abstractmethod
    def check(self, owner: str) -> None:
        """Refuse values that are not finite."""

    @abstractmethod
    def take(self, numbers: np.ndarray) -> _Source:
        """Return a source of some rows."""


class _Pairs(_Source):
    def __init__(self, family, audio, text):
        self.family = family
        self._sides = {
            "audio": _float_table(audio, f"audio embeddings of family {family!r}"),
            "text": _float_table(text, f"text embeddings of family {family!r}"),
        }
        self.audio, self.text = self._sides.values()
        if self.audio.shape != self.text.shape:
            msg = (
                f"Audio and text embeddings of family {family!r} must have the same "
                f"shape; got {self.audio.shape} and {self.text.shape}. Pass one row "
                "per pair in both."
            )
            raise ValueError(msg)
        self.n_rows, dim = self.audio.shape
        self.names = pair_feature_names(dim)

    def read(self, rows):
        return pair_features(self.audio[rows], self.text[rows])

    def take(self, numbers):
        audio, text = (_TakenRows(side, numbers) for side in (self.audio, self.text))
        return _Pairs(self.family, audio, text)

    def check(self, owner):
        for side, table in self._sides.items():
            for cut in row_slices(self.n_rows, _ROWS):
                norms = np.sqrt(np.einsum("ij,ij->i", table[cut], table[cut]))
                # Written so that NaN counts as wrong.
                wrong = np.flatnonzero(~(np.abs(norms - 1) <= _NORM_TOLERANCE))
                if wrong.size:
                    msg = (
                        f"X passed to {owner} has {side} embeddings of family "
                        f"{self.family!r} that do not have unit norm: row "
                        f"{cut.start + wrong[0]} has norm {norms[wrong[0]]:g}. "
                        "Normalise the rows, and encode rows of NaN or zeros again."
                    )
                    raise ValueError(msg)


class _Numbers(_Source):
    def __init__(self, family, values, names):
        self.family = family
        self._values = _float_table(values, f"family {family!r}")
        self.n_rows, width = self._values.shape
        self.names = [f"feature{i}" for i in range(width)]
        if names is not None:
            self.names = list(names)
            if len(self.names) != width:
                msg = (
                    f"names has {len(self.names)} names for family {family!r}, which "
                    f"has {width} columns. Pass one name per column."
                )
                raise ValueError(msg)

    def read(self, rows):
        return np.asarray(self._values[rows])

    def take(self, numbers):
        return _Numbers(self.family, _TakenRows(self._values, numbers), self.names)

    def check(self, owner):
        for cut in row_slices(self.n_rows, _ROWS):
            wrong = np.flatnonzero(~np.isfinite(self._values[cut]).all(axis=1))
            if wrong.size:
                msg = (
                    f"X passed to {owner} has NaN or infinity in family "
                    f"{self.family!r} (the first is row {cut.start + wrong[0]}). "
                    "Remove those rows or encode them again."
                )
                raise ValueError(msg)


class _Computed(_Source):
    """Columns computed from another table, which is checked by itself."""

    def __init__(self, family, names, n_rows, read):
        self.family = family
        self.names = names
        self.n_rows = n_rows
        self._read = read

    def read(self, rows):
        return self._read(rows)

    def take(self, numbers):
        read = partial(_read_taken, self._read, numbers)
        return _Computed(self.family, self.names, len(numbers), read)

    def check(self, owner):
        """Check nothing: the other table is checked."""


class _TakenRows:
    """Some rows of an array, copied when they are read."""

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(self, values, numbers):
        if isinstance(values, _TakenRows):
            values, numbers = values._values, values._numbers[numbers]
        self._values: Any = values
        self._numbers: np.ndarray = numbers
        self.shape = (len(numbers), values.shape[1])

    def __getitem__(self, rows):
        return self._values[as_slice(self._numbers[rows])]


def _read_taken(read, numbers, rows):
    return read(as_slice(numbers[rows]))


def _float_table(values, what):
    if getattr(values, "dtype", None) != np.float32 or values.ndim != 2:
        kind = getattr(values, "dtype", type(values).__name__)
        msg = (
            f"The {what} must be a 2-D float32 array with one row per pair; got {kind} "
            f"of shape {np.shape(values)}. Convert it with .astype(np.float32)."
        )
        raise ValueError(msg)
    return values


def _check_names(pair_families, numeric, names):
    families = [*pair_families, *numeric]
    if not families:
        msg = "StreamedFeatures got no family. Pass embeddings of at least one."
        raise ValueError(msg)
    wrong = [name for name in families if not name or "__" in name]
    wrong += sorted(set(pair_families) & set(numeric))
    if wrong:
        msg = (
            "Family names must be unique and must not be empty or contain '__', which "
            f"separates family and feature; got {wrong!r}. Rename them."
        )
        raise ValueError(msg)
    unknown = sorted(set(names) - set(numeric))
    if unknown:
        msg = (
            f"names has unknown families {unknown!r}; the numeric families are "
            f"{list(numeric)!r}. Rename or remove the keys."
        )
        raise ValueError(msg)
