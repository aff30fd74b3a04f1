// Decodes a plan and checks every index in it, so that the kernels need not.
#include "plan.hpp"

#include <bit>
#include <new>

#include "dispatch.hpp"
#include "message.hpp"

namespace gatecell {
namespace {

class Reader {
 public:
  Reader(const int32_t *code, int64_t length) : at_(code), end_(code + length) {}
  // The next number, which has to be in [low, high); anything else, or the end, makes the whole plan bad.
  int32_t next(int64_t low, int64_t high) {
    if (at_ == end_ || *at_ < low || *at_ >= high) {
      good_ = false;
      return static_cast<int32_t>(low);
    }
    return *at_++;
  }
  int32_t count(int64_t most) { return next(0, most + 1); }
  bool good() const { return good_; }
  bool finished() const { return good_ && at_ == end_; }

 private:
  const int32_t *at_, *end_;
  bool good_ = true;
};

constexpr int64_t MOST = 4096;  // of anything without a bound of its own; real plans stay below a hundred

uint64_t fnv(uint64_t hash, uint32_t word) {  // FNV-1a, four bytes, low first
  for (int shift = 0; shift < 32; shift += 8) hash = (hash ^ ((word >> shift) & 0xffu)) * 0x100000001b3ull;
  return hash;
}

uint64_t key_of(const Loop &loop) {
  uint64_t h = 0xcbf29ce484222325ull;
  h = fnv(h, static_cast<uint32_t>(loop.arrays.size()));
  h = fnv(h, static_cast<uint32_t>(loop.accumulators));
  h = fnv(h, static_cast<uint32_t>(loop.temporaries));
  for (const Scalar &s : loop.scalars) {
    const uint64_t bits = std::bit_cast<uint64_t>(s.array < 0 ? s.value : 0.0);
    h = fnv(h, s.array < 0 ? 0u : 1u);
    h = fnv(fnv(h, static_cast<uint32_t>(bits)), static_cast<uint32_t>(bits >> 32));
  }
  for (const Instruction &i : loop.code) {
    h = fnv(fnv(h, static_cast<uint32_t>(i.op)), static_cast<uint32_t>(i.dst));
    for (int32_t s : i.src) h = fnv(h, static_cast<uint32_t>(s));
  }
  return h;
}

bool by_units(Kind k) { return k != Kind::scalar; }

void read_loop(Reader &in, const gatecell_plan &plan, const double *constants, int64_t n_constants, Loop &loop) {
  const auto n_arrays = static_cast<int64_t>(plan.arrays.size());
  loop.axis = in.next(0, plan.axes);
  loop.arrays.resize(static_cast<size_t>(in.count(MOST)));
  for (int32_t &a : loop.arrays) a = in.next(0, n_arrays);
  loop.accumulators = in.count(MOST_ACCUMULATORS);
  loop.terms.resize(static_cast<size_t>(in.count(MOST_SEGMENTS)));
  for (Term &t : loop.terms) {
    t.accumulator = in.next(0, loop.accumulators);
    t.source = in.next(0, n_arrays);
    t.family = in.next(0, plan.families);
    t.gate = in.count(MOST);
    t.transposed = in.next(0, 2);
  }
  loop.temporaries = in.count(MOST);
  loop.scalars.resize(static_cast<size_t>(in.count(MOST)));
  for (Scalar &s : loop.scalars) {
    s.array = in.next(-1, n_arrays);
    const int32_t at = in.count(n_constants);
    s.value = s.array < 0 && at < n_constants ? constants[at] : 0.0;
  }
  const auto memory = static_cast<int64_t>(loop.arrays.size());
  const int64_t registers = memory + loop.accumulators + loop.temporaries + static_cast<int64_t>(loop.scalars.size());
  loop.code.resize(static_cast<size_t>(registers <= MOST_REGISTERS ? in.count(MOST) : in.next(1, 1)));
  for (Instruction &i : loop.code) {
    i.op = in.next(0, operations());
    i.dst = in.next(0, registers);
    for (int32_t &s : i.src) s = in.next(0, registers);
  }
  loop.key = key_of(loop);
  loop.step = find_step(loop.key);
}

// What the numbers mean: sources are rows of units, written arrays can be written.
bool sound(const gatecell_plan &plan) {
  const auto kind = [&](int32_t a) { return plan.arrays[static_cast<size_t>(a)].kind; };
  for (const Pass &pass : plan.passes) {
    for (const Reduction &r : pass.reductions)
      if (kind(r.source) > Kind::buffer || kind(r.result) != Kind::row) return false;
    for (const Loop &loop : pass.loops) {
      for (int32_t a : loop.arrays)
        if (!by_units(kind(a)) || (plan.arrays[static_cast<size_t>(a)].axis != loop.axis)) return false;
      for (const Term &t : loop.terms)
        if (kind(t.source) > Kind::buffer) return false;
      for (const Scalar &s : loop.scalars)
        if (s.array >= 0 && kind(s.array) != Kind::scalar) return false;
      for (const Instruction &i : loop.code) {
        const auto d = static_cast<size_t>(i.dst);
        const size_t written = loop.arrays.size() + static_cast<size_t>(loop.accumulators + loop.temporaries);
        if (d >= written || (d < loop.arrays.size() && (kind(loop.arrays[d]) == Kind::given || kind(loop.arrays[d]) > Kind::buffer)))
          return false;
      }
    }
  }
  return true;
}

}  // namespace
}  // namespace gatecell

