# cython: boundscheck=False, wraparound=False
# Steps of a stream's recurrence in sequence, without the GIL: what a user's compiled loop would be.  Compiled by own.py; letters T, I, H as there.

from gatecell.deploy.stream cimport Stepper
from libc.string cimport memcpy


def run(Stepper stepper, const float[:, ::1] x, float[:, ::1] y):
    """x (T, I) -> y (T, H), every output copied to where its user wants it."""
    cdef Py_ssize_t t
    assert stepper.batch == 1 and x.shape[0] == y.shape[0] and x.shape[1] == stepper.inputs and y.shape[1] == stepper.units
    with nogil:
        for t in range(x.shape[0]):
            memcpy(&y[t, 0], stepper.step(&x[t, 0]), y.shape[1] * sizeof(float))
