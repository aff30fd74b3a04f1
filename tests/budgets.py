"""Every tolerance of the test suite, each with its reason.  Never loosened for tidiness: a budget that no longer holds is a finding.

Relative means relative to the largest entry of the compared array, unless said otherwise; float64's step is 2.2e-16.
"""

TEXTBOOK_GRADIENT = 1e-13
"""Hand-written BPTT against complex step, float64, relative: both are exact but for rounding, some hundred operations deep."""

TEXTBOOK_TORCH = 1e-14
"""A paper's loop against torch in float64, absolute (states are within [-1, 1], relu's kept small): sums in another order."""

TEXTBOOK_ONNX = 2e-6
"""A paper's loop against onnxruntime, which has float32 only: 2^-24 per operation over 7 steps, and its own tanh."""

TEXTBOOK_PARALLEL = 1e-12
"""A recurrence against the same one in another form, float64: quotients of products over 9 steps, whose factors go down to a hundredth."""

TEXTBOOK_SCALE = 1e-9
"""Layer norm with weights 1e3 and 1e6 times a normal's: EPS / variance, 1e-5 / 1e6, is what is left of the scale, over 4 steps."""

TEXTBOOK_DIFFERS = 1e-3
"""At least so far are two different cells' states apart, absolute, states around 1: eleven orders above
what rounding does."""

TEXTBOOK_GAIN_DIFFERS = 1e-2
"""The same for a gain that is doubled: it changes every gate, so that more is asked."""

CENTRAL_DIFFERENCE = 1e-7
"""Central difference with step 1e-5 in float64, relative: its truncation (1e-10 times a third derivative) plus 1e-16 / 1e-5 of rounding."""

OPTIMISER_STEP = 2e-6
"""An optimiser's parameters against torch's after 30 float32 steps, relative (to 1 at least): a dozen operations in another order,
2^-24 each, accumulated; and Adam's first steps divide by small numbers, alike on both sides."""

SCHEDULE = 1e-12
"""A schedule's rate against torch's, relative to the initial rate: float64, the same formulas in another order, 60 steps."""

INTEGER_TANH, INTEGER_SIGMOID = 1.217, 0.911
"""Largest errors of the table in steps of 2^-15 over all 65,536 arguments, as docs/arithmetic.md states them to 3 decimals."""

INTEGER_LAYER = 0.02
"""h of a layer with plain 8-bit weights against the float loop, 40 steps: half a step of 1/127 in up to 50 weights, 0.014 seen.  c:
thrice."""

TORCH_RATIO = 1.5
"""A float32 layer's distance from the float64 run, in torch's own distance from it: ours may round elsewhere, but not worse in kind."""

TORCH_FORWARD = 3e-6
"""Outputs and states against torch in float64, relative: float32 over up to 20 steps and three layers."""

TORCH_GRADIENT = 2e-5
"""Gradients against torch in float64, relative: sums over time and batch of products of float32 values."""

TORCH_DOUBLE = 1e-11
"""Outputs, states and gradients of a float64 layer against torch's, relative: sums in another order, 20 steps deep."""

TORCH_TRAINING = 1e-4
"""Loss along 100 Adam steps with clipping, relative to torch's at the same step: what rounding grows to in that many steps."""

LAYER = 2e-6
"""Layers and losses without a recurrence against torch in float32, relative: one matrix product or a few pointwise functions."""

DROPOUT_SCALE = 1e-6
"""What dropout leaves of 1 against 1 / (1 - p), relative: two roundings of float32, 6e-8 each."""

STANDARDIZE = 2e-6
"""Standardised values against float64, absolute plus NumPy's relative 1e-7: the mean, rounded to float32, is up to 5 deviations from 0."""

STANDARDIZE_BACK = (1e-6, 1e-4)
"""And back, relative and absolute: three float32 roundings relative; next to 0 the rounding of values and means of 300, 3e-5 each."""

ORTHOGONAL = 1e-5
"""Products of the rows of an orthogonal matrix with gain 3, absolute, 9 on the diagonal: float32, sums of some hundred products."""

GAIN = 1e-15
"""Gains of initialisations against torch's, relative: the same square roots in float64, a few steps of 2.2e-16."""

NORM = 1e-6
"""A norm of all gradients against torch's, relative: float32 powers and sums of 17 numbers in another order."""

NORM_CLIPPED = 1e-5
"""The norm after clipping against the bound, relative: torch's formula, 1.5 / (norm + 1e-6), and float32 products on top."""

ARRAY = 2e-5
"""An array operation in float32 and its gradient against torch's, relative to the largest entry (to 1 at least): sums of up to 625 terms in
another order, 2^-24 each, and exp of up to 50 inside softmax."""

