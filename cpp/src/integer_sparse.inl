// Integer products by sparse weights, which are entries (integer.hpp): a column of a group of units at a time.  Included once per instruction set.
// Bits are those of dense products, which add the zeros, too.
//
// What limits such a product is how fast words of the operand come to the lanes that multiply them.  With 512 bits a window of 32 words
// lies in two registers and an instruction selects from these, by an index of which one word holds a turn's; two entries share a vector,
// lane by lane.  With less than that every entry loads its word into all lanes.

template <Form FORM> INLINE Vi multiplied(Vi sum, Vi x, const uint8_t *w) {
  if (FORM == Form::words8) return dot2(sum, x, load_words(w));
  Vi v;
  std::memcpy(&v, w, BYTES);
  return FORM == Form::bytes ? dot4(sum, x, v) : dot2(sum, x, v);
}
template <Form FORM> constexpr int64_t VECTOR_WIDTH = FORM == Form::words8 ? BYTES / 2 : BYTES;  // of weights

constexpr int GROUP_OCTETS = GROUP / OCTET;

// ROWS rows' sums of a group of units.
#if defined(__AVX512F__)
template <Form FORM, int ROWS> struct GroupSums {
  static constexpr int TURN = TRAITS.turn / 2, CHAINS = ROWS == 1 ? TURN : 1;  // one row alone waits for its own sums
  Vi sum[GROUP_OCTETS][ROWS][CHAINS];                                          // two parts of each unit's, side by side

  INLINE void add(const uint8_t *a, int64_t a_row, int64_t words, const uint16_t *counts, const uint8_t *index, const uint8_t *w) {
    for (; words > 0; words -= TRAITS.window, a += WINDOW_BYTES, counts += GROUP_OCTETS) {
      Raw low[ROWS], high[ROWS];
      UNROLL for (int r = 0; r < ROWS; r++) {
        low[r] = _mm512_loadu_si512(a + r * a_row);
        high[r] = _mm512_loadu_si512(a + r * a_row + BYTES);
      }
      UNROLL for (int o = 0; o < GROUP_OCTETS; o++) {
        for (int turns = counts[o]; turns > 0; turns--, index += 8, w += TURN * VECTOR_WIDTH<FORM>) {
          long long at;
          std::memcpy(&at, index, 8);
          const Raw all = _mm512_set1_epi64(at);
          UNROLL for (int i = 0; i < TURN; i++) {
            const Raw select = i == 0 ? all : _mm512_srli_epi32(all, static_cast<unsigned>(5 * i));
            UNROLL for (int r = 0; r < ROWS; r++) {
              Vi &to = sum[o][r][i % CHAINS];
              to = multiplied<FORM>(to, (Vi)_mm512_permutex2var_epi32(low[r], select, high[r]), w + i * VECTOR_WIDTH<FORM>);
            }
          }
        }
      }
    }
  }
  INLINE __m256i octet(int r, int o) const {
    Vi s = sum[o][r][0];
    UNROLL for (int i = 1; i < CHAINS; i++) s = plus(s, sum[o][r][i]);
    return _mm512_cvtepi64_epi32((Raw)plus(s, (Vi)_mm512_srli_epi64((Raw)s, 32)));
  }
  INLINE Wide halves(int r) const {
    const Raw a = _mm512_inserti64x4(_mm512_castsi256_si512(octet(r, 0)), octet(r, 1), 1);
    const Raw b = _mm512_inserti64x4(_mm512_castsi256_si512(octet(r, 2)), octet(r, 3), 1);
    return {(Vi)_mm512_shuffle_i32x4(a, b, 0x88), (Vi)_mm512_shuffle_i32x4(a, b, 0xdd)};
  }
};
#else
template <Form FORM, int ROWS> struct GroupSums {
  static constexpr int CHAINS = OCTET / INT_LANES;  // vectors of an octet
  Vi sum[GROUP_OCTETS][ROWS][CHAINS];

  INLINE void add(const uint8_t *a, int64_t a_row, int64_t words, const uint16_t *counts, const uint8_t *index, const uint8_t *w) {
    for (; words > 0; words -= TRAITS.window, a += 4 * TRAITS.window, counts += GROUP_OCTETS)
      UNROLL for (int o = 0; o < GROUP_OCTETS; o++) {
        for (int entries = counts[o]; entries > 0; entries--, index += 2, w += CHAINS * VECTOR_WIDTH<FORM>) {
          uint16_t at;
          std::memcpy(&at, index, 2);
          UNROLL for (int r = 0; r < ROWS; r++) {
            int32_t word;
            std::memcpy(&word, a + r * a_row + 4 * int64_t{at}, 4);
            UNROLL for (int v = 0; v < CHAINS; v++)
              sum[o][r][v] = multiplied<FORM>(sum[o][r][v], splat_i(word), w + v * VECTOR_WIDTH<FORM>);
          }
        }
      }
  }
  INLINE Wide halves(int r) const {
#if defined(__AVX2__)
    const Raw a = (Raw)sum[0][r][0], b = (Raw)sum[1][r][0];
    return {(Vi)_mm256_permute2x128_si256(a, b, 0x20), (Vi)_mm256_permute2x128_si256(a, b, 0x31)};
#else
    return {sum[0][r][0], sum[0][r][1]};
#endif
  }
};
#endif

