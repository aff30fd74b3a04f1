// Register tiles of integer products: `ROWS` rows times the columns of a pass.  Included once per instruction set.
//
// A sum runs over the segments of its pass; behind each it moves up by the segment's shift.  All of it is modulo 2^32, so that neither
// order nor shape of a tile, nor the offset of unsigned bytes, shows in the bits.

// acc + four products of bytes, x those of a row in every lane, w weights in [-127, 127].
#if defined(__AVX512VNNI__)
constexpr IntTraits TRAITS = {INT_LANES, true, true, true, true, 32, 6};
INLINE Vi dot4(Vi acc, Vi x, Vi w) { return (Vi)_mm512_dpbusd_epi32((Raw)acc, (Raw)x, (Raw)w); }
INLINE Vi dot2(Vi acc, Vi x, Vi w) { return add_products(acc, x, w); }
#elif defined(__AVX2__)
// |x| <= 128 times a weight, twice, is at most 2 * 128 * 127 = 32,512: vpmaddubsw never saturates.
#if defined(__AVX512F__)
constexpr IntTraits TRAITS = {INT_LANES, true, false, false, true, 32, 6};
INLINE Vi dot4(Vi acc, Vi x, Vi w) {
  const Raw signed_w = _mm512_mask_sub_epi8((Raw)w, _mm512_movepi8_mask((Raw)x), Raw{}, (Raw)w);
  return add_products(acc, (Vi)_mm512_maddubs_epi16(_mm512_abs_epi8((Raw)x), signed_w), splat_i(0x10001));
}
#else
constexpr IntTraits TRAITS = {INT_LANES, true, false, false, true, 32768, 1};
INLINE Vi dot4(Vi acc, Vi x, Vi w) {
  return add_products(acc, (Vi)_mm256_maddubs_epi16(_mm256_abs_epi8((Raw)x), _mm256_sign_epi8((Raw)w, (Raw)x)), splat_i(0x10001));
}
#endif
INLINE Vi dot2(Vi acc, Vi x, Vi w) { return add_products(acc, x, w); }
#elif defined(__aarch64__)
constexpr IntTraits TRAITS = {INT_LANES, true, false, false, true, 32768, 1};
INLINE Vi dot4(Vi acc, Vi x, Vi w) {
#if defined(__ARM_FEATURE_DOTPROD)
  return (Vi)vdotq_s32((int32x4_t)acc, (int8x16_t)w, (int8x16_t)x);
#else
  const int16x8_t low = vmull_s8(vget_low_s8((int8x16_t)w), vget_low_s8((int8x16_t)x)), high = vmull_high_s8((int8x16_t)w, (int8x16_t)x);
  return (Vi)vpadalq_s16((int32x4_t)acc, vpaddq_s16(low, high));  // two products of 128 * 127 fit 16 bits
#endif
}
INLINE Vi dot2(Vi acc, Vi x, Vi w) {
  const int32x4_t low = vmull_s16(vget_low_s16((int16x8_t)w), vget_low_s16((int16x8_t)x));
  const int32x4_t high = vmull_high_s16((int16x8_t)w, (int16x8_t)x);
  return plus(acc, (Vi)vpaddq_s32(low, high));
}
#else
constexpr IntTraits TRAITS = {INT_LANES, false, false, false, false, 32768, 1};
INLINE Vi dot4(Vi acc, Vi, Vi) { return acc; }  // there are no operands of bytes
INLINE Vi dot2(Vi acc, Vi x, Vi w) { return add_products(acc, x, w); }
#endif

// Half a vector of int8 weights as int16.
INLINE Vi load_words(const uint8_t *p) {
  Vb b;
  std::memcpy(&b, p, sizeof b);
#if defined(__AVX512F__)
  return (Vi)_mm512_cvtepi8_epi16((__m256i)b);
#elif defined(__AVX2__)
  return (Vi)_mm256_cvtepi8_epi16((__m128i)b);
#else
  return (Vi)__builtin_convertvector(b, Vh);
#endif
}

