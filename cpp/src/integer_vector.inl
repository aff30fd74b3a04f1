// Integer vectors of one instruction set: int16 values, pairs of vectors of int32 for what is wider, the operations of
// docs/arithmetic.md on both.  Included once per instruction set, after vector.inl.  Not here: products, loops.
//
// A `Wide` holds the units of a vector of int16 in the order in which the instruction set's widening and narrowing take them
// (integer.hpp).  Sums wrap modulo 2^32 in registers: what a checked model comes to lies in int32, whatever its parts do.

typedef int16_t Vh __attribute__((vector_size(BYTES)));
typedef int16_t Vhu __attribute__((vector_size(BYTES), aligned(2), may_alias));
typedef uint16_t Vuh __attribute__((vector_size(BYTES)));
typedef int32_t Viu __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef uint32_t Vu __attribute__((vector_size(BYTES)));
typedef int8_t Vb __attribute__((vector_size(BYTES / 2)));
typedef int8_t Vbu __attribute__((vector_size(BYTES / 2), aligned(1), may_alias));

constexpr int INT_LANES = BYTES / 4, GROUP = BYTES / 2;  // 32-bit sums in a vector; units in a group

struct Wide {
  Vi lo, hi;
};

INLINE Vi load_i(const int32_t *p) { return *reinterpret_cast<const Viu *>(p); }
INLINE void store_i(int32_t *p, Vi v) { *reinterpret_cast<Viu *>(p) = v; }
INLINE Vh load_h(const int16_t *p) { return *reinterpret_cast<const Vhu *>(p); }
INLINE void store_h(int16_t *p, Vh v) { *reinterpret_cast<Vhu *>(p) = v; }
INLINE Vi splat_i(int32_t x) { return x - Vi{}; }
INLINE Vh splat_h(int16_t x) { return x - Vh{}; }
INLINE Wide splat_wide(int32_t x) { return {splat_i(x), splat_i(x)}; }

