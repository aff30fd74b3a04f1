# cython: cdivision=True
"""Stream: a model one step at a time, the state kept in between, as a device runs it.

Not here: what a step computes (stream_calls.py, stream_graph.py), the loop over its calls (stream_machine.pxd), whole sequences (nn).
Letters: B batch, I input, O output, N units of a state.
"""

import os
import struct

import numpy as np

cimport numpy as cnp
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_CheckBuffer
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.string cimport memset

from gatecell.deploy.stream_faces cimport *
from gatecell.deploy.stream_machine cimport *

from .. import _core
from ..errors import Unsupported
from ..tensor.engine import get_num_threads
from .axes import FEATURE, TIME
from .door import batch_size, new_states, numbers
from .graph import StepGraph
from .quantized import QuantizedModel
from .stream_calls import integer_calls
from .stream_graph import GraphCalls
from .trace import trace

cnp.import_array()

cdef const gatecell_functions *core = <const gatecell_functions *> PyCapsule_GetPointer(_core.functions, GATECELL_FUNCTIONS)
if core.version != GATECELL_FUNCTIONS_VERSION:
    raise ImportError(f"functions of the core: version {GATECELL_FUNCTIONS_VERSION} wanted, got {core.version}")

KINDS = {"layer": LAYER, "scan": SCAN, "integer": INTEGER, "loop": LOOP, "sum": SUM, "copy": COPY, "lookup": LOOKUP, "argmax": ARGMAX,
         "quantize": QUANTIZE, "dequantize": DEQUANTIZE}
LONG = 50_000
"""Multiply-adds of a step from which on the GIL is released.  That is 1.4 us of work, of which a release costs 0.06 to 0.09; two threads
with a stream each take 1.7 us for two such steps instead of 2.8.  With a third of the work they lose."""
HEADER = struct.Struct("<8sIIQ16s")
"""Of `state`: MAGIC, STATE_VERSION, rows of the batch, bytes that follow, the model's identity.  The states follow, little-endian."""
MAGIC, STATE_VERSION = b"gatecell", 1


cdef int generation = 1


def _forked():
    """In a child that has none of its parent's threads, and so none of their steps."""
    global generation
    generation += 1


os.register_at_fork(after_in_child=_forked)


cdef struct Inside:
    Machine machine
    Face x, y
    bint is_long  # a step is worth a release of the GIL
    int busy      # such a step is under way, in this generation of the process; 0: none


cdef Place place_of(a) except *:
    """An array (B, n); an axis of length 1 is broadcast."""
    cdef cnp.ndarray v = a
    cdef Place p
    p.at, p.n = <char *> cnp.PyArray_DATA(v), v.shape[1]
    p.row = v.strides[0] if v.shape[0] > 1 else 0
    p.each = v.strides[1] if v.shape[1] > 1 else 0
    return p


cdef Face face_of(cnp.ndarray a, int axes, bint turned):
    return Face(a.shape[0], a.shape[1], axes, cnp.PyArray_TYPE(a), a.itemsize, ord("q" if a.dtype.kind == "i" else a.dtype.char), turned)


cdef int decode(Call *c, call, int turn) except -1:
    """A stream_calls.Call at one turn."""
    cdef cnp.ufunc ufunc
    cdef int k, i
    c.kind = KINDS[call.kind]
    arrays = [places[turn] for places in call.on]
    for k in range(len(arrays)):
        c.on[k] = place_of(arrays[k])
        c.n = max(c.n, c.on[k].n)
    c.size = arrays[-1].itemsize if arrays else 0
    if c.kind == LAYER:
        c.data = PyCapsule_GetPointer(call.of, "gatecell_stepper")
    elif c.kind == SCAN:
        c.data = PyCapsule_GetPointer(call.of, "gatecell_scan_stepper")
    elif c.kind == INTEGER:
        c.data = PyCapsule_GetPointer(call.of, "gatecell_integer_stepper")
    elif c.kind == ARGMAX:
        c.size = arrays[0].itemsize
    elif c.kind == QUANTIZE:
        c.n = call.of
    elif c.kind == COPY:
        c.on[0].each = c.on[1].each = c.size
    elif c.kind == LOOP:
        ufunc, c.args, dtype = call.of, len(arrays), arrays[-1].dtype
        for i in range(ufunc.ntypes):
            if ufunc.types[i * c.args : (i + 1) * c.args] == bytes([dtype.num]) * c.args:
                c.of, c.data = <const void *> ufunc.functions[i], ufunc.data[i] if ufunc.data else NULL
                break
        if ufunc.nargs != c.args or c.of == NULL:
            raise Unsupported(f"{call.of.__name__} of {dtype} cannot run step by step: this NumPy has no loop for it")
        if c.n == 1:  # not a reduction
            for k in range(c.args):
                c.on[k].each = c.size
    return 0


