# Where the values lie in the arrays and buffers that Python hands to a stream.  Part of stream.pyx: no numbers are moved here.

cimport numpy as cnp
from cpython.array cimport array
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer

from gatecell.deploy.stream_machine cimport Place

# What arrays of the input or the output look like: `rows` rows of n values; axes (rows, n), (n, rows) if `turned`, or (rows,).
cdef struct Face:
    Py_ssize_t rows, n
    int axes, type, size  # NumPy's number of the type; bytes of a value
    char letter           # of the type in a buffer's format
    bint turned

cdef enum Fit:
    WHOLE, BARE, OTHER_TYPE, OTHER_SHAPE  # BARE: without its axis of a single row


# The shape with its batch axis or without; how many axes it has.
cdef inline int shape_of(const Face *f, bint bare, Py_ssize_t *shape) noexcept nogil:
    shape[0] = f.n if bare or f.turned else f.rows
    shape[1] = f.rows if f.turned else f.n
    return f.axes - bare


cdef inline Fit fit(const Face *f, int axes, const Py_ssize_t *shape, const Py_ssize_t *strides, Place *place) noexcept nogil:
    cdef Py_ssize_t wanted[2]
    cdef bint bare = f.rows == 1 and axes == f.axes - 1
    cdef int k
    if axes != shape_of(f, bare, wanted):
        return OTHER_SHAPE
    for k in range(axes):
        if shape[k] != wanted[k]:
            return OTHER_SHAPE
    place.row = 0 if bare else strides[1] if f.turned else strides[0]
    place.each = f.size if f.axes == 1 else strides[0] if bare or f.turned else strides[1]
    return BARE if bare else WHOLE


cdef inline Fit fit_array(const Face *f, cnp.ndarray a, Place *place) noexcept:
    place.at = <char *> cnp.PyArray_DATA(a)
    if cnp.PyArray_TYPE(a) != f.type or not cnp.PyArray_ISNOTSWAPPED(a):
        return OTHER_TYPE
    return fit(f, cnp.PyArray_NDIM(a), <const Py_ssize_t *> cnp.PyArray_DIMS(a), <const Py_ssize_t *> cnp.PyArray_STRIDES(a), place)


# A buffer of that shape, or flat; of the type, or the bytes of such values.  The view is held where it fits.
cdef inline Fit fit_buffer(const Face *f, object x, int flags, Py_buffer *view, Place *place) except *:
    PyObject_GetBuffer(x, view, flags | PyBUF_FORMAT | PyBUF_STRIDES)
    cdef bint raw = view.ndim == 1 and (view.format == NULL or view.format == b"B") and not isinstance(x, array)  # not small numbers
    cdef Py_ssize_t dense[2]
    cdef const Py_ssize_t *strides = view.strides
    if strides == NULL and 0 < view.ndim <= 2:  # of ctypes, though they were asked for: without gaps
        dense[view.ndim - 1] = view.itemsize
        if view.ndim == 2:
            dense[0] = view.shape[1] * view.itemsize
        strides = dense
    cdef Py_ssize_t each = strides[0] * (f.size if raw else 1) if strides != NULL else 0
    cdef Fit found = OTHER_SHAPE
    place.at = <char *> view.buf
    if not raw and not is_of(f, view):
        found = OTHER_TYPE
    elif view.ndim == 1 and view.shape[0] == f.rows * f.n * (f.size if raw else 1) and (not raw or strides[0] == 1):
        place.row, place.each = (each, each * f.rows) if f.turned else (each * f.n, each)
        found = BARE if f.rows == 1 and f.axes == 2 else WHOLE
    elif not raw:
        found = fit(f, view.ndim, view.shape, strides, place)
    if found >= OTHER_TYPE:
        PyBuffer_Release(view)
    return found


cdef inline bint is_of(const Face *f, const Py_buffer *view) noexcept nogil:
    cdef const char *letter = view.format
    if letter == NULL:
        return False
    if letter[0] == c"@" or letter[0] == c"=" or letter[0] == c"<":
        letter += 1
    if letter[0] == 0 or letter[1] != 0 or view.itemsize != f.size:
        return False
    return letter[0] == f.letter or f.letter == c"q" and letter[0] == c"l"
