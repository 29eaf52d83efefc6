"""Log-mel spectrograms, padding to a window, and the fused input of long clips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers.audio_utils import mel_filter_bank

# Part of every encoder's identity: increment when a change here alters embeddings.
FRONT_END_VERSION = "2"

_POWER_FLOOR = 1e-10
# Float64 spectra of this many frames fit into a processor's cache: twice as fast as a
# batch of whole clips, and memory does not grow with the clip. Many small pieces would
# slow down a GPU, so it gets more at once, some 0.5 GB.
_FRAMES_AT_ONCE = 256
_FRAMES_AT_ONCE_ON_GPU = 16_384


class LogMel(nn.Module):
    """Log-mel power spectrogram in decibels.

    A centred short-time Fourier transform (periodic Hann window, reflected edges),
    squared magnitudes through a mel bank, and ``10 * log10(max(power, 1e-10))``.
    Computed in float64, because float32 drifts by up to 2e-3 dB near the floor.

    Parameters
    ----------
    bank : array-like of shape (n_fft // 2 + 1, n_mels)
        Weight of each frequency bin in each mel band; it also fixes `n_fft`.
    hop_length : int
        Samples between the starts of two frames.

    Examples
    --------
    >>> import torch
    >>> bank = mel_bank(1024, 64, sample_rate=48000, f_min=50, f_max=14000)
    >>> LogMel(bank, hop_length=480)(torch.zeros(1, 48000)).shape
    torch.Size([1, 101, 64])
    """

    bank: torch.Tensor
    window: torch.Tensor

    def __init__(self, bank: NDArray[np.floating] | torch.Tensor, *, hop_length: int):
        super().__init__()
        bank = torch.as_tensor(bank, dtype=torch.float64)
        self.n_fft = 2 * (len(bank) - 1)
        self.n_mels = bank.shape[1]
        self.hop_length = hop_length
        # Bins from the lowest to the highest nonzero weight; often 60 %.
        weighed = bank.any(dim=1).nonzero().flatten().tolist()
        if not weighed:
            msg = f"The mel bank of shape {tuple(bank.shape)} has no nonzero weight."
            raise ValueError(msg)
        self.heard = slice(weighed[0], weighed[-1] + 1)
        window = torch.hann_window(self.n_fft, dtype=torch.float64)
        self.register_buffer("bank", bank, persistent=False)
        self.register_buffer("window", window, persistent=False)

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Transform waveforms.

        Parameters
        ----------
        waveforms : Tensor of shape (n, n_samples)
            Longer than half an FFT window.

        Returns
        -------
        decibels : Tensor of shape (n, 1 + n_samples // hop_length, n_mels), float32
        """
        n_frames = 1 + waveforms.shape[1] // self.hop_length
        # On a CPU, one clip per product, so that its bits do not depend on others.
        at_once, clips = _FRAMES_AT_ONCE, 1
        if self.window.is_cuda:
            at_once = _FRAMES_AT_ONCE_ON_GPU
            clips = max(1, at_once // n_frames)
        half = self.n_fft // 2
        padded = nn.functional.pad(waveforms[:, None], (half, half), mode="reflect")
        return torch.cat(
            [
                torch.cat(
                    [
                        self._frames(some, first, min(first + at_once, n_frames))
                        for first in range(0, n_frames, at_once)
                    ],
                    dim=1,
                )
                for some in padded[:, 0].split(clips)
            ]
        )

    @property
    def silence(self) -> float:
        """Value of every band of digital silence."""
        return float(self._compress(torch.zeros((), dtype=torch.float64)))

    def _frames(self, padded: torch.Tensor, first: int, stop: int) -> torch.Tensor:
        begin = first * self.hop_length
        end = (stop - 1) * self.hop_length + self.n_fft
        spectrum = torch.stft(
            padded[:, begin:end].to(self.window),
            self.n_fft,
            self.hop_length,
            window=self.window,
            center=False,
            return_complex=True,
        )[:, self.heard]
        power = (spectrum.real.square() + spectrum.imag.square()).transpose(1, 2)
        return self._compress(power @ self.bank[self.heard]).float()

    def _compress(self, power: torch.Tensor) -> torch.Tensor:
        """Convert the power of each band to the scale of the model's input."""
        return 10 * torch.log10(power.clamp(min=_POWER_FLOOR))


def mel_bank(
    n_fft: int,
    n_mels: int,
    *,
    sample_rate: int,
    f_min: float,
    f_max: float,
    scale: str = "slaney",
) -> NDArray[np.float64]:
    """Build a bank of triangular mel filters.

    Parameters
    ----------
    n_fft, n_mels : int
        Samples in an FFT window; number of mel bands.
    sample_rate : int
        In hertz.
    f_min, f_max : float
        Edges of the lowest and highest band, in hertz.
    scale : {"slaney", "htk"}, default="slaney"
        "slaney": Slaney's scale, bands of equal area (librosa's default).
        "htk": HTK's scale, bands of equal height (torchaudio's default).

    Returns
    -------
    bank : ndarray of shape (n_fft // 2 + 1, n_mels)
    """
    return mel_filter_bank(
        num_frequency_bins=n_fft // 2 + 1,
        num_mel_filters=n_mels,
        min_frequency=f_min,
        max_frequency=f_max,
        sampling_rate=sample_rate,
        norm="slaney" if scale == "slaney" else None,
        mel_scale=scale,
    )


def fill_window(
    waveform: NDArray[np.float32], window: int, padding: str
) -> NDArray[np.float32]:
    """Lengthen a waveform to `window` samples.

    Parameters
    ----------
    waveform : ndarray of shape (n_samples,)
        Not longer than `window`.
    window : int
        Length to reach, in samples.
    padding : {"repeatpad", "repeat", "pad"}
        "repeatpad" appends as many whole copies as fit, then zeros; "repeat" appends
        copies, the last one cut; "pad" appends zeros.

    Returns
    -------
    filled : ndarray of shape (window,)
    """
    if padding == "repeat":
        return np.resize(waveform, window)
    if padding == "repeatpad":
        waveform = np.tile(waveform, window // len(waveform))
    return np.pad(waveform, (0, window - len(waveform)))


def tile_frames(
    mel: torch.Tensor,
    starts: Sequence[int],
    size: int,
    n_frames: int,
    *,
    n_copies: int,
    silence: float,
) -> torch.Tensor:
    """Cut windows from a clip's spectrogram; repeat each like the samples of a clip.

    Parameters
    ----------
    mel : Tensor of shape (n_clip_frames, n_mels)
        The whole clip.
    starts : sequence of int
        First frame of each window.
    size : int
        Frames of a window.
    n_frames : int
        Frames of the model's input.
    n_copies : int
        Maximum number of copies of a window; silence fills the remaining frames.
    silence : float
        As `LogMel.silence`.

    Returns
    -------
    windows : Tensor of shape (n_windows, n_frames, n_mels)
    """
    place = torch.arange(n_frames)
    frames = torch.tensor(starts)[:, None] + place % size
    windows = mel[frames.to(mel.device)]
    windows[:, n_copies * size + 1 :] = silence  # one frame is centred on the end
    return windows


def fusion_chunk_starts(n_frames: int, chunk: int) -> list[int]:
    """Place three chunks of `chunk` frames in the front, middle and back.

    The possible positions of a chunk are split into three ranges of nearly equal
    length, as in LAION's fusion. LAION draws from each range at random; here its centre
    is used. An empty range yields 0.

    Examples
    --------
    >>> fusion_chunk_starts(1501, 1001)
    [83, 250, 417]
    """
    ranges = np.array_split(np.arange(n_frames - chunk + 1), 3)
    return [int(r[len(r) // 2]) if len(r) else 0 for r in ranges]


def fuse(mel: torch.Tensor, chunk: int) -> torch.Tensor:
    """Stack the shrunk whole and three chunks of a long clip.

    The whole clip is shrunk by bilinear interpolation without smoothing, as in
    transformers. The authors' package smooths (torchvision's Resize), so its embeddings
    of long clips differ from these by about 1e-3.

    Parameters
    ----------
    mel : Tensor of shape (n_frames, n_mels)
        The whole clip, `n_frames` > `chunk`.
    chunk : int
        Frames of the model's input.

    Returns
    -------
    fused : Tensor of shape (4, chunk, n_mels)
        Shrunk whole, front, middle, back.
    """
    whole = nn.functional.interpolate(
        mel[None, None], size=(chunk, mel.shape[1]), mode="bilinear"
    )[0, 0]
    starts = fusion_chunk_starts(len(mel), chunk)
    return torch.stack([whole, *(mel[start : start + chunk] for start in starts)])
