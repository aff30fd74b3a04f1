// exp, sigmoid, tanh and the other functions of the primitives, on vectors.  Included once per instruction set.  Not here: loops.
//
// Units in the last place where the result is a normal float32, at most: tanh 2, exp 1.3, sigmoid 2.9 (3.5 in the baseline, which rounds
// twice where the others fuse), log_sigmoid 4, rsqrt 1.5.  tanh, exp, sigmoid and rsqrt are monotone, tanh is odd.  NaN stays NaN.
// tests/campaigns/functions.py looks at all floats and writes the table in bench/README.md.  float64 is for checking: 3 units.
// Every operation is written out, so that the sets with fused multiply-add give the same bits.
//
// e^x is 2^n e^r with x = n ln 2 + r; float32 takes n in eighths and 2^(n/8) from a table, which leaves so small an r that a cubic
// does.  sigmoid and tanh are made of it in forms that keep the order under rounding: a numerator that rises over a
// denominator that falls.  A rational tanh would take 6 cycles for 16 units of AVX-512 instead of 8, and be monotone nowhere.

#include "coefficients.inl"

template <class V> struct Format;
template <> struct Format<Vf> {
  typedef uint32_t U __attribute__((vector_size(BYTES)));
  typedef Vi I;
  static constexpr int mantissa = 23, bias = 127;
  static constexpr float round = 12582912.0f;            // 1.5 2^23: adding it rounds to an integer, which stands in the low bits
  static constexpr float exp_low = -104, exp_high = 89;  // e^x is 0, infinite there
  static constexpr float sigmoid_low = -88.75f;          // 2^n is infinite there
};
template <> struct Format<Vd> {
  typedef uint64_t U __attribute__((vector_size(BYTES)));
  typedef Vl I;
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr double round = 6755399441055744.0, exp_low = -746, exp_high = 710, sigmoid_low = -709.8;
};
template <class V> INLINE typename Format<V>::U sign(V x) { return (typename Format<V>::U)x & (typename Format<V>::U)(-splat<V>(0)); }
template <class V> INLINE V magnitude(V x) { return (V)((typename Format<V>::U)x & ~(typename Format<V>::U)(-splat<V>(0))); }
// y, but 0 where x is a subnormal number: divisions and squares of these take up to five times as long.
INLINE Vf unless_subnormal(Vf y, Vf x) {
#if defined(__AVX512F__)
  return (Vf)_mm512_maskz_mov_ps(_mm512_test_epi32_mask((__m512i)x, _mm512_set1_epi32(0x7f800000)), (__m512)y);
#else
  return (Vf)((Vi)y & ~(magnitude(x) < splat<Vf>(0x1p-126f)));
#endif
}
INLINE Vd unless_subnormal(Vd y, Vd) { return y; }

// c[0] + c[1] x + ..., from the highest power down.
template <class V, int N> INLINE V polynomial(V x, const typename Real<V>::R (&c)[N]) {
  V y = splat<V>(c[N - 1]);
  UNROLL for (int k = N - 2; k >= 0; k--) y = fma(y, x, splat<V>(c[k]));
  return y;
}

// 2^(n/8) as bits.
INLINE Format<Vf>::U eighths(Format<Vf>::U n) {
  using U = Format<Vf>::U;
#if defined(__AVX512F__)
  const U entry = (U)_mm512_permutexvar_epi32((__m512i)n, _mm512_broadcast_i32x8(_mm256_load_si256((const __m256i *)EIGHTHS)));
#elif defined(__AVX2__)
  const U entry = (U)_mm256_permutevar8x32_epi32(_mm256_load_si256((const __m256i *)EIGHTHS), (__m256i)n);
#elif defined(__aarch64__)
  const uint8x16x2_t table = {(uint8x16_t)vld1q_u32(EIGHTHS), (uint8x16_t)vld1q_u32(EIGHTHS + 4)};
  const U entry = (U)vqtbl2q_u8(table, (uint8x16_t)((n & 7) * 0x04040404 + 0x03020100));
#else
  U entry;
  for (size_t i = 0; i < sizeof n / sizeof n[0]; i++) entry[i] = EIGHTHS[n[i] & 7];
#endif
  return (n << 20) + entry;  // n's lowest three bits become the mantissa's first, which the entries lack by as much
}