cdef class Stream:
    """Stream(model, batch=1)
--

A model on `batch` independent sequences, a step of each at a time: y = s.step(x).

    model: a Module whose forward maps a sequence to an output per step, or to one from the last step (then `step` gives, at every step,
    what forward would give if the sequence ended there); or a quantised model, computed in integers.  Its weights are copied: later
    training does not change the stream.  The outputs are those of a whole sequence, bit for bit.
    A step with `out` allocates nothing; one that raises leaves the state as it was.  One thread at a time: another's step waits for the one
    that is under way, or is refused.  From Cython without the GIL: `advance`, see stream.pxd.
    batch, inputs, outputs: B, I, O.  dtype, result_dtype: of x and of the result.  model: a StepGraph or QuantizedModel.
    TypeError, ValueError: no model, batch below 1.  Unsupported: a model that cannot run step by step, and why.
    """

    def __cinit__(self, model, batch=1):
        cdef Machine *m
        cdef Py_ssize_t k
        cdef int turn
        self.batch, self.threads = batch_size(batch), get_num_threads()
        self.model = model if isinstance(model, (StepGraph, QuantizedModel)) else trace(model)
        made = integer_calls(self.model, self.batch) if isinstance(self.model, QuantizedModel) else GraphCalls(self.model, self.batch).calls
        self.calls, self.dtype, self.result_dtype = made, made.x.dtype, made.y[0].dtype
        self.inputs, self.outputs = made.x.shape[1], made.y[0].shape[1]

        cdef Inside *inside = <Inside *> PyMem_Calloc(1, sizeof(Inside))
        if inside == NULL:
            raise MemoryError
        self.inside, m = inside, &inside.machine
        m.core, m.batch, m.tokens = core, batch, made.tokens
        m.x, m.x_size, m.y_size = place_of(made.x), made.x.itemsize, made.y[0].itemsize
        m.x.each = m.x_size
        m.count, m.states = len(made.calls), len(made.states)
        m.state = <State *> PyMem_Calloc(m.states + 1, sizeof(State))
        for turn in range(2):
            m.calls[turn] = <Call *> PyMem_Calloc(m.count + 1, sizeof(Call))
        if m.state == NULL or m.calls[0] == NULL or m.calls[1] == NULL:
            raise MemoryError
        for turn in range(2):
            m.y[turn] = place_of(made.y[turn])
            m.y[turn].each = m.y_size
            for k, call in enumerate(made.calls):
                decode(&m.calls[turn][k], call, turn)
        for k, (name, slots) in enumerate(made.states.items()):
            m.state[k].size = slots[0].itemsize
            for turn in range(2):
                m.state[k].slots[turn] = place_of(slots[turn])
                m.state[k].slots[turn].each = m.state[k].size
            m.state[k].start = place_of(made.start[name])
            m.state[k].start.each = m.state[k].size
        axes = [a for a in self.model.output.axes if a != TIME]
        inside.x = face_of(made.x, 1 + (FEATURE in self.model.input.axes), False)
        inside.y = face_of(made.y[0], len(axes), axes[0] == FEATURE)
        inside.is_long = made.work >= LONG
        self.rewind()

    def __dealloc__(self):
        cdef Inside *inside = <Inside *> self.inside
        if inside != NULL:
            PyMem_Free(inside.machine.state)
            PyMem_Free(inside.machine.calls[0])
            PyMem_Free(inside.machine.calls[1])
            PyMem_Free(inside)

    def __reduce__(self):
        raise TypeError("a Stream is neither copied nor pickled: make another of the same model and batch, and give it this one's `state`")

    cdef int advance(self, const void *x, void *y) except -1 nogil:
        cdef Machine *m = &(<Inside *> self.inside).machine
        cdef Place given = Place(<char *> x, self.inputs * m.x_size, m.x_size, self.inputs)
        cdef Place wanted = Place(<char *> y, self.outputs * m.y_size, m.y_size, self.outputs)
        move(&given, &m.x, m.batch, self.inputs, m.x_size)
        cdef int status = run(m, self.threads)
        if status != GATECELL_OK:
            with gil:
                refuse(self, status)
        move(result(m), &wanted, m.batch, self.outputs, m.y_size)
        return 0

    cdef void rewind(self) noexcept nogil:
        begin(&(<Inside *> self.inside).machine)

    def reset(self):
        """Back to the state that a sequence begins with."""
        alone(self)
        self.rewind()

    def step(self, x, out=None):
        """The next step's input (batch, features), or (batch,) of tokens or of a single feature, to that step's output (batch, features).

        x: an array of real numbers of any type, a Tensor, a list; anything with a buffer, flat or of that shape: an array.array, or bytes,
        which are the memory of such an array.  Other types than `dtype` are converted.
        With a batch of 1 its axis may be missing, from x and then from the result.
        out: an array of the result's shape and `result_dtype` to write into, or a writable buffer of as many values; it is returned.
        TypeError: what is no numbers, `out` of another type; ValueError: wrong shapes, tokens out of range, NaN for a model in integers, an
        `out` that is read-only.  RuntimeError: a step of this stream is under way in another thread.
        """
        cdef Inside *inside = <Inside *> self.inside
        cdef Machine *m = &inside.machine
        cdef Place given, to
        cdef Py_buffer x_view, y_view
        cdef Py_ssize_t lengths[2]
        cdef Fit fits
        cdef int status
        memset(&x_view, 0, sizeof(x_view))
        memset(&y_view, 0, sizeof(y_view))
        try:
            x = reads(self, x, &given, &x_view, &fits)
            if out is None:
                out = cnp.PyArray_EMPTY(shape_of(&inside.y, fits == BARE, lengths), <cnp.npy_intp *> lengths, inside.y.type, 0)
            writes(self, out, &to, &y_view, fits == BARE)
            if inside.is_long:
                self.threads = get_num_threads()
            alone(self)  # from here on no Python code runs
            move(&given, &m.x, m.batch, self.inputs, m.x_size)
            if inside.is_long:
                inside.busy = generation
                with nogil:
                    status = run(m, self.threads)
                inside.busy = 0
            else:
                status = run(m, self.threads)
            if status != GATECELL_OK:
                refuse(self, status)
            move(result(m), &to, m.batch, self.outputs, m.y_size)
        finally:
            PyBuffer_Release(&x_view)
            PyBuffer_Release(&y_view)
        return out

    @property
    def state(self):
        """All states as bytes: a header with version, batch, and an identity of the model and its weights, then the values.

        Assign them to a stream of the same model and batch, in another process too, to go on from there.
        TypeError: no bytes.  ValueError: of another model, batch or version, truncated, integers that no step gives.
        """
        values = b"".join([np.ascontiguousarray(a).astype(a.dtype.newbyteorder("<"), copy=False).tobytes() for a in slots(self).values()])
        return HEADER.pack(MAGIC, STATE_VERSION, self.batch, len(values), self.calls.identity) + values

    @state.setter
    def state(self, state):
        if not isinstance(state, (bytes, bytearray, memoryview)):
            raise TypeError(f"state: bytes wanted, got {type(state).__name__}; `states` takes arrays by name")
        data, own = bytes(state), slots(self)
        if len(data) < HEADER.size or not data.startswith(MAGIC):
            wanted = f"{HEADER.size} bytes or more that begin with {MAGIC!r} wanted"
            raise ValueError(f"state: {wanted}, got {len(data)} that begin with {data[:8]!r}")
        _, version, batch, size, identity = HEADER.unpack_from(data)
        total = sum([a.nbytes for a in own.values()])
        for what, wanted, got in (("version", STATE_VERSION, version), ("model", self.calls.identity.hex(), identity.hex()),
                                  ("batch", self.batch, batch), ("size", total, size), ("bytes", HEADER.size + total, len(data))):
            if wanted != got:
                raise ValueError(f"state: {what} {wanted} wanted, got {got}")
        new, at = {}, HEADER.size
        for name, a in own.items():
            new[name] = np.frombuffer(data, a.dtype.newbyteorder("<"), a.size, at).reshape(a.shape)
            at += a.nbytes
        self.states = new

    @property
    def states(self):
        """Copies of all states by name, (B, N) each; assign such a mapping to go on from there, whatever it was made with.

        TypeError: no mapping, no numbers (of a model in integers: no integers).  ValueError: other names or shapes, integers that no step
        gives.
        """
        return {name: a.copy() for name, a in slots(self).items()}

    @states.setter
    def states(self, states):
        own, bounds, new = slots(self), self.calls.bounds, {}
        for name, value in new_states(states, own, "whole" if bounds else "real").items():
            low, high = bounds.get(name, (0, 0))
            if name in bounds and not low <= value.min() <= value.max() <= high:
                raise ValueError(f"state {name}: values in [{low}, {high}] wanted, got {value.min()} to {value.max()}")
            with np.errstate(all="ignore"):  # what is too large is infinite
                new[name] = value.astype(own[name].dtype)
        for name, a in slots(self).items():
            a[...] = new[name]
        (<Inside *> self.inside).machine.changed = True


