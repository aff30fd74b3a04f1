// A plan over time: stages of reductions, products and loops over units.  Included once per instruction set.  Knows no cell.
//
// Products fill the accumulators of a tile in L1 (a few rows, one panel of units), then the loop's step runs on the tile:
// a compiled one where the plan's instructions have one, else the interpreter.  Where a tile's sums fit the registers, both
// are one function (tile.inl).  All give the same bits.

#include "interpret.inl"
#include "steps.inl"

// Only float32 has compiled steps.
template <class R> const CompiledStep *compiled(int32_t) { return nullptr; }
template <> const CompiledStep *compiled<float>(int32_t step) { return step < 0 ? nullptr : STEPS + step; }

template <class R> class Runner {
 public:
  explicit Runner(const Run &job) : job_(job), layer_(*job.layer), plan_(*layer_.plan), weights_(static_cast<const R *>(layer_.packed)) {
    free_ = static_cast<char *>(job.scratch);
    const size_t arrays = plan_.arrays.size();
    row_ = take<R **>(static_cast<int64_t>(arrays));
    for (size_t a = 0; a < arrays; a++) {
      row_[a] = take<R *>(job.rows);
      const ArrayInfo &info = plan_.arrays[a];
      const int64_t units = (layer_.sizes[static_cast<size_t>(info.axis)] + 15) / 16 * 16;
      if (info.kind == Kind::buffer) rows_of(row_[a], job.rows, take<R>(job.rows * units), units);
      if (info.kind == Kind::row) rows_of(row_[a], job.rows, take<R>(job.rows), 1);
      if (info.kind >= Kind::unit) rows_of(row_[a], job.rows, static_cast<R *>(job.arrays[a].data), 0);
    }
    size_t loops = 0;
    for (const auto &pass : layer_.loops) loops += pass.size();
    ahead_ = take<Ahead>(static_cast<int64_t>(loops));
    for (size_t s = 0, n = 0; s < plan_.passes.size(); s++)
      for (size_t l = 0; l < plan_.passes[s].loops.size(); l++) {
        const PackedLoop &packed = layer_.loops[s][l];
        const bool goes = !job.order && goes_ahead(packed, job.steps, job.rows);
        const int64_t sums = plan_.passes[s].loops[l].accumulators * packed.vectors * 16;
        ahead_[n++] = goes ? Ahead{take<R>(ROWS_AHEAD * sums), take<R *>(packed.given * ROWS_AHEAD)} : Ahead{};
      }
    tile_ = free_;
  }

  void operator()() {
    int64_t active = plan_.descending && job_.length ? 0 : job_.rows;  // rows in the midst of their sequence, the longest first
    for (int64_t k = 0; k < job_.steps; k++) {
      const int64_t t = time(k);
      if (job_.length) {
        while (active > 0 && length(active - 1) <= t) active--;
        while (active < job_.rows && length(active) > t) active++;
      }
      place(t, active);
      int64_t n = 0;
      for (size_t s = 0; s < plan_.passes.size(); s++) {
        for (const Reduction &r : plan_.passes[s].reductions) {
          const int64_t n = layer_.sizes[static_cast<size_t>(plan_.arrays[static_cast<size_t>(r.source)].axis)];
          for (int64_t m = 0; m < active; m++) *rows(r.result)[m] = reduce<R>(r.op, rows(r.source)[m], n);
        }
        const auto &loops = plan_.passes[s].loops;
        for (size_t l = 0; l < loops.size(); l++) loop(loops[l], layer_.loops[s][l], ahead_[n++], k, active);
      }
    }
  }

 private:
  struct Ahead {  // what a loop's given sources add to its sums, computed ahead; null: it is not
    R *sums;      // [row][accumulator][padded units], biases included
    R **row;      // [given segment][row]
  };

  template <class P> P *take(int64_t n) {
    char *p = free_;
    free_ += (n * static_cast<int64_t>(sizeof(P)) + 63) / 64 * 64;
    return reinterpret_cast<P *>(p);
  }
  static void rows_of(R **to, int64_t n, R *at, int64_t row) {
    for (int64_t m = 0; m < n; m++) to[m] = at + m * row;
  }
  R *const *rows(int32_t array) const { return row_[array]; }
  int64_t sample(int64_t m) const { return job_.order ? job_.order[m] : job_.first + m; }
  int64_t length(int64_t m) const { return job_.length[sample(m)]; }
  int64_t time(int64_t k) const { return plan_.descending ? job_.steps - 1 - k : k; }
  // Where array a's rows begin at step t.
  R *slot(size_t a, int64_t t) const {
    const gatecell_array &v = job_.arrays[a];
    const int64_t s = t + plan_.arrays[a].offset;
    return static_cast<R *>(v.data) + (v.slots ? s % v.slots : s) * v.step;
  }

  // Where the rows of every array over time lie at step t.
  void place(int64_t t, int64_t active) {
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

  void loop(const Loop &loop, const PackedLoop &packed, const Ahead &ahead, int64_t step, int64_t active) {
    if (frame_.loop != &loop) prepare(loop, packed);
    const Frame &f = frame_;
    start_ = {weights_ + packed.bias, 0, 0};
    if (ahead.sums) {
      const int64_t steps = ROWS_AHEAD / job_.rows, row = loop.accumulators * packed.vectors * 16;
      if (step % steps == 0) go_ahead(loop, packed, ahead, step, least(steps, job_.steps - step));
      start_ = {ahead.sums + step % steps * job_.rows * row, row, packed.given};
    }
    const int64_t blocks = (active + f.most - 1) / f.most, width = active <= FEW_ROWS ? f.width : f.panel;
    const int64_t tiles = (packed.vectors + width - 1) / width;
    for (int64_t i = 0; i < tiles; i++) {
      const int64_t v0 = (step & 1 ? tiles - 1 - i : i) * width;  // to and fro: what L1 still holds is read first
      const int64_t n = least(width, packed.vectors - v0);
      bool by_memory = false;
      for (int64_t k = 0, b = 0; k < blocks; k++) {
        const int64_t m = active * (k + 1) / blocks - active * k / blocks;  // blocks differ by a row at most
        for (size_t a = 0; a < loop.arrays.size(); a++) reg_[a] = {rows(loop.arrays[a]) + b, v0 * 16};
        if (f.spreads) spread(loop, b, m, n);
        const RunTile tile = f.fits ? f.step->tile_of(packed, m, n) : nullptr;
        if (tile) {
          in_registers(tile, packed, b, v0);
        } else {
          if (!by_memory) columns(packed, v0, n, reg_ + loop.arrays.size());
          by_memory = true;
          if (f.step) fetch_step(*f.step, reg_, m, n * 16);
          products(packed, b, m, v0, n);
          if (f.step)
            run_step(*f.step, reg_, m, n * 16);
          else
            interpret<R>(loop.code.data(), loop.code.size(), reg_, m, n * 16);
        }
        b += m;
      }
    }
  }

  // The sums of given sources, `steps` steps at once: their weights are read once for all of them.
  void go_ahead(const Loop &loop, const PackedLoop &packed, const Ahead &ahead, int64_t step, int64_t steps) {
    constexpr int64_t L = Of<R>::lanes, PARTS = 16 / L;
    const int64_t all = steps * job_.rows, apart = loop.accumulators * packed.vectors * 16;
    for (int64_t r = 0; r < all; r++) std::memcpy(ahead.sums + r * apart, weights_ + packed.bias, static_cast<size_t>(apart) * sizeof(R));
    Rows<R> source[MOST_SEGMENTS];
    R **row = ahead.row;
    for (const Group &g : packed.groups) {
      const auto columns = static_cast<int64_t>(g.columns.size());
      int segments = 0;
      for (const Segment &s : g.segments) {
        if (row == ahead.row + packed.given * ROWS_AHEAD) break;
        const auto a = static_cast<size_t>(s.source);
        for (int64_t k = 0; k < steps; k++)
          rows_of(row + k * job_.rows, job_.rows, slot(a, time(step + k)) + job_.first * job_.arrays[a].row, job_.arrays[a].row);
        source[segments++] = {row, s.k};
        row += ROWS_AHEAD;
      }
      for (int64_t v = 0; segments && v < packed.vectors; v += packed.panel) {
        const int64_t width = least(packed.panel, packed.vectors - v), vectors = columns * width * PARTS, most = tile_rows(vectors);
        for (int64_t r = 0; r < all; r += most) {
          Column<R> *c = columns_;
          for (int32_t a : g.columns)
            for (int64_t j = 0; j < width * PARTS; j++) {
              R *sum = ahead.sums + r * apart + (a * packed.vectors + v) * 16 + j * L;
              *c++ = {sum, apart, sum, apart};
            }
          Rows<R> from[MOST_SEGMENTS];
          for (int k = 0; k < segments; k++) from[k] = {source[k].row + r, source[k].k};
          const R *w = weights_ + g.weights + v * 16 * columns * g.depth;
          product<R, 1>(least(most, all - r), vectors, from, segments, w, columns * width * 16, columns_);
        }
      }
    }
  }

  // What is the same for every tile of a loop, and for every step as long as no other loop comes between.
  void prepare(const Loop &loop, const PackedLoop &packed) {
    Frame &f = frame_;
    f.loop = &loop;
    f.step = layer_.interpret ? nullptr : compiled<R>(loop.step);
    f.fits = f.step && f.step->fits(packed);
    f.panel = f.step || packed.panel >= TILE_VECTORS ? packed.panel : TILE_VECTORS;
    f.width = f.fits && f.step->most() ? FEW_PANELS * f.panel : f.panel;
    int64_t vectors = 1;
    for (const Group &g : packed.groups) vectors = greatest(vectors, static_cast<int64_t>(g.columns.size()) * packed.panel * 16 / Of<R>::lanes);
    f.most = packed.groups.empty() ? TILE_ROWS : tile_rows(vectors);
    if (f.fits && f.step->most()) f.most = f.step->most();
    layout(loop);
  }

  // Registers that are the same for every tile of a loop: accumulators, temporaries, constants.  A compiled step has its own temporaries.
  void layout(const Loop &loop) {
    free_ = tile_;
    const int64_t row = frame_.width * 16;
    const auto tile = [&](int64_t rows) {
      R **table = take<R *>(TILE_ROWS);
      R *at = take<R>(rows * row);
      rows_of(table, TILE_ROWS, at, rows > 1 ? row : 0);
      return table;
    };
    frame_.spreads = false;
    for (int32_t a : loop.arrays) frame_.spreads |= plan_.arrays[static_cast<size_t>(a)].kind == Kind::row;
    Register<R> *reg = reg_ + loop.arrays.size();
    for (int32_t k = 0; k < loop.accumulators; k++) *reg++ = {tile(TILE_ROWS), 0};
    for (int32_t k = 0; k < loop.temporaries; k++) *reg++ = {frame_.step ? nullptr : tile(TILE_ROWS), 0};
    for (const Scalar &s : loop.scalars) {
      R **table = tile(1);
      fill(table[0], table[0] + row, s.array < 0 ? static_cast<R>(s.value) : *static_cast<const R *>(job_.arrays[s.array].data));
      *reg++ = {table, 0};
    }
    columns_ = take<Column<R>>(static_cast<int64_t>(loop.terms.size()) * row / Of<R>::lanes);
    spread_ = free_;
  }

  // Arrays of one value a row become tiles of equal units.
  void spread(const Loop &loop, int64_t b, int64_t active, int64_t vectors) {
    free_ = spread_;
    for (size_t k = 0; k < loop.arrays.size(); k++) {
      if (plan_.arrays[static_cast<size_t>(loop.arrays[k])].kind != Kind::row) continue;
      R **table = take<R *>(active);
      for (int64_t m = 0; m < active; m++) {
        table[m] = take<R>(vectors * 16);
        fill(table[m], table[m] + vectors * 16, *rows(loop.arrays[k])[b + m]);
      }
      reg_[k] = {table, 0};
    }
  }

  // Where the sums of a tile begin, bias or an earlier group's sum, and where they go: [panel][group][column][vector].
  void columns(const PackedLoop &packed, int64_t v0, int64_t vectors, const Register<R> *accumulators) const {
    constexpr int64_t L = Of<R>::lanes, PARTS = 16 / L;
    Column<R> *c = columns_;
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

  // A tile's products and step in one, from row b and vector v on.
  void in_registers(RunTile tile, const PackedLoop &packed, int64_t b, int64_t v) const {
    if constexpr (sizeof(R) == sizeof(float)) {
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
        w[g] = weights_ + group.weights + v / packed.panel * next[g] + skipped * row;
      }
      tile({source, segments, w, next, start_.at + b * start_.row + v * 16, start_.row, packed.vectors * 16, reg_});
    }
  }

  // Fills the accumulators of a tile, `active` rows from b on.
  void products(const PackedLoop &packed, int64_t b, int64_t active, int64_t v0, int64_t vectors) const {
    constexpr int64_t PARTS = 16 / Of<R>::lanes;
    const Column<R> *c = columns_;
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

  const Run &job_;
  const gatecell_layer &layer_;
  const gatecell_plan &plan_;
  const R *weights_;
  char *free_, *tile_, *spread_ = nullptr;  // the scratch: what is left; what loops share; what is behind a loop's registers
  R ***row_;                                // [array][row]: where the rows lie now
  Column<R> *columns_ = nullptr;
  Ahead *ahead_ = nullptr;  // of every loop
  struct Start {            // where a step's sums begin: row m's sum a at[m * row + a * padded units], which holds `given` segments already
    const R *at;
    int64_t row, given;
  } start_ = {};
  struct Frame {
    const Loop *loop = nullptr;
    const CompiledStep *step = nullptr;
    int64_t panel = 0, width = 0, most = 0;  // vectors of a tile, of a tile of few rows; rows of a tile
    bool fits = false, spreads = false;      // whether sums may stay in registers; whether an array has one value a row
  } frame_;
  Register<R> reg_[MOST_REGISTERS];  // the loop's: arrays where the tile is, then its own
};

template <class R> void run(const Run &job) { Runner<R>{job}(); }
