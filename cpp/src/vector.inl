// Vectors of one instruction set: width, loads, min, max, fused multiply-add.
// Included once per instruction set, inside an anonymous namespace.  Not here: exp and its like (functions.inl), loops.
//
// Units are vectorised and every operation is written out, so that the sets with fused multiply-add give the same bits; the
// baseline rounds twice where they round once.

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX2__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif
#define INLINE inline __attribute__((always_inline))

typedef float Vf __attribute__((vector_size(BYTES)));
typedef float Vfu __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef int32_t Vi __attribute__((vector_size(BYTES)));
typedef double Vd __attribute__((vector_size(BYTES)));
typedef double Vdu __attribute__((vector_size(BYTES), aligned(8), may_alias));
typedef int64_t Vl __attribute__((vector_size(BYTES)));

template <class R> struct Of;
template <> struct Of<float> {
  using V = Vf;
  using U = Vfu;
  using I = Vi;
  static constexpr int lanes = BYTES / 4;
};
template <> struct Of<double> {
  using V = Vd;
  using U = Vdu;
  using I = Vl;
  static constexpr int lanes = BYTES / 8;
};
template <class V> struct Real;
template <> struct Real<Vf> {
  using R = float;
};
template <> struct Real<Vd> {
  using R = double;
};

template <class R> INLINE typename Of<R>::V load(const R *p) { return *reinterpret_cast<const typename Of<R>::U *>(p); }
template <class R> INLINE void store(R *p, typename Of<R>::V v) { *reinterpret_cast<typename Of<R>::U *>(p) = v; }
template <class V> INLINE V splat(typename Real<V>::R x) { return x - V{}; }  // x - 0 is x for every x