#if defined(__AVX512F__)
typedef __m512i Raw;
INLINE Vh unpack_lo(Vh a, Vh b) { return (Vh)_mm512_unpacklo_epi16((Raw)a, (Raw)b); }  // a0 b0 a1 b1 ... of each half of 128 bits
INLINE Vh unpack_hi(Vh a, Vh b) { return (Vh)_mm512_unpackhi_epi16((Raw)a, (Raw)b); }
INLINE Vh narrow(Wide a) { return (Vh)_mm512_packs_epi32((Raw)a.lo, (Raw)a.hi); }  // saturates
INLINE Vi madd(Vi a, Vi b) { return (Vi)_mm512_madd_epi16((Raw)a, (Raw)b); }       // of 16-bit halves: a0 b0 + a1 b1
INLINE Vh high_product(Vh a, Vh b) { return (Vh)_mm512_mulhi_epi16((Raw)a, (Raw)b); }
INLINE Vuh high_product(Vuh a, Vuh b) { return (Vuh)_mm512_mulhi_epu16((Raw)a, (Raw)b); }
INLINE Vh product15(Vh a, Vh b) { return (Vh)_mm512_mulhrs_epi16((Raw)a, (Raw)b); }  // round(a b, 15)
INLINE Vuh average(Vuh a, Vuh b) { return (Vuh)_mm512_avg_epu16((Raw)a, (Raw)b); }   // (a + b + 1) >> 1
INLINE Vh magnitude(Vh a) { return (Vh)_mm512_max_epi16((Raw)a, _mm512_subs_epi16(Raw{}, (Raw)a)); }
INLINE Vh add_saturated(Vh a, Vh b) { return (Vh)_mm512_adds_epi16((Raw)a, (Raw)b); }
INLINE Vh greater(Vh a, Vh b) { return (Vh)_mm512_max_epi16((Raw)a, (Raw)b); }
INLINE Vh smaller(Vh a, Vh b) { return (Vh)_mm512_min_epi16((Raw)a, (Raw)b); }
INLINE Vi greater(Vi a, Vi b) { return (Vi)_mm512_max_epi32((Raw)a, (Raw)b); }
INLINE Vi smaller(Vi a, Vi b) { return (Vi)_mm512_min_epi32((Raw)a, (Raw)b); }
#elif defined(__AVX2__)
typedef __m256i Raw;
INLINE Vh unpack_lo(Vh a, Vh b) { return (Vh)_mm256_unpacklo_epi16((Raw)a, (Raw)b); }
INLINE Vh unpack_hi(Vh a, Vh b) { return (Vh)_mm256_unpackhi_epi16((Raw)a, (Raw)b); }
INLINE Vh narrow(Wide a) { return (Vh)_mm256_packs_epi32((Raw)a.lo, (Raw)a.hi); }
INLINE Vi madd(Vi a, Vi b) { return (Vi)_mm256_madd_epi16((Raw)a, (Raw)b); }
INLINE Vh high_product(Vh a, Vh b) { return (Vh)_mm256_mulhi_epi16((Raw)a, (Raw)b); }
INLINE Vuh high_product(Vuh a, Vuh b) { return (Vuh)_mm256_mulhi_epu16((Raw)a, (Raw)b); }
INLINE Vh product15(Vh a, Vh b) { return (Vh)_mm256_mulhrs_epi16((Raw)a, (Raw)b); }
INLINE Vuh average(Vuh a, Vuh b) { return (Vuh)_mm256_avg_epu16((Raw)a, (Raw)b); }
INLINE Vh magnitude(Vh a) { return (Vh)_mm256_max_epi16((Raw)a, _mm256_subs_epi16(Raw{}, (Raw)a)); }
INLINE Vh add_saturated(Vh a, Vh b) { return (Vh)_mm256_adds_epi16((Raw)a, (Raw)b); }
INLINE Vh greater(Vh a, Vh b) { return (Vh)_mm256_max_epi16((Raw)a, (Raw)b); }
INLINE Vh smaller(Vh a, Vh b) { return (Vh)_mm256_min_epi16((Raw)a, (Raw)b); }
INLINE Vi greater(Vi a, Vi b) { return (Vi)_mm256_max_epi32((Raw)a, (Raw)b); }
INLINE Vi smaller(Vi a, Vi b) { return (Vi)_mm256_min_epi32((Raw)a, (Raw)b); }
#else
#if defined(__SSE2__)
typedef __m128i Raw;
INLINE Vh unpack_lo(Vh a, Vh b) { return (Vh)_mm_unpacklo_epi16((Raw)a, (Raw)b); }
INLINE Vh unpack_hi(Vh a, Vh b) { return (Vh)_mm_unpackhi_epi16((Raw)a, (Raw)b); }
INLINE Vh narrow(Wide a) { return (Vh)_mm_packs_epi32((Raw)a.lo, (Raw)a.hi); }
INLINE Vi madd(Vi a, Vi b) { return (Vi)_mm_madd_epi16((Raw)a, (Raw)b); }
INLINE Vh high_product(Vh a, Vh b) { return (Vh)_mm_mulhi_epi16((Raw)a, (Raw)b); }
INLINE Vuh high_product(Vuh a, Vuh b) { return (Vuh)_mm_mulhi_epu16((Raw)a, (Raw)b); }
INLINE Vuh average(Vuh a, Vuh b) { return (Vuh)_mm_avg_epu16((Raw)a, (Raw)b); }
INLINE Vh magnitude(Vh a) { return (Vh)_mm_max_epi16((Raw)a, _mm_subs_epi16(Raw{}, (Raw)a)); }
INLINE Vh add_saturated(Vh a, Vh b) { return (Vh)_mm_adds_epi16((Raw)a, (Raw)b); }
INLINE Vh greater(Vh a, Vh b) { return (Vh)_mm_max_epi16((Raw)a, (Raw)b); }
INLINE Vh smaller(Vh a, Vh b) { return (Vh)_mm_min_epi16((Raw)a, (Raw)b); }
#else
#if defined(__aarch64__)
INLINE Vh narrow(Wide a) { return (Vh)vqmovn_high_s32(vqmovn_s32((int32x4_t)a.lo), (int32x4_t)a.hi); }
INLINE Wide products(Vh a, Vh b) {
  return {(Vi)vmull_s16(vget_low_s16((int16x8_t)a), vget_low_s16((int16x8_t)b)), (Vi)vmull_high_s16((int16x8_t)a, (int16x8_t)b)};
}
#define HAVE_PRODUCTS
#endif
INLINE Vh unpack_lo(Vh a, Vh b) { return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11); }
INLINE Vh unpack_hi(Vh a, Vh b) { return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15); }
INLINE Vi madd(Vi a, Vi b) { return (Vi)((Vu)((a << 16 >> 16) * (b << 16 >> 16)) + (Vu)((a >> 16) * (b >> 16))); }
INLINE Vuh high_product(Vuh a, Vuh b) {
  typedef uint32_t W __attribute__((vector_size(2 * BYTES)));
  return __builtin_convertvector(__builtin_convertvector(a, W) * __builtin_convertvector(b, W) >> 16, Vuh);
}
INLINE Vh high_product(Vh a, Vh b) {
  typedef int32_t W __attribute__((vector_size(2 * BYTES)));
  return __builtin_convertvector(__builtin_convertvector(a, W) * __builtin_convertvector(b, W) >> 16, Vh);
}
INLINE Vuh average(Vuh a, Vuh b) { return (a | b) - ((a ^ b) >> 1); }
INLINE Vh magnitude(Vh a) {
  const Vh negative = a < -32767 ? splat_h(32767) : -a;
  return a < 0 ? negative : a;
}
INLINE Vh greater(Vh a, Vh b) { return a > b ? a : b; }
INLINE Vh smaller(Vh a, Vh b) { return a < b ? a : b; }
#endif
INLINE Vi greater(Vi a, Vi b) { return a > b ? a : b; }
INLINE Vi smaller(Vi a, Vi b) { return a < b ? a : b; }
#if !defined(__SSE2__) && !defined(__aarch64__)
INLINE Vh narrow(Wide a) {
  const Vi lo = smaller(greater(a.lo, splat_i(-32768)), splat_i(32767)), hi = smaller(greater(a.hi, splat_i(-32768)), splat_i(32767));
  return __builtin_shufflevector((Vh)lo, (Vh)hi, 0, 2, 4, 6, 8, 10, 12, 14);  // the low half comes first: little-endian
}
#endif
#if !defined(__SSE2__)
INLINE Vh add_saturated(Vh a, Vh b) {
  const Vi lo = ((Vi)unpack_lo(a, a) >> 16) + ((Vi)unpack_lo(b, b) >> 16), hi = ((Vi)unpack_hi(a, a) >> 16) + ((Vi)unpack_hi(b, b) >> 16);
  return narrow(Wide{lo, hi});
}
#endif
#endif

