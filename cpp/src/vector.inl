// Vectors of one instruction set: width, loads, min, max, fused multiply-add, the functions of the primitives.
// Included once per instruction set, inside an anonymous namespace.  Not here: loops.
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
#else
template <class V> INLINE V min_(V a, V b) { return a < b ? a : b; }
template <class V> INLINE V max_(V a, V b) { return a > b ? a : b; }
#if defined(__aarch64__)
INLINE Vf fma(Vf a, Vf b, Vf c) { return (Vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE Vf fnma(Vf a, Vf b, Vf c) { return (Vf)vfmsq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
INLINE Vd fma(Vd a, Vd b, Vd c) { return (Vd)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
INLINE Vd fnma(Vd a, Vd b, Vd c) { return (Vd)vfmsq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b); }
template <class V> INLINE V fms(V a, V b, V c) { return fma(a, b, -c); }
#else
template <class V> INLINE V fma(V a, V b, V c) { return a * b + c; }
template <class V> INLINE V fnma(V a, V b, V c) { return c - a * b; }
template <class V> INLINE V fms(V a, V b, V c) { return a * b - c; }
#endif
template <class V> INLINE V sqrt_(V a) {
  V y;
  for (size_t i = 0; i < sizeof(V) / sizeof(a[0]); i++) y[i] = __builtin_sqrt(a[i]);
  return y;
}
#endif

template <class V> INLINE V clamp(V x, typename Real<V>::R low, typename Real<V>::R high) { return min_(splat<V>(high), max_(splat<V>(low), x)); }

// c[0] + c[1] x + ... by Estrin's scheme: neighbours first, then their neighbours with x^2, ...; few steps wait for others.
template <class V, int N> INLINE V polynomial(V x, const typename Real<V>::R (&c)[N]) {
  V y[N];
  UNROLL for (int k = 0; k < N; k++) y[k] = splat<V>(c[k]);
  UNROLL for (int n = N; n > 1; n = (n + 1) / 2) {
    UNROLL for (int k = 0; k < n / 2; k++) y[k] = fma(y[2 * k + 1], x, y[2 * k]);
    if (n % 2) y[n / 2] = y[n - 1];
    x = x * x;
  }
  return y[0];
}

#include "coefficients.inl"
// 2^f for |f| <= 1/2 in float64: Taylor's terms ln(2)^k / k!, 4e-17.
constexpr double EXP2_D[] = {1.0,
                             0.6931471805599453,
                             0.24022650695910072,
                             0.05550410866482158,
                             0.009618129107628477,
                             0.0013333558146428443,
                             0.00015403530393381608,
                             1.5252733804059841e-05,
                             1.3215486790144307e-06,
                             1.0178086009239699e-07,
                             7.0549116208011233e-09,
                             4.4455382718708114e-10,
                             2.5678435993488206e-11,
                             1.3691488853904129e-12};

// Adding 1.5 2^23 (float64: 1.5 2^52) rounds to an integer n, which stands in the low bits; 127 (1023) more, and a shift makes 2^n of them.
constexpr float MAGIC = 12582912.0f + 127.0f;
constexpr double MAGIC_D = 6755399441055744.0 + 1023.0;

// e^x for x in [low, high], where 2^n is a normal number; a NaN stays one, since it multiplies.
INLINE Vf exp_inside(Vf x) {
  Vf n = fma(x, splat<Vf>(1.44269504088896341f), splat<Vf>(MAGIC));
  const Vf power = (Vf)((Vi)n << 23);
  n -= MAGIC;
  Vf f = fma(x, splat<Vf>(1.44269502162933349609375f), -n);  // x / ln 2 - n in two parts
  f = fma(x, splat<Vf>(1.9259629911266175e-08f), f);
  return polynomial(f, EXP2) * power;
}
INLINE Vd exp_inside(Vd x) {
  Vd n = fma(x, splat<Vd>(1.4426950408889634), splat<Vd>(MAGIC_D));
  const Vd power = (Vd)((Vl)n << 52);
  n -= MAGIC_D;
  Vd f = fma(x, splat<Vd>(1.4426950408889634), -n);
  f = fma(x, splat<Vd>(2.0355273740931033e-17), f);
  return polynomial(f, EXP2_D) * power;
}

template <class V> constexpr typename Real<V>::R EXP_LOW = sizeof(typename Real<V>::R) == 4 ? -87.0 : -708.0;
template <class V> constexpr typename Real<V>::R EXP_HIGH = sizeof(typename Real<V>::R) == 4 ? 88.0 : 709.0;

// e^x; below -87 (float64: -708) 0, above 88 (709) infinity.
template <class V> INLINE V exp(V x) {
  using R = typename Real<V>::R;
  const V y = exp_inside(clamp(x, EXP_LOW<V>, EXP_HIGH<V>));
  const V low = x < EXP_LOW<V> ? V{} : y;
  return x > EXP_HIGH<V> ? splat<V>(static_cast<R>(__builtin_inf())) : low;
}

// 1 / (1 + e^-x); float32: 3 ULP.
template <class V> INLINE V sigmoid(V x) { return 1 / (1 + exp_inside(clamp(-x, EXP_LOW<V>, -EXP_LOW<V>))); }

// tanh x = e / (e + 2) with e = e^2x - 1, which keeps its digits near 0; float32: 3 ULP.
INLINE Vf tanh(Vf x) {
  const Vf y = clamp(x + x, -24.0f, 24.0f);  // from 18 on the quotient rounds to 1
  Vf n = fma(y, splat<Vf>(1.44269504088896341f), splat<Vf>(MAGIC));
  const Vf power = (Vf)((Vi)n << 23);
  n -= MAGIC;
  const Vf r = fnma(n, splat<Vf>(0.693147182464599609375f), y);  // y - n ln 2; the constant is 1.9e-9 off, which no quotient near 1 shows
  const Vf e = fma(power, fma(r * r, polynomial(r, EXPM1), r), power - 1);
  return e / (e + 2);
}
// float64, for checking: 4e-16 absolute, near 0 too, where the relative error grows.
INLINE Vd tanh(Vd x) {
  const Vd e = exp_inside(clamp(x + x, -60.0, 60.0));
  return (e - 1) / (e + 1);
}

// log(sigmoid(x)) = min(x, 0) - log(1 + e^-|x|), and log(1 + e) = 2 artanh(e / (2 + e)) by its series up to (1/3)^35.
template <class V> INLINE V log_sigmoid(V x) {
  using R = typename Real<V>::R;
  const V e = exp_inside(clamp(min_(x, -x), EXP_LOW<V>, R(0)));
  const V s = e / (2 + e), t = s * s;
  V y = splat<V>(R(1) / 35);
  UNROLL for (int k = 33; k > 0; k -= 2) y = fma(y, t, splat<V>(R(1) / R(k)));
  return min_(splat<V>(R(0)), x) - 2 * s * y;
}

template <class V> INLINE V rsqrt(V x) { return 1 / sqrt_(x); }
template <class V> INLINE V relu(V x) { return max_(V{}, x); }
template <class V> INLINE V maximum(V a, V b) { return max_(a, b); }
template <class V> INLINE V above(V a, V b) { return a > b ? splat<V>(1) : V{}; }
template <class V> INLINE V lerp(V t, V a, V b) { return fma(t, b - a, a); }