// e^x as power (1 + rest), power = 2^k or its eighths.
template <class V> struct Power {
  V power, rest;
  typename Format<V>::I k;
};

// e^(SIGN x) for |x| <= 128, rest to 4e-8 of 1.  ln(2)/8 in two parts, the first so short that n times it is exact without fma, too.
struct Exponent {
  Vf n, rest;          // eighths
  Format<Vf>::U bits;  // n in its low ones
};
template <int SIGN> INLINE Exponent exponent(Vf x) {
  Vf n = fma(x, splat<Vf>(SIGN * 11.5415603f), splat<Vf>(Format<Vf>::round));
  const auto bits = (Format<Vf>::U)n;
  n -= Format<Vf>::round;
  Vf r = fnma(n, splat<Vf>(SIGN * 0.086639404296875f), x);
  r = fnma(n, splat<Vf>(SIGN * 3.99327312e-06f), r);
  const Vf p = fma(r, splat<Vf>(SIGN * EXP[1]), splat<Vf>(EXP[0]));
  const Vf square = fma(r, r, splat<Vf>(0x1p-100f));  // a square that underflows takes three times as long; the result shows neither
  return {n, SIGN > 0 ? fma(square, p, r) : fms(square, p, r), bits};
}
template <int SIGN> INLINE Power<Vf> exponential(Vf x) {
  const Exponent e = exponent<SIGN>(x);
  return {(Vf)eighths(e.bits), e.rest, (Vi)(e.bits << 16) >> 19};
}
// e^(SIGN x) for |x| <= 2000 in float64, rest to 1e-17 of itself: Taylor's terms 1 / k!, ln(2) in two parts as above.
template <int SIGN> INLINE Power<Vd> exponential(Vd x) {
  constexpr double TAYLOR[] = {1. / 2,     1. / 6,      1. / 24,      1. / 120,      1. / 720,       1. / 5040,
                               1. / 40320, 1. / 362880, 1. / 3628800, 1. / 39916800, 1. / 479001600, 1. / 6227020800};
  Vd n = fma(x, splat<Vd>(SIGN * 1.4426950408889634), splat<Vd>(Format<Vd>::round));
  const auto bits = (Format<Vd>::U)n;
  n -= Format<Vd>::round;
  Vd r = fnma(n, splat<Vd>(SIGN * 0.69314718036912382), x);
  r = SIGN * fnma(n, splat<Vd>(SIGN * 1.9082149292705877e-10), r);
  return {(Vd)((bits + 1023) << 52), fma(r * r, polynomial(r, TAYLOR), r), (Vl)(bits << 48) >> 48};
}

#if defined(__AVX512F__)
// As below, where one instruction scales by a power of two, with one rounding: the same bits.
INLINE Vf exp(Vf x) {
  alignas(32) constexpr uint32_t POWERS[] = {EIGHTHS[0],
                                             EIGHTHS[1] + (1u << 20),
                                             EIGHTHS[2] + (2u << 20),
                                             EIGHTHS[3] + (3u << 20),
                                             EIGHTHS[4] + (4u << 20),
                                             EIGHTHS[5] + (5u << 20),
                                             EIGHTHS[6] + (6u << 20),
                                             EIGHTHS[7] + (7u << 20)};
  const Exponent e = exponent<1>(clamp(x, Format<Vf>::exp_low, Format<Vf>::exp_high));
  const Vf power = (Vf)_mm512_permutexvar_epi32((__m512i)e.bits, _mm512_broadcast_i32x8(_mm256_load_si256((const __m256i *)POWERS)));
  return (Vf)_mm512_scalef_ps((__m512)fma(power, e.rest, power), (__m512)(e.n * 0.125f));
}
#endif
// e^x, with the subnormal numbers and infinity at its ends: in two factors, since no single power of two reaches there.
template <class V> INLINE V exp(V x) {
  using F = Format<V>;
  using U = typename F::U;
  const Power<V> e = exponential<1>(clamp(x, F::exp_low, F::exp_high));
  const auto half = (U)(e.k >> 1);
  const V power = (V)((U)e.power - (half << F::mantissa));
  return fma(power, e.rest, power) * (V)((half + F::bias) << F::mantissa);
}

