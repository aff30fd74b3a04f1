// Scans over NumPy arrays.  For bindings.cpp alone.  Not here: which arrays a scan has (gatecell.tensor.scan).
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>
#include <tuple>
#include <vector>

#include "gatecell/gatecell.h"
#include "places.hpp"
#include "unlocked.hpp"

namespace {

// An array, or none, and the least that it has to hold: slots and elements of a row.
using ScanArray = std::tuple<std::optional<py::array>, int64_t, int64_t>;

void run_scan(int32_t scan, bool back, const py::dtype &dtype, const std::array<int64_t, 5> &sizes, const std::vector<ScanArray> &arrays,
              int threads) {
  const auto [T, B, H, N, every] = sizes;
  const gatecell_type type = type_of(py::array(dtype, std::vector<py::ssize_t>{0}));
  std::vector<gatecell_array> placed;
  for (const auto &[array, slots, units] : arrays) placed.push_back(array ? place(*array, type, slots, B, units) : gatecell_array{});
  const auto run = back ? gatecell_scan_backward : gatecell_scan_forward;
  check(unlocked([&] { return run(scan, type, T, B, H, N, every, placed.data(), threads); }));
}

}  // namespace
