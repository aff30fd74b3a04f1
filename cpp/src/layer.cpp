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
    if (units < PAD)
      for (int64_t k = 0; k < k_size; k++) std::fill(d + k * row + units, d + k * row + PAD, R(0));
    if (t.transposed)
      for (int64_t k = 0; k < k_size; k++) std::copy_n(from + k * w.row + v * PAD, units, d + k * row);
    else
      kernels()->transpose[sizeof(R) == sizeof(double)](from + v * PAD * w.row, w.row, d, row, units, k_size);
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

int64_t panel_of(const std::vector<Group> &groups) {
  int widest = 1;
  for (const Group &g : groups) widest = std::max(widest, static_cast<int>(g.columns.size()));
  return panel_width(widest);
}

// How many segments come before the first whose source some step writes; 0: so short that writing and reading their sums takes longer.
int64_t given_of(const gatecell_plan &plan, const std::vector<Group> &groups) {
  int64_t given = 0, depth = 0;
  for (const Group &g : groups)
    for (const Segment &s : g.segments) {
      if (plan.arrays[static_cast<size_t>(s.source)].kind != Kind::given) return depth < DEPTH_AHEAD ? 0 : given;
      given++, depth += s.k;
    }
  return depth < DEPTH_AHEAD ? 0 : given;
}

}  // namespace
}  // namespace gatecell

using namespace gatecell;

gatecell_status gatecell_layer_new(const gatecell_plan *plan, gatecell_type type, const int64_t *sizes, const gatecell_weight *weights,
                                   int32_t interpret, gatecell_layer **out) try {
  if (!plan || !sizes || (!weights && plan->families) || !out || (type != GATECELL_FLOAT32 && type != GATECELL_FLOAT64))
    return fail(GATECELL_BAD_ARGUMENT, "a layer wants a plan, its sizes and its weights");
  for (int32_t a = 0; a < plan->axes; a++)
    if (sizes[a] < 1 || sizes[a] > (int64_t{1} << 24)) return fail(GATECELL_BAD_ARGUMENT, "an axis wants 1 to 16,777,216 units");
  if (!kernels()) return GATECELL_NO_CPU;
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
      p.panel = panel_of(p.groups);
      p.shape = find_shape(loop, p.groups);
      p.given = given_of(*plan, p.groups);
      const int64_t before = total;
      for (Group &g : p.groups) {
        g.weights = total;
        total += g.depth * static_cast<int64_t>(g.columns.size()) * p.vectors * PAD;
      }
      layer->work += static_cast<double>(total - before);
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
