// All kernels of one instruction set; each isa_*.cpp includes this once and exports one table: KERNELS, or INTEGERS alone.
//
// Everything here has internal linkage: an inline function with external linkage would be merged by the linker with that of
// another instruction set, and the baseline would execute AVX-512.
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__GNUC__) && !defined(__clang__)
// gcc 12 takes the undefined operand in its own AVX-512 header for ours.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#include <chrono>
#include <new>

#include "dispatch.hpp"
#include "integer.hpp"
#include "plan.hpp"

namespace gatecell {
namespace {

#include "vector.inl"
#include "functions.inl"

INLINE constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE constexpr int64_t greatest(int64_t a, int64_t b) { return a > b ? a : b; }
template <class R> INLINE void fill(R *from, R *to, R value) {
  while (from != to) *from++ = value;
}

#include "integer_vector.inl"
#include "integer_dot.inl"
#include "integer_sparse.inl"
#include "integer_points.inl"
#include "integer.inl"
#include "integer_ends.inl"

#if defined(KERNELS)
#include "product.inl"
#include "tile.inl"
#include "run.inl"
#include "transpose.inl"
#include "outer.inl"
#include "scan.inl"

template <class R> void function(int32_t op, int64_t n, const void *from, void *to) {
  const Instruction call = {op, 1, {0, 0, 0}};
  R x[16], y[16];
  R *const rows[2] = {x, y};
  const Register<R> reg[2] = {{rows, 0}, {rows + 1, 0}};
  for (int64_t i = 0; i < n; i += 16) {
    const auto k = static_cast<size_t>(least(16, n - i));
    fill(x, x + 16, R(0));
    std::memcpy(x, static_cast<const R *>(from) + i, k * sizeof(R));
    interpret<R>(&call, 1, reg, 1, 16);
    std::memcpy(static_cast<R *>(to) + i, y, k * sizeof(R));
  }
}

// Twelve independent chains, as many as two units of latency four can be busy with, and more.
double peak() {
  constexpr int CHAINS = 12;
  constexpr int64_t TURNS = 400000;
  Vf sum[CHAINS];
  UNROLL for (int k = 0; k < CHAINS; k++) sum[k] = splat<Vf>(static_cast<float>(k));
  const Vf a = splat<Vf>(0.9999999f), b = splat<Vf>(1e-9f);
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < TURNS; i++) {
    UNROLL for (int k = 0; k < CHAINS; k++) {
      sum[k] = fma(sum[k], a, b);
#if defined(__x86_64__)
      asm volatile("" : "+x"(sum[k]));  // kept in its register, neither folded nor hoisted
#elif defined(__aarch64__)
      asm volatile("" : "+w"(sum[k]));
#endif
    }
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return 2.0 * CHAINS * Of<float>::lanes * TURNS / seconds;
}

#endif

#define INTEGER_KERNELS {TRAITS, run_integers, lay_out_integers, step_integers, quantize, dequantize}

}  // namespace

#if defined(KERNELS)
const Kernels KERNELS = {ISA_NAME,
                         {lay_out<float>, lay_out<double>},
                         {run<float>, run<double>},
                         {outer<float>, outer<double>},
                         {transpose<float>, transpose<double>},
                         {function<float>, function<double>},
                         {scan_units<ScanForward<float>>, scan_units<ScanForward<double>>},
                         {scan_units<ScanBackward<float>>, scan_units<ScanBackward<double>>},
                         INTEGER_KERNELS,
                         peak};
#else
const Integers INTEGERS = INTEGER_KERNELS;
#endif

}  // namespace gatecell