cdef dict slots(Stream s):
    """The states where they live now."""
    alone(s)
    return {name: a[(<Inside *> s.inside).machine.turn] for name, a in s.calls.states.items()}


cdef int alone(Stream s) except -1:
    cdef Inside *inside = <Inside *> s.inside
    if inside.busy == generation:
        raise RuntimeError("a step of this stream is under way in another thread: wanted one thread at a time")
    if inside.busy:  # of a thread that the fork left behind, midway: the states that it read are whole
        inside.busy, inside.machine.changed = 0, True
    return 0


cdef object reads(Stream s, x, Place *place, Py_buffer *view, Fit *fits):
    """Where the values of x lie; what is returned, or `view`, keeps them there."""
    cdef const Face *face = &(<Inside *> s.inside).x
    fits[0] = OTHER_TYPE
    if not cnp.PyArray_Check(x):
        if PyObject_CheckBuffer(x):
            fits[0] = fit_buffer(face, x, 0, view, place)
        if fits[0] == OTHER_TYPE:
            x = numbers("x", x, "whole" if s.calls.tokens else "real")
    if fits[0] == OTHER_TYPE:
        fits[0] = fit_array(face, x, place)
    if fits[0] == OTHER_TYPE:
        with np.errstate(all="ignore"):  # what is too large is infinite
            x = numbers("x", x, "whole" if s.calls.tokens else "real").astype(s.dtype)
        fits[0] = fit_array(face, x, place)
    if fits[0] == OTHER_SHAPE:
        whole, bare = shape(face, False), f", or {shape(face, True)}" if s.batch == 1 else ""
        size = f", or {s.batch * s.inputs * face.size} bytes" if isinstance(x, (bytes, bytearray, memoryview)) else ""
        raise ValueError(f"x: shape {whole} wanted{bare}{size}, got {shape_given(x)}")
    return x