// Rows from m on; PANELS: halves of a group, from `half` on; TURNS: steps of k that have sums of their own, where rows are too few to
// keep the multipliers busy.
template <Form FORM, int ROWS, int COLUMNS, int PANELS> __attribute__((noinline)) void dot_tile(const IntDot &d, int64_t m, int64_t half) {
  constexpr int N = COLUMNS * PANELS, WIDTH = FORM == Form::words8 ? BYTES / 2 : BYTES, TURNS = ROWS * N <= 3 ? 4 : ROWS * N <= 8 ? 2 : 1;
  const int64_t far = d.half, sum_row = d.sum_row, first = d.row + m;
  const IntPass &pass = *d.pass;
  const IntSegment *const begin = pass.segments.data(), *const end = begin + pass.segments.size();
  const IntRows *const source = d.source;
  const uint8_t *weights = d.weights + half * far;
  const int32_t *bias = d.bias + half * INT_LANES;
  int32_t *sums = d.sums + m * sum_row + half * INT_LANES;
  const auto step = [&](Vi(&sum)[ROWS][N], const uint8_t *a, int64_t a_row, const uint8_t *w) __attribute__((always_inline)) {
    Vi b[N];
    UNROLL for (int j = 0; j < N; j++) {
      const uint8_t *p = w + (j / COLUMNS) * far + (j % COLUMNS) * WIDTH;
      if (FORM == Form::words8)
        b[j] = load_words(p);
      else
        std::memcpy(&b[j], p, BYTES);
    }
    UNROLL for (int r = 0; r < ROWS; r++) {
      int32_t four;
      std::memcpy(&four, a + r * a_row, 4);
      const Vi x = splat_i(four);
      UNROLL for (int j = 0; j < N; j++) sum[r][j] = FORM == Form::bytes ? dot4(sum[r][j], x, b[j]) : dot2(sum[r][j], x, b[j]);
    }
  };
  for (int64_t g = ROWS == 1 ? d.groups : 1; g > 0; g--) {
    Vi sum[TURNS][ROWS][N];
    UNROLL for (int i = 0; i < TURNS; i++) UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int j = 0; j < N; j++) sum[i][r][j] = Vi{};
    const IntRows *rows = source;
    for (const IntSegment *s = begin; s < end; s++, rows++) {
      const int64_t a_row = rows->row;
      const uint8_t *a = rows->at + first * a_row, *w = weights + s->weights;
      int64_t k = s->steps;
      if (TURNS > 1)
        for (; k >= TURNS; k -= TURNS, a += 4 * TURNS, w += TURNS * COLUMNS * WIDTH)
          UNROLL for (int i = 0; i < TURNS; i++) step(sum[i], a + 4 * i, a_row, w + i * COLUMNS * WIDTH);
      for (; k > 0; k--, a += 4, w += COLUMNS * WIDTH) step(sum[0], a, a_row, w);
      if (!s->shifts) continue;
      UNROLL for (int j = 0; j < N; j++) UNROLL for (int r = 0; r < ROWS; r++) {
        UNROLL for (int i = 1; i < TURNS; i++) {
          sum[0][r][j] = plus(sum[0][r][j], sum[i][r][j]);
          sum[i][r][j] = Vi{};
        }
        sum[0][r][j] = (Vi)((Vu)sum[0][r][j] << s->shift[j % COLUMNS]);
      }
    }
    UNROLL for (int j = 0; j < N; j++) {
      const int64_t at = pass.column[j % COLUMNS] + (j / COLUMNS) * INT_LANES;
      const bool begun = pass.begun[j % COLUMNS];
      const int32_t *from = (begun ? sums : bias) + at;
      const int64_t next = begun ? sum_row : 0;  // one bias for all rows
      UNROLL for (int r = 0; r < ROWS; r++) {
        UNROLL for (int i = 1; i < TURNS; i++) sum[0][r][j] = plus(sum[0][r][j], sum[i][r][j]);
        store_i(sums + at + r * sum_row, plus(sum[0][r][j], load_i(from + r * next)));
      }
    }
    weights += d.next * 2 * far;
    sums += d.next * sum_row;
    bias += d.next * sum_row;
  }
}

