// Where NumPy's arrays lie, as the core takes them; its errors as Python's.  For bindings.cpp alone.
#pragma once
#include <pybind11/numpy.h>

#include <new>
#include <optional>
#include <stdexcept>
#include <string>

#include "gatecell/gatecell.h"

namespace py = pybind11;

namespace {

void check(gatecell_status status) {
  if (status == GATECELL_OK) return;
  if (status == GATECELL_NO_MEMORY) throw std::bad_alloc();
  if (status == GATECELL_NO_CPU) throw std::runtime_error(gatecell_message());
  throw py::value_error(gatecell_message());
}

gatecell_type type_of(const py::array &a) {
  if (py::isinstance<py::array_t<float>>(a)) return GATECELL_FLOAT32;
  if (py::isinstance<py::array_t<double>>(a)) return GATECELL_FLOAT64;
  throw py::type_error("the core wants arrays of float32 or float64, got " + py::str(a.dtype()).cast<std::string>());
}

// Where an array (slots, B, units) lies, which has to be large enough; (B, units) is the same at every step, (units) for every row, too.
gatecell_array place(const py::array &a, gatecell_type type, int64_t slots, int64_t B, int64_t units) {
  if (type_of(a) != type) throw py::type_error("the core wants arrays of one type");
  const py::ssize_t d = a.ndim(), each = a.itemsize();
  if (d < 1 || d > 3 || (a.shape(d - 1) > 1 && a.strides(d - 1) != each))
    throw py::value_error("the core wants an array (slots, B, units), (B, units) or (units), with contiguous units");
  if (a.shape(d - 1) < units || (d > 1 && a.shape(d - 2) < B) || (d > 2 && a.shape(0) < slots))
    throw py::value_error("the core was given an array that is too small for its part");
  const int64_t step = d > 2 ? a.strides(0) : 0, row = d > 1 ? a.strides(d - 2) : 0;
  if (step % each || row % each) throw py::value_error("the core wants strides of whole elements");
  return {const_cast<void *>(a.data()), step / each, row / each, 0};
}

bool runs_back(const gatecell_array &a) { return a.step < 0; }

using Lengths = py::array_t<int64_t, py::array::c_style>;

const int64_t *lengths_of(const std::optional<Lengths> &lengths, int64_t B) {
  if (!lengths) return nullptr;
  if (lengths->ndim() != 1 || lengths->shape(0) != B) throw py::value_error("a run wants one length for every row");
  return lengths->data();
}

}  // namespace
