// Sums in registers, and compiled steps that run on them.  Included once per instruction set.
//
// A tile's sums are computed by a function for their shape: how many there are, and which of them a source enters.  It leaves them in
// L1, where the loop's step reads them.  Most cells share a shape with another, so that one more cell is one more step and no more.
// A cell that asks for it (`fused`) has tiles in which sums and step are one function: some 4 % faster forward, and 20 times the text.
// The sums are those of product.inl, operation by operation, so a tile gives the same bits whichever way it is computed.
// Register tiles are for vectors of 16 units, the unit of packing; narrower vectors go by product.inl.

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
  const Register<float> *reg;  // of a fused step
  float *sum;                  // else where a tile's sums go: [row][sum][FEW_PANELS panels]
  int64_t rows;                // a multiple of the tile's; without a step, one tile
};
using RunTile = void (*)(const RegisterTile &);

constexpr int REGISTER_SUMS = 24;  // vectors of sums beside a row of weights and a value: what 32 registers hold

struct Tiles {
  RunTile tile[REGISTER_SUMS + 1];  // on so many rows of a panel; null: not compiled
  RunTile few[FEW_ROWS + 1];        // on so many rows of FEW_PANELS panels

  RunTile of(const PackedLoop &loop, int64_t rows, int64_t vectors) const {
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

struct CompiledStep {
  Step<float> fetch;  // brings what it will read and write nearer
  Step<float> run;    // on sums in memory
  int32_t shape;      // of the sums that `fused` computes, too; -1: none
  Tiles fused;
};

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

template <int PANEL, int PANELS, int ROWS, int COLUMNS>
INLINE void groups(const RegisterTile &, const Rows<float> *, int, int64_t, Vf (&)[ROWS][COLUMNS]) {}
template <int PANEL, int PANELS, int ROWS, int COLUMNS, unsigned GROUP, unsigned... REST>
INLINE void groups(const RegisterTile &t, const Rows<float> *source, int g, int64_t first, Vf (&total)[ROWS][COLUMNS]) {
  const float *w = t.w[g];
  const Rows<float> *end = source + t.segments[g];
  for (; source < end; source++) w = segment<GROUP, PANEL, PANELS>(*source, first, w, t.panel[g], total);
  groups<PANEL, PANELS, ROWS, COLUMNS, REST...>(t, source, g + 1, first, total);
}

// What a step will read and write is on its way while the sums are computed: by then it has left the caches nearby.
template <class S> INLINE void fetch_from(const Register<float> *r, int64_t first, int64_t rows, int64_t units) {
  UNROLL for (int a = 0; a < S::arrays; a++) for (int64_t m = first; m < first + rows; m++) for (int64_t u = 0; u < units; u += 16)
      __builtin_prefetch(r[a].row[m] + r[a].unit + u);
}

template <class S> void fetch(const Register<float> *r, int64_t rows, int64_t units) { fetch_from<S>(r, 0, rows, units); }

// S: a fused step, or void: the sums are left for whatever step there is.
template <class S, int PANEL, int PANELS, int ROWS, int SUMS, unsigned... GROUPS> void register_tile(const RegisterTile &t) {
  constexpr bool FUSED = !__is_same(S, void);
  constexpr int L = Of<float>::lanes, WIDE = PANEL * PANELS, COLUMNS = SUMS * WIDE;
  for (int64_t first = 0; first < t.rows; first += ROWS) {
    Vf total[ROWS][COLUMNS];
    if constexpr (FUSED) fetch_from<S>(t.reg, first, ROWS, WIDE * L);
    UNROLL for (int m = 0; m < ROWS; m++) UNROLL for (int a = 0; a < SUMS; a++) UNROLL for (int v = 0; v < WIDE; v++) {
      total[m][a * WIDE + v] = load(t.start + (first + m) * t.start_row + a * t.start_sum + v * L);
    }
    groups<PANEL, PANELS, ROWS, COLUMNS, GROUPS...>(t, t.source, 0, first, total);
    UNROLL for (int m = 0; m < ROWS; m++) UNROLL for (int v = 0; v < WIDE; v++) {
      Vf sum[SUMS];
      UNROLL for (int a = 0; a < SUMS; a++) sum[a] = total[m][a * WIDE + v];
      if constexpr (FUSED)
        S::run(t.reg, first + m, v * L, sum);
      else
        UNROLL for (int a = 0; a < SUMS; a++) store(t.sum + ((m * SUMS + a) * FEW_PANELS * PANEL + v) * L, sum[a]);
    }
  }
}

template <class S, int PANEL, int ROWS, int SUMS, unsigned... GROUPS> constexpr void compile_tiles(Tiles &to) {
  if constexpr (ROWS > 0) {
    to.tile[ROWS] = register_tile<S, PANEL, 1, ROWS, SUMS, GROUPS...>;
    if constexpr (ROWS <= FEW_ROWS) to.few[ROWS] = register_tile<S, PANEL, FEW_PANELS, ROWS, SUMS, GROUPS...>;
    compile_tiles<S, PANEL, ROWS - 1, SUMS, GROUPS...>(to);
  }
}

template <class S, int SUMS, unsigned... GROUPS> constexpr Tiles compiled_tiles() {
  constexpr int PANEL = [] {
    int most = 1;
    ((most = sums_in(GROUPS) > most ? sums_in(GROUPS) : most), ...);
    return panel_width(most);
  }();
  Tiles tiles{};
  if constexpr (BYTES == 64)
    if constexpr (SUMS * PANEL <= REGISTER_SUMS / 4) compile_tiles<S, PANEL, REGISTER_SUMS / (SUMS * PANEL), SUMS, GROUPS...>(tiles);
  return tiles;
}

constexpr Tiles SUMS[] = {
#define SHAPE(sums, ...) compiled_tiles<void, sums, __VA_ARGS__>(),
#include "shapes.inl"
#undef SHAPE
};

template <class S> void memory_tile(const Register<float> *r, int64_t rows, int64_t units) {
  for (int64_t m = 0; m < rows; m++)
    for (int64_t u = 0; u < units; u += Of<float>::lanes) {
      Vf sum[S::sums + 1];
      UNROLL for (int a = 0; a < S::sums; a++) sum[a] = load(r[S::arrays + a].row[m] + u);
      S::run(r, m, u, sum);
    }
}

template <class S> constexpr CompiledStep compiled_step() { return {fetch<S>, memory_tile<S>, -1, {}}; }
template <class S, int SHAPE, unsigned... GROUPS> constexpr CompiledStep fused_step() {
  return {fetch<S>, memory_tile<S>, SHAPE, compiled_tiles<S, S::sums, GROUPS...>()};
}

// The interpreter's float64 has no compiled steps, and never comes here.
INLINE void run_step(const CompiledStep &step, const Register<float> *r, int64_t rows, int64_t units) { step.run(r, rows, units); }
INLINE void run_step(const CompiledStep &, const Register<double> *, int64_t, int64_t) {}
INLINE void fetch_step(const CompiledStep &step, const Register<float> *r, int64_t rows, int64_t units) { step.fetch(r, rows, units); }
INLINE void fetch_step(const CompiledStep &, const Register<double> *, int64_t, int64_t) {}
