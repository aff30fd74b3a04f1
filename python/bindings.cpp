// gatecell._core: the core's C functions over NumPy arrays.  With the headers beside it the only file that knows pybind11.  Not here: numerics, policy.
//
// What comes in was checked by gatecell.tensor.engine, which owns the layout of every array; the doors check once more what
// would otherwise reach memory that is not an array's.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "blocks.hpp"
#include "gatecell/gatecell.h"
#include "outer.hpp"
#include "places.hpp"
#include "scans.hpp"
#include "unlocked.hpp"

namespace py = pybind11;

namespace {

// A pointer for modules that speak C, in a capsule that bears its type's name and keeps alive what it points into.
template <class Owner> py::capsule lend(const void *pointer, const char *type, Owner owner) {
  auto kept = std::make_unique<Owner>(std::move(owner));
  const auto drop = [](PyObject *capsule) { delete static_cast<Owner *>(PyCapsule_GetContext(capsule)); };
  PyObject *capsule = PyCapsule_New(const_cast<void *>(pointer), type, drop);
  if (!capsule || PyCapsule_SetContext(capsule, kept.get())) throw py::error_already_set();
  kept.release();
  return py::reinterpret_steal<py::capsule>(capsule);
}

constexpr gatecell_functions FUNCTIONS{GATECELL_FUNCTIONS_VERSION, gatecell_stepper_run, gatecell_integer_stepper_run,
                                       gatecell_scan_stepper_run,  gatecell_quantize,    gatecell_dequantize,
                                       gatecell_function,          gatecell_sum,         gatecell_message};

struct Plan {
  std::unique_ptr<gatecell_plan, decltype(&gatecell_plan_free)> plan{nullptr, gatecell_plan_free};
  Plan(const std::vector<int32_t> &code, const std::vector<double> &constants) {
    gatecell_plan *p = nullptr;
    check(gatecell_plan_new(code.data(), static_cast<int64_t>(code.size()), constants.data(), static_cast<int64_t>(constants.size()), &p));
    plan.reset(p);
  }
  std::tuple<size_t, size_t, size_t> counts() const {  // axes, families, arrays
    int32_t axes = 0, families = 0, arrays = 0;
    gatecell_plan_counts(plan.get(), &axes, &families, &arrays);
    return {static_cast<size_t>(axes), static_cast<size_t>(families), static_cast<size_t>(arrays)};
  }
};

// How much of an array a run touches: slots beside its steps, or IN_TURN, two of them for all steps; and elements of a row.
using Extent = std::pair<int64_t, int64_t>;
constexpr int64_t IN_TURN = -1;

// A plan for axes of certain lengths, with the extent of every array; none for those that are the core's own.
struct Fit {
  std::shared_ptr<Plan> plan;
  std::vector<int64_t> sizes;
  std::vector<std::optional<Extent>> extents;
  size_t given = 0;

  Fit(std::shared_ptr<Plan> p, std::vector<int64_t> s, std::vector<std::optional<Extent>> e)
      : plan(std::move(p)), sizes(std::move(s)), extents(std::move(e)) {
    const auto [axes, families, arrays] = plan->counts();
    if (sizes.size() != axes || extents.size() != arrays)
      throw py::value_error("a plan wants a size for every axis and an extent for every array");
    for (const auto &each : extents) given += each.has_value();
  }
};

struct Layer {
  std::shared_ptr<Fit> fit;
  gatecell_type type;
  std::unique_ptr<gatecell_layer, decltype(&gatecell_layer_free)> layer{nullptr, gatecell_layer_free};

