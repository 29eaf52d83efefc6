"""CLAP encoders that also embed each frame of a clip."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clapstack.encoders._base import checked_waveform
from clapstack.encoders.clap._base import ClapEncoder, convolutions_like_products


class FrameClapEncoder(ClapEncoder):
    """A CLAP model whose audio frames can be compared with texts.

    A subclass sets `frame_samples`, the samples of a frame, and implements
    `_embed_frames`.
    """

    frame_samples: int

    @property
    def frame_rate(self) -> float:
        """Number of frames per second of :meth:`encode_frames`."""
        return self.sample_rate / self.frame_samples

    def encode_frames(
        self, waveforms: Sequence[NDArray[np.float32]], *, batch_size: int = 32
    ) -> list[NDArray[np.float32]]:
        """Embed every frame of waveforms.

        A waveform longer than `window` is cut into the fewest consecutive pieces of
        nearly equal length, each of whole frames, which are encoded separately.

        Parameters
        ----------
        waveforms : sequence of ndarray of shape (n_samples,), float32
            Mono, at `sample_rate`.
        batch_size : int, default=32
            Maximum number of pieces per pass, as for `encode_audio`.

        Returns
        -------
        frames : list of ndarray of shape (n_frames, projection_dim), float32
            Rows of unit norm: row i covers ``i / frame_rate`` to ``(i + 1) /
            frame_rate`` seconds. The last may extend beyond the end of the clip.

        Raises
        ------
        AudioError
            If a waveform is not a non-empty 1-D array of finite numbers.
        CheckpointError
            If the norm of an embedding is zero or not finite.
        ValueError
            If the model's frames cannot be compared with texts.
        """
        _ = self.frame_rate  # raises for a model without frames
        pieces = [
            (row, piece, False)
            for row, waveform in enumerate(waveforms)
            for piece in self._whole_frames(checked_waveform(waveform, row))
        ]
        batches = list(self._batches(pieces, min(batch_size, self._at_once)))
        of_clips: list[list[NDArray[np.float64]]] = [[] for _ in waveforms]
        with convolutions_like_products():
            done = self._passes(self._frames_of, batches)
        for batch, embedded in zip(batches, done, strict=True):
            for (row, piece, _), frames in zip(batch, embedded, strict=True):
                kept = frames[: self._n_frames(piece)]  # the others are padding
                of_clips[row].append(self._unit(kept, "waveform", [row] * len(kept)))
        return [np.concatenate(parts).astype(np.float32) for parts in of_clips]

    @abstractmethod
    def _embed_frames(self, inputs: torch.Tensor) -> torch.Tensor:
        """Embed inputs as (n, n_frames, projection_dim)."""

    def _frames_of(self, batch: Sequence[Any]) -> NDArray[np.float32]:
        _, pieces, longer = zip(*batch, strict=True)
        inputs = self._mels(pieces, longer).to(self.device, self._dtype)
        frames = self._in_parts_that_fit(self._embed_frames, inputs)
        return frames.float().cpu().numpy()

    def _n_frames(self, waveform: NDArray[np.float32]) -> int:
        return -(-len(waveform) // self.frame_samples)

    def _whole_frames(self, waveform: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Cut a waveform longer than the window, between frames."""
        n_pieces = -(-len(waveform) // self.window)
        cuts = np.arange(1, n_pieces) * self._n_frames(waveform) // n_pieces
        return np.split(waveform, cuts * self.frame_samples)
