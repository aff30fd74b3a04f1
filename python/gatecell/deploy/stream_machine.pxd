# The calls of a step in C, and what runs them: no Python object, no GIL, no allocation.  Part of stream.pyx.
#
# Not here: what the calls are and where their places lie (stream_calls.py), Python's side of a stream (stream.pyx).
# Letters: B batch.  A place is (B, n): row b, element i at `at + b * row + i * each`, in bytes.

cimport numpy as cnp
from libc.stdint cimport int16_t, int32_t, int64_t
from libc.string cimport memcpy


cdef extern from "gatecell/gatecell.h" nogil:
    ctypedef enum gatecell_status:
        GATECELL_OK
        GATECELL_NO_MEMORY
    ctypedef enum gatecell_type:
        GATECELL_FLOAT32
        GATECELL_FLOAT64
    ctypedef struct gatecell_stepper:
        pass
    ctypedef struct gatecell_integer_stepper:
        pass
    ctypedef struct gatecell_scan_stepper:
        pass
    ctypedef struct gatecell_functions:
        int32_t version
        gatecell_status (*stepper_run)(gatecell_stepper *, int32_t, int32_t) noexcept nogil
        gatecell_status (*integer_stepper_run)(gatecell_integer_stepper *, int32_t, int32_t, int32_t) noexcept nogil
        gatecell_status (*scan_stepper_run)(gatecell_scan_stepper *, int32_t, int32_t) noexcept nogil
        gatecell_status (*quantize)(int64_t, int64_t, const float *, const float *, const float *, int32_t, int16_t *, int32_t *) noexcept nogil
        gatecell_status (*dequantize)(int64_t, int64_t, const int16_t *, const float *, float *) noexcept nogil
        gatecell_status (*sum)(gatecell_type, int64_t, int64_t, int64_t, const void *, void *) noexcept nogil
        const char *(*message)() noexcept nogil
    const char *GATECELL_FUNCTIONS
    int GATECELL_FUNCTIONS_VERSION

ctypedef void (*Loop)(char **, const cnp.npy_intp *, const cnp.npy_intp *, void *) noexcept nogil  # a ufunc's, over one row

ctypedef fused Real:
    float
    double

cdef enum Kind:
    LAYER, SCAN, INTEGER, LOOP, SUM, COPY, LOOKUP, ARGMAX, QUANTIZE, DEQUANTIZE

cdef enum Failure:  # beside the core's statuses
    BAD_TOKEN = 100
    BAD_NUMBER = 101

cdef struct Place:
    char *at
    cnp.npy_intp row, each, n

cdef struct Call:
    Kind kind
    const void *of  # a Loop
    void *data      # its own; the core's stepper
    int args        # of the loop
    cnp.npy_intp n  # elements of the longest place; the largest integer of QUANTIZE
    int size        # bytes of an element
    Place on[4]

cdef struct State:
    Place slots[2]  # a step of turn k reads slot k
    Place start
    int size

cdef struct Machine:
    const gatecell_functions *core
    Py_ssize_t batch, count, states
    Call *calls[2]
    State *state
    Place x
    Place y[2]
    int x_size, y_size, turn  # a step of turn k leaves its output in y[k]
    bint changed              # the states have been written since the last step
    int64_t tokens


cdef inline void move(const Place *a, const Place *b, Py_ssize_t rows, cnp.npy_intp n, int size) noexcept nogil:
    cdef Py_ssize_t r, i
    for r in range(rows):
        if a.each == size and b.each == size:
            memcpy(b.at + r * b.row, a.at + r * a.row, n * size)
        elif size == 4:
            for i in range(n):
                memcpy(b.at + r * b.row + i * b.each, a.at + r * a.row + i * a.each, 4)
        else:
            for i in range(n):
                memcpy(b.at + r * b.row + i * b.each, a.at + r * a.row + i * a.each, size)


cdef inline void over_rows(const Call *c, Py_ssize_t rows) noexcept nogil:
    cdef char *args[4]
    cdef cnp.npy_intp each[4]
    cdef Py_ssize_t r
    cdef int k
    for k in range(c.args):
        each[k] = c.on[k].each
    for r in range(rows):
        for k in range(c.args):
            args[k] = c.on[k].at + r * c.on[k].row
        (<Loop> c.of)(args, &c.n, each, c.data)