INLINE Vi plus(Vi a, Vi b) { return (Vi)((Vu)a + (Vu)b); }  // modulo 2^32
#if defined(__AVX512VNNI__)
INLINE Vi add_products(Vi sum, Vi a, Vi b) { return (Vi)_mm512_dpwssd_epi32((Raw)sum, (Raw)a, (Raw)b); }
#else
INLINE Vi add_products(Vi sum, Vi a, Vi b) { return plus(sum, madd(a, b)); }
#endif

#if !defined(HAVE_PRODUCTS)
INLINE Wide products(Vh a, Vh b) {
  const Vh low = (Vh)((Vuh)a * (Vuh)b), high = high_product(a, b);
  return {(Vi)unpack_lo(low, high), (Vi)unpack_hi(low, high)};
}
#endif

INLINE Wide widened(Vh a) { return {(Vi)unpack_lo(a, a) >> 16, (Vi)unpack_hi(a, a) >> 16}; }
INLINE Wide widened(Wide a) { return a; }
INLINE Vh narrow(Vh a) { return a; }
template <class F> INLINE Wide each(Wide a, F f) { return {f(a.lo), f(a.hi)}; }
template <class F> INLINE Wide each(Wide a, Wide b, F f) { return {f(a.lo, b.lo), f(a.hi, b.hi)}; }

// --- the instructions, on int16 where all of it is int16 -------------------------------------------------------------