using namespace gatecell;

gatecell_status gatecell_plan_new(const int32_t *code, int64_t length, const double *constants, int64_t constants_length,
                                  gatecell_plan **out) try {
  if ((!code && length) || length < 0 || constants_length < 0 || !out)
    return fail(GATECELL_BAD_ARGUMENT, "a plan wants its code and a place to go");
  Reader in(code, length);
  auto *plan = new gatecell_plan;
  plan->axes = in.next(1, MOST);
  plan->families = in.count(MOST);
  plan->descending = in.next(0, 2) != 0;
  plan->arrays.resize(static_cast<size_t>(in.count(MOST_ARRAYS)));
  for (ArrayInfo &a : plan->arrays) {
    a.kind = static_cast<Kind>(in.next(0, 7));
    a.axis = in.next(0, plan->axes);
    a.offset = in.next(0, 2);
  }
  plan->passes.resize(static_cast<size_t>(in.count(MOST)));
  for (Pass &pass : plan->passes) {
    pass.reductions.resize(static_cast<size_t>(in.count(MOST)));
    for (Reduction &r : pass.reductions) {
      const auto n = static_cast<int64_t>(plan->arrays.size());
      r.op = in.next(0, 2);
      r.source = in.next(0, n);
      r.result = in.next(0, n);
    }
    pass.loops.resize(static_cast<size_t>(in.count(MOST)));
    for (Loop &loop : pass.loops) {
      read_loop(in, *plan, constants, constants_length, loop);
      if (!in.good()) break;
    }
    if (!in.good()) break;
  }
  if (!in.finished() || !sound(*plan)) {
    delete plan;
    return fail(GATECELL_BAD_PLAN, "the plan is damaged: an index is out of range, or it is cut short");
  }
  *out = plan;
  return GATECELL_OK;
} catch (const std::bad_alloc &) {
  return fail(GATECELL_NO_MEMORY, "no memory for a plan");
}

void gatecell_plan_free(gatecell_plan *plan) { delete plan; }

void gatecell_plan_steps(const gatecell_plan *plan, int32_t *compiled, int32_t *loops) {
  *compiled = *loops = 0;
  for (const Pass &pass : plan->passes)
    for (const Loop &loop : pass.loops) {
      ++*loops;
      *compiled += loop.step >= 0;
    }
}

void gatecell_plan_counts(const gatecell_plan *plan, int32_t *axes, int32_t *families, int32_t *arrays) {
  *axes = plan->axes;
  *families = plan->families;
  *arrays = static_cast<int32_t>(plan->arrays.size());
}