// Rows that fill the registers beside so many columns, and halves that a tile of so many rows takes at once.
constexpr int64_t dot_rows(int columns) {
  constexpr bool many = BYTES == 64;  // registers
  return columns >= 4 ? (many ? 6 : 2) : columns == 3 ? (many ? 8 : 3) : (many ? 8 : 4);
}
constexpr int dot_panels(int columns, int rows) {
  constexpr int sums = BYTES == 64 ? 16 : 8;
  return columns == 1 || rows == 1 || rows * columns * 2 <= sums ? 2 : 1;
}

template <Form FORM, int ROWS, int COLUMNS> INLINE void dot_halves(const IntDot &d, int64_t m, int64_t half) {
  constexpr int PANELS = dot_panels(COLUMNS, ROWS);
  if (PANELS == 1 || half == 0) dot_tile<FORM, ROWS, COLUMNS, PANELS>(d, m, half);
}

template <Form FORM, int COLUMNS> INLINE void dot_some(const IntDot &d, int64_t m, int64_t rows, int64_t half) {
  constexpr int MOST = dot_rows(COLUMNS);
  switch (rows) {
    case 1: return dot_halves<FORM, 1, COLUMNS>(d, m, half);
    case 2: return dot_halves<FORM, 2, COLUMNS>(d, m, half);
    case 3: return dot_halves<FORM, MOST < 3 ? 1 : 3, COLUMNS>(d, m, half);
    case 4: return dot_halves<FORM, MOST < 4 ? 1 : 4, COLUMNS>(d, m, half);
    case 5: return dot_halves<FORM, MOST < 5 ? 1 : 5, COLUMNS>(d, m, half);
    case 6: return dot_halves<FORM, MOST < 6 ? 1 : 6, COLUMNS>(d, m, half);
    case 7: return dot_halves<FORM, MOST < 7 ? 1 : 7, COLUMNS>(d, m, half);
    default: return dot_halves<FORM, MOST < 8 ? 1 : 8, COLUMNS>(d, m, half);
  }
}

template <Form FORM> INLINE void dot_block(const IntDot &d, int64_t m, int64_t rows, int64_t half) {
  switch (d.pass->columns) {
    case 1: return dot_some<FORM, 1>(d, m, rows, half);
    case 2: return dot_some<FORM, 2>(d, m, rows, half);
    case 3: return dot_some<FORM, 3>(d, m, rows, half);
    default: return dot_some<FORM, 4>(d, m, rows, half);
  }
}

// All rows of a pass, half by half: what a tile of rows has read of the weights, the next one finds in L1.
template <Form FORM> void dot(const IntDot &d, int64_t rows) {
  const int64_t most = dot_rows(d.pass->columns), blocks = (rows + most - 1) / most;
  for (int64_t half = 0; half < 2; half++)
    for (int64_t k = 0; k < blocks; k++) {
      const int64_t m = rows * k / blocks;  // blocks differ by a row at most
      dot_block<FORM>(d, m, rows * (k + 1) / blocks - m, half);
    }
}

// For one row alone, which takes both halves at once.
using DotRow = void (*)(const IntDot &, int64_t m, int64_t half);
#define BY_COLUMNS(form) {dot_tile<form, 1, 1, 2>, dot_tile<form, 1, 2, 2>, dot_tile<form, 1, 3, 2>, dot_tile<form, 1, 4, 2>}
const struct {
  DotRow run[3][PASS_COLUMNS];
} DOT_ROW = {{BY_COLUMNS(Form::bytes), BY_COLUMNS(Form::words8), BY_COLUMNS(Form::words16)}};
#undef BY_COLUMNS

INLINE void dot(const IntDot &d, int64_t rows) {
  const auto form = static_cast<size_t>(d.pass->form);
  if (rows == 1) return DOT_ROW.run[form][d.pass->columns - 1](d, 0, 0);
  switch (d.pass->form) {
    case Form::bytes: return dot<Form::bytes>(d, rows);
    case Form::words8: return dot<Form::words8>(d, rows);
    default: return dot<Form::words16>(d, rows);
  }
}
