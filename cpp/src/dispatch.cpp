// Chooses the kernels: the best that this CPU has, or the ones that GATECELL_CPU names.
#include "dispatch.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>

#include "message.hpp"

namespace gatecell {
namespace {

struct Choice {
  const Kernels *kernels;
  bool here;                   // whether this machine has it
  const char *name = nullptr;  // of a set that differs from that of `kernels` in its integers alone
  const Integers *integers = nullptr;

  const char *called() const { return name ? name : kernels->name; }
};

#define OPERATION(code, name, expression) name,
const char *const OPERATIONS[] = {
#include "operations.inl"
};
#undef OPERATION

const uint64_t STEP_KEYS[] = {
#define STEP(key, function) key,
#include "step_keys.inl"
#undef STEP
};

struct Shape {  // so many sums, and which of them each group's sources enter, a bit for each
  int32_t sums;
  std::initializer_list<unsigned> groups;
};
const Shape SHAPES[] = {
#define SHAPE(sums, ...) {sums, {__VA_ARGS__}},
#include "shapes.inl"
#undef SHAPE
};

const uint64_t INTEGER_KEYS[] = {
#define STEP(key, function) key,
#include "integer_keys.inl"
#undef STEP
};

template <size_t N> int32_t find(const uint64_t (&keys)[N], uint64_t key) {
  for (size_t i = 0; i < N; i++)
    if (keys[i] == key) return static_cast<int32_t>(i);
  return -1;
}

// Best first.
const Choice *choices(size_t &n) {
#if defined(GATECELL_HAVE_AVX512)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma");
  const bool vnni = __builtin_cpu_supports("avx512vnni");
#endif
  static const Choice all[] = {
#if defined(GATECELL_HAVE_AVX512)
      {&avx512_kernels, avx512 && vnni && __builtin_cpu_supports("avx512vbmi"), "avx512vbmi", &avx512vbmi_integers},
      {&avx512_kernels, avx512 && vnni, "avx512vnni", &avx512vnni_integers},
      {&avx512_kernels, avx512},
#endif
#if defined(GATECELL_HAVE_AVX2)
      {&avx2_kernels, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
#if defined(GATECELL_HAVE_NEON)
      {&neon_kernels, true},
#endif
#if defined(GATECELL_HAVE_BASELINE)
      {&baseline_kernels, true},
#endif
  };
  n = sizeof all / sizeof all[0];
  return all;
}

struct Chosen {
  Kernels kernels{};
  bool found = false;
  std::string trouble;
};

Chosen choose() {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  size_t n = 0;
  const Choice *all = choices(n);
  Chosen chosen;
  const char *name = std::getenv("GATECELL_CPU");
  std::string known;
  for (const Choice *c = all; c < all + n; c++) {
    const bool fits = name && *name ? !std::strcmp(name, c->called()) : c->here;
    if (fits && c->here && !chosen.found) {
      chosen.kernels = *c->kernels;
      chosen.kernels.name = c->called();
      if (c->integers) chosen.kernels.integers = *c->integers;
      chosen.found = true;
    }
    if (c->here) known += (known.empty() ? "" : ", ") + std::string(c->called());
  }
  if (!chosen.found) chosen.trouble = "GATECELL_CPU wants one of " + known + " on this machine, got " + name;
  return chosen;
}

}  // namespace

const Kernels *kernels() {
  static const Chosen chosen = choose();
  if (!chosen.found) fail(GATECELL_NO_CPU, chosen.trouble.c_str());
  return chosen.found ? &chosen.kernels : nullptr;
}

int32_t operations() { return static_cast<int32_t>(sizeof OPERATIONS / sizeof OPERATIONS[0]); }

int32_t operation(const char *name) {
  for (int32_t i = 0; i < operations(); i++)
    if (!std::strcmp(OPERATIONS[i], name)) return i;
  return -1;
}

int32_t find_step(uint64_t key) { return find(STEP_KEYS, key); }
int32_t find_shape(const Loop &loop, const std::vector<Group> &groups) {
  const auto same = [](const Group &g, unsigned mask) { return g.mask == mask; };
  for (const Shape &s : SHAPES)
    if (s.sums == loop.accumulators && std::equal(groups.begin(), groups.end(), s.groups.begin(), s.groups.end(), same))
      return static_cast<int32_t>(&s - SHAPES);
  return -1;
}
int32_t find_integer_step(uint64_t key) { return find(INTEGER_KEYS, key); }

}  // namespace gatecell
