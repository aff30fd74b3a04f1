// Weight gradients from Python: terms of gradients, an argument and places.  For bindings.cpp alone.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "places.hpp"
#include "unlocked.hpp"

namespace py = pybind11;

namespace {

// Gradients (T, B, N) or (B, N), argument alike with M units, or none; the products of gradient k are added to places[gates[k]], (N, M) of
// (G, N, M), and its own sum to sums[gates[k]], of (G, N).
using OuterTerm =
    std::tuple<std::vector<py::array>, std::vector<int64_t>, std::optional<py::array>, std::optional<py::array>, std::optional<py::array>>;

// As gatecell_outer_products, with what it points to.
struct OuterProducts {
  std::vector<gatecell_array> gradients;
  gatecell_array argument{};
  std::vector<void *> out, alone;
  int64_t N = 0, M = 0;

  OuterProducts(OuterTerm &term, gatecell_type type, int64_t T, int64_t B, bool back) {
    auto &[of, gates, by, places, sums] = term;
    if (of.empty() || gates.size() != of.size() || by.has_value() != places.has_value() || (!places && !sums) ||
        (places && places->ndim() != 3) || (!places && sums->ndim() != 2))
      throw py::value_error("outer wants gradients (T, B, N) or (B, N), the gate of each, and a place (G, N, M)");
    const py::array &first = places ? *places : *sums;
    const int64_t G = first.shape(0);
    N = first.shape(1), M = places ? places->shape(2) : 0;
    if (type_of(first) != type) throw py::type_error("the core wants arrays of one type");
    if (sums && (type_of(*sums) != type || sums->ndim() != 2 || sums->shape(0) != G || sums->shape(1) != N))
      throw py::value_error("outer wants sums of shape (G, N)");
    if (!((places ? places->flags() : ~0) & (sums ? sums->flags() : ~0) & py::array::c_style))
      throw py::value_error("outer wants contiguous places");
    const auto turned = [&](const py::array &a, int64_t units) {
      const gatecell_array p = place(a, type, T, B, units);
      return back ? gatecell_array{static_cast<char *>(p.data) + (T - 1) * p.step * a.itemsize(), -p.step, p.row, 0} : p;
    };
    for (size_t k = 0; k < of.size(); k++) {
      if (gates[k] < 0 || gates[k] >= G) throw py::value_error("outer was given a gate that its place lacks");
      gradients.push_back(turned(of[k], (N + GATECELL_PAD - 1) / GATECELL_PAD * GATECELL_PAD));
      if (places) out.push_back(places->mutable_data(gates[k]));
      if (sums) alone.push_back(sums->mutable_data(gates[k]));
    }
    if (by) argument = turned(*by, M);
  }
  gatecell_outer_products given() const {
    return {static_cast<int64_t>(gradients.size()), gradients.data(), N, M ? &argument : nullptr, M, out.data(), M,
            alone.empty() ? nullptr : alone.data()};
  }
};

// `back`: from the last step to the first.
void outer(std::vector<OuterTerm> terms, int threads, const std::optional<Lengths> &lengths, bool back) {
  if (terms.empty() || std::get<0>(terms[0]).empty() || std::get<0>(terms[0])[0].ndim() < 2)
    throw py::value_error("outer wants gradients (T, B, N) or (B, N), the gate of each, and a place (G, N, M)");
  const py::array &first = std::get<0>(terms[0])[0];
  const int64_t T = first.ndim() > 2 ? first.shape(0) : 1, B = first.shape(first.ndim() - 2);
  const gatecell_type type = type_of(first);
  std::vector<OuterProducts> products;
  std::vector<gatecell_outer_products> given;
  products.reserve(terms.size());
  bool late = false;
  for (OuterTerm &term : terms) {
    const OuterProducts &p = products.emplace_back(term, type, T, B, back);
    given.push_back(p.given());
    late |= runs_back(p.argument) || runs_back(p.gradients[0]);
  }
  const int64_t *of = lengths_of(lengths, B);
  check(unlocked([&] { return gatecell_outer(type, T, B, given.data(), static_cast<int64_t>(given.size()), of, late, threads); }));
}

}  // namespace
