"""Base class of audio-only encoders: pieces of clips, batches, pooled states."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from clapstack._compat import batched
from clapstack.audio import window_starts
from clapstack.encoders._base import FrozenEncoder, checked_waveform, fingerprint_of
from clapstack.encoders._mel import fill_window
from clapstack.exceptions import CheckpointError

# The statistics of `pool`, in order.
POOLED = ("mean", "std", "max")


class AudioEncoder(FrozenEncoder):
    """A frozen model that maps each waveform to a row of features.

    Created by :func:`load_encoder`. A clip no longer than `window` is encoded in one
    pass. A longer one is encoded in pieces (see `fixed_length`), whose features are
    averaged. No clip is padded because of others in its batch; on a CPU each piece is
    encoded alone, so that the bits of a row depend only on its clip.

    A subclass sets `version` and `fixed_length`, and implements `_read`, `_prepare` and
    `_embed`.

    Parameters
    ----------
    model : Module
        Loaded weights in float32.
    settings : mapping of plain values
        Everything else that features depend on; part of the fingerprint. At least
        "sample_rate" (Hz), "window" and "shortest" (samples; zeros are appended to a
        piece shorter than the latter).
    blocks : mapping of str to int
        Name and width of each block of features, in order.
    source : str
        Origin of the weights, for error messages.
    device : str
        A torch device.
    dtype : {"float32", "bfloat16"}, default="float32"
        Precision of the model.

    Attributes
    ----------
    sample_rate : int
        Required sample rate of waveforms, in hertz.
    window : int
        Maximum number of samples in the model's input.
    blocks : dict of str to int
        As given. It determines the column names: a one-column block has the block's
        name, the columns of wider blocks are numbered from 0.
    embedding_dim : int
        Length of a row: the sum of the widths in `blocks`.
    fingerprint : str
        SHA-256 of weights, settings and blocks, in hex. Equal on every machine, and
        for a file in half precision and its copy in single precision.
    identity : str
        `fingerprint`, the dtype of the model, the name of the class and its version:
        everything that a row depends on besides the waveform and `crop`.
    """

    #: Increment when a change to the subclass alters its features.
    version: ClassVar[str] = "1"
    #: Whether the model's input has one shape, however short the piece. If so, the
    #: pieces of a long clip are evenly spaced windows of full length, as for CLAP, and
    #: pieces of any length share a batch. If not, they are consecutive and of equal
    #: length, so that each frame is encoded once.
    fixed_length: ClassVar[bool] = True

    def __init__(
        self,
        *,
        model: torch.nn.Module,
        settings: Mapping[str, Any],
        blocks: Mapping[str, int],
        source: str,
        device: str,
        dtype: str = "float32",
    ):
        self.blocks = dict(blocks)
        self.embedding_dim = sum(self.blocks.values())
        super().__init__(
            model=model,
            settings=settings,
            fingerprint=fingerprint_of(model, {**settings, "blocks": self.blocks}),
            source=source,
            device=device,
            dtype=dtype,
        )
        code = f"{type(self).__name__}{self.version}"
        self._version = f"{self.fingerprint}-{dtype}-{code}"

    def encode_audio(
        self,
        waveforms: Sequence[NDArray[np.float32]],
        *,
        crop: str = "windows",
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        """Compute the features of waveforms.

        Parameters
        ----------
        waveforms : sequence of ndarray of shape (n_samples,), float32
            Mono, at `sample_rate`, usually within [-1, 1].
        crop : {"windows", "center", "start"}, default="windows"
            How to encode a clip longer than the window: average the features of pieces
            that cover it; or encode a single window.
        batch_size : int, default=32
            Maximum number of pieces per pass; on a CPU it is always one. If a GPU runs
            out of memory, the number is halved from then on, with a warning.

        Returns
        -------
        features : ndarray of shape (n_waveforms, embedding_dim), float32

        Raises
        ------
        AudioError
            If a waveform is not a non-empty 1-D array of finite numbers.
        CheckpointError
            If a feature is not finite.
        """
        if not waveforms:
            return np.zeros((0, self.embedding_dim), dtype=np.float32)
        rows, pieces = [], []
        for row, waveform in enumerate(waveforms):
            for piece in self._pieces(checked_waveform(waveform, row), crop):
                rows.append(row)
                pieces.append(piece)
        features = np.empty((len(pieces), self.embedding_dim), dtype=np.float32)
        with torch.inference_mode():
            for some in self._batches(pieces, batch_size):
                batch = [pieces[place] for place in some]
                made = self._in_parts_that_fit(self._embed_pieces, batch)
                features[some] = made.numpy()
        self._refuse_not_finite(features, rows)
        # Pieces of one clip are neighbours: rows ascend.
        starts = np.searchsorted(rows, np.arange(1, len(waveforms)))
        return np.stack([self._join(some) for some in np.split(features, starts)])

    @abstractmethod
    def _prepare(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        """Return the model's input for a piece: float32, without a batch axis.

        Pieces of equal length have inputs of equal shape; with `fixed_length`, all
        shapes are equal. May be computed on `_front_end_device`.
        """

    @abstractmethod
    def _embed(self, inputs: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        """Compute the features of pieces of one shape.

        Parameters
        ----------
        inputs : Tensor of shape (n, ...)
            Stacked results of `_prepare`, on the model's device and in its dtype.
        lengths : sequence of int
            Samples of each piece.

        Returns
        -------
        features : Tensor of shape (n, embedding_dim)
            In any dtype, on any device.
        """

    def _samples(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        """Return a waveform as a tensor on the front end's device."""
        return torch.from_numpy(waveform).to(self._front_end_device)

    def _join(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Join the rows of the pieces of one clip into one row."""
        return features.mean(axis=0, dtype=np.float64).astype(np.float32)

    def _pieces(
        self, waveform: NDArray[np.float32], crop: str
    ) -> list[NDArray[np.float32]]:
        starts = window_starts(len(waveform), self.window, crop)
        if len(starts) > 1 and not self.fixed_length:
            pieces = np.array_split(waveform, len(starts))
        else:
            pieces = [waveform[start : start + self.window] for start in starts]
        shortest = self._settings["shortest"]
        return [
            p if len(p) >= shortest else fill_window(p, shortest, "pad") for p in pieces
        ]

    def _batches(
        self, pieces: Sequence[NDArray[np.float32]], batch_size: int
    ) -> Iterator[list[int]]:
        """Yield the positions of pieces that may share a batch."""
        alike: dict[int, list[int]] = {}
        for place, piece in enumerate(pieces):
            # By length, since a model of any length would process padding too.
            alike.setdefault(0 if self.fixed_length else len(piece), []).append(place)
        for places in alike.values():
            yield from batched(places, min(batch_size, self._at_once))

    def _embed_pieces(self, pieces: Sequence[NDArray[np.float32]]) -> torch.Tensor:
        inputs = torch.stack([self._prepare(piece) for piece in pieces])
        inputs = inputs.to(self.device, self._dtype)
        return self._embed(inputs, [len(piece) for piece in pieces]).float().cpu()

    def _refuse_not_finite(
        self, features: NDArray[np.float32], rows: Sequence[int]
    ) -> None:
        finite = np.isfinite(features).all(axis=1)
        if not finite.all():
            msg = (
                f"The features of waveform {rows[int(np.argmin(finite))]} are not all "
                f"finite. The weights of {self.source} are probably damaged: download "
                f"them again, or compare their checksum with the publisher's."
            )
            raise CheckpointError(msg)


def pool(states: torch.Tensor) -> torch.Tensor:
    """Pool states over their second axis, usually time.

    Parameters
    ----------
    states : Tensor of shape (n, n_frames, width)
        Frames; pooled in float32.

    Returns
    -------
    pooled : Tensor of shape (n, 3 * width), float32
        Mean, standard deviation (of the population, so that one frame gives 0) and
        maximum of each channel: the order of `POOLED`.
    """
    states = states.float()
    return torch.cat(
        [states.mean(dim=1), states.std(dim=1, correction=0), states.amax(dim=1)], dim=1
    )