  Layer(std::shared_ptr<Fit> f, const std::vector<std::pair<py::array, std::optional<py::array>>> &weights, bool interpret)
      : fit(std::move(f)), type(GATECELL_FLOAT32) {
    if (weights.size() != std::get<1>(fit->plan->counts())) throw py::value_error("a layer wants a weight for every family");
    std::vector<gatecell_weight> w;
    if (!weights.empty()) type = type_of(weights[0].first);
    for (const auto &[matrix, bias] : weights) {
      if (matrix.ndim() != 2 || (matrix.shape(1) > 1 && matrix.strides(1) != matrix.itemsize()) || type_of(matrix) != type)
        throw py::value_error("a family wants a matrix with contiguous rows");
      // The stride of a single element says nothing.
      if (bias && (bias->ndim() != 1 || bias->shape(0) != matrix.shape(0) || type_of(*bias) != type ||
                   (bias->shape(0) > 1 && bias->strides(0) != bias->itemsize())))
        throw py::value_error("a family's bias wants one contiguous value per row");
      w.push_back({matrix.data(), bias ? bias->data() : nullptr, matrix.strides(0) / matrix.itemsize()});
    }
    gatecell_layer *l = nullptr;
    check(unlocked([&] { return gatecell_layer_new(fit->plan->plan.get(), type, fit->sizes.data(), w.data(), interpret, &l); }));
    layer.reset(l);
  }

  // The table of a run of T steps of B rows, from the arrays that are not the core's own.
  std::vector<gatecell_array> table(int64_t T, int64_t B, const std::vector<py::array> &arrays) const {
    if (arrays.size() != fit->given) throw py::value_error("a run wants every array of its plan");
    std::vector<gatecell_array> placed;
    placed.reserve(fit->extents.size());
    auto next = arrays.begin();
    for (const std::optional<Extent> &e : fit->extents) {
      const bool in_turn = e && e->first == IN_TURN;
      placed.push_back(e ? place(*next++, type, in_turn ? 2 : T + e->first, B, e->second) : gatecell_array{});
      if (in_turn) placed.back().slots = 2;
    }
    return placed;
  }

  void run(int64_t T, int64_t B, const std::vector<py::array> &arrays, int threads, const std::optional<Lengths> &lengths) const {
    const std::vector<gatecell_array> placed = table(T, B, arrays);
    const int64_t *of = lengths_of(lengths, B);
    const bool late = std::any_of(placed.begin(), placed.end(), runs_back);
    check(unlocked([&] { return gatecell_layer_run_lengths(layer.get(), T, B, placed.data(), of, late, threads); }));
  }
};

using Halves = py::array_t<int16_t, py::array::c_style>;
using Words = py::array_t<int32_t, py::array::c_style>;

struct Integer {
  std::unique_ptr<gatecell_integer, decltype(&gatecell_integer_free)> step{nullptr, gatecell_integer_free};
  int64_t inputs = 0, outputs = 0;
  std::vector<int64_t> states;

  Integer(const std::vector<int32_t> &code, const std::vector<Words> &arrays, const Words &table, bool interpret) {
    std::vector<gatecell_ints> ints;
    for (const Words &a : arrays) ints.push_back({a.data(), a.size()});
    gatecell_integer *s = nullptr;
    check(gatecell_integer_new(code.data(), static_cast<int64_t>(code.size()), ints.data(), static_cast<int64_t>(ints.size()), table.data(),
                               table.size(), interpret, &s));
    step.reset(s);
    states.resize(static_cast<size_t>(gatecell_integer_sizes(s, &inputs, &outputs, nullptr)));
    gatecell_integer_sizes(s, &inputs, &outputs, states.data());
  }

