// A plan over time: stages of reductions, products and loops over units.  Included once per instruction set.  Knows no cell.
//
// Products fill the accumulators of a tile in L1 (a few rows, one panel of units), then the loop's step runs on the tile:
// a compiled one where the plan's instructions have one, else the interpreter.  Both give the same bits.

template <class R> struct Register {  // of a tile: unit u of row m at[m * row + u]
  R *at;
  int64_t row;
};
template <class R> using Step = void (*)(const Register<R> *, int64_t rows, int64_t units);

#include "steps.inl"

template <class R> Step<R> compiled(int32_t) { return nullptr; }  // only float32 has compiled steps
template <> Step<float> compiled<float>(int32_t step) { return step < 0 ? nullptr : STEPS[step].run; }

template <class R> void interpret(const Instruction *code, size_t n, const Register<R> *reg, int64_t rows, int64_t units) {
  using V = typename Of<R>::V;
  for (const Instruction *p = code; p < code + n; p++) {
    const Instruction &i = *p;
    const Register<R> d = reg[i.dst], a = reg[i.src[0]], b = reg[i.src[1]], c = reg[i.src[2]];
    const auto each = [&](auto f) __attribute__((always_inline)) {
      for (int64_t m = 0; m < rows; m++)
        for (int64_t u = 0; u < units; u += Of<R>::lanes) store(d.at + m * d.row + u, V(f(a.at + m * a.row + u, b.at + m * b.row + u, c.at + m * c.row + u)));
    };
    switch (i.op) {
#define OPERATION(code, name, expression) \
  case code: each([](const R *x, const R *y, const R *z) __attribute__((always_inline)) { (void)y; (void)z; return expression; }); break;
#define X load(x)
#define Y load(y)
#define Z load(z)
#include "operations.inl"
#undef X
#undef Y
#undef Z
#undef OPERATION
      default: __builtin_unreachable();  // the plan was checked
    }
  }
}

// The sum of f over n units in sixteen fixed lanes and one fixed tree: the same bits for every vector width.
template <class R, class F> R lanes_sum(int64_t n, F f) {
  R lane[16] = {};
  int64_t u = 0;
  for (; u + 16 <= n; u += 16)
    for (int64_t k = 0; k < 16; k++) lane[k] += f(u + k);
  for (int64_t k = 0; u + k < n; k++) lane[k] += f(u + k);
  for (int width = 8; width; width /= 2)
    for (int k = 0; k < width; k++) lane[k] += lane[k + width];
  return lane[0];
}

template <class R> R reduce(int32_t op, const R *a, int64_t n) {
  const R mean = lanes_sum<R>(n, [&](int64_t u) { return a[u]; }) / R(n);
  if (op == 0) return mean;
  return lanes_sum<R>(n, [&](int64_t u) { const R d = a[u] - mean; return d * d; }) / R(n);
}

