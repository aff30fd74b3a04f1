# What other Cython code may cimport: a recurrence that steps without the GIL.  To compile against it takes no header of the core.

cdef class Stepper:
    cdef readonly Py_ssize_t batch, inputs, units, row
    cdef readonly object dtype
    cdef public int threads
    cdef bint odd
    cdef Py_ssize_t itemsize, x_row
    cdef bytes format
    cdef char *x
    cdef const void *layer
    cdef const void *tables[2]
    cdef const void *outputs[2]
    cdef tuple slots, results
    cdef object keep

    # x (batch, inputs), contiguous, of `dtype` -> the output: row b, unit u at h[b * row + u], valid until the step after the next.
    # One thread at a time.  MemoryError: no room for the core's scratch, at a thread's first step; ValueError: threads below 1.
    cdef const void *step(self, const void *x) except NULL nogil
    cdef const void *step_rows(self, const char *x, Py_ssize_t stride) except NULL nogil  # rows `stride` bytes apart