  Halves run(const Halves &x, const std::vector<Halves> &start, int threads) const {
    if (x.ndim() != 3 || x.shape(2) != inputs || start.size() != states.size())
      throw py::value_error("an integer run wants x (T, B, I) and its states");
    const int64_t T = x.shape(0), B = x.shape(1);
    std::vector<int16_t *> s;
    for (size_t k = 0; k < start.size(); k++) {
      if (start[k].ndim() != 2 || start[k].shape(0) != B || start[k].shape(1) != states[k] || !start[k].writeable())
        throw py::value_error("an integer run wants states (B, N) that it may write");
      s.push_back(const_cast<int16_t *>(start[k].data()));
    }
    Halves y({T, B, outputs});
    int16_t *out = y.mutable_data();
    check(unlocked([&] { return gatecell_integer_run(step.get(), T, B, x.data(), s.data(), out, threads); }));
    return y;
  }
};

using Floats = py::array_t<float, py::array::c_style>;

std::vector<py::ssize_t> shape_of(const py::array &a) { return {a.shape(), a.shape() + a.ndim()}; }

// x (..., I) -> its integers, and whether there was a NaN.
std::pair<Halves, bool> quantize(const Floats &x, const Floats &offset, const Floats &scale, int32_t largest) {
  const int64_t I = offset.size();
  if (I < 1 || scale.size() != I || x.ndim() < 1 || x.shape(x.ndim() - 1) != I)
    throw py::value_error("quantize wants x (..., I), offset and scale (I,)");
  Halves q(shape_of(x));
  int16_t *out = q.mutable_data();
  int32_t nan = 0;
  check(unlocked([&] { return gatecell_quantize(x.size() / I, I, x.data(), offset.data(), scale.data(), largest, out, &nan); }));
  return {q, nan != 0};
}

// q (..., O) -> floats.
Floats dequantize(const Halves &q, const Floats &scale) {
  const int64_t O = scale.size();
  if (O < 1 || q.ndim() < 1 || q.shape(q.ndim() - 1) != O) throw py::value_error("dequantize wants q (..., O) and scale (O,)");
  Floats y(shape_of(q));
  float *out = y.mutable_data();
  check(unlocked([&] { return gatecell_dequantize(q.size() / O, O, q.data(), scale.data(), out); }));
  return y;
}

Blocks &blocks() {
  static auto *all = new Blocks;  // arrays may outlive every static
  return *all;
}

// An array whose data begins on a cache line: vectors that straddle lines cost twice.
py::array empty(const std::vector<py::ssize_t> &shape, const py::dtype &dtype) {
  auto bytes = static_cast<size_t>(dtype.itemsize());
  for (const py::ssize_t n : shape)
    if (n < 0 || __builtin_mul_overflow(bytes, static_cast<size_t>(n), &bytes)) throw std::bad_alloc();
  if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
  if (bytes < Blocks::LARGE) {
    void *data = std::aligned_alloc(64, bytes / 64 * 64 + 64);
    if (!data) throw std::bad_alloc();
    return py::array(dtype, shape, data, py::capsule(data, std::free));
  }
  auto *block = new Blocks::Block(blocks().take(bytes));
  const py::capsule owner(block, [](void *p) {
    auto *own = static_cast<Blocks::Block *>(p);
    if (own->data) blocks().give(*own);
    delete own;
  });
  if (!block->data) throw std::bad_alloc();
  return py::array(dtype, shape, block->data, owner);
}

// Zeros in a (T, B, N) beyond each row's length.
void clear(py::array &a, const Lengths &lengths) {
  if (a.ndim() != 3 || lengths.ndim() != 1 || lengths.shape(0) != a.shape(1) || !a.writeable() ||
      (a.shape(2) > 1 && a.strides(2) != a.itemsize()))
    throw py::value_error("clear wants an array (T, B, N) with contiguous rows, and one length for every row");
  const auto bytes = static_cast<size_t>(a.shape(2) * a.itemsize());
  const int64_t T = a.shape(0), B = a.shape(1), step = a.strides(0), row = a.strides(1), *length = lengths.data();
  auto *data = static_cast<char *>(a.mutable_data());
  for (int64_t t = B ? std::max<int64_t>(0, *std::min_element(length, length + B)) : T; t < T; t++)
    for (int64_t b = 0; b < B; b++)
      if (t >= length[b]) std::memset(data + t * step + b * row, 0, bytes);
}

py::array sum(const py::array &x) {
  const gatecell_type type = type_of(x);
  if (x.ndim() != 3 || !(x.flags() & py::array::c_style)) throw py::value_error("a sum wants a contiguous array (A, K, N)");
  py::array y(x.dtype(), std::vector<py::ssize_t>{x.shape(0), x.shape(2)});
  check(gatecell_sum(type, x.shape(0), x.shape(1), x.shape(2), x.data(), y.mutable_data()));
  return y;
}

using Key = std::array<uint32_t, 2>;

std::array<uint32_t, 4> philox(const std::array<uint32_t, 4> &counter, const Key &key) {
  std::array<uint32_t, 4> out;
  gatecell_philox(counter.data(), key.data(), out.data());
  return out;
}

py::array mask(const std::array<py::ssize_t, 3> &shape, const py::dtype &dtype, const Key &key, int64_t step,
               const std::optional<Lengths> &samples, uint32_t below, double kept, int threads) {
  if (samples && (samples->ndim() != 1 || samples->shape(0) != shape[1])) throw py::value_error("a mask wants one sample for every row");
  py::array out = empty({shape[0], shape[1], shape[2]}, dtype);
  const gatecell_type type = type_of(out);
  void *data = out.mutable_data();
  const int64_t *of = samples ? samples->data() : nullptr;
  check(unlocked([&] { return gatecell_mask(type, shape[0], shape[1], shape[2], key.data(), step, of, below, kept, data, threads); }));
  return out;
}

py::array function(const std::string &name, const py::array &x) {
  const gatecell_type type = type_of(x);
  if (!(x.flags() & py::array::c_style)) throw py::value_error("a function wants a contiguous array");
  py::array y(x.dtype(), std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
  check(gatecell_function(name.c_str(), type, x.size(), x.data(), y.mutable_data()));
  return y;
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "The core of gatecell: plans of cells over time, compiled once for every instruction set.";
  gatecell_cpu();  // chosen while no other thread may fork: what is begun in the parent is never finished in the child
  Unlocked::prepare();
  py::module_::import("atexit").attr("register")(py::cpp_function(&Unlocked::leave));
  m.attr("IN_TURN") = IN_TURN;
  m.attr("PAD") = static_cast<int>(GATECELL_PAD);
  m.attr("__version__") = GATECELL_VERSION;
  m.def("cpu", [] {
    const char *name = gatecell_cpu();
    if (!name) throw std::runtime_error(gatecell_message());
    return std::string(name);
  });
  m.def("peak", [] { return unlocked(gatecell_peak); });
  m.def("empty", &empty, py::arg("shape"), py::arg("dtype"));
  m.def("clear", &clear, py::arg("a"), py::arg("lengths"));
  m.def("sum", &sum, py::arg("x"));
  m.def("philox", &philox, py::arg("counter"), py::arg("key"));
  m.def("mask", &mask, py::arg("shape"), py::arg("dtype"), py::arg("key"), py::arg("step"), py::arg("samples"), py::arg("below"),
        py::arg("kept"), py::arg("threads"));
  // Bytes of large arrays: in use, the most at once since the last call that asked to forget it, waiting for the next array.
  m.def(
      "memory",
      [](bool forget) {
        const auto now = std::make_tuple(blocks().used(), blocks().most(), blocks().idle());
        if (forget) blocks().forget_most();
        return now;
      },
      py::arg("forget") = false);
  m.def("quantize", &quantize, py::arg("x"), py::arg("offset"), py::arg("scale"), py::arg("largest"));
  m.def("dequantize", &dequantize, py::arg("q"), py::arg("scale"));
  m.def("function", &function, py::arg("name"), py::arg("x"));
  m.def("outer", &outer, py::arg("terms"), py::arg("threads"), py::arg("lengths") = py::none(), py::arg("back") = false);
  m.def("scan_find", &gatecell_scan_find, py::arg("key"));
  m.def("scan_blocks", &gatecell_scan_blocks, py::arg("H"));
  m.def("scan", &run_scan, py::arg("scan"), py::arg("back"), py::arg("dtype"), py::arg("sizes"), py::arg("arrays"), py::arg("threads"));
  m.def("scan_stepper", [](int32_t scan, const py::dtype &dtype, const ScanSizes &sizes, const std::vector<ScanArray> &even,
                           const std::vector<ScanArray> &odd) {
    std::shared_ptr<gatecell_scan_stepper> stepper = scan_stepper(scan, dtype, sizes, even, odd);
    return lend(stepper.get(), "gatecell_scan_stepper", std::make_tuple(even, odd, stepper));
  });
  m.attr("functions") = py::capsule(&FUNCTIONS, GATECELL_FUNCTIONS);
  py::class_<Plan, std::shared_ptr<Plan>>(m, "Plan")
      .def(py::init<const std::vector<int32_t> &, const std::vector<double> &>(), py::arg("code"), py::arg("constants"))
      .def_property_readonly("steps", [](const Plan &p) {
        int32_t compiled = 0, loops = 0;
        gatecell_plan_steps(p.plan.get(), &compiled, &loops);
        return std::make_pair(compiled, loops);
      });
  py::class_<Fit, std::shared_ptr<Fit>>(m, "Fit").def(
      py::init<std::shared_ptr<Plan>, std::vector<int64_t>, std::vector<std::optional<Extent>>>(), py::arg("plan"), py::arg("sizes"),
      py::arg("extents"));
  py::class_<Integer>(m, "Integer")
      .def(py::init<const std::vector<int32_t> &, const std::vector<Words> &, const Words &, bool>(), py::arg("code"), py::arg("arrays"),
           py::arg("table"), py::arg("interpret"))
      .def_property_readonly("steps",
                             [](const Integer &i) {
                               int32_t compiled = 0, loops = 0;
                               gatecell_integer_steps(i.step.get(), &compiled, &loops);
                               return std::make_pair(compiled, loops);
                             })
      .def("run", &Integer::run)
      // For steps without Python: a gatecell_integer_stepper, which keeps the step, x and y; and its states, two slots (B, N) each.
      .def(
          "stepper",
          [](const py::object &self, const Halves &x, const Halves &y) {
            const auto &integer = self.cast<const Integer &>();
            const int64_t B = x.ndim() ? x.shape(0) : 0;
            if (x.ndim() != 2 || y.ndim() != 2 || x.shape(1) != integer.inputs || y.shape(0) != B || y.shape(1) != integer.outputs ||
                !y.writeable())
              throw py::value_error("an integer stepper wants x (B, I) and y (B, N)");
            gatecell_integer_stepper *made = nullptr;
            check(gatecell_integer_stepper_new(integer.step.get(), B, x.data(), const_cast<int16_t *>(y.data()), &made));
            std::shared_ptr<gatecell_integer_stepper> stepper(made, gatecell_integer_stepper_free);
            const py::capsule lent = lend(made, "gatecell_integer_stepper", std::make_tuple(self, x, y, std::move(stepper)));
            std::vector<std::pair<py::array, py::array>> states;
            for (size_t s = 0; s < integer.states.size(); s++) {
              const auto slot = [&](int32_t turn) {
                int64_t row = 0;
                int16_t *at = gatecell_integer_stepper_state(made, static_cast<int32_t>(s), turn, &row);
                return py::array_t<int16_t>({B, integer.states[s]}, {row * 2, int64_t{2}}, at, lent);
              };
              states.emplace_back(slot(0), slot(1));
            }
            return std::make_pair(lent, states);
          },
          py::arg("x").noconvert(), py::arg("y").noconvert());  // a copy would be read and written in vain
  py::class_<Layer>(m, "Layer")
      .def(py::init<std::shared_ptr<Fit>, const std::vector<std::pair<py::array, std::optional<py::array>>> &, bool>(), py::arg("fit"),
           py::arg("weights"), py::arg("interpret"))
      .def("run", &Layer::run, py::arg("T"), py::arg("B"), py::arg("arrays"), py::arg("threads"), py::arg("lengths") = py::none())
      // For steps without Python: a gatecell_stepper, which keeps the layer and the arrays.
      .def("stepper", [](const py::object &self, int64_t B, const std::vector<py::array> &even, const std::vector<py::array> &odd) {
        const auto &layer = self.cast<const Layer &>();
        gatecell_stepper *made = nullptr;
        check(gatecell_stepper_new(layer.layer.get(), B, layer.table(1, B, even).data(), layer.table(1, B, odd).data(), &made));
        std::shared_ptr<gatecell_stepper> stepper(made, gatecell_stepper_free);
        return lend(made, "gatecell_stepper", std::make_tuple(self, even, odd, std::move(stepper)));
      });
}
