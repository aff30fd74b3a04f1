// Packs a layer's weights in the order in which the kernels read them.
//
// A panel is `panel` vectors of 16 units times the columns of a group; for each k of each segment in order, its weights lie
// side by side.  The layout is the same for every instruction set: 16 units are one, two or four vectors.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "dispatch.hpp"
#include "message.hpp"
#include "plan.hpp"

gatecell_layer::~gatecell_layer() { std::free(packed); }

namespace gatecell {
namespace {

constexpr int64_t PAD = GATECELL_PAD;

// Which use of its source by its accumulator each term is: 0, or more where a page multiplies one value twice into one sum.
std::vector<int32_t> turns_of(const Loop &loop) {
  std::vector<int32_t> turns(loop.terms.size(), 0);
  for (size_t i = 0; i < loop.terms.size(); i++)
    for (size_t j = 0; j < i; j++)
      turns[i] += loop.terms[j].accumulator == loop.terms[i].accumulator && loop.terms[j].source == loop.terms[i].source;
  return turns;
}

// Terms of a loop -> groups, sources in the order of their first use: that is the order in which every sum runs.
std::vector<Group> groups_of(const gatecell_plan &plan, const Loop &loop, const std::vector<int64_t> &sizes) {
  struct Feed {
    Segment segment;
    std::vector<int32_t> columns;
  };
  std::vector<Feed> feeds;
  const std::vector<int32_t> turns = turns_of(loop);
  for (size_t i = 0; i < loop.terms.size(); i++) {
    const Term &t = loop.terms[i];
    auto f =
        std::find_if(feeds.begin(), feeds.end(), [&](const Feed &v) { return v.segment.source == t.source && v.segment.turn == turns[i]; });
    if (f == feeds.end()) {
      const int64_t k = sizes[static_cast<size_t>(plan.arrays[static_cast<size_t>(t.source)].axis)];
      f = feeds.insert(feeds.end(), Feed{{t.source, turns[i], k}, {}});
    }
    f->columns.push_back(t.accumulator);
  }
  std::vector<Group> groups;
  for (const Feed &f : feeds) {
    if (groups.empty() || groups.back().columns != f.columns) groups.emplace_back().columns = f.columns;
    groups.back().segments.push_back(f.segment);
    groups.back().depth += f.segment.k;
  }
  for (Group &g : groups)
    if (std::is_sorted(g.columns.begin(), g.columns.end()) && g.columns.back() < 32)
      for (const int32_t a : g.columns) g.mask |= 1u << a;
  return groups;
}

// Rows of a square become its columns.
template <class V> void turn(V (&a)[4]) {
  const V low = __builtin_shufflevector(a[0], a[1], 0, 4, 1, 5), high = __builtin_shufflevector(a[0], a[1], 2, 6, 3, 7);
  const V low2 = __builtin_shufflevector(a[2], a[3], 0, 4, 1, 5), high2 = __builtin_shufflevector(a[2], a[3], 2, 6, 3, 7);
  a[0] = __builtin_shufflevector(low, low2, 0, 1, 4, 5), a[1] = __builtin_shufflevector(low, low2, 2, 3, 6, 7);
  a[2] = __builtin_shufflevector(high, high2, 0, 1, 4, 5), a[3] = __builtin_shufflevector(high, high2, 2, 3, 6, 7);
}
template <class V> void turn(V (&a)[2]) {
  const V first = __builtin_shufflevector(a[0], a[1], 0, 2);
  a[1] = __builtin_shufflevector(a[0], a[1], 1, 3), a[0] = first;
}

// A vector of 16 units of a matrix [k][unit] -> d, `row` elements apart.
template <class R> void copy_units(const R *from, int64_t from_row, int64_t k_size, int64_t units, R *d, int64_t row) {
  for (int64_t k = 0; k < k_size; k++, from += from_row, d += row) {
    std::copy(from, from + units, d);
    std::fill(d + units, d + PAD, R(0));
  }
}

// The same of a matrix [unit][k], in squares that stay in registers: one element at a time would take four times as long.
template <class R> void turn_units(const R *from, int64_t from_row, int64_t k_size, int64_t units, R *d, int64_t row) {
  constexpr int L = 16 / sizeof(R);
  typedef R V __attribute__((vector_size(16), aligned(alignof(R)), may_alias));
  int64_t k = 0;
  if (units == PAD)
    for (; k + L <= k_size; k += L)
      for (int64_t u = 0; u < PAD; u += L) {
        V square[L];
        for (int i = 0; i < L; i++) square[i] = *reinterpret_cast<const V *>(from + (u + i) * from_row + k);
        turn(square);
        for (int i = 0; i < L; i++) *reinterpret_cast<V *>(d + (k + i) * row + u) = square[i];
      }
  for (; k < k_size; k++) {
    for (int64_t u = 0; u < units; u++) d[k * row + u] = from[u * from_row + k];
    std::fill(d + k * row + units, d + k * row + PAD, R(0));
  }
}

template <class R> void pack_term(const Term &t, int32_t turn, const PackedLoop &to, const Group &g, const gatecell_weight &w, R *base) {
  const auto columns = static_cast<int64_t>(g.columns.size());
  const auto column = std::find(g.columns.begin(), g.columns.end(), t.accumulator) - g.columns.begin();
  int64_t start = 0, k_size = 0;
  for (const Segment &s : g.segments) {
    k_size = s.k;
    if (s.source == t.source && s.turn == turn) break;
    start += s.k;
  }
  const R *from = static_cast<const R *>(w.matrix) + t.gate * (t.transposed ? k_size : to.units) * w.row;
  for (int64_t v = 0; v < to.vectors; v++) {
    const int64_t q = v / to.panel, width = std::min(to.panel, to.vectors - q * to.panel), row = columns * width * PAD;
    R *d = base + g.weights + q * to.panel * PAD * columns * g.depth + start * row + (column * width + v % to.panel) * PAD;
    const int64_t units = std::min(PAD, to.units - v * PAD);
    if (t.transposed)
      copy_units(from + v * PAD, w.row, k_size, units, d, row);
    else
      turn_units(from + v * PAD * w.row, w.row, k_size, units, d, row);
  }
}

template <class R> void pack_loop(const Loop &loop, const PackedLoop &to, const gatecell_weight *weights, R *base) {
  R *bias = base + to.bias;
  std::fill(bias, bias + loop.accumulators * to.vectors * PAD, R(0));
  const std::vector<int32_t> turns = turns_of(loop);
  for (size_t i = 0; i < loop.terms.size(); i++) {
    const Term &t = loop.terms[i];
    const gatecell_weight &w = weights[t.family];
    for (const Group &g : to.groups)
      for (const Segment &s : g.segments)
        if (s.source == t.source && s.turn == turns[i] && std::count(g.columns.begin(), g.columns.end(), t.accumulator))
          pack_term(t, turns[i], to, g, w, base);
    if (!w.bias || t.transposed) continue;
    const R *from = static_cast<const R *>(w.bias) + t.gate * to.units;
    R *at = bias + t.accumulator * to.vectors * PAD;
    for (int64_t u = 0; u < to.units; u++) at[u] += from[u];
  }
}

int64_t panel_of(const std::vector<Group> &groups, int64_t rows) {
  int widest = 1;
  for (const Group &g : groups) widest = std::max(widest, static_cast<int>(g.columns.size()));
  return panel_width(widest, rows < 3 ? STREAM_COLUMNS : BATCH_COLUMNS);
}

}  // namespace
}  // namespace gatecell