INLINE Wide add(Wide a, Wide b) { return each(a, b, [](Vi x, Vi y) { return x + y; }); }
INLINE Wide sub(Wide a, Wide b) { return each(a, b, [](Vi x, Vi y) { return x - y; }); }
INLINE Wide mul(Wide a, Wide b) { return each(a, b, [](Vi x, Vi y) { return x * y; }); }
INLINE Wide mul(Vh a, Vh b) { return products(a, b); }
INLINE Wide max(Wide a, Wide b) { return each(a, b, [](Vi x, Vi y) { return greater(x, y); }); }
INLINE Wide neg(Wide a) { return each(a, [](Vi x) { return -x; }); }
INLINE Wide shl(Wide a, int32_t n) { return each(a, [=](Vi x) { return x << n; }); }
INLINE Wide shr(Wide a, int32_t n) { return each(a, [=](Vi x) { return x >> n; }); }
INLINE Wide round(Wide a, int32_t n) { return each(a, [=](Vi x) { return (x + (1 << n >> 1)) >> n; }); }
INLINE Wide clamp(Wide a, int32_t low, int32_t high) {
  return each(a, [=](Vi x) { return smaller(greater(x, splat_i(low)), splat_i(high)); });
}
INLINE Vh add(Vh a, Vh b) { return a + b; }
INLINE Vh sub(Vh a, Vh b) { return a - b; }
INLINE Vh max(Vh a, Vh b) { return greater(a, b); }
INLINE Vh neg(Vh a) { return -a; }
INLINE Vh shl(Vh a, int32_t n) { return (Vh)((Vuh)a << n); }
INLINE Vh shr(Vh a, int32_t n) { return a >> n; }
INLINE Vh clamp(Vh a, int32_t low, int32_t high) {
  return smaller(greater(a, splat_h(static_cast<int16_t>(low))), splat_h(static_cast<int16_t>(high)));
}

#if !defined(__AVX2__)
#if defined(__aarch64__)
INLINE Vh product15(Vh a, Vh b) { return (Vh)vqrdmulhq_s16((int16x8_t)a, (int16x8_t)b); }
#else
INLINE Vh product15(Vh a, Vh b) { return narrow(round(products(a, b), 15)); }
#endif
#endif
INLINE Vh round(Vh a, int32_t n) { return product15(a, splat_h(static_cast<int16_t>(1 << (15 - n)))); }  // 1 <= n <= 15

// a + round(t (b - a), n), t > -32768; the difference has 17 bits, its product is that of both ends.
INLINE Wide lerp(Vh t, Vh a, Vh b, int32_t n) {
  const Vh minus = -t;
  const Wide product = {madd((Vi)unpack_lo(b, a), (Vi)unpack_lo(t, minus)), madd((Vi)unpack_hi(b, a), (Vi)unpack_hi(t, minus))};
  return add(widened(a), round(product, n));
}
INLINE Wide lerp(Wide t, Wide a, Wide b, int32_t n) { return add(a, round(mul(t, sub(b, a)), n)); }

// floor((a m + 2^(15 + sh)) / 2^(16 + sh)) without leaving 32 bits, half = 2^(sh - 1); scale: m, then m << 16.
INLINE Vi requantized(Vi a, const int32_t *scale, int32_t half, int32_t sh) {
#if defined(__SSE2__)
  const Vi low = (Vi)high_product((Vuh)a, (Vuh)load_i(scale)) + half;
  return add_products(low, a, load_i(scale + INT_LANES)) >> sh;  // (a >> 16) m
#else
  const Vi m = load_i(scale), high = (a >> 16) * m, low = (Vi)(((Vu)a & 0xffffu) * (Vu)m >> 16);
  return (high + low + half) >> sh;
#endif
}

// --- the table --------------------------------------------------------------------------------------------------------

struct Chord {
  Vuh value, rise;
};

