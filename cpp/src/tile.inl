// Compiled steps, and tiles whose sums stay in registers until the step has run on them.  Included once per instruction set.
//
// The sums are those of product.inl, operation by operation, so a tile gives the same bits whichever way it is computed.
// Register tiles are for vectors of 16 units, the unit of packing; narrower vectors go by memory (run.inl).

template <class R> struct Register {  // of a tile: unit u of row m at row[m][unit + u]
  R *const *row;
  int64_t unit;
};
template <class R> using Step = void (*)(const Register<R> *, int64_t rows, int64_t units);

struct RegisterTile {         // what one of them is given: a panel, and rows of it, tile after tile
  const Rows<float> *source;  // segments, group by group
  const int *segments;        // of each group
  const float *const *w;      // of each group, and how far its next panel is
  const int64_t *panel;
  const float *start;  // of row m's sum a: start[m * start_row + a * start_sum]
  int64_t start_row, start_sum;
  const Register<float> *reg;
  int64_t rows;  // a multiple of the tile's
};
using RunTile = void (*)(const RegisterTile &);

constexpr int REGISTER_SUMS = 24;  // vectors of sums beside a row of weights and a value: what 32 registers hold

struct CompiledStep {
  Step<float> fetch;                // brings what it will read and write nearer
  Step<float> run;                  // on sums in memory
  RunTile tile[REGISTER_SUMS + 1];  // on so many rows of a panel; null: not compiled
  RunTile few[FEW_ROWS + 1];        // on so many rows of FEW_PANELS panels
  int64_t panel;
  const unsigned *groups;
  size_t count;

  // Whether its sums share their sources as the layer's do: the same instructions may stand behind other products.
  bool fits(const PackedLoop &loop) const {
    if (loop.panel != panel || loop.groups.size() != count) return false;
    for (size_t g = 0; g < count; g++)
      if (loop.groups[g].mask != groups[g]) return false;
    return true;
  }
  RunTile tile_of(const PackedLoop &loop, int64_t rows, int64_t vectors) const {
    if (vectors == loop.panel) return rows <= REGISTER_SUMS ? tile[rows] : nullptr;
    return vectors == FEW_PANELS * loop.panel && rows <= FEW_ROWS ? few[rows] : nullptr;
  }
  // How many rows a tile has at most; 0: none is in registers.
  int64_t most() const {
    int64_t rows = REGISTER_SUMS;
    while (rows > 0 && !tile[rows]) rows--;
    return rows;
  }
};

// What a step will read and write is on its way while the sums are computed: by then it has left the caches nearby.
template <class S> INLINE void fetch_from(const Register<float> *r, int64_t first, int64_t rows, int64_t units) {
  UNROLL for (int a = 0; a < S::arrays; a++)
    for (int64_t m = first; m < first + rows; m++)
      for (int64_t u = 0; u < units; u += 16) __builtin_prefetch(r[a].row[m] + r[a].unit + u);
}

template <class S> void fetch(const Register<float> *r, int64_t rows, int64_t units) { fetch_from<S>(r, 0, rows, units); }

constexpr int sums_in(unsigned group) { return __builtin_popcount(group); }
template <unsigned GROUP> struct Members {  // the sums of a group, in order
  int at[32] = {};
  constexpr Members() {
    for (int a = 0, n = 0; a < 32; a++)
      if (GROUP >> a & 1) at[n++] = a;
  }
};
template <unsigned GROUP> constexpr Members<GROUP> MEMBERS{};

// total += sum over one segment, in chains as in product_tile.  Columns: [sum][panel][vector], weights `next` from panel to panel.
template <unsigned GROUP, int PANEL, int PANELS, int ROWS, int COLUMNS>
INLINE const float *segment(const Rows<float> &source, int64_t first, const float *w, int64_t next, Vf (&total)[ROWS][COLUMNS]) {
  constexpr int WIDE = sums_in(GROUP) * PANEL, L = Of<float>::lanes;
  const float *a[ROWS];
  UNROLL for (int m = 0; m < ROWS; m++) a[m] = source.row[first + m];
  for (int64_t k = 0, end = 0; k < source.k;) {
    Vf sum[ROWS][PANELS * WIDE];
    UNROLL for (int m = 0; m < ROWS; m++) UNROLL for (int j = 0; j < PANELS * WIDE; j++) sum[m][j] = Vf{};
    for (end = least(source.k, k + CHAIN); k < end; k++, w += WIDE * L) {
      Vf b[PANELS * WIDE];
      UNROLL for (int j = 0; j < PANELS * WIDE; j++) b[j] = load(w + j / WIDE * next + j % WIDE * L);
      UNROLL for (int m = 0; m < ROWS; m++) {
        const Vf x = splat<Vf>(a[m][k]);
        UNROLL for (int j = 0; j < PANELS * WIDE; j++) sum[m][j] = fma(x, b[j], sum[m][j]);
      }
    }
    UNROLL for (int m = 0; m < ROWS; m++) UNROLL for (int j = 0; j < PANELS * WIDE; j++) {
      const int at = MEMBERS<GROUP>.at[j % WIDE / PANEL], v = j / WIDE * PANEL + j % PANEL;
      total[m][at * PANELS * PANEL + v] += sum[m][j];
    }
  }
  return w;
}

