// Weight gradients: sums over time and batch of outer products.  Included once per instruction set.
//
// Both sides are packed, a chunk of `OUTER_DEPTH` rows at a time: the gradient 64 units wide, the argument by groups of six.
// Sums stay in the scratch, so that every one runs over time and batch in order, whatever the chunk; it goes on from what `out` holds.

// Steps of rows in order of time, without those beyond a row's length.
class Samples {
 public:
  explicit Samples(const Outer &job) : job_(job) {}
  // The next `most` at most; how many there are.
  int64_t next(int64_t most) {
    count_ = 0;
    while (t_ < job_.steps && count_ < most) {
      const int64_t length = job_.length ? job_.length[b_] : job_.steps;
      if (t_ < length) {
        slot_[count_] = t_ + (job_.late ? job_.steps - length : 0);
        row_[count_++] = b_;
      }
      if (++b_ == job_.batch) b_ = 0, t_++;
    }
    return count_;
  }
  template <class R> const R *of(const gatecell_array &a, int64_t k) const {
    return static_cast<const R *>(a.data) + slot_[k] * a.step + row_[k] * a.row;
  }

 private:
  const Outer &job_;
  int64_t t_ = 0, b_ = 0, count_ = 0, slot_[OUTER_DEPTH] = {}, row_[OUTER_DEPTH] = {};
};

template <class R> void outer(const Outer &job) {
  constexpr int64_t L = Of<R>::lanes, WIDE = OUTER_UNITS, HIGH = OUTER_ROWS;
  const int64_t panels = (job.n + WIDE - 1) / WIDE;
  const int64_t ones = job.sums ? 1 : 0, m = job.m + ones, blocks = (m + HIGH - 1) / HIGH;
  R *argument = static_cast<R *>(job.scratch), *gradient = argument + blocks * HIGH * OUTER_DEPTH, *total = gradient + WIDE * OUTER_DEPTH;
  Samples samples(job);
  // This share's elements of `out` and `sums`, from their places to those in the total or back.
  const auto move = [&](bool in) {
    for (int64_t p = job.first; p < job.last; p++) {
      const int64_t gate = p / panels, u0 = p % panels * WIDE, units = least(WIDE, job.n - u0);
      R *sum = total + (p - job.first) * blocks * HIGH * WIDE, *out = static_cast<R *>(job.out[gate]) + u0 * job.row + job.skip;
      in ? transpose<R>(out, job.row, sum, WIDE, units, job.m) : transpose<R>(sum, WIDE, out, job.row, job.m, units);
      if (!ones || !job.sums[gate]) continue;
      R *one = sum + job.m * WIDE, *bias = static_cast<R *>(job.sums[gate]) + u0;
      std::memcpy(in ? one : bias, in ? bias : one, static_cast<size_t>(units) * sizeof(R));
    }
  };
  const auto units_of = [&](int64_t p) { return (least(WIDE, job.n - p % panels * WIDE) + 15) / 16 * 16; };
  const auto gradient_of = [&](int64_t p, int64_t k) { return samples.of<R>(job.gradient[p / panels], k) + p % panels * WIDE; };
  fill(total, total + (job.last - job.first) * blocks * HIGH * WIDE, R(0));  // what no element has is computed, too
  move(true);
  while (const int64_t depth = samples.next(OUTER_DEPTH)) {
    for (int64_t k = 0; k < depth; k++) {  // argument[block][k][6], a column of ones behind the last
      const R *from = samples.of<R>(*job.argument, k) + job.skip;
      R *to = argument + k * HIGH;
      int64_t u = 0;
      for (; u + HIGH <= job.m; u += HIGH, to += depth * HIGH) std::memcpy(to, from + u, HIGH * sizeof(R));
      for (int64_t j = 0; u + j < blocks * HIGH; j++) to[j / HIGH * depth * HIGH + j % HIGH] = u + j < job.m ? from[u + j] : R(u + j < m);
    }
    for (int64_t p = job.first; p < job.last; p++) {
      const int64_t whole = units_of(p);
      for (int64_t k = 0; k < depth; k++) {
        const R *from = gradient_of(p, k);
        for (int64_t u = 0; u < whole; u += L) store(gradient + k * whole + u, load(from + u));
      }
      for (int64_t i = 0; i < blocks; i++) {
        if (p + 1 < job.last)  // the next panel's rows lie far apart: they come while this one's sums are computed
          for (int64_t k = depth * i / blocks; k < depth * (i + 1) / blocks; k++)
            for (int64_t u = 0; u < units_of(p + 1); u += 64 / int64_t{sizeof(R)}) __builtin_prefetch(gradient_of(p + 1, k) + u);
        R *sum = total + ((p - job.first) * blocks + i) * HIGH * WIDE;
        const int64_t high = least(HIGH, m - i * HIGH), step = tile_rows(least(4, whole / L));
        for (int64_t j = 0; j < high; j += step) {
          const R *row[HIGH];
          for (int64_t m = 0; m < HIGH; m++) row[m] = argument + i * depth * HIGH + j + m;
          const Rows<R> source{row, depth};
          Column<R> c[WIDE / L];
          for (int64_t v = 0; v < whole / L; v++) c[v] = {sum + j * WIDE + v * L, WIDE, sum + j * WIDE + v * L, WIDE};
          product<R, HIGH>(least(step, high - j), whole / L, &source, 1, gradient, whole, c);
        }
      }
    }
  }
  move(false);
}