// Rows from m on.
template <Form FORM, int ROWS> __attribute__((noinline)) void sparse_tile(const IntDot &d, int64_t m) {
  using Sums = GroupSums<FORM, ROWS>;
  const gatecell_integer &step = *d.step;
  const IntPass &pass = *d.pass;
  const IntSegment *const begin = pass.segments.data(), *const end = begin + pass.segments.size();
  const int64_t first = d.row + m, sum_row = d.sum_row;
  const int32_t *bias = d.bias;
  int32_t *sums = d.sums + m * sum_row;
  int64_t group = d.group;
  for (int64_t g = ROWS == 1 ? d.groups : 1; g > 0; g--) {
    for (int32_t c = 0; c < pass.columns; c++) {
      Sums sum;
      const auto each_sum = [&sum](auto f) __attribute__((always_inline)) {
        UNROLL for (int o = 0; o < GROUP_OCTETS; o++) UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int i = 0; i < Sums::CHAINS; i++)
            f(sum.sum[o][r][i]);
      };
      each_sum([](Vi &v) { v = Vi{}; });
      const IntRows *rows = d.source;
      for (const IntSegment *s = begin; s < end; s++, rows++) {
        const IntStart &at = step.starts[static_cast<size_t>(s->weights + group * pass.columns + c)];
        sum.add(rows->at + first * rows->row, rows->row, s->steps, step.counts.data() + at.counts,
                step.index.data() + int64_t{at.index} * 8, step.weights.data() + int64_t{at.weights} * 64);
        if (s->shifts) each_sum([by = s->shift[c]](Vi &v) { v = (Vi)((Vu)v << by); });
      }
      const int64_t at = pass.column[c];
      const int32_t *from = (pass.begun[c] ? sums : bias) + at;
      const int64_t next = pass.begun[c] ? sum_row : 0;  // one bias for all rows
      UNROLL for (int r = 0; r < ROWS; r++) {
        const Wide y = sum.halves(r);
        store_i(sums + at + r * sum_row, plus(y.lo, load_i(from + r * next)));
        store_i(sums + at + r * sum_row + INT_LANES, plus(y.hi, load_i(from + r * next + INT_LANES)));
      }
    }
    group += d.next;
    sums += d.next * sum_row;
    bias += d.next * sum_row;
  }
}

template <Form FORM> void sparse_dot(const IntDot &d, int64_t rows) {
  int64_t m = 0;
  for (; rows - m >= 4; m += 4) sparse_tile<FORM, 4>(d, m);
  for (; rows - m >= 2; m += 2) sparse_tile<FORM, 2>(d, m);
  for (; rows > m; m++) sparse_tile<FORM, 1>(d, m);
}

void sparse_dot(const IntDot &d, int64_t rows) {
  switch (d.pass->form) {
    case Form::bytes: return sparse_dot<Form::bytes>(d, rows);
    case Form::words8: return sparse_dot<Form::words8>(d, rows);
    default: return sparse_dot<Form::words16>(d, rows);
  }
}
