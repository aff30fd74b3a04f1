// Scans over NumPy arrays.  For bindings.cpp alone.  Not here: which arrays a scan has (gatecell.tensor.scan).
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

#include "gatecell/gatecell.h"
#include "places.hpp"
#include "unlocked.hpp"

namespace {

// An array, or none, and the least that it has to hold: slots and elements of a row.
using ScanArray = std::tuple<std::optional<py::array>, int64_t, int64_t>;

using ScanSizes = std::array<int64_t, 6>;  // T, B, heads, H, N, every

gatecell_type type_named(const py::dtype &dtype) { return type_of(py::array(dtype, std::vector<py::ssize_t>{0})); }
gatecell_scan_sizes sizes_of(const ScanSizes &n) { return {n[0], n[1], n[2], n[3], n[4], n[5]}; }
std::vector<gatecell_array> places_of(gatecell_type type, int64_t B, const std::vector<ScanArray> &arrays) {
  std::vector<gatecell_array> placed;
  for (const auto &[array, slots, units] : arrays) placed.push_back(array ? place(*array, type, slots, B, units) : gatecell_array{});
  return placed;
}

void run_scan(int32_t scan, bool back, const py::dtype &dtype, const ScanSizes &sizes, const std::vector<ScanArray> &arrays, int threads) {
  const gatecell_type type = type_named(dtype);
  const gatecell_scan_sizes n = sizes_of(sizes);
  const std::vector<gatecell_array> placed = places_of(type, n.B, arrays);
  const auto run = back ? gatecell_scan_backward : gatecell_scan_forward;
  check(unlocked([&] { return run(scan, type, &n, placed.data(), threads); }));
}

// A step that knows its places; they have to outlive it.
std::shared_ptr<gatecell_scan_stepper> scan_stepper(int32_t scan, const py::dtype &dtype, const ScanSizes &sizes,
                                                    const std::vector<ScanArray> &even, const std::vector<ScanArray> &odd) {
  const gatecell_type type = type_named(dtype);
  const gatecell_scan_sizes n = sizes_of(sizes);
  gatecell_scan_stepper *made = nullptr;
  check(gatecell_scan_stepper_new(scan, type, &n, places_of(type, n.B, even).data(), places_of(type, n.B, odd).data(), &made));
  return {made, gatecell_scan_stepper_free};
}

}  // namespace
