# What other Cython code may cimport: a stream that steps without the GIL.  To compile against it takes no header, of the core or of NumPy.

cdef class Stream:
    cdef readonly Py_ssize_t batch, inputs, outputs
    cdef readonly object model, dtype, result_dtype
    cdef public int threads  # as many as a step may use; steps from Python that are long set it to get_num_threads()
    cdef void *inside
    cdef object calls

    # The next step of every row: x (batch, inputs) of `dtype` to y (batch, outputs) of `result_dtype`, rows and their values side by side.
    # One thread at a time.  -1 with an exception, and nothing has moved: ValueError, tokens out of range, NaN for a model in integers,
    # threads below 1; MemoryError, no room for the scratch of a step that several threads share.
    cdef int advance(self, const void *x, void *y) except -1 nogil

    # Back to the state that a sequence begins with.
    cdef void rewind(self) noexcept nogil
