// A model's ends: floats to integers and back, docs/arithmetic.md, section 3, all in float32.  Included once per instruction set.

// x (rows, n) to integers of magnitude `largest` at most; whether there was a NaN, which becomes the lowest.
bool quantize(int64_t rows, int64_t n, const float *x, const float *offset, const float *scale, int32_t largest, int16_t *q) {
  typedef int16_t Narrow __attribute__((vector_size(BYTES / 2)));
  const float bound = static_cast<float>(largest);
  const Vf low = splat<Vf>(-bound), high = splat<Vf>(bound), half = splat<Vf>(0.5f);
  Vi nan = {};
  bool odd = false;
  for (int64_t r = 0; r < rows; r++, x += n, q += n) {
    int64_t i = 0;
    for (; i + INT_LANES <= n; i += INT_LANES) {
      const Vf v = load(x + i), t = min_(max_((v - load(offset + i)) / load(scale + i), low), high);
      nan |= v != v;
      const Narrow y = __builtin_convertvector(__builtin_convertvector(t + (Vf)((Vi)half | (Vi)sign(t)), Vi), Narrow);
      std::memcpy(q + i, &y, sizeof y);
    }
    for (; i < n; i++) {
      const float t = (x[i] - offset[i]) / scale[i], above = t > -bound ? t : -bound, y = above < bound ? above : bound;
      odd |= x[i] != x[i];
      q[i] = static_cast<int16_t>(y + __builtin_copysignf(0.5f, y));
    }
  }
  for (int k = 0; k < INT_LANES; k++) odd |= nan[k] != 0;
  return odd;
}

void dequantize(int64_t rows, int64_t n, const int16_t *q, const float *scale, float *y) {
  typedef int16_t Narrow __attribute__((vector_size(BYTES / 2), aligned(2), may_alias));
  for (int64_t r = 0; r < rows; r++, q += n, y += n) {
    int64_t i = 0;
    for (; i + INT_LANES <= n; i += INT_LANES)
      store(y + i, __builtin_convertvector(*reinterpret_cast<const Narrow *>(q + i), Vf) * load(scale + i));
    for (; i < n; i++) y[i] = static_cast<float>(q[i]) * scale[i];
  }
}
