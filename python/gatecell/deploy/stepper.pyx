# One recurrence, a step at a time, by one call of the core: memory prepared once, then no allocation and no GIL.
#
# Not here: the other operations of a model (stream.py), what a recurrence computes (the core).
# Each state has two slots: a step reads one and writes the other, so that two tables of arrays serve all steps in turn.
# Letters: B batch, I input, N units of a state.

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.string cimport memcpy, strcmp

from .. import _core
from ..tensor.engine import Layer, get_num_threads, over, padded


cdef extern from "gatecell/gatecell.h" nogil:
    ctypedef enum gatecell_status:
        GATECELL_OK
        GATECELL_NO_MEMORY
    ctypedef struct gatecell_layer:
        pass
    ctypedef struct gatecell_array:
        pass
    ctypedef struct gatecell_functions:
        int32_t version
        gatecell_status (*layer_run)(const gatecell_layer *, int64_t, int64_t, const gatecell_array *, int32_t) noexcept nogil
        const char *(*message)() noexcept nogil
    const char *GATECELL_FUNCTIONS
    int GATECELL_FUNCTIONS_VERSION


cdef const gatecell_functions *core = <const gatecell_functions *> PyCapsule_GetPointer(_core.functions, GATECELL_FUNCTIONS)
if core.version != GATECELL_FUNCTIONS_VERSION:
    raise ImportError(f"functions of the core: version {GATECELL_FUNCTIONS_VERSION} wanted, got {core.version}")


cdef class Stepper:
    """Stepper(layer, batch): a layer's recurrence on `batch` rows, with its states, which begin as zeros.

    layer: an engine.Layer.  From Python `stepper(x)` and `stepper.state`; from Cython `step`, see stepper.pxd.
    inputs, units: I, and N of the output.  row: elements between the rows that `step` returns.  threads: as many as a step may use;
    calls from Python set it to get_num_threads().
    TypeError, ValueError: no such layer, batch below 1.
    """

    def __cinit__(self, layer, Py_ssize_t batch):
        if not isinstance(layer, Layer):
            raise TypeError(f"layer: an engine.Layer wanted, got {type(layer).__name__}")
        if batch < 1:
            raise ValueError(f"batch: at least 1 wanted, got {batch}")
        cell = layer.cell
        first = cell.states[0]
        sizes = {s: layer.units(cell.axis(s)) for s in cell.states}
        self.batch, self.inputs, self.units = batch, layer.units(cell.program.x.axis), sizes[first]
        self.row, self.x_row, self.threads = padded(self.units), padded(self.inputs), get_num_threads()
        self.dtype, self.itemsize, self.format = layer.dtype, layer.dtype.itemsize, layer.dtype.char.encode()

        x = layer.empty(1, batch, self.x_row)
        states = {s: layer.empty(2, batch, padded(n)) for s, n in sizes.items()}
        for a in (x, *states.values()):
            a[...] = 0
        self.keep = [x]
        for odd in range(2):
            places = {"x": over(x)}
            for s, a in states.items():
                places[s] = places[s + "'"] = over(a).flipped(2) if odd else over(a)
            lent, table = layer.lend(layer.kernel.infer, batch, places)
            self.keep += [lent, table]
            self.layer, self.tables[odd] = PyCapsule_GetPointer(lent, "gatecell_layer"), PyCapsule_GetPointer(table, "gatecell_array")
            self.outputs[odd] = <const void *> <uintptr_t> states[first][1 - odd].ctypes.data
        self.x = <char *> <uintptr_t> x.ctypes.data
        self.slots = tuple([{s: states[s][k, :, :n] for s, n in sizes.items()} for k in range(2)])
        self.results = self.slots[1][first], self.slots[0][first]

    cdef const void *step(self, const void *x) except NULL nogil:
        return self.step_rows(<const char *> x, self.inputs * self.itemsize)

    cdef const void *step_rows(self, const char *x, Py_ssize_t stride) except NULL nogil:
        cdef bint odd = self.odd
        cdef gatecell_status status
        cdef Py_ssize_t b
        for b in range(self.batch):
            memcpy(self.x + b * self.x_row * self.itemsize, x + b * stride, self.inputs * self.itemsize)
        status = core.layer_run(<const gatecell_layer *> self.layer, 1, self.batch, <const gatecell_array *> self.tables[odd], self.threads)
        if status != GATECELL_OK:
            with gil:
                raise (MemoryError if status == GATECELL_NO_MEMORY else ValueError)(core.message().decode())
        self.odd = not odd
        return self.outputs[odd]

    def __call__(self, x):
        """x (B, I), rows contiguous -> the output (B, N): the state itself, to be read before the next step and not written.

        TypeError: what is no array of the layer's dtype; ValueError: another shape, rows with gaps.
        """
        cdef Py_buffer view
        cdef int odd = self.odd
        self.threads = get_num_threads()
        PyObject_GetBuffer(x, &view, PyBUF_FORMAT | PyBUF_STRIDES)
        try:
            if strcmp(view.format, self.format) != 0:
                raise TypeError(f"x: {self.dtype} wanted, got the format {view.format.decode()}")
            if view.ndim != 2 or view.shape[0] != self.batch or view.shape[1] != self.inputs:
                raise ValueError(f"x: shape {(self.batch, self.inputs)} wanted, got {tuple([view.shape[d] for d in range(view.ndim)])}")
            if self.inputs > 1 and view.strides[1] != self.itemsize:
                raise ValueError(f"x: values {self.itemsize} bytes apart wanted, got {view.strides[1]}")
            with nogil:
                self.step_rows(<const char *> view.buf, view.strides[0])
        finally:
            PyBuffer_Release(&view)
        return self.results[odd]

    @property
    def state(self):
        """The states as they are now, {name: (B, N)}: to be read, or written in place, before the next step."""
        return dict(self.slots[self.odd])
