// Sums in one fixed order: an element's result depends on its own terms alone, not on those beside it, on memory, threads or the machine.
//
// Terms come in blocks of 1024.  In a block, term k goes to lane k % 16, in order; the lanes are added as a tree of halves.  Block j's
// sum goes to lane j % 16 of sixteen others, which are added in the same way.  Rounding errors grow with n / 1024 / 16 + 64, not with n.
#include "gatecell/gatecell.h"
#include "message.hpp"

namespace gatecell {
namespace {

constexpr int64_t LANES = 16, BLOCK = 1024, WIDE = 64;

// lanes[0][n] becomes the sum over all lanes, for `n` results side by side.
template <class R> void fold(R (&lanes)[LANES][WIDE], int64_t n) {
  for (int64_t half = LANES / 2; half; half /= 2)
    for (int64_t l = 0; l < half; l++)
      for (int64_t i = 0; i < n; i++) lanes[l][i] += lanes[l + half][i];
}

// Results side by side, `n` of them: term k of result i at x[k * step + i].
template <class R> void beside(const R *x, int64_t K, int64_t step, int64_t n, R *out) {
  R total[LANES][WIDE] = {};
  for (int64_t j = 0; j * BLOCK < K; j++) {
    R lanes[LANES][WIDE] = {};
    const int64_t end = K < (j + 1) * BLOCK ? K : (j + 1) * BLOCK;
    for (int64_t k = j * BLOCK; k < end; k++)
      for (int64_t i = 0; i < n; i++) lanes[k % LANES][i] += x[k * step + i];
    fold(lanes, n);
    for (int64_t i = 0; i < n; i++) total[j % LANES][i] += lanes[0][i];
  }
  fold(total, n);
  for (int64_t i = 0; i < n; i++) out[i] = total[0][i];
}

template <class R> R tree(R (&lanes)[LANES]) {
  for (int64_t half = LANES / 2; half; half /= 2)
    for (int64_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
  return lanes[0];
}

// One result, its terms side by side.
template <class R> R along(const R *x, int64_t K) {
  R total[LANES] = {};
  for (int64_t j = 0; j * BLOCK < K; j++) {
    R lanes[LANES] = {};
    const int64_t end = K < (j + 1) * BLOCK ? K : (j + 1) * BLOCK;
    int64_t k = j * BLOCK;
    for (; k + LANES <= end; k += LANES)
      for (int64_t l = 0; l < LANES; l++) lanes[l] += x[k + l];
    for (int64_t l = 0; k + l < end; l++) lanes[l] += x[k + l];
    total[j % LANES] += tree(lanes);
    if (end == K && !j) return total[0];  // the other lanes are 0
  }
  return tree(total);
}

template <class R> void sum(int64_t A, int64_t K, int64_t N, const R *x, R *out) {
  for (int64_t a = 0; a < A; a++, x += K * N, out += N)
    if (N == 1)
      *out = along(x, K);
    else
      for (int64_t i = 0; i < N; i += WIDE) beside(x + i, K, N, N - i < WIDE ? N - i : WIDE, out + i);
}

}  // namespace
}  // namespace gatecell

using namespace gatecell;

gatecell_status gatecell_sum(gatecell_type type, int64_t A, int64_t K, int64_t N, const void *x, void *out) {
  if ((type != GATECELL_FLOAT32 && type != GATECELL_FLOAT64) || A < 0 || K < 0 || N < 0 || !x || !out)
    return fail(GATECELL_BAD_ARGUMENT, "a sum wants its sizes, an array and a place to go");
  if (type == GATECELL_FLOAT32)
    sum(A, K, N, static_cast<const float *>(x), static_cast<float *>(out));
  else
    sum(A, K, N, static_cast<const double *>(x), static_cast<double *>(out));
  return GATECELL_OK;
}
