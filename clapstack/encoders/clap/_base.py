"""Base class of CLAP encoders: windows, batches of texts, unit norm."""

from __future__ import annotations

import reprlib
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from clapstack._compat import batched
from clapstack._numerics.collapse import warn_if_collapsed
from clapstack.audio import window_starts
from clapstack.encoders._base import FrozenEncoder, checked_waveform, fingerprint_of
from clapstack.encoders._mel import (
    FRONT_END_VERSION,
    LogMel,
    fill_window,
    tile_frames,
)
from clapstack.encoders._parallel import side_by_side
from clapstack.exceptions import CheckpointError

# Tokens of a text are filled up to a multiple, so that texts share passes whose shape
# depends on none of them alone.
_TOKENS_STEP = 4
# Tokens of one forward pass on a CPU. Products of fewer than 16 rows have kernels that
# round in another way, and 24 take no more time. Larger products than of 512 rows may
# have others again, and are no faster.
_FEWEST_TOKENS, _MOST_TOKENS = 24, 512
# How often a short clip stands in a window, by padding, see `fill_window`.
_COPIES: dict[str, Callable[[int, int], int]] = {
    "repeat": lambda window, size: -(-window // size),
    "repeatpad": lambda window, size: window // size,
    "pad": lambda window, size: 1,
}


class ClapEncoder(FrozenEncoder):
    """A frozen CLAP model that maps waveforms and texts to unit-norm arrays.

    Made by :func:`load_encoder`. The same input always gives the same embedding: no
    crop is random, and no result depends on the batch size, on the order or on what
    else is encoded in the same call. On a CPU this holds to the last bit for clips,
    because every window meets kernels of the same shape, with one thread (see
    :mod:`clapstack.encoders._parallel`). For texts it does where kernels round all rows
    of a product alike, as MKL's for AVX-512 do. Elsewhere, and on a GPU, it holds to
    about 1e-7, the rounding of float32.

    A subclass whose `_embed_audio` keeps windows apart on a CPU may take several at
    once there and set `_at_once_on_cpu`. One without a `log_mel` has its own
    `_audio_pieces` and `_embed_pieces`.

    Parameters
    ----------
    model : Module
        Loaded weights in float32, the audio tower as `audio_model`.
    tokenizer : PreTrainedTokenizer
        Its end token is kept when a text is cut to `max_tokens`.
    log_mel : LogMel or None
        The front end; None for a model that has one of its own or takes samples.
    projection_dim : int
        Length of an embedding.
    settings : mapping of plain values
        What else an embedding depends on; part of the fingerprint. Holds at least
        "sample_rate" (Hz), "window" (samples), "padding" (see :func:`fill_window`),
        "max_tokens" and "suffix" (what is appended to every text).
    source : str
        Where the weights came from, for error messages.
    device : str
        A torch device.
    dtype : {"float32", "bfloat16"}
        Of the two towers; the front end works in float64 whatever `dtype` is.

    Attributes
    ----------
    sample_rate : int
        Rate that waveforms must have, in hertz.
    window : int
        Samples that the model sees at once.
    projection_dim : int
        Length of an embedding.
    fingerprint : str
        SHA-256 of weights, vocabulary and front-end settings, in hex. Equal on every
        machine, and for a file in half precision and its copy in single precision.
    collapsed : set of str
        The towers, "audio" and "text", that a warning has called collapsed.
    """

    # Enough to keep a GPU busy; while it is, the next ones are laid out for it.
    _at_once_on_gpu: ClassVar[int] = 64
    _inputs: ClassVar[str] = "windows"
    #: Whether `encode_windows` has the method "dense".
    has_dense_windows: ClassVar[bool] = False

    def __init__(
        self,
        *,
        model: torch.nn.Module,
        tokenizer: Any,
        log_mel: LogMel | None,
        projection_dim: int,
        settings: Mapping[str, Any],
        source: str,
        device: str,
        dtype: str,
    ):
        super().__init__(
            model=model,
            settings=settings,
            fingerprint=fingerprint_of(model, settings, tokenizer),
            source=source,
            device=device,
            dtype=dtype,
        )
        self.projection_dim = projection_dim
        self.max_tokens: int = settings["max_tokens"]
        self.collapsed: set[str] = set()
        self._version = f"{self.fingerprint}-{dtype}-f{FRONT_END_VERSION}"
        self._tokenizer = tokenizer
        self._pad_id: int = tokenizer.pad_token_id
        self._warned_of_cut = False
        self._log_mel: Any = log_mel and log_mel.to(self._front_end_device)

    def encode_audio(
        self,
        waveforms: Sequence[NDArray[np.float32]],
        *,
        crop: str = "windows",
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        """Embed waveforms.

        Parameters
        ----------
        waveforms : sequence of ndarray of shape (n_samples,), float32
            Mono, at `sample_rate`, usually within [-1, 1].
        crop : {"windows", "center", "start"}, default="windows"
            What to do with a clip longer than the window: embed windows that cover
            it, average their unit embeddings and renormalise (a fused LAION model
            sees the whole clip in one pass instead); or take one window.
        batch_size : int, default=32
            Windows that go through the model at once, at most. On a CPU it is one to
            four, in as many passes side by side as PyTorch has threads; on a GPU no
            more than 64, while the next are laid out for it. On a GPU whose memory is
            too small for them, half as many do from then on, with a warning.

        Returns
        -------
        embeddings : ndarray of shape (n_waveforms, projection_dim), float32
            Rows of unit norm.

        Raises
        ------
        AudioError
            If a waveform is not a non-empty row of finite numbers.
        CheckpointError
            If an embedding comes out with a norm that is zero or not finite.

        Warns
        -----
        CollapsedTowerWarning
            Once, if eight or more distinct inputs get all but the same embedding.
        """
        pieces = self._audio_pieces(waveforms, crop)
        units = self._averaged(pieces, len(waveforms), batch_size)
        self._warn_if_collapsed("audio", units, waveforms)
        return units.astype(np.float32)

    @property
    def cuts_windows(self) -> bool:
        """Whether `encode_windows` serves: not without a front end of ours."""
        return self._log_mel is not None

    def encode_windows(
        self,
        waveforms: Sequence[NDArray[np.float32]],
        starts: Sequence[Sequence[float]],
        length: float,
        *,
        method: str = "tiled",
    ) -> list[NDArray[np.float32]]:
        """Embed short windows of waveforms.

        Parameters
        ----------
        waveforms : sequence of ndarray of shape (n_samples,), float32
            As for `encode_audio`.
        starts : sequence of sequence of float
            Where the windows of each waveform start, in seconds.
        length : float
            Length of a window in seconds, no more than the model sees at once.
        method : {"tiled", "dense"}, default="tiled"
            "tiled" cuts the frames of a window out of the spectrogram of the whole
            clip and repeats them, as the samples of a short clip are. The cosine with
            the embedding of a window that is a clip of its own is .998 in the median
            and .90 at least (500 simulated scenes). "dense" takes the last states of
            the tower over the whole clip, and projects their mean within the window:
            as fast as `encode_audio`, but states see what is around their window.

        Returns
        -------
        embeddings : list of ndarray of shape (n_windows, projection_dim), float32
            Rows of unit norm. A waveform no longer than `length` has one, that of
            `encode_audio`.

        Raises
        ------
        AudioError
            If a waveform is not a non-empty row of finite numbers.
        CheckpointError
            If an embedding comes out with a norm that is zero or not finite.
        ValueError
            If `length` exceeds what the model sees, or its tower has no states in
            order of time.
        """
        size = round(length * self.sample_rate)
        if not 0 < size <= self.window:
            msg = (
                f"Windows of {length} s are not in the range of {self.source}, which "
                f"sees {self.window / self.sample_rate:g} s at once. Pass a length up "
                "to that."
            )
            raise ValueError(msg)
        if method == "dense" and not self.has_dense_windows:
            msg = (
                f"The audio tower of {self.source} has no states in order of time, "
                "which dense windows are made of. Use 'tiled'."
            )
            raise ValueError(msg)
        embed = {"tiled": self._embed_tiled, "dense": self._embed_dense}[method]

        def embed_one(job: tuple[NDArray[np.float32], Sequence[float]]) -> torch.Tensor:
            waveform, begins = job
            if len(waveform) <= size:
                return self._embed_pieces([(0, self._prepared(waveform), False)])[1]
            return embed(self._prepared(waveform), begins, size)

        jobs = [
            (checked_waveform(waveform, row), begins)
            for row, (waveform, begins) in enumerate(
                zip(waveforms, starts, strict=True)
            )
        ]
        with convolutions_like_products():
            embedded = self._passes(embed_one, jobs)
            return [
                self._unit(_to_numpy(of_clip), "waveform", [row] * len(of_clip)).astype(
                    np.float32
                )
                for row, of_clip in enumerate(embedded)
            ]

    def encode_text(
        self, texts: Sequence[str], *, batch_size: int = 32
    ) -> NDArray[np.float32]:
        """Embed texts.

        Equal texts are embedded once; texts of like length share a batch.

        Parameters
        ----------
        texts : sequence of str
            A text of more than `max_tokens` tokens is cut; its end token stays.
        batch_size : int, default=32
            Texts that go through the model at once, at most. On a CPU they have 512
            tokens together, at most.

        Returns
        -------
        embeddings : ndarray of shape (n_texts, projection_dim), float32
            Rows of unit norm.

        Raises
        ------
        TypeError
            If a text is not a string.
        CheckpointError
            If an embedding comes out with a norm that is zero or not finite.

        Warns
        -----
        CollapsedTowerWarning
            Once, if eight or more distinct inputs get all but the same embedding.
        UserWarning
            Once, with their number, if texts are cut.
        """
        unique = list(dict.fromkeys(texts))
        tokens = self._tokens(unique)
        units = np.zeros((len(tokens), self.projection_dim))
        batches = self._text_batches(tokens, batch_size)

        def embed(rows: list[int]) -> torch.Tensor:
            return self._embed_text([tokens[row] for row in rows])

        for rows, embedded in zip(batches, self._passes(embed, batches), strict=True):
            labels = [unique[row] for row in rows]
            units[rows] = self._unit(_to_numpy(embedded), "text", labels)
        self._warn_if_collapsed("text", units, unique)
        row_of = {text: row for row, text in enumerate(unique)}
        return units.astype(np.float32)[[row_of[text] for text in texts]]

    def _averaged(
        self, pieces: Iterable[tuple[int, Any, bool]], n_rows: int, batch_size: int
    ) -> NDArray[np.float64]:
        """Embed pieces; return the mean of the unit embeddings of each row, unit."""
        totals = np.zeros((n_rows, self.projection_dim))
        at_once = min(batch_size, self._at_once)
        if self.device.type == "cpu":  # a core for each of few clips
            at_once = min(at_once, max(1, n_rows // torch.get_num_threads()))
        batches = self._batches(pieces, at_once)
        with convolutions_like_products():
            done = self._passes(self._embed_pieces, batches)
            if done:  # fetched last: until here nothing has waited for a GPU
                rows = [row for of_clips, _ in done for row in of_clips]
                embedded = torch.cat([embeddings for _, embeddings in done])
                units = self._unit(_to_numpy(embedded), "waveform", rows)
                np.add.at(totals, rows, units)
        return self._unit(totals, "waveform", range(n_rows))

    def _embed_audio(self, mels: torch.Tensor, longer: torch.Tensor) -> torch.Tensor:
        """Embed inputs of shape (n, n_channels, n_frames, n_mels).

        `longer`, on the CPU, marks those of a fused model that it is to fuse.
        """
        raise NotImplementedError

    @abstractmethod
    def _embed_text(self, tokens: list[list[int]]) -> torch.Tensor:
        """Embed tokenized texts."""

    def _passes(self, embed: Callable[[Any], Any], batches: Iterable[Any]) -> list[Any]:
        """Return what `embed` makes of each batch."""
        if self.device.type == "cpu":
            return side_by_side(embed, batches)
        with torch.inference_mode():
            return [embed(batch) for batch in batches]

    def _text_batches(
        self, tokens: Sequence[Sequence[int]], batch_size: int
    ) -> list[list[int]]:
        """Return the texts of each forward pass, by their places.

        On a CPU those of one padded length share a pass, so that none is padded for the
        sake of another. Copies of a text bring a small pass to a number of tokens from
        which on products round alike.
        """
        by_length = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        if self.device.type != "cpu":
            return list(batched(by_length, batch_size))
        batches = []
        alike = groupby(by_length, key=lambda row: self._padded(tokens[row]))
        for length, rows in alike:
            fewest = -(-_FEWEST_TOKENS // length)
            most = max(fewest, min(batch_size, _MOST_TOKENS // length))
            for batch in batched(rows, most):
                batches.append(batch + batch[-1:] * (fewest - len(batch)))
        return batches

    def _padded(self, ids: Sequence[int]) -> int:
        """Return how many tokens a text has when it is padded."""
        return min(-(-len(ids) // _TOKENS_STEP) * _TOKENS_STEP, self.max_tokens)

    def _pad_tokens(
        self, tokens: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Stack token ids, on the device of the model.

        Returns
        -------
        input_ids, attention_mask : Tensor of shape (n, longest), int64
            Padded on the right with the padding's id; 1 where a token is, else 0.
        """
        longest = max(self._padded(ids) for ids in tokens)
        input_ids = torch.full((len(tokens), longest), self._pad_id)
        attention_mask = torch.zeros_like(input_ids)
        for row, ids in enumerate(tokens):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            attention_mask[row, : len(ids)] = 1
        return input_ids.to(self.device), attention_mask.to(self.device)

    def _batches(self, pieces: Iterable[Any], at_once: int) -> Iterable[Any]:
        """Group pieces as `_audio_pieces` yields them; equal shapes share a pass."""
        return batched(pieces, at_once)

    def _embed_pieces(
        self, batch: Sequence[tuple[int, NDArray[np.float32], bool]]
    ) -> tuple[tuple[int, ...], torch.Tensor]:
        """Embed pieces as `_audio_pieces` yields them; return their clips, too."""
        of_clips, pieces, longer = zip(*batch, strict=True)
        mels = self._mels(pieces, longer).to(self.device, self._dtype)
        embeddings = self._in_parts_that_fit(
            self._embed_audio, mels, torch.tensor(longer)
        )
        return of_clips, embeddings

    def _prepared(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a waveform as the front end takes it."""
        return waveform

    def _embed_tiled(
        self, waveform: NDArray[np.float32], starts: Sequence[float], size: int
    ) -> torch.Tensor:
        """Embed windows of `size` samples, cut out of the clip's spectrogram."""
        parts = []
        whole = None
        if isinstance(self._log_mel, LogMel):
            samples = torch.tensor(waveform).to(self._log_mel.bank.device)
            whole = self._log_mel(samples[None])[0]
        for some in batched(starts, self._at_once):
            mels = self._window_mels(waveform, whole, some, size)
            parts.append(
                self._in_parts_that_fit(
                    self._embed_audio,
                    mels.to(self.device, self._dtype),
                    torch.zeros(len(mels), dtype=torch.bool),
                )
            )
        return torch.cat(parts)

    def _window_mels(
        self,
        waveform: NDArray[np.float32],
        whole: torch.Tensor | None,
        starts: Sequence[float],
        size: int,
    ) -> torch.Tensor:
        """Return the inputs of the audio tower for some windows of a clip."""
        if whole is None:  # a tower that takes samples
            begins = [round(start * self.sample_rate) for start in starts]
            pieces = [waveform[begin : begin + size] for begin in begins]
            return self._mels(pieces, [False] * len(pieces))
        hop_length = self._log_mel.hop_length
        n_frames = round(size / hop_length)
        last = len(whole) - n_frames
        return tile_frames(
            whole,
            [min(round(s * self.sample_rate / hop_length), last) for s in starts],
            n_frames,
            1 + self.window // hop_length,
            n_copies=_COPIES[self._settings["padding"]](self.window, size),
            silence=self._log_mel.silence,
        )[:, None]

    def _embed_dense(
        self, waveform: NDArray[np.float32], starts: Sequence[float], size: int
    ) -> torch.Tensor:
        """Embed windows of `size` samples, if `has_dense_windows`."""
        raise NotImplementedError

    def _pieces(
        self, waveform: NDArray[np.float32], crop: str
    ) -> Iterator[tuple[NDArray[np.float32], bool]]:
        """Yield the parts of a clip that are encoded, and whether each is fused."""
        for start in window_starts(len(waveform), self.window, crop):
            yield waveform[start : start + self.window], False

    def _mels(
        self, pieces: Sequence[NDArray[np.float32]], longer: Sequence[bool]
    ) -> torch.Tensor:
        """Return the inputs of the audio tower, for pieces no longer than a window."""
        pinned = self.device.type == "cuda"
        windows = torch.empty(len(pieces), self.window, pin_memory=pinned)
        for row, piece in zip(windows.numpy(), pieces, strict=True):
            row[:] = fill_window(piece, self.window, self._settings["padding"])
        # From pinned memory, so that nobody waits for what still runs.
        windows = windows.to(self._log_mel.bank.device, non_blocking=pinned)
        return self._log_mel(windows)[:, None]

    def _audio_pieces(
        self, waveforms: Sequence[NDArray[np.float32]], crop: str
    ) -> Iterator[tuple[int, NDArray[np.float32], bool]]:
        for row, waveform in enumerate(waveforms):
            for piece, longer in self._pieces(checked_waveform(waveform, row), crop):
                yield row, piece, longer

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        for text in texts:
            if not isinstance(text, str):
                msg = f"Texts must be strings; got {type(text).__name__}: {text!r}."
                raise TypeError(msg)
        if not texts:
            return []
        # Cut here, not in the tokenizer: its truncation is state, unsafe in threads.
        suffixed = [text + self._settings["suffix"] for text in texts]
        tokens = self._tokenizer(suffixed, verbose=False)["input_ids"]
        long = [row for row, ids in enumerate(tokens) if len(ids) > self.max_tokens]
        for row in long:
            tokens[row] = [*tokens[row][: self.max_tokens - 1], tokens[row][-1]]
        if long and not self._warned_of_cut:
            self._warned_of_cut = True
            msg = (
                f"{len(long)} of {len(texts)} texts encoded together have more than "
                f"{self.max_tokens} tokens, the limit of {self.source}: only their "
                f"beginning is used. The first is {reprlib.repr(texts[long[0]])}. "
                "Shorten such texts; later ones are cut without another warning."
            )
            warnings.warn(msg, stacklevel=3)
        return tokens

    def _unit(
        self, embeddings: NDArray[np.floating], what: str, labels: Sequence[Any]
    ) -> NDArray[np.float64]:
        norms = np.linalg.norm(embeddings.astype(np.float64), axis=1)
        for norm, label in zip(norms, labels, strict=True):
            if not (np.isfinite(norm) and norm > 0):
                msg = (
                    f"The embedding of {what} {label!r} has norm {norm}, so it cannot "
                    f"be scaled to unit norm. The weights of {self.source} are "
                    f"probably damaged: fetch them again, or compare their checksum "
                    f"with the publisher's."
                )
                raise CheckpointError(msg)
        return embeddings / norms[:, None]

    def _warn_if_collapsed(
        self, tower: str, units: NDArray[np.float64], inputs: Sequence[Any]
    ) -> None:
        if tower not in self.collapsed and warn_if_collapsed(
            tower, self.source, units, inputs
        ):
            self.collapsed.add(tower)


def apart(head: Callable[[torch.Tensor], torch.Tensor], rows: torch.Tensor) -> Any:
    """Apply what ends a tower to rows; on a CPU to one at a time."""
    if rows.device.type != "cpu":
        return head(rows)
    # Copies, since kernels may take rows that lie on another boundary in another way.
    return torch.cat([head(row.clone()) for row in rows.split(1)])


def convolutions_like_products() -> AbstractContextManager[None]:
    """Keep cuDNN from TF32, its default, unless matrix products may use it."""
    cudnn = torch.backends.cudnn
    return cudnn.flags(
        enabled=cudnn.enabled,
        benchmark=cudnn.benchmark,
        deterministic=cudnn.deterministic,
        allow_tf32=torch.get_float32_matmul_precision() != "highest",
    )


def _to_numpy(embeddings: torch.Tensor) -> NDArray[np.float32]:
    return embeddings.float().cpu().numpy()