cdef int writes(Stream s, out, Place *place, Py_buffer *view, bint bare) except -1:
    """Where the values of `out` lie; `view` keeps them there."""
    cdef const Face *face = &(<Inside *> s.inside).y
    cdef Fit fits = OTHER_TYPE
    cdef bint locked = False
    if cnp.PyArray_Check(out):
        fits, locked = fit_array(face, out, place), not cnp.PyArray_ISWRITEABLE(out)
    elif PyObject_CheckBuffer(out):
        try:
            fits = fit_buffer(face, out, PyBUF_WRITABLE, view, place)
        except BufferError:
            locked = True
    if locked:
        raise ValueError("out: an array that may be written wanted, got one that is read-only")
    if fits == OTHER_TYPE:
        got = out.dtype if cnp.PyArray_Check(out) else type(out).__name__
        raise TypeError(f"out: an array or a buffer of {s.result_dtype} wanted, got {got}")
    if fits == OTHER_SHAPE or cnp.PyArray_Check(out) and (fits == BARE) != bare:
        raise ValueError(f"out: shape {shape(face, bare)} wanted, got {shape_given(out)}")
    return 0


cdef object shape_given(x):
    return x.shape if cnp.PyArray_Check(x) else memoryview(x).shape


cdef tuple shape(const Face *face, bint bare):
    cdef Py_ssize_t lengths[2]
    return tuple([lengths[k] for k in range(shape_of(face, bare, lengths))])


cdef int refuse(Stream s, int status) except -1:
    """Raises what a status means."""
    x = s.calls.x
    if status == BAD_TOKEN:
        raise ValueError(f"x: tokens 0 to {s.calls.tokens - 1} wanted, got {x.min()} to {x.max()}")
    if status == BAD_NUMBER:
        raise ValueError(f"x: numbers wanted, got NaN at {tuple(np.argwhere(np.isnan(x))[0].tolist())}")
    raise (MemoryError if status == GATECELL_NO_MEMORY else ValueError)(core.message().decode())


def streamed(model, x):
    """One sequence, x (T, I) -> the outputs of every step (T, O) float32, with nothing but the state kept from step to step."""
    stream = Stream(model)
    return np.stack([stream.step(row).reshape(-1) for row in x]).astype(np.float32)
