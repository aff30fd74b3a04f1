// Random masks by a counter-based generator: Philox4x32-10 (Salmon, Moraes, Dror & Shaw 2011).  Plain integers, the same on every machine.
//
// An element's number is a function of a key and of its own place: no element waits for another, and none changes when its neighbours do.
#include <cstring>
#include <functional>

#include "dispatch.hpp"
#include "gatecell/gatecell.h"
#include "message.hpp"
#include "pool.hpp"

namespace gatecell {
namespace {

constexpr int WIDE = 32;  // counters side by side: the compiler makes vectors of them

using Words = uint32_t[4][WIDE];

struct Mask {
  int64_t batch, units, step;
  const int64_t *samples;
  const uint32_t *key;
  uint32_t below;
  double kept;
  void *out;
};

void philox(Words &c, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; round++) {
    for (int i = 0; i < WIDE; i++) {
      const uint64_t a = uint64_t{0xD2511F53} * c[0][i], b = uint64_t{0xCD9E8D57} * c[2][i];
      c[0][i] = static_cast<uint32_t>(b >> 32) ^ c[1][i] ^ k0;
      c[1][i] = static_cast<uint32_t>(b);
      c[2][i] = static_cast<uint32_t>(a >> 32) ^ c[3][i] ^ k1;
      c[3][i] = static_cast<uint32_t>(a);
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
}

// Rows [from, to) of a mask (T * B, N), counters `WIDE` at a time wherever rows end.
template <class R> void rows(const Mask &mask, int64_t from, int64_t to) {
  const int64_t N = mask.units, each = (N + 3) / 4;
  const R kept = static_cast<R>(mask.kept);
  R *const out = static_cast<R *>(mask.out);
  int64_t r = from, at = 0;  // the next counter: its row, its place in the row
  while (r < to) {
    Words c = {};
    R *where[WIDE];
    int64_t units[WIDE];
    int lanes = 0;
    for (; lanes < WIDE && r < to; lanes++) {
      c[0][lanes] = static_cast<uint32_t>(at);
      c[1][lanes] = static_cast<uint32_t>(mask.samples ? mask.samples[r % mask.batch] : r % mask.batch);
      c[2][lanes] = static_cast<uint32_t>(mask.step + r / mask.batch);
      where[lanes] = out + r * N + 4 * at;
      units[lanes] = N - 4 * at;
      if (++at == each) at = 0, r++;
    }
    philox(c, mask.key[0], mask.key[1]);
    R values[WIDE][4];
    for (int w = 0; w < 4; w++)
      for (int i = 0; i < WIDE; i++) values[i][w] = c[w][i] < mask.below ? R(0) : kept;
    for (int i = 0; i < lanes; i++) {
      if (units[i] >= 4)
        std::memcpy(where[i], values[i], sizeof values[i]);
      else
        std::memcpy(where[i], values[i], static_cast<size_t>(units[i]) * sizeof(R));
    }
  }
}

}  // namespace
}  // namespace gatecell

using namespace gatecell;

void gatecell_philox(const uint32_t *counter, const uint32_t *key, uint32_t *out) {
  Words c = {};
  for (int w = 0; w < 4; w++) c[w][0] = counter[w];
  philox(c, key[0], key[1]);
  for (int w = 0; w < 4; w++) out[w] = c[w][0];
}

gatecell_status gatecell_mask(gatecell_type type, int64_t T, int64_t B, int64_t N, const uint32_t *key, int64_t step,
                              const int64_t *samples, uint32_t below, double kept, void *out, int32_t threads) {
  if ((type != GATECELL_FLOAT32 && type != GATECELL_FLOAT64) || T < 0 || B < 0 || N < 0 || !key || !out || threads < 1)
    return fail(GATECELL_BAD_ARGUMENT, "a mask wants its sizes, a key, a place to go and threads >= 1");
  if (!T || !B || !N) return GATECELL_OK;
  const Mask mask{B, N, step, samples, key, below, kept, out};
  // A number costs about as much as 64 multiply-adds of a product.
  const int32_t shares = shares_for(threads, T * B, 64.0 * static_cast<double>(T * B) * static_cast<double>(N));
  const auto share_of = [&](int32_t share) {
    const int64_t from = T * B * share / shares, to = T * B * (share + 1) / shares;
    return type == GATECELL_FLOAT32 ? rows<float>(mask, from, to) : rows<double>(mask, from, to);
  };
  share_out(shares, std::ref(share_of));
  return GATECELL_OK;
}