FIT_TORCH = 2e-4
"""Weights and losses after a dozen of fit()'s updates against the same loop in torch: float32 gradients differ by 1e-6, Adam divides by
their size."""

REFERENCE = 1e-13
"""A page run step by step in NumPy against the paper's loop, float64, absolute: the same operations in another order, 5 steps, |values|
of a few."""

COMPLEX_STEP = 1e-12
"""Derived gradients in NumPy float64 against complex step, relative (to 1 at least): both exact but for rounding."""

CORE_DOUBLE = 1e-11
"""The core in float64 against the reference or complex step, relative: its tanh and exp are good to 4e-16 absolute; sums in another
order."""

CORE_FORWARD = 5e-6
"""The core in float32 against float64, relative: up to 170 products of 2^-24 each a step, 6 steps of a contracting map."""

CORE_GRADIENT = 2e-5
"""The same for gradients: sums over up to 200 rows on top."""

FUNCTION_ULP = {"tanh": 2.1, "sigmoid": 3.5, "exp": 1.3, "log_sigmoid": 4.2, "rsqrt": 1.5}
"""The core's float32 functions, in units in the last place of normal results: half of one for the last rounding, one each for a sum's
and a polynomial's before it; what all floats give (bench/README.md), rounded up. The baseline's sigmoid has 3.4, the others' 2.8."""

FUNCTION_BELOW = {"tanh": 1.0, "sigmoid": 0.27, "exp": 2e-7, "log_sigmoid": 3e-7, "rsqrt": 0.0}
"""Their errors where the exact result is less than the normal numbers, in units of the least of these, 2^-126. A subnormal
number's tanh is 0, a sigmoid drops from 0.26 to 0; the others round to subnormal numbers, 2^-23 apart."""

SUBNORMAL_TIME = 1.5
"""Time with subnormal numbers over that with others: 1.2 at most is the aim, 1.0 to 1.1 is measured; the rest is for what else runs."""

FUNCTION_ULP_DOUBLE = {"tanh": 2.5, "sigmoid": 2.5, "exp": 1.0, "log_sigmoid": 4.0, "rsqrt": 1.5}
"""The float64 functions, in units in the last place: as many roundings as in float32, and polynomials that are exact."""

STEP_GRAPH = 2e-5
"""The step graph in NumPy against forward on the core, float32, relative to the largest output (to 1 at least): 9 steps through two
layers, sums in
another order, NumPy's and the core's own exp and tanh; in logarithms of softmax once more."""

QUANTISED = {"w8a8": 0.03, "w8a16": 0.02}
"""Root mean square error of a random net's output after quantisation, relative to the output's deviation: 8-bit weights of untrained
nets, whose
outputs are small differences of many terms, lose about 1 %; a wrong scale or shift loses all."""

QUANTISED_SUMMED = 0.15
"""The same for cells whose memory keeps errors (no forget gate) or feeds them back to its own gates (peepholes): 0.05 seen."""

QUANTISED_STILL = 0.05
"""Largest error where calibration saw one input alone, 50 deviations from the mean, relative to the largest output: 8-bit weights of
untrained nets times it. 0.04 was met, 0.013 without that distance."""

FLOAT_C = 2e-6
"""Float C against forward on the core, relative to the largest output (to 1 at least): sums in another order, tanh within 5 steps,
hundreds of steps of
nets that forget."""

FLOAT_C_SUMMED = 1e-5
"""The same where no equation bounds the output, so that errors add up in it over hundreds of steps: 2.1e-6 seen."""

C_FUNCTION = {"tanh": 5, "sigmoid": 2e-7, "exp": 3}
"""Functions of float C: tanh and exp in steps of float32, sigmoid absolute: a rational of error 3e-8, and some roundings."""

C_COEFFICIENTS = {"tanh": 2.9e-8, "exp2": 1.7e-8}
"""Relative errors of the committed coefficients in float64: 1.9e-8 and 2e-9 for their degrees, the rest is their rounding to float32."""

FLOAT32_NORMAL = 2e-38
"""Below some 1.2e-38 float32 is subnormal and its steps no longer shrink with the value: no errors in steps are taken there."""

README_C = 2e-6
"""The README's float C against its network, absolute, outputs within [-1, 1]: FLOAT_C, for the same reasons."""

M4_INSTRUCTIONS = {"lstm": 1.25, "gru": 1.32}
"""Instructions per multiply-accumulate on a Cortex-M4, w8a8 at I40 H64: 0.875 of the packed product's inner loop, gates, tables, states."""

M4_COMPILER = "12.2.1"
M4_STEP = {"lstm": 32_407, "gru": 25_938}
"""The same as whole steps, exact, with this compiler: no data dependence, so every step counts alike."""