using namespace gatecell;

gatecell_status gatecell_layer_new(const gatecell_plan *plan, gatecell_type type, const int64_t *sizes, const gatecell_weight *weights,
                                   int64_t rows, int32_t interpret, gatecell_layer **out) try {
  if (!plan || !sizes || (!weights && plan->families) || !out || (type != GATECELL_FLOAT32 && type != GATECELL_FLOAT64))
    return fail(GATECELL_BAD_ARGUMENT, "a layer wants a plan, its sizes and its weights");
  for (int32_t a = 0; a < plan->axes; a++)
    if (sizes[a] < 1 || sizes[a] > (int64_t{1} << 24)) return fail(GATECELL_BAD_ARGUMENT, "an axis wants 1 to 16,777,216 units");
  auto *layer = new gatecell_layer;
  layer->plan = plan;
  layer->type = type;
  layer->interpret = interpret != 0;
  layer->sizes.assign(sizes, sizes + plan->axes);
  int64_t total = 0;
  for (const Pass &pass : plan->passes) {
    auto &packed = layer->loops.emplace_back();
    for (const Loop &loop : pass.loops) {
      PackedLoop &p = packed.emplace_back();
      p.units = sizes[loop.axis];
      p.vectors = (p.units + PAD - 1) / PAD;
      p.groups = groups_of(*plan, loop, layer->sizes);
      p.panel = panel_of(p.groups, rows);
      for (Group &g : p.groups) {
        g.weights = total;
        total += g.depth * static_cast<int64_t>(g.columns.size()) * p.vectors * PAD;
      }
      p.bias = total;
      total += loop.accumulators * p.vectors * PAD;
    }
  }
  const size_t size = type == GATECELL_FLOAT32 ? sizeof(float) : sizeof(double);
  const size_t bytes = (static_cast<size_t>(total) * size + 63) / 64 * 64 + 64;
  layer->packed = std::aligned_alloc(64, bytes);
  if (!layer->packed) {
    delete layer;
    return fail(GATECELL_NO_MEMORY, "no memory for a layer's packed weights");
  }
  for (size_t s = 0; s < plan->passes.size(); s++)
    for (size_t l = 0; l < plan->passes[s].loops.size(); l++) {
      if (type == GATECELL_FLOAT32)
        pack_loop(plan->passes[s].loops[l], layer->loops[s][l], weights, static_cast<float *>(layer->packed));
      else
        pack_loop(plan->passes[s].loops[l], layer->loops[s][l], weights, static_cast<double *>(layer->packed));
    }
  *out = layer;
  return GATECELL_OK;
} catch (const std::bad_alloc &) {
  return fail(GATECELL_NO_MEMORY, "no memory for a layer");
}

void gatecell_layer_free(gatecell_layer *layer) { delete layer; }
