"""Short causal convolutions of each channel by itself, and their shortest, the step before: scans whose state is the last few inputs.

The last weight is the present's, as torch's Conv1d has it after padding on the left.
"""

from .scan import scan


@scan("x:H", "", "x1:H", title="Token shift", source="Peng et al. 2023, section 3.1.1")
def token_shift(x, x1):
    return x1, x


@scan("x:H", "w0:H w1:H b:H", "x1:H", title="Causal convolution of 2 steps", source="LeCun et al. 1989")
def causal_conv2(x, w0, w1, b, x1):
    return w0 * x1 + w1 * x + b, x


@scan("x:H", "w0:H w1:H w2:H b:H", "x2:H x1:H", title="Causal convolution of 3 steps", source="LeCun et al. 1989")
def causal_conv3(x, w0, w1, w2, b, x2, x1):
    return w0 * x2 + w1 * x1 + w2 * x + b, x1, x


@scan("x:H", "w0:H w1:H w2:H w3:H b:H", "x3:H x2:H x1:H", title="Causal convolution of 4 steps", source="LeCun et al. 1989")
def causal_conv4(x, w0, w1, w2, w3, b, x3, x2, x1):
    return w0 * x3 + w1 * x2 + w2 * x1 + w3 * x + b, x2, x1, x
