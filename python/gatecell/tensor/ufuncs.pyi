"""NumPy ufuncs of the core's functions.  Not here: what they compute (ufuncs.pyx)."""

import numpy as np

exp: np.ufunc
tanh: np.ufunc
sigmoid: np.ufunc
log_sigmoid: np.ufunc
log: np.ufunc