template <class S, int G, int PANEL, int PANELS, int ROWS, int COLUMNS>
INLINE void groups_from(const RegisterTile &t, const Rows<float> *source, int64_t first, Vf (&total)[ROWS][COLUMNS]) {
  if constexpr (G < static_cast<int>(sizeof S::groups / sizeof S::groups[0])) {
    const float *w = t.w[G];
    const Rows<float> *end = source + t.segments[G];
    for (; source < end; source++) w = segment<S::groups[G], PANEL, PANELS>(*source, first, w, t.panel[G], total);
    groups_from<S, G + 1, PANEL, PANELS>(t, source, first, total);
  }
}

template <class S, int PANEL, int PANELS, int ROWS> void register_tile(const RegisterTile &t) {
  constexpr int L = Of<float>::lanes, WIDE = PANEL * PANELS, COLUMNS = S::sums * WIDE;
  for (int64_t first = 0; first < t.rows; first += ROWS) {
    Vf total[ROWS][COLUMNS];
    fetch_from<S>(t.reg, first, ROWS, WIDE * L);
    UNROLL for (int m = 0; m < ROWS; m++) UNROLL for (int a = 0; a < S::sums; a++) UNROLL for (int v = 0; v < WIDE; v++) {
      total[m][a * WIDE + v] = load(t.start + (first + m) * t.start_row + a * t.start_sum + v * L);
    }
    groups_from<S, 0, PANEL, PANELS>(t, t.source, first, total);
    UNROLL for (int m = 0; m < ROWS; m++) UNROLL for (int v = 0; v < WIDE; v++) {
      Vf sum[S::sums];
      UNROLL for (int a = 0; a < S::sums; a++) sum[a] = total[m][a * WIDE + v];
      S::run(t.reg, first + m, v * L, sum);
    }
  }
}

template <class S> void memory_tile(const Register<float> *r, int64_t rows, int64_t units) {
  for (int64_t m = 0; m < rows; m++)
    for (int64_t u = 0; u < units; u += Of<float>::lanes) {
      Vf sum[S::sums + 1];
      UNROLL for (int a = 0; a < S::sums; a++) sum[a] = load(r[S::arrays + a].row[m] + u);
      S::run(r, m, u, sum);
    }
}

template <class S, int PANEL, int ROWS> constexpr void compile_tiles(CompiledStep &step) {
  if constexpr (ROWS > 0) {
    step.tile[ROWS] = register_tile<S, PANEL, 1, ROWS>;
    if constexpr (ROWS <= FEW_ROWS) step.few[ROWS] = register_tile<S, PANEL, FEW_PANELS, ROWS>;
    compile_tiles<S, PANEL, ROWS - 1>(step);
  }
}

template <class S> constexpr CompiledStep compiled_step() {
  constexpr size_t GROUPS = sizeof S::groups / sizeof S::groups[0];
  constexpr int WIDEST = [] {
    int most = 1;
    for (const unsigned g : S::groups) most = sums_in(g) > most ? sums_in(g) : most;
    return most;
  }();
  constexpr int PANEL = panel_width(WIDEST);
  CompiledStep step{fetch<S>, memory_tile<S>, {}, {}, PANEL, S::groups, GROUPS};
  if constexpr (BYTES == 64 && S::sums > 0)
    if constexpr (S::sums * PANEL <= REGISTER_SUMS / 4) compile_tiles<S, PANEL, REGISTER_SUMS / (S::sums * PANEL)>(step);
  return step;
}

// The interpreter's float64 has no compiled steps, and never comes here.
INLINE void run_step(const CompiledStep &step, const Register<float> *r, int64_t rows, int64_t units) { step.run(r, rows, units); }
INLINE void run_step(const CompiledStep &, const Register<double> *, int64_t, int64_t) {}
INLINE void fetch_step(const CompiledStep &step, const Register<float> *r, int64_t rows, int64_t units) { step.fetch(r, rows, units); }
INLINE void fetch_step(const CompiledStep &, const Register<double> *, int64_t, int64_t) {}