cdef inline void sums(const Machine *m, const Call *c) noexcept nogil:
    cdef gatecell_type type = GATECELL_FLOAT32 if c.size == 4 else GATECELL_FLOAT64
    cdef Py_ssize_t r
    for r in range(m.batch):
        m.core.sum(type, 1, c.on[0].n, 1, c.on[0].at + r * c.on[0].row, c.on[1].at + r * c.on[1].row)


cdef inline void lookup(const Call *c, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t r
    for r in range(rows):
        memcpy(c.on[2].at + r * c.on[2].row, c.on[1].at + (<int64_t *> (c.on[0].at + r * c.on[0].row))[0] * c.on[1].row, c.on[2].n * c.size)


# The first of the largest; NaN is larger than any number, as in NumPy.
cdef inline int64_t greatest(const Real *v, cnp.npy_intp n) noexcept nogil:
    cdef Py_ssize_t i
    cdef int64_t best = 0
    for i in range(1, n):
        if v[best] != v[best]:
            return best
        if not v[i] <= v[best]:
            best = i
    return best


cdef inline void argmax(const Call *c, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t r
    cdef char *v
    cdef int64_t *to
    for r in range(rows):
        v, to = c.on[0].at + r * c.on[0].row, <int64_t *> (c.on[1].at + r * c.on[1].row)
        to[0] = greatest(<float *> v, c.on[0].n) if c.size == 4 else greatest(<double *> v, c.on[0].n)


cdef inline void begin(Machine *m) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(m.states):
        move(&m.state[k].start, &m.state[k].slots[m.turn], m.batch, m.state[k].start.n, m.state[k].size)
    m.changed = True


# A step: what is in `x` becomes what is in `result`.  0, a status of the core or a Failure; then nothing has moved.
cdef inline int run(Machine *m, int threads) noexcept nogil:
    cdef const Call *c = m.calls[m.turn]
    cdef const Call *end = c + m.count
    cdef int64_t token
    cdef Py_ssize_t r
    cdef int status = GATECELL_OK
    cdef int32_t nan = 0
    if m.tokens:
        for r in range(m.batch):
            token = (<int64_t *> (m.x.at + r * m.x.row))[0]
            if token < 0 or token >= m.tokens:
                return BAD_TOKEN
    while c != end:
        if c.kind == LAYER:
            status = m.core.stepper_run(<gatecell_stepper *> c.data, m.turn, threads)
        elif c.kind == LOOP:
            over_rows(c, m.batch)
        elif c.kind == SCAN:
            status = m.core.scan_stepper_run(<gatecell_scan_stepper *> c.data, m.turn, threads)
        elif c.kind == SUM:
            sums(m, c)
        elif c.kind == COPY:
            move(&c.on[0], &c.on[1], m.batch, c.n, c.size)
        elif c.kind == INTEGER:
            status = m.core.integer_stepper_run(<gatecell_integer_stepper *> c.data, m.turn, m.changed, threads)
        elif c.kind == LOOKUP:
            lookup(c, m.batch)
        elif c.kind == ARGMAX:
            argmax(c, m.batch)
        elif c.kind == DEQUANTIZE:
            status = m.core.dequantize(m.batch, c.on[0].n, <int16_t *> c.on[0].at, <float *> c.on[1].at, <float *> c.on[2].at)
        else:
            status = m.core.quantize(m.batch, c.on[0].n, <float *> c.on[0].at, <float *> c.on[1].at, <float *> c.on[2].at, <int32_t> c.n,
                                     <int16_t *> c.on[3].at, &nan)
            if nan:
                status = BAD_NUMBER
        if status != GATECELL_OK:
            return status
        c += 1
    m.turn, m.changed = 1 - m.turn, False
    return GATECELL_OK


# Where the last step's output is.
cdef inline const Place *result(const Machine *m) noexcept nogil:
    return &m.y[1 - m.turn]
