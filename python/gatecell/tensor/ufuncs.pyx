"""NumPy ufuncs whose float32 bits depend on the element alone, on any machine: the core's functions, and a logarithm.

Ufuncs, so that they take arrays of any layout, and that a stream can call their loops.  float64 is for checking.
Not here: sums (numerics.py).
"""

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.math cimport INFINITY, M_LN2, NAN, frexp
from libc.math cimport log as log_of_double
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

from .. import _core

cnp.import_array()
cnp.import_umath()

cdef extern from "<fenv.h>" nogil:
    int FE_INVALID
    int fetestexcept(int)
    int feclearexcept(int)
cdef extern from "gatecell/gatecell.h":
    const char *GATECELL_FUNCTIONS
    int GATECELL_FUNCTIONS_VERSION
    ctypedef int gatecell_status
    ctypedef int gatecell_type
    gatecell_type GATECELL_FLOAT32, GATECELL_FLOAT64
    ctypedef struct gatecell_functions:
        int32_t version
        gatecell_status (*function)(const char *name, gatecell_type type, int64_t n, const void *x, void *y) noexcept nogil

cdef const gatecell_functions *core = <const gatecell_functions *> PyCapsule_GetPointer(_core.functions, GATECELL_FUNCTIONS)
if core.version != GATECELL_FUNCTIONS_VERSION:
    raise ImportError(f"functions of the core: version {GATECELL_FUNCTIONS_VERSION} wanted, got {core.version}")

cdef enum:
    PIECE = 512  # elements that are brought together where they lie apart


cdef inline void collect(char *to, const char *a, cnp.npy_intp step, cnp.npy_intp n, int size) noexcept nogil:
    cdef cnp.npy_intp k
    for k in range(n):
        memcpy(to + k * size, a + k * step, size)


cdef inline void spread(char *to, cnp.npy_intp step, const char *a, cnp.npy_intp n, int size) noexcept nogil:
    cdef cnp.npy_intp k
    for k in range(n):
        memcpy(to + k * step, a + k * size, size)


# A NaN that went through is no invalid operation, of which NumPy would warn; to look costs less than to clear.
cdef inline void forgive() noexcept nogil:
    if fetestexcept(FE_INVALID):
        feclearexcept(FE_INVALID)


cdef inline void apply(char **args, cnp.npy_intp n, cnp.npy_intp *steps, void *name, gatecell_type type, int size) noexcept nogil:
    cdef double x[PIECE]
    cdef double y[PIECE]
    cdef char *a = args[0]
    cdef char *b = args[1]
    cdef cnp.npy_intp now
    if steps[0] == size and steps[1] == size:
        core.function(<const char *> name, type, n, a, b)
        n = 0
    while n > 0:
        now = min(n, PIECE)
        collect(<char *> x, a, steps[0], now, size)
        core.function(<const char *> name, type, now, x, y)
        spread(b, steps[1], <char *> y, now, size)
        a, b, n = a + now * steps[0], b + now * steps[1], n - now
    forgive()


cdef void function_f(char **args, cnp.npy_intp *n, cnp.npy_intp *steps, void *name) noexcept nogil:
    apply(args, n[0], steps, name, GATECELL_FLOAT32, sizeof(float))


cdef void function_d(char **args, cnp.npy_intp *n, cnp.npy_intp *steps, void *name) noexcept nogil:
    apply(args, n[0], steps, name, GATECELL_FLOAT64, sizeof(double))


# x = m 2^e: log x = e log 2 + 2 artanh s with s = (m - 1) / (m + 1), |s| < 0.172; the series to s^11 leaves 1e-10, relative.
cdef inline double logarithm(double x) noexcept nogil:
    cdef int e = 0
    cdef double m, s, z
    if not 0 < x < INFINITY:
        return -INFINITY if x == 0 else x if x > 0 else NAN
    m = frexp(x, &e)
    if m < 0.7071067811865476:
        m, e = 2 * m, e - 1
    s = (m - 1) / (m + 1)
    z = s * s
    return e * M_LN2 + 2 * s * (1 + z * (1 / 3.0 + z * (1 / 5.0 + z * (1 / 7.0 + z * (1 / 9.0 + z * (1 / 11.0))))))


cdef void log_f(char **args, cnp.npy_intp *n, cnp.npy_intp *steps, void *unused) noexcept nogil:
    cdef cnp.npy_intp k
    for k in range(n[0]):
        (<float *> (args[1] + k * steps[1]))[0] = <float> logarithm((<float *> (args[0] + k * steps[0]))[0])
    forgive()


cdef void log_d(char **args, cnp.npy_intp *n, cnp.npy_intp *steps, void *unused) noexcept nogil:
    cdef cnp.npy_intp k
    for k in range(n[0]):
        (<double *> (args[1] + k * steps[1]))[0] = log_of_double((<double *> (args[0] + k * steps[0]))[0])


cdef char TYPES[4]
cdef cnp.PyUFuncGenericFunction FUNCTION[2]
cdef cnp.PyUFuncGenericFunction LOG[2]
cdef const char *NAMES[8]  # of a function for both types
cdef void *NOTHING[2]
TYPES[:] = [cnp.NPY_FLOAT, cnp.NPY_FLOAT, cnp.NPY_DOUBLE, cnp.NPY_DOUBLE]
FUNCTION[:] = [<cnp.PyUFuncGenericFunction> function_f, <cnp.PyUFuncGenericFunction> function_d]
LOG[:] = [<cnp.PyUFuncGenericFunction> log_f, <cnp.PyUFuncGenericFunction> log_d]
NAMES[:] = ["exp", "exp", "tanh", "tanh", "sigmoid", "sigmoid", "log_sigmoid", "log_sigmoid"]
NOTHING[:] = [NULL, NULL]


cdef own(int k, const char *name, const char *text):
    return cnp.PyUFunc_FromFuncAndData(FUNCTION, <void **> &NAMES[2 * k], TYPES, 2, 1, 1, cnp.PyUFunc_None, <char *> name, <char *> text, 0)


exp = own(0, "exp", "e^x")
tanh = own(1, "tanh", "Hyperbolic tangent.")
sigmoid = own(2, "sigmoid", "1 / (1 + e^-x)")
log_sigmoid = own(3, "log_sigmoid", "log sigmoid(x)")
log = cnp.PyUFunc_FromFuncAndData(LOG, NOTHING, TYPES, 2, 1, 1, cnp.PyUFunc_None, "log", "Natural logarithm, float32 to 0.501 units.", 0)
