/* Two loops at a machine's limits: fused multiply-adds that stay in registers, and reads of a buffer of a given size.
 * Compiled by peak.py for the machine it runs on; vector extensions, so gcc and clang both do. */
#include <stddef.h>

typedef float vector __attribute__((vector_size(BYTES)));
enum { LANES = BYTES / sizeof(float), CHAINS = 24 };

#if defined(__aarch64__)
#define VECTOR "+w"
#else
#define VECTOR "+v"
#endif

/* rounds * CHAINS * LANES multiply-adds in chains that do not wait for each other (latency 4, two a cycle: 8 would do). */
float fma_rounds(long rounds) {
  vector sums[CHAINS], scale = {0}, add = {0};
  scale += 0.999f;
  add += 1e-3f;
  for (int k = 0; k < CHAINS; k++) sums[k] = add * (float)k;
  for (long r = 0; r < rounds; r++) {
#pragma GCC unroll 24
    for (int k = 0; k < CHAINS; k++) sums[k] = sums[k] * scale + add;
    __asm__ volatile("" : VECTOR(scale)); /* the factor could be another one next round: nothing to be summed up beforehand */
  }
  vector all = sums[0];
  for (int k = 1; k < CHAINS; k++) all += sums[k];
  return all[0];
}

/* Reads `count` floats (a multiple of 8 * LANES, aligned) `rounds` times. */
float read_rounds(const float *data, size_t count, long rounds) {
  vector sums[8] = {{0}};
  for (long r = 0; r < rounds; r++) {
    const vector *p = (const vector *)data, *end = (const vector *)(data + count);
    for (; p < end; p += 8) {
#pragma GCC unroll 8
      for (int k = 0; k < 8; k++) sums[k] += p[k];
    }
    __asm__ volatile("" ::: "memory");
  }
  vector all = sums[0];
  for (int k = 1; k < 8; k++) all += sums[k];
  return all[0];
}

int lanes(void) { return LANES; }
int chains(void) { return CHAINS; }