BOARD_FLOAT = 2e-6
"""A float model's C on a board against its forward, absolute, outputs within [-1, 1]: sums in another order, another tanh, 150 steps;
1.2e-7 seen."""

DEMO_W8A8 = 5e-3
"""Change of the demo's RMSE by 8-bit integers, relative, what is promised: rounding of h to 8 bits, mostly. 0.15 % was met."""

DEMO_W8A16 = 1.5e-3
"""The same with 16-bit activations, what is promised: rounding of weights. 0.12 % was met."""

DEMO_RIDGE = 2e-3
"""Ridge regression's RMSE with all inputs written out against the baseline's fewer columns, relative: the year's place jumps at its end."""

WEATHER_STORED = 1e-6
"""Inputs against the file's columns, relative: float32's 6e-8, once for the column and once for what is made of it."""

WEATHER_SPEED = 1e-5
"""Wind speed from its two float32 components, relative: squares, a sum and a root of them."""

WEATHER_CHANGE = 1e-6
"""Changes from hour to hour, absolute, degrees and hPa: float32's rounding of at most 4.7, 2.4e-7."""

WEATHER_YEAR = 1e-4
"""The year's sine at its quarter, from 1: half an hour beside it costs 1e-7, a whole day would cost 1.5e-4."""

WEATHER_SHARE = 1e-4
"""Shares of the parts from 70, 15 and 15 %, absolute: they are cut at whole hours, one in 43,824, and the horizon's hours count."""

CLI_SHOWN = 1e-3
"""An error as the command line prints it, relative: it is rounded to the digits shown."""

REPORT_SHOWN = 5e-3
"""Figures of a report's page, relative: they are rounded to 3 digits."""

LOG_ULP = 0.51
"""The logarithm of float32 arrays, in units in the last place: computed in float64 to 1e-10, then rounded."""

SUM = 2e-7
"""The sum of three million float32 numbers in [0, 1), relative: in each of three levels some tens of roundings of 6e-8, of either sign."""

OUTER = {"float32": 3e-3, "float64": 6e-12}
"""Sums of 1,110 products of normal numbers, absolute: chains of 32 and 35 partial sums are 67 roundings of half a unit of at most 710."""

SCAN_PAGE = 1e-13
"""A scan's page in NumPy against the paper's loop, float64, relative to 1 at least: the same formulas in another order, ten deep."""

SCAN_GRADIENT = 1e-13
"""A scan's derived gradient against complex step, float64, relative to the array's largest: exact but for rounding."""

SCAN_CORE = 1e-13
"""A float64 scan on the core against NumPy, relative: sums in another order, its own exp (3 units), 70 steps; 1e-14 seen."""

SCAN_FLOAT = 2e-5
"""A float32 scan on the core against float64 NumPy, relative: outputs and gradients through up to 70 steps; 2e-6 seen."""

SCAN_LAYER = 1e-12
"""Layers of scans against transformers, torch and the papers' equations, float64, relative: sums in another order, a dozen operations."""

SCAN_IN_FLOAT = 1e-6
"""The same where transformers computes A and the states in float32, whatever the model's type."""

SCAN_LAYER_GRADIENT = 1e-11
"""Their gradients, the same."""

SCAN_FORMS = 2e-5
"""The matrix memory in chunks against its recurrence, float32, relative: 20 steps' decays as sums of logarithms instead of products."""

SCAN_FOURIER = 1e-11
"""A state space as a convolution by FFT against its recurrence, float64, relative: powers of A by exp instead of 30 products."""

SCAN_DIFFERENCE = 1e-6
"""Layers' gradients against central differences with step 1e-5 in float64: truncation 1e-10 times a third derivative that exponentials
make large, plus rounding."""

BOARD_COMPILERS = {"arm-none-eabi-": "12.2.1", "riscv64-unknown-elf-": "12.2.0", "avr-": "5.4.0"}
BOARD_COSTS = {
    "cortex-m4": (107_300, 6_052, 80, 184),
    "cortex-m3": (257_220, 5_960, 60, 288),
    "cortex-m0": (445_228, 6_052, 60, 312),
    "cortex-m7": (109_460, 6_064, 80, 176),
    "cortex-m33": (107_300, 6_052, 80, 184),
    "cortex-m55": (110_060, 6_096, 80, 188),
    "rv32imafc": (310_259, 6_188, 60, 336),
    "rv32imac": (310_259, 6_188, 60, 336),
    "rv32imc": (310_259, 6_188, 60, 336),
    "atmega2560": (2_471_147, 9_076, 60, 124),
    "atmega1284p": (2_429_683, 9_076, 60, 120),
}
"""A w8a8 model I13 H20 with a head, 2,660 products, at -O3: instructions of 20 steps (cycles on AVR), flash, RAM,
stack; exact with these compilers."""
