# cython: boundscheck=False, wraparound=False
# Steps of a stream in sequence, without the GIL: what a user's compiled loop would be.  Compiled by own.py; letters T, I, N.

from gatecell.deploy.stream cimport Stream


def run(Stream stream, const float[:, ::1] x, float[:, ::1] y):
    """x (T, I) -> y (T, N) of a stream of one row."""
    cdef Py_ssize_t t
    assert stream.batch == 1 and x.shape[0] == y.shape[0] and x.shape[1] == stream.inputs and y.shape[1] == stream.outputs
    with nogil:
        for t in range(x.shape[0]):
            stream.advance(&x[t, 0], &y[t, 0])
