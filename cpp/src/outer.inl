// Weight gradients: sums over time and batch of outer products.  Included once per instruction set.
//
// Both sides are packed, a chunk of `OUTER_DEPTH` rows at a time: the gradient 64 units wide, the argument by groups of six.
// Partial sums stay in the scratch, so that every sum runs over time and batch in order, whatever the chunk.

template <class R> void outer(const Outer &job) {
  constexpr int64_t L = Of<R>::lanes, WIDE = OUTER_UNITS, HIGH = OUTER_ROWS;
  const int64_t rows = job.steps * job.batch, panels = (job.n + WIDE - 1) / WIDE;
  const int64_t ones = job.sums ? 1 : 0, m = job.m + ones, blocks = (m + HIGH - 1) / HIGH;
  R *argument = static_cast<R *>(job.scratch), *gradient = argument + blocks * HIGH * OUTER_DEPTH, *total = gradient + WIDE * OUTER_DEPTH;
  const auto row_of = [&](const gatecell_array &a, int64_t r) { return static_cast<const R *>(a.data) + r / job.batch * a.step + r % job.batch * a.row; };
  fill(total, total + (job.last - job.first) * blocks * HIGH * WIDE, R(0));
  for (int64_t r0 = 0; r0 < rows; r0 += OUTER_DEPTH) {
    const int64_t depth = least(OUTER_DEPTH, rows - r0);
    for (int64_t k = 0; k < depth; k++) {  // argument[block][k][6], a column of ones behind the last
      const R *from = row_of(*job.argument, r0 + k);
      for (int64_t i = 0; i < blocks; i++)
        for (int64_t j = 0; j < HIGH; j++) {
          const int64_t u = i * HIGH + j;
          argument[(i * depth + k) * HIGH + j] = u < job.m ? from[u] : R(u < m);
        }
    }
    for (int64_t p = job.first; p < job.last; p++) {
      const gatecell_array &g = job.gradient[p / panels];
      const int64_t u0 = p % panels * WIDE, units = least(WIDE, job.n - u0), whole = (units + 15) / 16 * 16;
      for (int64_t k = 0; k < depth; k++) {
        const R *from = row_of(g, r0 + k) + u0;
        for (int64_t u = 0; u < whole; u += L) store(gradient + k * whole + u, load(from + u));
      }
      for (int64_t i = 0; i < blocks; i++) {
        R *sum = total + ((p - job.first) * blocks + i) * HIGH * WIDE;
        const int64_t high = least(HIGH, m - i * HIGH), step = tile_rows(least(4, whole / L));
        for (int64_t j = 0; j < high; j += step) {
          const Rows<R> source{argument + i * depth * HIGH + j, HIGH, depth};
          Column<R> c[WIDE / L];
          for (int64_t v = 0; v < whole / L; v++) c[v] = {sum + j * WIDE + v * L, WIDE, sum + j * WIDE + v * L, WIDE};
          product<R, true>(least(step, high - j), whole / L, &source, 1, gradient, whole, c);
        }
      }
    }
  }
  for (int64_t p = job.first; p < job.last; p++) {
    const int64_t gate = p / panels, u0 = p % panels * WIDE, units = least(WIDE, job.n - u0);
    const R *sum = total + (p - job.first) * blocks * HIGH * WIDE;
    R *out = static_cast<R *>(job.out[gate]);
    for (int64_t u = 0; u < units; u++)
      for (int64_t i = 0; i < job.m; i++) out[(u0 + u) * job.row + i] += sum[i * WIDE + u];
    if (ones && job.sums[gate])
      for (int64_t u = 0; u < units; u++) static_cast<R *>(job.sums[gate])[u0 + u] += sum[job.m * WIDE + u];
  }
}
