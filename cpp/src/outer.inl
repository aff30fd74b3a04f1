// Weight gradients: sums over time and batch of outer products.  Included once per instruction set.
//
// Both sides are packed, a chunk of `OUTER_DEPTH` rows at a time: a panel of a gradient, and all arguments by groups of six units.
// Sums stay in the scratch, so that every one runs over time and batch in order, whatever the chunk; it goes on from what `out` holds.

// Steps of rows in order of time, without those beyond a row's length.
class Samples {
 public:
  explicit Samples(const Outer &job) : job_(job) {}
  // The next chunk; how many there are.
  int64_t next() {
    int64_t n = 0;
    while (t_ < job_.steps && n < OUTER_DEPTH) {
      const int64_t length = job_.length ? job_.length[b_] : job_.steps;
      if (t_ < length) {
        slot_[n] = t_ + (job_.late ? job_.steps - length : 0);
        row_[n++] = b_;
      }
      if (++b_ == job_.batch) b_ = 0, t_++;
    }
    return n;
  }
  template <class R> const R *of(const gatecell_array &a, int64_t k) const {
    return static_cast<const R *>(a.data) + slot_[k] * a.step + row_[k] * a.row;
  }

 private:
  const Outer &job_;
  int64_t t_ = 0, b_ = 0, slot_[OUTER_DEPTH] = {}, row_[OUTER_DEPTH] = {};
};

// Vectors of a panel, as many as a tile has beside its rows.
template <class R, int VECTORS> struct OuterTile {
  using V = typename Of<R>::V;
  static constexpr int64_t L = Of<R>::lanes;

  // to[k][wide] becomes the rows of a gradient; `sums` += each unit's own.
  static void pack(const Samples &samples, const gatecell_array &gradient, int64_t unit, int64_t depth, R *to, int64_t wide, R *sums) {
    for (int64_t k = 0, end = 0; k < depth;) {
      V sum[VECTORS] = {};
      for (end = least(depth, k + CHAIN); k < end; k++, to += wide) {
        const R *from = samples.of<R>(gradient, k) + unit;
        UNROLL for (int j = 0; j < VECTORS; j++) {
          const V v = load(from + j * L);
          store(to + j * L, v);
          sum[j] += v;
        }
      }
      UNROLL for (int j = 0; j < VECTORS; j++) store(sums + j * L, load(sums + j * L) + sum[j]);
    }
  }

  // total[ROWS][OUTER_UNITS] += argument[k][OUTER_ROWS] by gradient[k][wide], in chains as in product.inl.
  template <int ROWS>
  __attribute__((noinline)) static void add(const R *argument, const R *gradient, int64_t wide, int64_t depth, R *total) {
    for (int64_t k = 0, end = 0; k < depth;) {
      V sum[ROWS][VECTORS];
      UNROLL for (int m = 0; m < ROWS; m++) UNROLL for (int j = 0; j < VECTORS; j++) sum[m][j] = V{};
      for (end = least(depth, k + CHAIN); k < end; k++, argument += OUTER_ROWS, gradient += wide) {
        V b[VECTORS];
        UNROLL for (int j = 0; j < VECTORS; j++) b[j] = load(gradient + j * L);
        UNROLL for (int m = 0; m < ROWS; m++) {
          const V x = splat<V>(argument[m]);
          UNROLL for (int j = 0; j < VECTORS; j++) sum[m][j] = fma(x, b[j], sum[m][j]);
        }
      }
      UNROLL for (int m = 0; m < ROWS; m++) UNROLL for (int j = 0; j < VECTORS; j++) {
        R *at = total + m * OUTER_UNITS + j * L;
        store(at, load(at) + sum[m][j]);
      }
    }
  }
  // The same of any number of rows, as many at a time as fill the registers.
  static void add(int64_t rows, const R *argument, const R *gradient, int64_t wide, int64_t depth, R *total) {
    constexpr int HIGH = BYTES == 64 ? 6 : 3;
    const int64_t whole = rows / HIGH * HIGH;
    for (int64_t m = 0; m < whole; m += HIGH) add<HIGH>(argument + m, gradient, wide, depth, total + m * OUTER_UNITS);
    add_rest<HIGH - 1>(rows - whole, argument + whole, gradient, wide, depth, total + whole * OUTER_UNITS);
  }
  template <int ROWS> static void add_rest(int64_t rows, const R *argument, const R *gradient, int64_t wide, int64_t depth, R *total) {
    if (rows == ROWS)
      add<ROWS>(argument, gradient, wide, depth, total);
    else if constexpr (ROWS > 1)
      add_rest<ROWS - 1>(rows, argument, gradient, wide, depth, total);
  }
};