template <class R> class Runner {
 public:
  explicit Runner(const Run &job) : job_(job), layer_(*job.layer), plan_(*layer_.plan), weights_(static_cast<const R *>(layer_.packed)) {
    free_ = static_cast<R *>(job.scratch);
    const int64_t rows = job.last - job.first;
    for (size_t a = 0; a < plan_.arrays.size(); a++) {
      const ArrayInfo &info = plan_.arrays[a];
      const int64_t units = (layer_.sizes[static_cast<size_t>(info.axis)] + 15) / 16 * 16;
      if (info.kind == Kind::buffer) own_[a] = take(rows * units), own_row_[a] = units;
      if (info.kind == Kind::row) own_[a] = take(rows), own_row_[a] = 1;
    }
    tile_ = free_;
  }

  void operator()() {
    for (int64_t k = 0; k < job_.steps; k++) {
      const int64_t t = plan_.descending ? job_.steps - 1 - k : k;
      for (size_t s = 0; s < plan_.passes.size(); s++) {
        for (const Reduction &r : plan_.passes[s].reductions) {
          const int64_t n = layer_.sizes[static_cast<size_t>(plan_.arrays[static_cast<size_t>(r.source)].axis)];
          for (int64_t b = job_.first; b < job_.last; b++) *at(r.result, t, b) = reduce<R>(r.op, at(r.source, t, b), n);
        }
        for (size_t l = 0; l < plan_.passes[s].loops.size(); l++) loop(plan_.passes[s].loops[l], layer_.loops[s][l], t);
      }
    }
  }

 private:
  R *take(int64_t n) {
    R *p = free_;
    free_ += (n + 15) / 16 * 16;
    return p;
  }
  int64_t row_of(int32_t a) const {
    const auto i = static_cast<size_t>(a);
    const Kind kind = plan_.arrays[i].kind;
    return kind == Kind::unit ? 0 : kind >= Kind::buffer ? own_row_[i] : job_.arrays[i].row;
  }
  R *at(int32_t a, int64_t t, int64_t b) const {
    const auto i = static_cast<size_t>(a);
    const ArrayInfo &info = plan_.arrays[i];
    if (info.kind == Kind::buffer || info.kind == Kind::row) return own_[i] + (b - job_.first) * own_row_[i];
    const gatecell_array &v = job_.arrays[i];
    if (info.kind >= Kind::unit) return static_cast<R *>(v.data);
    const int64_t slot = t + info.offset;
    return static_cast<R *>(v.data) + (v.slots ? slot % v.slots : slot) * v.step + b * v.row;
  }

  void loop(const Loop &loop, const PackedLoop &packed, int64_t t) {
    const Step<R> step = layer_.interpret ? nullptr : compiled<R>(loop.step);
    const int64_t width = step || packed.panel >= TILE_VECTORS ? packed.panel : TILE_VECTORS;  // vectors of a tile
    int64_t vectors = 1;
    for (const Group &g : packed.groups) vectors = greatest(vectors, static_cast<int64_t>(g.columns.size()) * packed.panel * 16 / Of<R>::lanes);
    const int64_t rows = job_.last - job_.first, most = packed.groups.empty() ? TILE_ROWS : tile_rows(vectors), blocks = (rows + most - 1) / most;
    const int64_t tiles = (packed.vectors + width - 1) / width;
    Register<R> reg[MOST_REGISTERS], first[MOST_REGISTERS];  // of a tile, and of the first row's first unit
    layout(loop, width, reg);
    for (size_t k = 0; k < loop.arrays.size(); k++) first[k] = {at(loop.arrays[k], t, job_.first), row_of(loop.arrays[k])};
    Rows<R> source[MOST_SEGMENTS];
    Rows<R> *s = source;
    for (const Group &g : packed.groups)
      for (const Segment &segment : g.segments) *s++ = {at(segment.source, t, job_.first), row_of(segment.source), segment.k};
    for (int64_t i = 0; i < tiles; i++) {
      const int64_t v0 = (t & 1 ? tiles - 1 - i : i) * width;  // to and fro: what L1 still holds is read first
      const int64_t n = least(width, packed.vectors - v0);
      columns(packed, v0, n, reg + loop.arrays.size());
      for (int64_t k = 0, b = 0; k < blocks; k++) {
        const int64_t m = rows * (k + 1) / blocks - rows * k / blocks;  // blocks differ by a row at most
        products(packed, b, m, v0, n, source);
        for (size_t a = 0; a < loop.arrays.size(); a++) reg[a] = {first[a].at + b * first[a].row + v0 * 16, first[a].row};
        if (spreads_) spread(loop, first, b, m, n, reg);
        if (step)
          step(reg, m, n * 16);
        else
          interpret<R>(loop.code.data(), loop.code.size(), reg, m, n * 16);
        b += m;
      }
    }
  }

  // Registers that are the same for every tile of a loop: accumulators, temporaries, constants.
  void layout(const Loop &loop, int64_t width, Register<R> *reg) {
    R *p = tile_;
    const auto memory = static_cast<int32_t>(loop.arrays.size());
    const int64_t row = width * 16;
    spread_ = p;  // a tile for each array of one value a row
    spreads_ = false;
    for (int32_t a : loop.arrays) spreads_ |= plan_.arrays[static_cast<size_t>(a)].kind == Kind::row;
    p += memory * TILE_ROWS * row;
    reg += memory;
    for (int32_t k = 0; k < loop.accumulators + loop.temporaries; k++, p += TILE_ROWS * row) *reg++ = {p, row};
    for (const Scalar &s : loop.scalars) {
      const R value = s.array < 0 ? static_cast<R>(s.value) : *static_cast<const R *>(job_.arrays[s.array].data);
      fill(p, p + row, value);
      *reg++ = {p, 0};
      p += row;
    }
    columns_ = reinterpret_cast<Column<R> *>(p);
  }

  // Arrays of one value a row become tiles of equal units.
  void spread(const Loop &loop, const Register<R> *first, int64_t b, int64_t rows, int64_t vectors, Register<R> *reg) const {
    for (size_t k = 0; k < loop.arrays.size(); k++) {
      if (plan_.arrays[static_cast<size_t>(loop.arrays[k])].kind != Kind::row) continue;
      R *tile = spread_ + static_cast<int64_t>(k) * TILE_ROWS * vectors * 16;
      for (int64_t m = 0; m < rows; m++) fill(tile + m * vectors * 16, tile + (m + 1) * vectors * 16, first[k].at[b + m]);
      reg[k] = {tile, vectors * 16};
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
          const Register<R> &r = accumulators[a];
          const bool first = !(begun >> a & 1);
          begun |= uint64_t{1} << a;
          const R *bias = weights_ + packed.bias + (a * packed.vectors + v) * 16;
          for (int64_t j = 0; j < width * PARTS; j++) {
            R *sum = r.at + (v - v0) * 16 + j * L;
            *c++ = first ? Column<R>{bias + j * L, 0, sum, r.row} : Column<R>{sum, r.row, sum, r.row};
          }
        }
    }
  }

  // Fills the accumulators of a tile, `rows` rows from b on.
  void products(const PackedLoop &packed, int64_t b, int64_t rows, int64_t v0, int64_t vectors, const Rows<R> *source) const {
    constexpr int64_t PARTS = 16 / Of<R>::lanes;
    const Column<R> *c = columns_;
    for (int64_t v = v0; v < v0 + vectors; v += packed.panel) {
      const int64_t width = least(packed.panel, packed.vectors - v);
      const Rows<R> *s = source;
      for (const Group &g : packed.groups) {
        const auto columns = static_cast<int64_t>(g.columns.size());
        Rows<R> here[MOST_SEGMENTS];
        int segments = 0;
        for (size_t k = 0; k < g.segments.size(); k++, s++) here[segments++] = {s->at + b * s->row, s->row, s->k};
        const R *w = weights_ + g.weights + v * 16 * columns * g.depth;
        product<R, false>(rows, columns * width * PARTS, here, segments, w, columns * width * 16, c);
        c += columns * width * PARTS;
      }
    }
  }

  const Run &job_;
  const gatecell_layer &layer_;
  const gatecell_plan &plan_;
  const R *weights_;
  R *free_, *tile_, *spread_ = nullptr;
  bool spreads_ = false;
  Column<R> *columns_ = nullptr;
  R *own_[MOST_ARRAYS] = {};
  int64_t own_row_[MOST_ARRAYS] = {};
};

template <class R> void run(const Run &job) { Runner<R>{job}(); }
