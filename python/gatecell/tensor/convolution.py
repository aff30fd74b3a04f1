"""A causal convolution over time by FFT, as one operation on the tape.  Not here: short convolutions, which are scans.

Letters: B batch, T time, H channels.
"""

from __future__ import annotations

import numpy as np

from .autograd import mode
from .dtypes import Array
from .tensor import Tensor, record


def causal_convolution(u: Tensor, k: Tensor) -> Tensor:
    """y[b, t, h] = sum over j <= t of k[j, h] u[b, t - j, h]: u (B, T, H), k (T, H) -> (B, T, H), in float64 within.

    ValueError: k is not (T, H); TypeError: of another type.
    """
    if u.ndim != 3 or k.shape != u.shape[1:]:
        raise ValueError(f"causal_convolution: u (B, T, H) and k (T, H) wanted, got {u.shape} and {k.shape}")
    if u.dtype != k.dtype or u.dtype.kind != "f":
        raise TypeError(f"causal_convolution: two Tensors of one floating type wanted, got {u.dtype} and {k.dtype}")
    n = 2 * u.shape[1]  # so long that the end does not reach around to the beginning
    spectra = tuple(np.fft.rfft(t.data.astype(np.float64), n, axis=-2) for t in (u, k))

    def back(spectrum: Array) -> Array:
        return np.fft.irfft(spectrum, n, axis=-2)[..., : u.shape[1], :].astype(u.dtype)

    def backward(g: Array) -> tuple[Array | None, ...]:
        of = np.fft.rfft(g.astype(np.float64), n, axis=-2)
        return back(of * np.conj(spectra[1])), back((of * np.conj(spectra[0])).sum(0))

    y = Tensor(back(spectra[0] * spectra[1]))
    if (followed := mode.grad and (u.requires_grad or k.requires_grad)) or mode.trace:
        record("causal_convolution", (u, k), (y,), backward, {}, followed, ())
    return y