// min and max return the second argument where either is a NaN: with the bound first, a NaN stays one.
#if defined(__AVX512F__)
INLINE Vf min_(Vf a, Vf b) { return (Vf)_mm512_min_ps((__m512)a, (__m512)b); }
INLINE Vf max_(Vf a, Vf b) { return (Vf)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE Vf fma(Vf a, Vf b, Vf c) { return (Vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE Vf fnma(Vf a, Vf b, Vf c) { return (Vf)_mm512_fnmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE Vf fms(Vf a, Vf b, Vf c) { return (Vf)_mm512_fmsub_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE Vf sqrt_(Vf a) { return (Vf)_mm512_sqrt_ps((__m512)a); }
INLINE Vd min_(Vd a, Vd b) { return (Vd)_mm512_min_pd((__m512d)a, (__m512d)b); }
INLINE Vd max_(Vd a, Vd b) { return (Vd)_mm512_max_pd((__m512d)a, (__m512d)b); }
INLINE Vd fma(Vd a, Vd b, Vd c) { return (Vd)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
INLINE Vd fnma(Vd a, Vd b, Vd c) { return (Vd)_mm512_fnmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
INLINE Vd fms(Vd a, Vd b, Vd c) { return (Vd)_mm512_fmsub_pd((__m512d)a, (__m512d)b, (__m512d)c); }
INLINE Vd sqrt_(Vd a) { return (Vd)_mm512_sqrt_pd((__m512d)a); }
#elif defined(__AVX2__)
INLINE Vf min_(Vf a, Vf b) { return (Vf)_mm256_min_ps((__m256)a, (__m256)b); }
INLINE Vf max_(Vf a, Vf b) { return (Vf)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE Vf fma(Vf a, Vf b, Vf c) { return (Vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE Vf fnma(Vf a, Vf b, Vf c) { return (Vf)_mm256_fnmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE Vf fms(Vf a, Vf b, Vf c) { return (Vf)_mm256_fmsub_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE Vf sqrt_(Vf a) { return (Vf)_mm256_sqrt_ps((__m256)a); }
INLINE Vd min_(Vd a, Vd b) { return (Vd)_mm256_min_pd((__m256d)a, (__m256d)b); }
INLINE Vd max_(Vd a, Vd b) { return (Vd)_mm256_max_pd((__m256d)a, (__m256d)b); }
INLINE Vd fma(Vd a, Vd b, Vd c) { return (Vd)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
INLINE Vd fnma(Vd a, Vd b, Vd c) { return (Vd)_mm256_fnmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
INLINE Vd fms(Vd a, Vd b, Vd c) { return (Vd)_mm256_fmsub_pd((__m256d)a, (__m256d)b, (__m256d)c); }
INLINE Vd sqrt_(Vd a) { return (Vd)_mm256_sqrt_pd((__m256d)a); }
#elif defined(__SSE2__)  // no fused multiply-add: two roundings
INLINE Vf min_(Vf a, Vf b) { return (Vf)_mm_min_ps((__m128)a, (__m128)b); }
INLINE Vf max_(Vf a, Vf b) { return (Vf)_mm_max_ps((__m128)a, (__m128)b); }
INLINE Vf sqrt_(Vf a) { return (Vf)_mm_sqrt_ps((__m128)a); }
INLINE Vd min_(Vd a, Vd b) { return (Vd)_mm_min_pd((__m128d)a, (__m128d)b); }
INLINE Vd max_(Vd a, Vd b) { return (Vd)_mm_max_pd((__m128d)a, (__m128d)b); }
INLINE Vd sqrt_(Vd a) { return (Vd)_mm_sqrt_pd((__m128d)a); }
template <class V> INLINE V fma(V a, V b, V c) { return a * b + c; }
template <class V> INLINE V fnma(V a, V b, V c) { return c - a * b; }
template <class V> INLINE V fms(V a, V b, V c) { return a * b - c; }
#else
// FMIN and FMAX are not x86's: of two zeros they choose by the sign, of a NaN and a number the NaN.
template <class V> INLINE V min_(V a, V b) { return a < b ? a : b; }
template <class V> INLINE V max_(V a, V b) { return a > b ? a : b; }
#if defined(__aarch64__)
INLINE Vf fma(Vf a, Vf b, Vf c) { return (Vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE Vf fnma(Vf a, Vf b, Vf c) { return (Vf)vfmsq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE Vf sqrt_(Vf a) { return (Vf)vsqrtq_f32((float32x4_t)a); }
INLINE Vd fma(Vd a, Vd b, Vd c) { return (Vd)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
INLINE Vd fnma(Vd a, Vd b, Vd c) { return (Vd)vfmsq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
INLINE Vd sqrt_(Vd a) { return (Vd)vsqrtq_f64((float64x2_t)a); }
template <class V> INLINE V fms(V a, V b, V c) { return fma(a, b, -c); }
#else
template <class V> INLINE V fma(V a, V b, V c) { return a * b + c; }
template <class V> INLINE V fnma(V a, V b, V c) { return c - a * b; }
template <class V> INLINE V fms(V a, V b, V c) { return a * b - c; }
template <class V> INLINE V sqrt_(V a) {
  V y;
  for (size_t i = 0; i < sizeof(V) / sizeof(a[0]); i++) y[i] = __builtin_sqrt(a[i]);
  return y;
}
#endif
#endif

// x within [low, high]; a NaN stays one.  low is no zero: there the sets would disagree about the sign of a zero.
#if defined(__aarch64__)
INLINE Vf clamp(Vf x, float low, float high) {
  return (Vf)vminq_f32((float32x4_t)splat<Vf>(high), vmaxq_f32((float32x4_t)splat<Vf>(low), (float32x4_t)x));
}
INLINE Vd clamp(Vd x, double low, double high) {
  return (Vd)vminq_f64((float64x2_t)splat<Vd>(high), vmaxq_f64((float64x2_t)splat<Vd>(low), (float64x2_t)x));
}
#else
template <class V> INLINE V clamp(V x, typename Real<V>::R low, typename Real<V>::R high) { return min_(splat<V>(high), max_(splat<V>(low), x)); }
#endif
