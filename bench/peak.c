/* Loops at a machine's limits: fused multiply-adds that stay in registers, and reads of buffers of given sizes.
 * Compiled by peak.py for the machine it runs on; vector extensions, so gcc and clang both do. */
#include <pthread.h>
#include <stddef.h>

typedef float vector __attribute__((vector_size(BYTES)));
enum { LANES = BYTES / sizeof(float), CHAINS = 24, AHEAD = 8, MOST_THREADS = 64 };

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

static void *one_thread(void *rounds) {
  static volatile float sink;
  sink = fma_rounds(*(long *)rounds);
  return NULL;
}

/* `rounds` on each of `threads` threads at once; how many threads took part. */
int fma_threads(long rounds, int threads) {
  pthread_t others[MOST_THREADS];
  int made = 0;
  while (made < threads - 1 && made < MOST_THREADS && pthread_create(&others[made], NULL, one_thread, &rounds) == 0) made++;
  one_thread(&rounds);
  for (int k = 0; k < made; k++) pthread_join(others[k], NULL);
  return made + 1;
}

/* Reads `count` floats (a multiple of AHEAD * LANES, aligned) `rounds` times, forward and backward in turn as a kernel would walk weights
 * that it needs again at once: what the nearer cache still holds is read first. */
static float read_rounds(const float *data, size_t count, long rounds) {
  vector sums[AHEAD] = {{0}};
  const vector *begin = (const vector *)data, *end = (const vector *)(data + count);
  for (long r = 0; r < rounds; r++) {
    const ptrdiff_t stride = r % 2 ? -AHEAD : AHEAD;
    const vector *p = r % 2 ? end - AHEAD : begin;
    for (size_t n = count / (AHEAD * LANES); n > 0; n--, p += stride) {
#pragma GCC unroll 8
      for (int k = 0; k < AHEAD; k++) sums[k] += p[k];
    }
    __asm__ volatile("" ::: "memory");
  }
  vector all = sums[0];
  for (int k = 1; k < AHEAD; k++) all += sums[k];
  return all[0];
}

/* `times` times: each of `buffers` buffers its number of rounds, one buffer after the other. */
float read_buffers(const float *const *data, const size_t *counts, const long *rounds, int buffers, long times) {
  float sum = 0;
  for (long n = 0; n < times; n++) {
    for (int k = 0; k < buffers; k++) sum += read_rounds(data[k], counts[k], rounds[k]);
  }
  return sum;
}

int lanes(void) { return LANES; }
int chains(void) { return CHAINS; }
