// Integer steps over time (docs/arithmetic.md).  Included once per instruction set; integers have one right answer, so all
// give the same bits, and so do Python's definition and the emitted C.

constexpr int INT_LANES = BYTES / 4, INT_PARTS = 16 / INT_LANES, INT_ROWS = BYTES == 64 ? 8 : 2;

typedef int32_t Viu __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef uint32_t Vu __attribute__((vector_size(BYTES)));

INLINE Vi load_i(const int32_t *p) { return *reinterpret_cast<const Viu *>(p); }
INLINE void store_i(int32_t *p, Vi v) { *reinterpret_cast<Viu *>(p) = v; }
INLINE Vi splat_i(int32_t x) { return x - Vi{}; }

// In each 32-bit lane: the sum of two products of 16-bit halves.
#if defined(__AVX512F__)
INLINE Vi madd(Vi a, Vi b) { return (Vi)_mm512_madd_epi16((__m512i)a, (__m512i)b); }
INLINE Vi gather(const int32_t *t, Vi i) { return (Vi)_mm512_i32gather_epi32((__m512i)i, t, 4); }
#elif defined(__AVX2__)
INLINE Vi madd(Vi a, Vi b) { return (Vi)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
INLINE Vi gather(const int32_t *t, Vi i) { return (Vi)_mm256_i32gather_epi32(t, (__m256i)i, 4); }
#else
#if defined(__SSE2__)
INLINE Vi madd(Vi a, Vi b) { return (Vi)_mm_madd_epi16((__m128i)a, (__m128i)b); }
#else
INLINE Vi madd(Vi a, Vi b) { return (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16); }
#endif
INLINE Vi gather(const int32_t *t, Vi i) {
  Vi y;
  for (int k = 0; k < INT_LANES; k++) y[k] = t[i[k]];
  return y;
}
#endif

INLINE Vi greater(Vi a, Vi b) { return a > b ? a : b; }
INLINE Vi smaller(Vi a, Vi b) { return a < b ? a : b; }
INLINE Vi saturate(Vi a, int32_t low, int32_t high) { return smaller(greater(a, splat_i(low)), splat_i(high)); }
INLINE Vi rounded(Vi a, int32_t n) { return (a + (1 << n >> 1)) >> n; }

// floor((a m + 2^(15 + sh)) / 2^(16 + sh)), saturated, without leaving 32 bits: a m / 2^16 by halves.
INLINE Vi requantized(Vi a, Vi m, int32_t sh) {
  const Vi low = (Vi)((((Vu)a & 0xffffu) * (Vu)m) >> 16);
  return saturate(rounded((a >> 16) * m + low, sh), -32768, 32767);
}

// The chord of the table at |a|: bits of the fraction, shift of the result.
INLINE Vi chord(const int32_t *table, Vi a, int bits, int shift) {
  const Vi magnitude = greater(a, -a), at = smaller(magnitude >> bits, splat_i(GATECELL_TABLE - 2)), pair = gather(table, at);
  const Vi low = pair & 0xffff, rise = (pair >> 16) - low;
  const Vi y = ((low << bits) + rise * (magnitude & ((1 << bits) - 1)) + (1 << (shift - 1))) >> shift;
  return a < 0 ? -y : y;
}

// c[rows][16 units] = sum over pairs of k; a: int16 rows, w: a panel.
template <int ROWS> __attribute__((noinline)) void dot_tile(const int16_t *a, int64_t row, int64_t pairs, const int16_t *w, int32_t *c) {
  Vi sum[ROWS][INT_PARTS] = {};
  for (int64_t k = 0; k < pairs; k++, w += 32) {
    Vi b[INT_PARTS];
    UNROLL for (int j = 0; j < INT_PARTS; j++) std::memcpy(&b[j], w + j * INT_LANES * 2, BYTES);
    UNROLL for (int m = 0; m < ROWS; m++) {
      int32_t pair;
      std::memcpy(&pair, a + m * row + 2 * k, 4);
      UNROLL for (int j = 0; j < INT_PARTS; j++) sum[m][j] += madd(splat_i(pair), b[j]);
    }
  }
  UNROLL for (int m = 0; m < ROWS; m++) UNROLL for (int j = 0; j < INT_PARTS; j++) store_i(c + m * 16 + j * INT_LANES, sum[m][j]);
}

INLINE void dot(int64_t rows, const int16_t *a, int64_t row, int64_t pairs, const int16_t *w, int32_t *c) {
  int64_t m = 0;
  for (; m + INT_ROWS <= rows; m += INT_ROWS) dot_tile<INT_ROWS>(a + m * row, row, pairs, w, c + m * 16);
  for (; m < rows; m++) dot_tile<1>(a + m * row, row, pairs, w, c + m * 16);
}

class IntRunner {
 public:
  explicit IntRunner(const IntRun &job) : job_(job), step_(*job.step), rows_(job.last - job.first) {
    auto *p = static_cast<int16_t *>(job.scratch);
    for (size_t v = 0; v < step_.vectors.size(); v++) {
      const IntVector &info = step_.vectors[v];
      old_[v] = fresh_[v] = nullptr;
      if (info.place == Place::state || info.place == Place::temp || info.place == Place::input) p = take(p, rows_ * up(info.size), old_[v]);
      if (info.place == Place::state) p = take(p, rows_ * up(info.size), fresh_[v]);
    }
    for (size_t o = 0; o < step_.operands.size(); o++) p = take(p, rows_ * up(size_of(step_.operands[o].vector)), operand_[o]);
    tile_ = reinterpret_cast<int32_t *>(p);
  }

  void operator()() {
    int32_t s = 0;
    for (size_t v = 0; v < step_.vectors.size(); v++)
      if (step_.vectors[v].place == Place::state) copy_in(v, job_.states[s++] + job_.first * step_.vectors[v].size);
    const auto output = static_cast<size_t>(step_.output);
    for (int64_t t = 0; t < job_.steps; t++) {
      for (size_t v = 0; v < step_.vectors.size(); v++)
        if (step_.vectors[v].place == Place::input) copy_in(v, job_.x + (t * job_.batch + job_.first) * step_.vectors[v].size);
      refresh([](Place p) { return p == Place::input || p == Place::state; });
      for (const IntLoop &loop : step_.loops) {
        run(loop);
        refresh([](Place p) { return p == Place::temp; });
      }
      for (size_t v = 0; v < step_.vectors.size(); v++)
        if (fresh_[v]) {
          int16_t *const was = old_[v];
          old_[v] = fresh_[v];
          fresh_[v] = was;
        }
      copy_out(output, job_.y + (t * job_.batch + job_.first) * step_.vectors[output].size);
    }
    s = 0;
    for (size_t v = 0; v < step_.vectors.size(); v++)
      if (step_.vectors[v].place == Place::state) copy_out(v, job_.states[s++] + job_.first * step_.vectors[v].size);
  }

 private:
  static int64_t up(int64_t n) { return (n + 15) / 16 * 16; }
  static int16_t *take(int16_t *p, int64_t n, int16_t *&to) {
    to = p;
    for (int64_t k = 0; k < n; k++) p[k] = 0;
    return p + (n + 31) / 32 * 32;
  }
  int64_t size_of(int32_t v) const { return step_.vectors[static_cast<size_t>(v)].size; }
  void copy_in(size_t v, const int16_t *from) {
    const int64_t n = step_.vectors[v].size;
    for (int64_t b = 0; b < rows_; b++) std::memcpy(old_[v] + b * up(n), from + b * n, static_cast<size_t>(n) * 2);
  }
  void copy_out(size_t v, int16_t *to) const {
    const int64_t n = step_.vectors[v].size;
    for (int64_t b = 0; b < rows_; b++) std::memcpy(to + b * n, old_[v] + b * up(n), static_cast<size_t>(n) * 2);
  }

  // What enters products, of the vectors that have changed; behind the last value an odd row keeps a zero.
  template <class F> void refresh(F changed) {
    for (size_t o = 0; o < step_.operands.size(); o++) {
      const auto v = static_cast<size_t>(step_.operands[o].vector);
      if (!changed(step_.vectors[v].place)) continue;
      const int64_t n = step_.vectors[v].size, wide = up(n);
      for (int64_t b = 0; b < rows_; b++) {
        const int16_t *from = old_[v] + b * wide;
        int16_t *to = operand_[o] + b * wide;
        if (step_.operands[o].view)
          for (int64_t u = 0; u < n; u++) to[u] = static_cast<int16_t>((from[u] * 127 + 16384) >> 15);
        else
          std::memcpy(to, from, static_cast<size_t>(n) * 2);
      }
    }
  }

  void run(const IntLoop &loop) {
    for (int64_t u = 0; u < loop.size; u += 16)
      for (int64_t b = 0; b < rows_; b += TILE_ROWS) {
        const int64_t rows = least(TILE_ROWS, rows_ - b);
        accumulate(loop, u, b, rows);
        for (int64_t m = 0; m < rows; m++)
          for (int64_t j = 0; j < 16; j += INT_LANES) points(loop, u, b, m, j);
      }
  }

  // Tiles of requantised accumulators, [accumulator][row][16], then one of partial sums.
  void accumulate(const IntLoop &loop, int64_t u, int64_t b, int64_t rows) {
    int32_t *const partial = tile_ + static_cast<int64_t>(loop.accumulators.size()) * TILE_ROWS * 16;
    int32_t *c = tile_;
    for (const IntAccumulator &a : loop.accumulators) {
      for (int64_t m = 0; m < rows; m++) std::memcpy(c + m * 16, step_.words.data() + a.b + u, 64);
      for (const IntSource &s : a.sources) {
        const int64_t n = size_of(step_.operands[static_cast<size_t>(s.operand)].vector), pairs = (n + 1) / 2;
        dot(rows, operand_[s.operand] + b * up(n), up(n), pairs, step_.halves.data() + s.weights + u * pairs * 2, partial);
        for (int64_t k = 0; k < rows * 16; k += INT_LANES) store_i(c + k, load_i(c + k) + (load_i(partial + k) << s.shift));
      }
      for (int64_t k = 0; k < rows * 16; k += INT_LANES) store_i(c + k, requantized(load_i(c + k), load_i(step_.words.data() + a.m + u + k % 16), a.sh));
      c += TILE_ROWS * 16;
    }
  }

  void points(const IntLoop &loop, int64_t u, int64_t b, int64_t m, int64_t j) {
    Vi *const reg = reinterpret_cast<Vi *>(tile_ + (static_cast<int64_t>(loop.accumulators.size()) + 1) * TILE_ROWS * 16);
    const int32_t *const table = step_.table.data();
    size_t k = 0;
    for (const IntInstr &i : loop.points) {
      const Vi a = reg[i.a], c = reg[i.b], d = reg[i.c];
      Vi y = {};
      switch (i.op) {
        case IntOp::read: y = read(loop, i.vector, u + j, b + m, m * 16 + j); break;
        case IntOp::write: write(i.vector, u + j, b + m, y = a); break;
        case IntOp::constant: y = splat_i(i.n0); break;
        case IntOp::add: y = a + c; break;
        case IntOp::sub: y = a - c; break;
        case IntOp::mul: y = a * c; break;
        case IntOp::max: y = greater(a, c); break;
        case IntOp::neg: y = -a; break;
        case IntOp::lerp: y = c + rounded(a * (d - c), i.n0); break;
        case IntOp::shl: y = a << i.n0; break;
        case IntOp::shr: y = a >> i.n0; break;
        case IntOp::round: y = rounded(a, i.n0); break;
        case IntOp::clamp: y = saturate(a, i.n0, i.n1); break;
        case IntOp::tanh: y = chord(table, a, 6, 6); break;
        case IntOp::sigmoid: y = chord(table, a, 7, 8) + 16384; break;
        case IntOp::count: break;
      }
      reg[k++] = y;
    }
  }

  Vi read(const IntLoop &loop, int32_t v, int64_t u, int64_t b, int64_t in_tile) const {
    const IntVector &info = step_.vectors[static_cast<size_t>(v)];
    if (info.place == Place::accumulator) {
      const int32_t *c = tile_ + in_tile;
      for (const IntAccumulator &a : loop.accumulators) {
        if (a.vector == v) return load_i(c);
        c += TILE_ROWS * 16;
      }
      return Vi{};
    }
    const int16_t *from = info.place == Place::parameter ? step_.halves.data() + info.values + u : old_[v] + b * up(info.size) + u;
    Vi y;
    for (int k = 0; k < INT_LANES; k++) y[k] = from[k];
    return y;
  }

  void write(int32_t v, int64_t u, int64_t b, Vi y) {
    const IntVector &info = step_.vectors[static_cast<size_t>(v)];
    int16_t *to = (info.place == Place::state ? fresh_[v] : old_[v]) + b * up(info.size) + u;
    for (int k = 0; k < INT_LANES; k++) to[k] = u + k < info.size ? static_cast<int16_t>(y[k]) : int16_t{0};
  }

  const IntRun &job_;
  const gatecell_integer &step_;
  const int64_t rows_;
  int16_t *old_[MOST_ARRAYS], *fresh_[MOST_ARRAYS], *operand_[MOST_ARRAYS];
  int32_t *tile_;
};

void integer(const IntRun &job) { IntRunner{job}(); }
