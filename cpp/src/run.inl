// A plan over time: stages of reductions, products and loops over units.  Included once per instruction set.  Knows no cell.
//
// Products fill the accumulators of a tile in L1 (a few rows, one panel of units), then the loop's step runs on the tile:
// a compiled one where the plan's instructions have one, else the interpreter.  Where a tile's sums fit the registers, one function
// computes them all (tile.inl), else chunks of vectors do (product.inl).  All give the same bits.

#include "interpret.inl"
#include "steps.inl"

// Only float32 has compiled steps.
template <class R> const CompiledStep *compiled(int32_t) { return nullptr; }
template <> const CompiledStep *compiled<float>(int32_t step) { return step < 0 ? nullptr : STEPS + step; }
template <class R> const Tiles *tiles_of(const CompiledStep *, int32_t) { return nullptr; }
template <> const Tiles *tiles_of<float>(const CompiledStep *step, int32_t shape) {
  if (!step || shape < 0) return nullptr;
  const Tiles *tiles = step->shape == shape ? &step->fused : SUMS + shape;
  return tiles->tile[1] ? tiles : nullptr;
}

// Laid out in its scratch, where it lies itself, and then run as often as is wanted: nothing that a step needs is made anew in the next.
template <class R> class Runner {
 public:
  explicit Runner(const Run &job) : job_(job), layer_(*job.layer), plan_(*layer_.plan), weights_(static_cast<const R *>(layer_.packed)) {
    free_ = static_cast<char *>(job.scratch);
    char *common = static_cast<char *>(job.common);
    take<Runner>(1);
    row_ = take<R **>(static_cast<int64_t>(plan_.arrays.size()));
    for (size_t a = 0; a < plan_.arrays.size(); a++) {
      row_[a] = take<R *>(job.rows);
      const ArrayInfo &info = plan_.arrays[a];
      const int64_t units = (layer_.sizes[static_cast<size_t>(info.axis)] + 15) / 16 * 16;
      if (info.kind == Kind::buffer) rows_of(row_[a], job.rows, take<R>(common, job.rows * units), units);
      if (info.kind == Kind::row) rows_of(row_[a], job.rows, take<R>(job.rows), 1);
      if (info.kind >= Kind::unit) rows_of(row_[a], job.rows, static_cast<R *>(job.arrays[a].data), 0);
    }
    int64_t loops = 0, tile = 0;
    for (size_t s = 0; s < plan_.passes.size(); s++) {
      borders_ += borders_of(plan_.passes[s]);
      for (size_t l = 0; l < plan_.passes[s].loops.size(); l++, loops++)
        tile = greatest(tile, tile_elements(plan_.passes[s].loops[l], layer_.loops[s][l]));
    }
    R *const shared = take<R>(tile);
    static_assert(sizeof(Runner) <= RUNNER_BYTES && sizeof(Frame) <= FRAME_BYTES);
    static_assert(sizeof(Register<R>) <= REGISTER_BYTES && sizeof(Column<R>) <= COLUMN_BYTES);
    frame_ = take<Frame>(loops);
    Frame *f = frame_;
    for (size_t s = 0; s < plan_.passes.size(); s++)
      for (size_t l = 0; l < plan_.passes[s].loops.size(); l++) lay_out(*f++, plan_.passes[s].loops[l], layer_.loops[s][l], shared, common);
  }

  void operator()() {
    int64_t active = plan_.descending && job_.length ? 0 : job_.rows;  // rows in the midst of their sequence, the longest first
    int64_t begin = 0;
    bool on = true;
    if (job_.team) {
      job_.team->join(part_);
      begin = part_.border / borders_;
    }
    for (int64_t k = begin; on && k < job_.steps; k++) {
      const int64_t t = time(k);
      if (job_.length) {
        while (active > 0 && length(active - 1) <= t) active--;
        while (active < job_.rows && length(active) > t) active++;
      }
      if (placed_ != t || job_.order) place(t, active);
      Frame *f = frame_;
      int64_t borders = borders_;
      const auto border = [&] {  // behind whatever reads or writes units of all members
        borders--;
        if (job_.team) on = job_.team->meet(part_, borders == 0);
      };
      for (const Pass &pass : plan_.passes) {
        for (const Reduction &r : pass.reductions) {
          const int64_t n = layer_.sizes[static_cast<size_t>(plan_.arrays[static_cast<size_t>(r.source)].axis)];
          for (int64_t m = 0; m < active; m++) *rows(r.result)[m] = reduce<R>(r.op, rows(r.source)[m], n);
        }
        if (!pass.reductions.empty()) border();
        for (size_t l = 0; l < pass.loops.size(); l++) {
          loop(*f++, k, active);
          border();
        }
      }
    }
    if (job_.team) job_.team->leave(part_);
  }

 private:
  struct Frame {  // what is the same for all tiles of a loop
    const Loop *loop;
    const PackedLoop *packed;
    const CompiledStep *step;
    const Tiles *registers;      // null: none whose sums fit them
    bool fused;                  // whether these run the step, too
    int64_t panel, width, most;  // vectors of a tile, of a tile of few rows; rows of a tile
    Register<R> *reg;            // arrays where the tile is, then the loop's own
    Column<R> *columns;
    int64_t row_arrays;                  // how many arrays have one value a row: they become tiles of equal units
    int64_t active, blocks, each, rest;  // so many rows are blocks of `each`, and the first `rest` of one more
    int64_t members, first, end;         // of so many members this one has these vectors of 16 units,
    int64_t wide, tiles;                 // tiles of `wide` of them
    R *ahead;       // what given sources add to the sums, biases included, [row][accumulator][padded units]; null: not computed ahead
    R **ahead_row;  // [given segment][row]
  };

  template <class P> static P *take(char *&free, int64_t n) {
    char *p = free;
    free += (n * static_cast<int64_t>(sizeof(P)) + 63) / 64 * 64;
    return reinterpret_cast<P *>(p);
  }
  template <class P> P *take(int64_t n) { return take<P>(free_, n); }
  static void rows_of(R **to, int64_t n, R *at, int64_t row) {
    for (int64_t m = 0; m < n; m++) to[m] = at + m * row;
  }
  R *const *rows(int32_t array) const { return row_[array]; }
  bool is_row(int32_t array) const { return plan_.arrays[static_cast<size_t>(array)].kind == Kind::row; }
  int64_t sample(int64_t m) const { return job_.order ? job_.order[m] : job_.first + m; }
  int64_t length(int64_t m) const { return job_.length[sample(m)]; }
  int64_t time(int64_t k) const { return plan_.descending ? job_.steps - 1 - k : k; }
  // Where array a's rows begin at step t.
  R *slot(size_t a, int64_t t) const {
    const gatecell_array &v = job_.arrays[a];
    const int64_t s = t + plan_.arrays[a].offset;
    return static_cast<R *>(v.data) + (v.slots ? s % v.slots : s) * v.step;
  }

  void lay_out(Frame &f, const Loop &loop, const PackedLoop &packed, R *shared, char *&common) {
    f.loop = &loop;
    f.packed = &packed;
    f.active = -1;
    f.step = layer_.interpret ? nullptr : compiled<R>(loop.step);
    f.registers = tiles_of<R>(f.step, packed.shape);
    f.fused = f.registers && f.step->shape == packed.shape;
    f.panel = f.step || packed.panel >= TILE_VECTORS ? packed.panel : TILE_VECTORS;
    if (f.step && packed.groups.empty()) f.panel = packed.vectors;  // no weights to stay with: rows from end to end, as they lie
    f.width = f.registers ? FEW_PANELS * f.panel : f.panel;
    int64_t vectors = 1;
    for (const Group &g : packed.groups)
      vectors = greatest(vectors, static_cast<int64_t>(g.columns.size()) * packed.panel * 16 / Of<R>::lanes);
    f.most = packed.groups.empty() ? TILE_ROWS : tile_rows(vectors);
    if (f.registers) f.most = f.registers->most();

    // Accumulators, temporaries (a compiled step has its own) and values of rows are tiles; constants one row.
    const int64_t row = f.width * 16;
    const auto tile = [&] {
      R **table = take<R *>(TILE_ROWS);
      rows_of(table, TILE_ROWS, shared, row);
      shared += TILE_ROWS * row;
      return Register<R>{table, 0};
    };
    const auto count = static_cast<int64_t>(loop.arrays.size() + loop.scalars.size()) + loop.accumulators + loop.temporaries;
    Register<R> *reg = f.reg = take<Register<R>>(count);
    f.row_arrays = 0;
    for (const int32_t a : loop.arrays) {
      f.row_arrays += is_row(a);
      *reg++ = is_row(a) ? tile() : Register<R>{};
    }
    for (int32_t k = 0; k < loop.accumulators; k++) {  // a row's lie side by side
      R **table = take<R *>(TILE_ROWS);
      rows_of(table, TILE_ROWS, shared + k * row, loop.accumulators * row);
      *reg++ = {table, 0};
    }
    shared += loop.accumulators * TILE_ROWS * row;
    for (int32_t k = 0; k < loop.temporaries; k++) *reg++ = f.step ? Register<R>{} : tile();
    for (const Scalar &s : loop.scalars) {
      R **table = take<R *>(TILE_ROWS), *at = take<R>(row);
      rows_of(table, TILE_ROWS, at, 0);
      fill(at, at + row, s.array < 0 ? static_cast<R>(s.value) : *static_cast<const R *>(job_.arrays[s.array].data));
      *reg++ = {table, 0};
    }
    f.columns = take<Column<R>>(static_cast<int64_t>(loop.terms.size()) * row / Of<R>::lanes);
    const bool goes = !job_.order && goes_ahead(packed, job_.steps, job_.rows);
    f.ahead = goes ? take<R>(common, ROWS_AHEAD * loop.accumulators * packed.vectors * 16) : nullptr;
    f.ahead_row = goes ? take<R *>(packed.given * ROWS_AHEAD) : nullptr;
  }

  // Where the rows of every array over time lie at step t.
  void place(int64_t t, int64_t active) {
    placed_ = t;
    for (size_t a = 0; a < plan_.arrays.size(); a++) {
      const ArrayInfo &info = plan_.arrays[a];
      if (info.kind > Kind::ring) continue;
      const gatecell_array &v = job_.arrays[a];
      R *at = slot(a, t);
      if (!job_.order)
        rows_of(row_[a], active, at + job_.first * v.row, v.row);
      else
        for (int64_t m = 0; m < active; m++)  // where time runs backwards, a short row begins as many slots later as it is shorter
          row_[a][m] = at + sample(m) * v.row + (job_.late && !v.slots ? (job_.steps - length(m)) * v.step : 0);
    }
  }

  // How a loop goes over rows and units; divisions would take as long as a small step.
  static void divide(Frame &f, int64_t active, const Part &part) {
    f.active = active;
    f.members = part.members;
    f.blocks = (active + f.most - 1) / f.most;
    f.each = f.blocks ? active / f.blocks : 0;
    f.rest = f.blocks ? active % f.blocks : 0;
    f.wide = active <= FEW_ROWS ? f.width : f.panel;
    const int64_t panel = f.packed->panel, panels = (f.packed->vectors + panel - 1) / panel;
    f.first = least(f.packed->vectors, panels * part.member / part.members * panel);
    f.end = least(f.packed->vectors, panels * (part.member + 1) / part.members * panel);
    f.tiles = (f.end - f.first + f.wide - 1) / f.wide;
  }

  void loop(Frame &f, int64_t step, int64_t active) {
    if (f.active != active || f.members != part_.members) divide(f, active, part_);
    const Loop &loop = *f.loop;
    const PackedLoop &packed = *f.packed;
    start_ = {weights_ + packed.bias, 0, 0};
    if (f.ahead) {
      const int64_t steps = ROWS_AHEAD / job_.rows, row = loop.accumulators * packed.vectors * 16;
      if (step % steps == 0) go_ahead(f, step, least(steps, job_.steps - step));
      start_ = {f.ahead + step % steps * job_.rows * row, row, packed.given};
    }
    const bool back = (step & 1) != job_.back;
    for (int64_t i = 0; i < f.tiles; i++) {
      const int64_t v0 = f.first + (back ? f.tiles - 1 - i : i) * f.wide;  // to and fro: what L1 still holds is read first
      const int64_t n = least(f.wide, f.end - v0);
      bool by_memory = false;
      for (int64_t k = 0, b = 0; k < f.blocks;) {
        const int64_t m = f.each + (k < f.rest);
        const RunTile tile = f.registers ? f.registers->of(packed, m, n) : nullptr;
        const bool fused = tile && f.fused;
        const int64_t blocks = fused && !f.row_arrays ? (k < f.rest ? f.rest : f.blocks) - k : 1;  // one after the other
        if (f.row_arrays) spread(f, b, m, n);
        for (size_t a = 0; a < loop.arrays.size(); a++)
          if (!f.row_arrays || !is_row(loop.arrays[a])) f.reg[a] = {rows(loop.arrays[a]) + b, v0 * 16};
        if (f.step && !fused && !packed.groups.empty()) fetch_step(*f.step, f.reg, m, n * 16);
        if (tile) {
          in_registers(tile, f, b, blocks * m, v0);
        } else {
          if (!by_memory) columns(f, v0, n);
          by_memory = true;
          products(f, b, m, v0, n);
        }
        if (f.step && !fused)
          run_step(*f.step, f.reg, m, n * 16);
        else if (!f.step)
          interpret<R>(loop.code.data(), loop.code.size(), f.reg, m, n * 16);
        k += blocks;
        b += blocks * m;
      }
    }
  }

  // The sums of given sources, of this member's units, `steps` steps at once: their weights are read once for all of them.
  void go_ahead(const Frame &f, int64_t step, int64_t steps) const {
    const PackedLoop &packed = *f.packed;
    constexpr int64_t L = Of<R>::lanes, PARTS = 16 / L;
    const int64_t all = steps * job_.rows, apart = f.loop->accumulators * packed.vectors * 16;
    for (int64_t r = 0; r < all * f.loop->accumulators; r++) {
      const int64_t at = (r % f.loop->accumulators * packed.vectors + f.first) * 16;
      R *sum = f.ahead + r / f.loop->accumulators * apart + at;
      std::memcpy(sum, weights_ + packed.bias + at, static_cast<size_t>(f.end - f.first) * 16 * sizeof(R));
    }
    Rows<R> source[MOST_SEGMENTS];
    R **row = f.ahead_row;
    for (const Group &g : packed.groups) {
      const auto columns = static_cast<int64_t>(g.columns.size());
      int segments = 0;
      for (const Segment &s : g.segments) {
        if (row == f.ahead_row + packed.given * ROWS_AHEAD) break;
        const auto a = static_cast<size_t>(s.source);
        for (int64_t k = 0; k < steps; k++)
          rows_of(row + k * job_.rows, job_.rows, slot(a, time(step + k)) + job_.first * job_.arrays[a].row, job_.arrays[a].row);
        source[segments++] = {row, s.k};
        row += ROWS_AHEAD;
      }
      for (int64_t v = f.first; segments && v < f.end; v += packed.panel) {
        const int64_t width = least(packed.panel, packed.vectors - v), vectors = columns * width * PARTS, most = tile_rows(vectors);
        for (int64_t r = 0; r < all; r += most) {
          Column<R> *c = f.columns;
          for (int32_t a : g.columns)
            for (int64_t j = 0; j < width * PARTS; j++) {
              R *sum = f.ahead + r * apart + (a * packed.vectors + v) * 16 + j * L;
              *c++ = {sum, apart, sum, apart};
            }
          Rows<R> from[MOST_SEGMENTS];
          for (int k = 0; k < segments; k++) from[k] = {source[k].row + r, source[k].k};
          const R *w = weights_ + g.weights + v * 16 * columns * g.depth;
          product<R, 1>(least(most, all - r), vectors, from, segments, w, columns * width * 16, f.columns);
        }
      }
    }
  }

  // Values of rows become tiles of equal units.
  void spread(const Frame &f, int64_t b, int64_t active, int64_t vectors) const {
    for (size_t k = 0; k < f.loop->arrays.size(); k++) {
      if (!is_row(f.loop->arrays[k])) continue;
      for (int64_t m = 0; m < active; m++) {
        R *to = f.reg[k].row[m];
        fill(to, to + vectors * 16, *rows(f.loop->arrays[k])[b + m]);
      }
    }
  }

  // Where the sums of a tile begin, bias or an earlier group's sum, and where they go: [panel][group][column][vector].
  void columns(const Frame &f, int64_t v0, int64_t vectors) const {
    constexpr int64_t L = Of<R>::lanes, PARTS = 16 / L;
    const PackedLoop &packed = *f.packed;
    const Register<R> *const accumulators = f.reg + f.loop->arrays.size();
    Column<R> *c = f.columns;
    for (int64_t v = v0; v < v0 + vectors; v += packed.panel) {
      const int64_t width = least(packed.panel, packed.vectors - v);
      uint64_t begun = 0;  // accumulators that hold a partial sum already
      for (const Group &g : packed.groups)
        for (int32_t a : g.columns) {
          R *const *row = accumulators[a].row;
          const bool first = !(begun >> a & 1);
          begun |= uint64_t{1} << a;
          const R *start = start_.at + (a * packed.vectors + v) * 16;
          for (int64_t j = 0; j < width * PARTS; j++) {
            R *sum = row[0] + (v - v0) * 16 + j * L;
            const int64_t apart = row[1] - row[0];
            *c++ = first ? Column<R>{start + j * L, start_.row, sum, apart} : Column<R>{sum, apart, sum, apart};
          }
        }
    }
  }

  // A group's sources from row b on, without those that the sums hold already, of which `given` are left; `skipped`: their k.
  int sources(const Group &g, int64_t b, int64_t &given, Rows<R> *to, int64_t &skipped) const {
    int n = 0;
    skipped = 0;
    for (const Segment &s : g.segments) {
      if (given > 0)
        given--, skipped += s.k;
      else
        to[n++] = {rows(s.source) + b, s.k};
    }
    return n;
  }

  // The sums of tiles, and a fused step, of `count` rows from b on and vectors from v on.
  void in_registers(RunTile tile, const Frame &f, int64_t b, int64_t count, int64_t v) const {
    if constexpr (sizeof(R) == sizeof(float)) {
      const PackedLoop &packed = *f.packed;
      Rows<R> source[MOST_SEGMENTS];
      const R *w[MOST_SEGMENTS];
      int segments[MOST_SEGMENTS], n = 0;
      int64_t next[MOST_SEGMENTS], given = start_.given, skipped = 0;
      for (size_t g = 0; g < packed.groups.size(); g++) {
        const Group &group = packed.groups[g];
        const int64_t row = static_cast<int64_t>(group.columns.size()) * packed.panel * 16;
        segments[g] = sources(group, b, given, source + n, skipped);
        n += segments[g];
        next[g] = row * group.depth;
        w[g] = weights_ + group.weights + v * static_cast<int64_t>(group.columns.size()) * 16 * group.depth + skipped * row;
      }
      R *const sum = f.reg[f.loop->arrays.size()].row[0];
      tile({source, segments, w, next, start_.at + b * start_.row + v * 16, start_.row, packed.vectors * 16, f.reg, sum, count});
    }
  }

  // Fills the accumulators of a tile, `active` rows from b on.
  void products(const Frame &f, int64_t b, int64_t active, int64_t v0, int64_t vectors) const {
    constexpr int64_t PARTS = 16 / Of<R>::lanes;
    const PackedLoop &packed = *f.packed;
    const Column<R> *c = f.columns;
    for (int64_t v = v0; v < v0 + vectors; v += packed.panel) {
      const int64_t width = least(packed.panel, packed.vectors - v);
      int64_t given = start_.given, skipped = 0;
      for (const Group &g : packed.groups) {
        const auto columns = static_cast<int64_t>(g.columns.size());
        Rows<R> source[MOST_SEGMENTS];
        const int segments = sources(g, b, given, source, skipped);
        const R *w = weights_ + g.weights + (v * g.depth + skipped * width) * columns * 16;
        product<R, 1>(active, columns * width * PARTS, source, segments, w, columns * width * 16, c);
        c += columns * width * PARTS;
      }
    }
  }

  const Run job_;
  const gatecell_layer &layer_;
  const gatecell_plan &plan_;
  const R *weights_;
  Part part_;            // which of the units are computed here
  int64_t borders_ = 0;  // in a step
  char *free_;           // of the scratch, what is left
  R ***row_;             // [array][row]: where the rows lie now
  int64_t placed_ = -1;  // at this step
  Frame *frame_;         // of every loop
  struct Start {         // where a step's sums begin: row m's sum a at[m * row + a * padded units], which holds `given` segments already
    const R *at;
    int64_t row, given;
  } start_ = {};
};

template <class R> void *lay_out(const Run &job) { return new (job.scratch) Runner<R>(job); }
template <class R> void run(void *runner) { (*static_cast<Runner<R> *>(runner))(); }
