// Chooses the kernels: the best that this CPU has, or the ones that GATECELL_CPU names.
#include "dispatch.hpp"

#include <cstdlib>
#include <cstring>
#include <string>

#include "message.hpp"

namespace gatecell {
namespace {

struct Choice {
  const Kernels *kernels;
  bool here;  // whether this machine has it
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

// Best first.
const Choice *choices(size_t &n) {
  static const Choice all[] = {
#if defined(GATECELL_HAVE_AVX512)
      {&avx512_kernels, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma")},
#endif
#if defined(GATECELL_HAVE_AVX2)
      {&avx2_kernels, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#endif
#if defined(GATECELL_HAVE_NEON)
      {&neon_kernels, true},
#endif
      {&baseline_kernels, true},
  };
  n = sizeof all / sizeof all[0];
  return all;
}

struct Chosen {
  const Kernels *kernels = nullptr;
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
  for (size_t i = 0; i < n; i++) {
    const bool fits = name && *name ? !std::strcmp(name, all[i].kernels->name) : all[i].here;
    if (fits && all[i].here && !chosen.kernels) chosen.kernels = all[i].kernels;
    if (all[i].here) known += (known.empty() ? "" : ", ") + std::string(all[i].kernels->name);
  }
  if (!chosen.kernels) chosen.trouble = "GATECELL_CPU wants one of " + known + " on this machine, got " + name;
  return chosen;
}

}  // namespace

const Kernels *kernels() {
  static const Chosen chosen = choose();
  if (!chosen.kernels) fail(GATECELL_NO_CPU, chosen.trouble.c_str());
  return chosen.kernels;
}

int32_t operations() { return static_cast<int32_t>(sizeof OPERATIONS / sizeof OPERATIONS[0]); }

int32_t operation(const char *name) {
  for (int32_t i = 0; i < operations(); i++)
    if (!std::strcmp(OPERATIONS[i], name)) return i;
  return -1;
}

int32_t find_step(uint64_t key) {
  for (size_t i = 0; i < sizeof STEP_KEYS / sizeof STEP_KEYS[0]; i++)
    if (STEP_KEYS[i] == key) return static_cast<int32_t>(i);
  return -1;
}

}  // namespace gatecell
