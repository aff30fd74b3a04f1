// The core through its C door alone: a layer against a plain loop, weight gradients against a plain sum, what it refuses.
#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "gatecell/gatecell.h"

namespace {

std::mt19937 random_bits(7);

float uniform() { return std::uniform_real_distribution<float>(-1.0f, 1.0f)(random_bits); }

std::vector<float> draw(int64_t n, float most = 1.0f) {
  std::vector<float> v(static_cast<size_t>(n));
  for (float &x : v) x = most * uniform();
  return v;
}

// h' = W x + R h + b, by hand: axes I H; families W R; arrays x, h, h'; one loop with one accumulator and one copy.
// (The map has no squashing function, so that the loop below needs none of the core's.)
gatecell_plan *linear_plan() {
  const std::vector<int32_t> code = {
      2, 2, 0, 3,                    // axes, families, ascending, arrays
      0, 0, 0, 1, 1, 0, 1, 1, 1,     // x given over I, h over H at t, h' over H at t + 1
      1, 0, 1,                       // one pass, no reductions, one loop
      1, 1, 2, 1, 2,                 // over H, one array h', one accumulator, two terms
      0, 0, 0, 0, 0, 0, 1, 1, 0, 0,  // accumulator 0: x by W, h by R
      0, 0, 1, 0, 0, 1, 1, 1,        // no temporaries, no scalars, one instruction: h' = accumulator
  };
  gatecell_plan *plan = nullptr;
  assert(gatecell_plan_new(code.data(), static_cast<int64_t>(code.size()), nullptr, 0, &plan) == GATECELL_OK);
  for (int64_t cut = 0; cut < static_cast<int64_t>(code.size()); cut++) {
    gatecell_plan *none = nullptr;
    assert(gatecell_plan_new(code.data(), cut, nullptr, 0, &none) == GATECELL_BAD_PLAN && !none);
  }
  return plan;
}

int64_t up(int64_t n) { return (n + GATECELL_PAD - 1) / GATECELL_PAD * GATECELL_PAD; }

void layer_is_the_plain_loop(const gatecell_plan *plan, int64_t T, int64_t B, int64_t I, int64_t H, int32_t threads) {
  const std::vector<float> W = draw(H * I), R = draw(H * H, 1.7f / std::sqrt(static_cast<float>(H))), b = draw(H), x = draw(T * B * I);
  const int64_t wide = up(H), sizes[] = {I, H};
  const gatecell_weight weights[] = {{W.data(), b.data(), I}, {R.data(), nullptr, H}};
  gatecell_layer *layer = nullptr;
  assert(gatecell_layer_new(plan, GATECELL_FLOAT32, sizes, weights, 0, &layer) == GATECELL_OK);
  std::vector<float> h(static_cast<size_t>((T + 1) * B * wide), 0.0f);
  for (int64_t k = 0; k < B; k++)
    for (int64_t u = 0; u < H; u++) h[static_cast<size_t>(k * wide + u)] = uniform();
  const gatecell_array arrays[] = {
      {const_cast<float *>(x.data()), B * I, I, 0}, {h.data(), B * wide, wide, 0}, {h.data(), B * wide, wide, 0}};
  assert(gatecell_layer_run(layer, T, B, arrays, threads) == GATECELL_OK);
  double worst = 0;
  for (int64_t t = 0; t < T; t++)
    for (int64_t k = 0; k < B; k++)
      for (int64_t u = 0; u < H; u++) {
        double sum = b[static_cast<size_t>(u)], size = std::fabs(sum);
        for (int64_t i = 0; i < I + H; i++) {
          const double product = i < I ? double(W[static_cast<size_t>(u * I + i)]) * x[static_cast<size_t>((t * B + k) * I + i)]
                                       : double(R[static_cast<size_t>(u * H + i - I)]) * h[static_cast<size_t>((t * B + k) * wide + i - I)];
          sum += product;
          size += std::fabs(product);
        }
        worst = std::fmax(worst, std::fabs(h[static_cast<size_t>(((t + 1) * B + k) * wide + u)] - sum) / size);
      }
  assert(worst <= static_cast<double>(I + H) * 6e-8);  // each of I + H roundings is half a unit of the sum of magnitudes at most

  // The first two steps one by one, to and fro.
  const std::vector<float> whole = h;
  std::fill(h.begin() + B * wide, h.end(), 0.0f);
  gatecell_array turns[2][3];
  for (int64_t t = 0; t < 2; t++)
    for (int a = 0; a < 3; a++) turns[t][a] = {static_cast<float *>(arrays[a].data) + t * arrays[a].step, 0, arrays[a].row, 0};
  for (int64_t t = 0; t < 2; t++) turns[t][1].step = turns[t][2].step = B * wide;
  gatecell_stepper *stepper = nullptr;
  assert(gatecell_stepper_new(layer, B, turns[0], turns[1], &stepper) == GATECELL_OK);
  for (int32_t t = 0; t < 2; t++) assert(gatecell_stepper_run(stepper, t, threads) == GATECELL_OK);
  assert(gatecell_stepper_run(stepper, 0, 0) == GATECELL_BAD_ARGUMENT);
  assert(!std::memcmp(h.data(), whole.data(), static_cast<size_t>(3 * B * wide) * sizeof(float)));
  gatecell_stepper_free(stepper);
  gatecell_layer_free(layer);
}

void outer_is_the_plain_sum(int64_t T, int64_t B, int64_t N, int64_t M, int32_t threads) {
  const int64_t wide = up(N);
  const std::vector<float> g = draw(T * B * wide), a = draw(T * B * M);
  std::vector<float> out(static_cast<size_t>(N * M), 1.0f), sums(static_cast<size_t>(N), 2.0f);
  const gatecell_array gradient{const_cast<float *>(g.data()), B * wide, wide, 0}, argument{const_cast<float *>(a.data()), B * M, M, 0};
  void *const outs[] = {out.data()};
  void *const totals[] = {sums.data()};
  const gatecell_outer_products products{1, &gradient, N, &argument, M, outs, M, totals};
  assert(gatecell_outer(GATECELL_FLOAT32, T, B, &products, 1, nullptr, 0, threads) == GATECELL_OK);
  for (int64_t n = 0; n < N; n++) {
    double total = 2.0;
    for (int64_t r = 0; r < T * B; r++) total += g[static_cast<size_t>(r * wide + n)];
    assert(std::fabs(sums[static_cast<size_t>(n)] - total) <= static_cast<double>(T * B) * 6e-8 * static_cast<double>(T * B));
    for (int64_t m = 0; m < M; m++) {
      double sum = 1.0;
      for (int64_t r = 0; r < T * B; r++) sum += double(g[static_cast<size_t>(r * wide + n)]) * a[static_cast<size_t>(r * M + m)];
      assert(std::fabs(out[static_cast<size_t>(n * M + m)] - sum) <= static_cast<double>(T * B) * 6e-8 * static_cast<double>(T * B));
    }
  }
}

void refusals(const gatecell_plan *plan) {
  const int64_t sizes[] = {0, 4};
  const gatecell_weight weights[] = {{nullptr, nullptr, 0}, {nullptr, nullptr, 0}};
  gatecell_layer *layer = nullptr;
  assert(gatecell_layer_new(plan, GATECELL_FLOAT32, sizes, weights, 0, &layer) == GATECELL_BAD_ARGUMENT && !layer);
  assert(gatecell_layer_run(nullptr, 1, 1, nullptr, 1) == GATECELL_BAD_ARGUMENT && gatecell_message()[0]);
  gatecell_stepper *stepper = nullptr;
  assert(gatecell_stepper_new(nullptr, 1, nullptr, nullptr, &stepper) == GATECELL_BAD_ARGUMENT && !stepper);
  assert(gatecell_stepper_run(nullptr, 0, 1) == GATECELL_BAD_ARGUMENT);
  gatecell_integer_stepper *integers = nullptr;
  assert(gatecell_integer_stepper_new(nullptr, 1, nullptr, nullptr, &integers) == GATECELL_BAD_ARGUMENT && !integers);
  assert(gatecell_integer_stepper_run(nullptr, 0, 0, 1) == GATECELL_BAD_ARGUMENT);
  float x[1] = {0};
  assert(gatecell_function("no such", GATECELL_FLOAT32, 1, x, x) == GATECELL_BAD_ARGUMENT);
}

}  // namespace

int main() {
  assert(gatecell_cpu());
  gatecell_plan *plan = linear_plan();
  for (const int64_t H : {1, 3, 15, 16, 17, 33, 130})
    for (const int64_t B : {1, 2, 5, 6, 7, 9, 33}) layer_is_the_plain_loop(plan, 3, B, 5, H, 2);
  layer_is_the_plain_loop(plan, 20, 70, 60, 120, 3);
  for (const int64_t B : {1, 2, 3}) layer_is_the_plain_loop(plan, 120, B, 30, 290, 2);  // units shared
  for (const int64_t N : {1, 16, 17, 63, 64, 65, 130})
    for (const int64_t M : {1, 5, 6, 7, 12, 31}) outer_is_the_plain_sum(7, 41, N, M, 2);
  outer_is_the_plain_sum(30, 64, 130, 70, 3);
  refusals(plan);
  gatecell_plan_free(plan);
  std::puts(gatecell_cpu());
}