// f(tile, first unit) for all of a panel's vectors.
template <class R, class F> INLINE void each_tile(int64_t units, F f) {
  constexpr int64_t L = Of<R>::lanes;
  for (int64_t u = 0; u < units; u += 4 * L) switch ((least(4 * L, units - u) + L - 1) / L) {
    case 1: f(OuterTile<R, 1>{}, u); break;
    case 2: f(OuterTile<R, 2>{}, u); break;
    case 3: f(OuterTile<R, 3>{}, u); break;
    default: f(OuterTile<R, 4>{}, u);
    }
}

template <class R> class OuterSums {
 public:
  explicit OuterSums(const Outer &job) : job_(job), samples_(job) {
    argument_ = static_cast<R *>(job.scratch);
    gradient_ = argument_ + outer_packed(job.blocks - job.block);
    total_ = gradient_ + OUTER_UNITS * OUTER_DEPTH;
  }

  void operator()() {
    fill(total_, total_ + outer_totals(job_), R(0));  // what no element has is computed, too
    move(true);
    while (const int64_t depth = samples_.next()) {
      for (const OuterArgument &a : job_.arguments) pack(a, depth);
      R *sum = total_;
      for (const OuterPanel *p = job_.panel; p < job_.panels; p++) sum = add(*p, depth, sum);
    }
    move(false);
  }

 private:
  // A share's elements of what is summed, from their places to those in the total or back.
  void move(bool in) const {
    R *sum = total_;
    for (const OuterPanel *p = job_.panel; p < job_.panels; p++) {
      const OuterGradient &g = *p->gradient;
      for (size_t k = 0; job_.sums && k < g.sums.size(); k++) {
        R *alone = static_cast<R *>(g.sums[k]) + p->unit;
        std::memcpy(in ? sum : alone, in ? alone : sum, static_cast<size_t>(p->units) * sizeof(R));
      }
      sum += OUTER_UNITS;
      for (const OuterProduct &product : g.products) {
        const OuterSpan s = span_of(job_, product.argument);
        R *out = static_cast<R *>(product.out) + p->unit * product.row + s.unit;
        if (in)
          transpose<R>(out, product.row, sum, OUTER_UNITS, p->units, s.units);
        else
          transpose<R>(sum, OUTER_UNITS, out, product.row, s.units, p->units);
        sum += s.blocks * OUTER_ROWS * OUTER_UNITS;
      }
    }
  }

  R *packed(int64_t block) const { return argument_ + outer_packed(block - job_.block); }

  // [block][k][six units].
  void pack(const OuterArgument &a, int64_t depth) const {
    const OuterSpan s = span_of(job_, a);
    for (int64_t k = 0; s.blocks && k < depth; k++) {
      const R *from = samples_.of<R>(a.array, k) + s.unit, *end = from + s.units;
      R *to = packed(s.block) + k * OUTER_ROWS;
      for (; end - from >= 8; from += OUTER_ROWS, to += outer_packed(1))
        std::memcpy(to, from, 8 * sizeof(R));  // the next k writes over two
      for (; from < end; to += outer_packed(1))
        for (int64_t m = 0; m < OUTER_ROWS && from < end; m++) to[m] = *from++;
    }
  }

  // All that is summed of a panel over a chunk; where the next panel's sums are.
  R *add(const OuterPanel &p, int64_t depth, R *sum) const {
    const int64_t wide = (p.units + 15) / 16 * 16;
    each_tile<R>(wide,
                 [&](auto tile, int64_t u) { tile.pack(samples_, p.gradient->array, p.unit + u, depth, gradient_ + u, wide, sum + u); });
    sum += OUTER_UNITS;
    const OuterPanel *next = &p + 1;
    int64_t fetched = next < job_.panels ? 0 : depth;
    for (const OuterProduct &product : p.gradient->products) {
      const OuterSpan s = span_of(job_, product.argument);
      for (int64_t i = 0; i < s.blocks; i++, sum += OUTER_ROWS * OUTER_UNITS) {
        // The next panel's rows lie far apart: they come while this one's sums are computed.
        for (const int64_t end = least(depth, fetched + FETCHED); fetched < end; fetched++) {
          const R *from = samples_.of<R>(next->gradient->array, fetched) + next->unit;
          for (int64_t u = 0; u < next->units; u += 64 / int64_t{sizeof(R)}) __builtin_prefetch(from + u);
        }
        const R *a = packed(s.block + i);
        const int64_t rows = least(OUTER_ROWS, s.units - i * OUTER_ROWS);
        each_tile<R>(wide, [&](auto tile, int64_t u) { tile.add(rows, a, gradient_ + u, wide, depth, sum + u); });
      }
    }
    return sum;
  }

  static constexpr int64_t FETCHED = 8;  // rows at a time
  const Outer &job_;
  Samples samples_;
  R *argument_, *gradient_, *total_;
};

template <class R> void outer(const Outer &job) { OuterSums<R>{job}(); }