// Entries at `at`, below the table's size.
#if defined(__AVX512F__)
// Entries 64 k ... 64 k + 127.
INLINE Raw two_blocks(const uint16_t *table, Raw at, __mmask32 odd) {
  const Raw even = _mm512_permutex2var_epi16(_mm512_load_si512(table), at, _mm512_load_si512(table + 32));
  return _mm512_mask_blend_epi16(odd, even, _mm512_permutex2var_epi16(_mm512_load_si512(table + 64), at, _mm512_load_si512(table + 96)));
}
template <int SIZE> INLINE Raw entries(const uint16_t *table, Raw at, __mmask32 odd, __mmask32 second, __mmask32 last) {
  const Raw y = _mm512_mask_blend_epi16(second, two_blocks(table, at, odd), two_blocks(table + 128, at, odd));
  return SIZE <= 256 ? y : _mm512_mask_blend_epi16(last, y, two_blocks(table + SIZE - 128, at, odd));
}
template <int SIZE> INLINE Chord chord(const Chords<SIZE> &t, Vuh at) {
  const Raw i = (Raw)at;
  const __mmask32 odd = _mm512_test_epi16_mask(i, _mm512_set1_epi16(64)), second = _mm512_test_epi16_mask(i, _mm512_set1_epi16(128)),
                  last = SIZE <= 256 ? 0 : _mm512_test_epi16_mask(i, _mm512_set1_epi16(256));
  return {(Vuh)entries<SIZE>(t.value, i, odd, second, last), (Vuh)entries<SIZE>(t.rise, i, odd, second, last)};
}
#elif defined(__AVX2__)
template <int SIZE> INLINE Chord chord(const Chords<SIZE> &t, Vuh at) {
  const int *pair = reinterpret_cast<const int *>(t.pair);
  const Raw lo = _mm256_i32gather_epi32(pair, _mm256_unpacklo_epi16((Raw)at, Raw{}), 4);
  const Raw hi = _mm256_i32gather_epi32(pair, _mm256_unpackhi_epi16((Raw)at, Raw{}), 4);
  const Raw low = _mm256_set1_epi32(0xffff);
  return {(Vuh)_mm256_packus_epi32(_mm256_and_si256(lo, low), _mm256_and_si256(hi, low)),
          (Vuh)_mm256_packus_epi32(_mm256_srli_epi32(lo, 16), _mm256_srli_epi32(hi, 16))};
}
#else
template <int SIZE> INLINE Chord chord(const Chords<SIZE> &t, Vuh at) {
  Chord c;
  for (int k = 0; k < GROUP; k++) {
    c.value[k] = t.value[at[k]];
    c.rise[k] = t.rise[at[k]];
  }
  return c;
}
#endif

// T[n] + ((D f + 32) >> 6) is the rounded mean of 2 T[n] and 2 D f >> 6; beyond the table's flat end nothing changes.
INLINE Vuh tanh_argument(Vh a) { return (Vuh)smaller(magnitude(a), splat_h(TANH_END << 6)); }
INLINE Vh tanh_on(Chord c, Vuh m, Vh a) {
  const Vh y = (Vh)average(c.value, high_product(c.rise, m << 10));
  return a < 0 ? -y : y;
}
INLINE Vh tanh(const IntTable &t, Vh a) {
  const Vuh m = tanh_argument(a);
  return tanh_on(chord(t.tanh, m >> 6), m, a);
}

// 16384 + ((T[n] 128 + D f + 128) >> 8) is the rounded mean of 32768 + T[n] and D f >> 7; |a| = 32768 reads as 32767, which gives the same.
INLINE Vh sigmoid_on(Chord c, Vuh m, Vh a) {
  const Vuh y = average(c.value, high_product(c.rise, m << 9));
  return (Vh)(a < 0 ? 32768 - y : y);
}
INLINE Vh sigmoid(const IntTable &t, Vh a) {
  const Vuh m = (Vuh)magnitude(a);
  return sigmoid_on(chord(t.sigmoid, m >> 7), m, a);
}

// --- two rows at once -------------------------------------------------------------------------------------------------

