// The door to weight gradients: what is asked for, each gradient and argument once; shares, scratch.  Not here: kernels (outer.inl).
#include <algorithm>
#include <atomic>
#include <functional>
#include <iterator>
#include <new>
#include <vector>

#include "checks.hpp"
#include "dispatch.hpp"
#include "message.hpp"
#include "pool.hpp"

namespace gatecell {
namespace {

// A share of weight gradients has so many blocks of arguments' units at least, if it has not all of them: gradients are packed for these.
constexpr int64_t OUTER_BLOCKS = 3;
// To pack a unit of an argument costs as much as to pack so many of a gradient.
constexpr int64_t OUTER_COST = 5;

bool good_products(const gatecell_outer_products &p) {
  return p.gates >= 1 && p.N >= 1 && p.gradient && (p.argument ? p.M >= 1 && p.row >= p.M && p.out : p.sums != nullptr);
}

bool same(const gatecell_array &a, const gatecell_array &b) { return a.data == b.data && a.step == b.step && a.row == b.row; }

// What gatecell_outer is given, by gradients, each of them once, and arguments likewise.
class OuterPlan {
 public:
  std::vector<OuterArgument> arguments;
  std::vector<OuterPanel> panels;
  int64_t blocks = 0, inputs = 0, units = 0;  // of all arguments; of all gradients

  OuterPlan(const gatecell_outer_products *products, int64_t count) {
    for (const gatecell_outer_products *p = products; p < products + count; p++) {
      const size_t a = p->argument ? argument(*p->argument, p->M) : 0;
      for (int64_t g = 0; g < p->gates; g++) {
        OuterGradient &of = gradient(p->gradient[g], p->N);
        if (p->argument) of.products.push_back({a, p->out[g], p->row});
        if (p->sums && p->sums[g]) of.sums.push_back(p->sums[g]);
      }
    }
    for (const OuterGradient &g : gradients_)
      for (int64_t u = 0; u < g.units; u += OUTER_UNITS) panels.push_back({&g, u, std::min(OUTER_UNITS, g.units - u)});
    for (const OuterGradient &g : gradients_) units += g.units;
    for (const OuterArgument &a : arguments) inputs += a.units;
  }
  OuterPlan(const OuterPlan &) = delete;
  OuterPlan &operator=(const OuterPlan &) = delete;

  // Multiply-adds of a step of a row.
  double work() const {
    double n = 0;
    for (const OuterPanel &p : panels) n += work(p);
    return n;
  }
  // Where a share's panels begin, all shares having much the same work.
  const OuterPanel *panel(int32_t share, int32_t shares) const {
    double before = 0, end = work() * share / shares;
    const OuterPanel *p = panels.data(), *last = p + panels.size();
    for (; p < last && (share == shares || before + work(*p) / 2 < end); p++) before += work(*p);
    return p;
  }

 private:
  double work(const OuterPanel &p) const {
    double n = 1;  // the gradient's own sums
    for (const OuterProduct &product : p.gradient->products) n += static_cast<double>(arguments[product.argument].units);
    return n * static_cast<double>(p.units);
  }
  size_t argument(const gatecell_array &array, int64_t n) {
    for (size_t k = 0; k < arguments.size(); k++)
      if (same(arguments[k].array, array) && arguments[k].units == n) return k;
    arguments.push_back({array, n, blocks});
    blocks += (n + OUTER_ROWS - 1) / OUTER_ROWS;
    return arguments.size() - 1;
  }
  OuterGradient &gradient(const gatecell_array &array, int64_t n) {
    for (OuterGradient &g : gradients_)
      if (same(g.array, array) && g.units == n) return g;
    return gradients_.emplace_back(OuterGradient{array, n, {}, {}});
  }

  std::vector<OuterGradient> gradients_;
};

}  // namespace

int64_t outer_bytes(const Outer &job, gatecell_type type) {
  return (outer_packed(job.blocks - job.block) + OUTER_UNITS * OUTER_DEPTH + outer_totals(job)) * size_of(type);
}

}  // namespace gatecell

using namespace gatecell;

gatecell_status gatecell_outer(gatecell_type type, int64_t T, int64_t B, const gatecell_outer_products *products, int64_t count,
                               const int64_t *lengths, int32_t late, int32_t threads) try {
  if (!is_type(type) || T < 0 || B < 0 || !products || count < 1 || threads < 1 || !std::all_of(products, products + count, good_products))
    return fail(GATECELL_BAD_ARGUMENT, "outer wants gradients, arguments, places to add to, and sizes of at least 1");
  if (!good(lengths, T, B)) return fail(GATECELL_BAD_ARGUMENT, "outer wants lengths of 0 to T");
  const Kernels *k = kernels();
  if (!k) return GATECELL_NO_CPU;
  const OuterPlan plan(products, count);
  const int64_t most = std::max(static_cast<int64_t>(plan.panels.size()), plan.blocks / OUTER_BLOCKS);
  const int32_t threads_worth = shares_for(threads, most, plan.work() * static_cast<double>(T) * static_cast<double>(B));
  // Each share packs both sides, of which it has a part of one: all shares have all of the cheaper one.
  const bool by_blocks = plan.blocks >= OUTER_BLOCKS * threads_worth && OUTER_COST * plan.inputs > plan.units;
  const auto shares = by_blocks ? threads_worth : static_cast<int32_t>(std::min<int64_t>(threads_worth, std::ssize(plan.panels)));
  std::atomic<bool> starved{false};
  const auto share_of = [&](int32_t share) {
    const auto from = [&](int32_t k) { return by_blocks ? plan.blocks * k / shares : 0; };
    const OuterPanel *panel = plan.panel(by_blocks ? 0 : share, shares), *panels = plan.panel(by_blocks ? shares : share + 1, shares);
    Outer job{
        T,       B,         plan.arguments, panel, panels, from(share), by_blocks ? from(share + 1) : plan.blocks, !by_blocks || share == 0,
        lengths, late != 0, nullptr};
    job.scratch = thread_scratch(outer_bytes(job, type));
    if (!job.scratch) {
      starved = true;
      return;
    }
    k->outer[type](job);
  };
  share_out(shares, std::ref(share_of));
  return starved ? fail(GATECELL_NO_MEMORY, "no memory for weight gradients") : GATECELL_OK;
} catch (const std::bad_alloc &) {
  return fail(GATECELL_NO_MEMORY, "no memory for weight gradients");
}
