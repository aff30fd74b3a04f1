"""Every tolerance of the test suite, each with its reason.  Never loosened for tidiness: a budget that no longer holds is a finding.

Relative means relative to the largest entry of the compared array, unless said otherwise; float64's step is 2.2e-16.
"""

TEXTBOOK_GRADIENT = 1e-13
"""Hand-written BPTT against complex step, float64, relative: both are exact but for rounding, some hundred operations deep."""

TEXTBOOK_TORCH = 1e-14
"""A paper's loop against torch in float64, absolute (states are within [-1, 1], relu's kept small): sums in another order."""

TEXTBOOK_ONNX = 2e-6
"""A paper's loop against onnxruntime, which has float32 only: 2^-24 per operation over 7 steps, and its own tanh."""

TEXTBOOK_SCALE = 1e-9
"""Layer norm with weights 1e3 and 1e6 times a normal's: EPS / variance, 1e-5 / 1e6, is what is left of the scale, over 4 steps."""

CENTRAL_DIFFERENCE = 1e-7
"""Central difference with step 1e-5 in float64, relative: its truncation (1e-10 times a third derivative) plus 1e-16 / 1e-5 of rounding."""