template <class V> struct Two {
  V a, b;
};
struct OneRow {  // of a tile
  int64_t m;
  template <class V> INLINE V all(V v) const { return v; }
};
struct TwoRows {  // m and m + 1
  int64_t m;
  template <class V> INLINE Two<V> all(V v) const { return {v, v}; }
};
struct TwoGroups : TwoRows {};  // of one row
template <class V> INLINE V first(Two<V> v) { return v.a; }
template <class V> INLINE V second(Two<V> v) { return v.b; }
INLINE int32_t first(int32_t n) { return n; }
INLINE int32_t second(int32_t n) { return n; }

template <class V> INLINE Two<V> two(V a, V b) { return {a, b}; }
#define FOR_TWO(f)                                                          \
  template <class V, class... More> INLINE auto f(Two<V> v, More... more) { \
    return two(f(v.a, first(more)...), f(v.b, second(more)...));            \
  }
FOR_TWO(widened)
FOR_TWO(narrow)
FOR_TWO(add)
FOR_TWO(sub)
FOR_TWO(mul)
FOR_TWO(max)
FOR_TWO(neg)
FOR_TWO(shl)
FOR_TWO(shr)
FOR_TWO(round)
FOR_TWO(clamp)
FOR_TWO(lerp)
FOR_TWO(product15)
FOR_TWO(add_saturated)
#undef FOR_TWO
#if defined(__AVX512VBMI__)
// Of two vectors of indices, by bytes: 128 entries at a time for both.
INLINE Raw entries(const uint8_t *table, Raw at) {
  return _mm512_permutex2var_epi8(_mm512_load_si512(table), at, _mm512_load_si512(table + 64));
}
INLINE Raw entries(const uint8_t *table, Raw at, __mmask64 above) {
  return _mm512_mask_blend_epi8(above, entries(table, at), entries(table + 128, at));
}
template <int SIZE> INLINE Two<Chord> chord(const Chords<SIZE> &t, Two<Vuh> at) {
  const Raw i = _mm512_packus_epi16((Raw)at.a, (Raw)at.b);  // saturates at 255
  const __mmask64 above = _mm512_movepi8_mask(i);
  Raw value = entries(t.value_low, i, above), rise = entries(t.rise_low, i, above);
  if (SIZE > 256) {
    const Raw from = _mm512_set1_epi16(255);
    const Raw j = _mm512_packus_epi16(_mm512_subs_epu16((Raw)at.a, from), _mm512_subs_epu16((Raw)at.b, from));
    const __mmask64 tail = _mm512_test_epi8_mask(j, j);
    value = _mm512_mask_blend_epi8(tail, value, entries(t.value_tail, j));
    rise = _mm512_mask_blend_epi8(tail, rise, entries(t.rise_tail, j));
  }
  const Raw value_high = entries(t.value_high, i, above);
  const Raw rise_high = _mm512_maskz_permutex2var_epi8(~above, _mm512_load_si512(t.rise_high), i, _mm512_load_si512(t.rise_high + 64));
  return {{(Vuh)_mm512_unpacklo_epi8(value, value_high), (Vuh)_mm512_unpacklo_epi8(rise, rise_high)},
          {(Vuh)_mm512_unpackhi_epi8(value, value_high), (Vuh)_mm512_unpackhi_epi8(rise, rise_high)}};
}
#else
template <int SIZE> INLINE Two<Chord> chord(const Chords<SIZE> &t, Two<Vuh> at) { return {chord(t, at.a), chord(t, at.b)}; }
#endif
INLINE Two<Vh> tanh(const IntTable &t, Two<Vh> a) {
  const Two<Vuh> m = {tanh_argument(a.a), tanh_argument(a.b)};
  const Two<Chord> c = chord(t.tanh, Two<Vuh>{m.a >> 6, m.b >> 6});
  return {tanh_on(c.a, m.a, a.a), tanh_on(c.b, m.b, a.b)};
}
INLINE Two<Vh> sigmoid(const IntTable &t, Two<Vh> a) {
  const Two<Vuh> m = {(Vuh)magnitude(a.a), (Vuh)magnitude(a.b)};
  const Two<Chord> c = chord(t.sigmoid, Two<Vuh>{m.a >> 7, m.b >> 7});
  return {sigmoid_on(c.a, m.a, a.a), sigmoid_on(c.b, m.b, a.b)};
}