// 1 / (1 + e^-x).  float32: 0 from -88.68 down, where it would be 3e-39.
template <class V> INLINE V sigmoid(V x) {
  const Power<V> e = exponential<-1>(clamp(x, Format<V>::sigmoid_low, 64));
  return 1 / fma(e.power, 1 + e.rest, splat<V>(1));
}

// e^(-2x) as power (1 + 2 rest), rest to 2e-8 of itself, for 0 <= x <= 32.  Whole powers of two, of which 1 - power is exact.
INLINE Power<Vf> exponential_of_twice(Vf x) {
  constexpr float round = Format<Vf>::round + Format<Vf>::bias;
  Vf n = fma(x, splat<Vf>(-2.88539008f), splat<Vf>(round));
  const Vf power = (Vf)((Format<Vf>::U)n << Format<Vf>::mantissa);
  n -= round;
  const Vf r = fma(n, splat<Vf>(0.346573591f), x), square = r * r;  // ln(2)/2 in one part is 1e-9 n off, which no tanh shows
  constexpr auto &c = EXPM1_OF_TWICE;
  const Vf low = fma(r, splat<Vf>(c[1]), splat<Vf>(c[0])), high = fma(r, splat<Vf>(c[4]), splat<Vf>(c[3]));
  return {power, fms(square, fma(square, fma(r, high, splat<Vf>(c[2])), low), r), Vi{}};
}
INLINE Power<Vd> exponential_of_twice(Vd x) {
  const Power<Vd> e = exponential<-1>(x + x);
  return {e.power, 0.5 * e.rest, e.k};
}
// (1 - e) / (1 + e) with e = e^(-2 |x|), both halved, and the sign of x; 0 of subnormal numbers.
template <class V> INLINE V tanh(V x) {
  const Power<V> e = exponential_of_twice(unless_subnormal(min_(splat<V>(32), magnitude(x)), x));
  const V half = fnma(e.power, splat<V>(0.5), splat<V>(0.5));
  const V y = fnma(e.power, e.rest, half) / fma(e.power, e.rest, 1 - half);
  return (V)((typename Format<V>::U)y | sign(x));
}

// log(sigmoid(x)) = min(x, 0) - log(1 + e^-|x|), and log(1 + e) = 2 artanh(s), s = e / (2 + e) <= 1/3.
INLINE Vf artanh_over(Vf t) { return polynomial(t, ARTANH); }  // artanh(s) / s of t = s^2
INLINE Vd artanh_over(Vd t) {
  Vd y = splat<Vd>(1. / 35);
  UNROLL for (int k = 33; k > 0; k -= 2) y = fma(y, t, splat<Vd>(1. / k));
  return y;
}
template <class V> INLINE V log_sigmoid(V x) {
  const V e = exp(-magnitude(x)), s = e / (2 + e);
  return fnma(s + s, artanh_over(s * s), min_(splat<V>(0), x));
}

template <class V> INLINE V rsqrt(V x) { return 1 / sqrt_(x); }
template <class V> INLINE V relu(V x) { return max_(V{}, x); }
template <class V> INLINE V maximum(V a, V b) { return max_(a, b); }
template <class V> INLINE V above(V a, V b) { return a > b ? splat<V>(1) : V{}; }
template <class V> INLINE V lerp(V t, V a, V b) { return fma(t, b - a, a); }
