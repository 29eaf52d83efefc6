"""Kaldi's log-mel filter bank, the front end of BEATs, EAT and AudioMAE."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn

SAMPLE_RATE = 16_000  # of all three
N_MELS = 128

_FRAME_SECONDS = 0.025
_HOP_SECONDS = 0.010
_PREEMPHASIS = 0.97
_F_MIN = 20.0  # hertz; the highest band ends at half the sample rate
_POVEY_POWER = 0.85
_FLOOR = torch.finfo(torch.float32).eps


def window_of(n_frames: int) -> int:
    """Return the number of samples at `SAMPLE_RATE` in `n_frames` frames."""
    length, hop = int(_FRAME_SECONDS * SAMPLE_RATE), int(_HOP_SECONDS * SAMPLE_RATE)
    return length + (n_frames - 1) * hop


def normalised_fbank(
    samples: torch.Tensor, *, mean: float, std: float, window: str, n_frames: int = 0
) -> torch.Tensor:
    """Return the normalised features of one clip, of shape (n_frames, N_MELS).

    Parameters
    ----------
    samples : Tensor of shape (n_samples,)
        At `SAMPLE_RATE`.
    mean, std : float
        Statistics of AudioSet's features. The authors divide by twice the deviation.
    window : {"povey", "hanning"}
        As for `kaldi_fbank`.
    n_frames : int, default=0
        Minimum number of frames. A shorter clip is padded with zeros after the
        logarithm, as in the authors' code, although silence is about -16 there.
    """
    mel = kaldi_fbank(samples[None], n_mels=N_MELS, window=window)[0]
    mel = nn.functional.pad(mel, (0, 0, 0, max(0, n_frames - len(mel))))
    return (mel - mean) / (2 * std)


def kaldi_fbank(
    waveforms: torch.Tensor,
    *,
    sample_rate: int = SAMPLE_RATE,
    n_mels: int = N_MELS,
    window: str = "povey",
) -> torch.Tensor:
    """Compute Kaldi's log-mel filter-bank features.

    The clip is cut into frames of 25 ms every 10 ms, without padding. From each frame,
    its mean is subtracted, then 0.97 times the preceding sample from every sample.
    Frames are windowed, zero-padded to a power of two and Fourier-transformed. Squared
    magnitudes pass through triangular mel bands from 20 Hz to half the sample rate,
    then the natural logarithm of ``max(power, 2**-23)``. There is no dithering.
    Everything is computed in float64, where it agrees with torchaudio to 1e-6. The
    authors compute in float32, which adds noise: 3e-5 on average over real sounds, but
    up to 1 in nearly silent bands.

    Kaldi's options ``use_energy`` (off in all three models) and ``htk_compat`` (the
    position of that energy) are not implemented.

    Parameters
    ----------
    waveforms : Tensor of shape (n, n_samples)
        Clips at `sample_rate`, at the model's full scale: 2¹⁵ for BEATs, 1 for EAT and
        AudioMAE.
    sample_rate : int, default=16000
        In hertz.
    n_mels : int, default=128
        Number of mel bands.
    window : {"povey", "hanning"}, default="povey"
        "hanning" is a symmetric Hann window, "povey" the same to the power of 0.85.

    Returns
    -------
    features : Tensor of shape (n, n_frames, n_mels), float32
        n_frames is 0 for a clip shorter than a frame.

    Raises
    ------
    ValueError
        If `window` is unknown.

    Examples
    --------
    >>> import torch
    >>> kaldi_fbank(torch.zeros(1, 16000)).shape
    torch.Size([1, 98, 128])
    """
    length, hop = int(_FRAME_SECONDS * sample_rate), int(_HOP_SECONDS * sample_rate)
    n_fft = 1 << (length - 1).bit_length()
    weights = _window(window, length).to(waveforms.device)
    bank = kaldi_mel_bank(n_fft, n_mels, sample_rate=sample_rate).to(waveforms.device)
    if waveforms.shape[1] < length:
        return waveforms.new_zeros(len(waveforms), 0, n_mels, dtype=torch.float32)
    frames = waveforms.double().unfold(1, length, hop)
    frames = frames - frames.mean(dim=2, keepdim=True)
    # The first sample of a frame has no predecessor and is used in its place.
    before = nn.functional.pad(frames, (1, 0), mode="replicate")[..., :-1]
    frames = (frames - _PREEMPHASIS * before) * weights
    spectrum = torch.fft.rfft(frames, n_fft)
    power = spectrum.real.square() + spectrum.imag.square()
    return (power @ bank).clamp(min=_FLOOR).log().float()


@lru_cache(maxsize=8)
def kaldi_mel_bank(n_fft: int, n_mels: int, *, sample_rate: int) -> torch.Tensor:
    """Build Kaldi's bank of triangular mel filters.

    Filters are triangular on the mel scale, not in frequency.

    Parameters
    ----------
    n_fft, n_mels : int
        Samples in an FFT window; number of mel bands.
    sample_rate : int
        In hertz.

    Returns
    -------
    bank : Tensor of shape (n_fft // 2 + 1, n_mels), float64
        Shared among callers; do not modify.
    """
    lowest, highest = _mel(torch.tensor([_F_MIN, sample_rate / 2], dtype=torch.float64))
    step = float(highest - lowest) / (n_mels + 1)
    # In float32, as in the authors' code, which changes narrow bands by up to 1e-4.
    edges = float(lowest) + torch.arange(n_mels + 2) * step
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    mels = _mel(torch.arange(n_fft // 2 + 1) * (sample_rate / n_fft))[:, None]
    rising, falling = (mels - left) / (centre - left), (right - mels) / (right - centre)
    bank = torch.minimum(rising, falling).clamp(min=0).double()
    bank[-1] = 0  # Kaldi leaves the highest bin out
    return bank


def _mel(hertz: torch.Tensor) -> torch.Tensor:
    return 1127 * torch.log(1 + hertz / 700)


@lru_cache(maxsize=8)
def _window(name: str, length: int) -> torch.Tensor:
    if name not in ("povey", "hanning"):
        msg = f"window must be 'povey' or 'hanning'; got {name!r}."
        raise ValueError(msg)
    hann = torch.hann_window(length, periodic=False, dtype=torch.float64)
    return hann**_POVEY_POWER if name == "povey" else hann
