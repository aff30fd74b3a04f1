// Register tiles of products: `ROWS` rows times `VECTORS` vectors of units.  Included once per instruction set.
//
// Every sum runs over k in order, one fused multiply-add at a time, and a new partial sum begins after every `CHAIN` of them
// and with every source: rounding errors grow with the length of a chain.  The bits depend neither on the tile's shape nor on the vector's width.

constexpr int64_t CHAIN = 32;

template <class R> struct Rows {  // the source of a segment: k values of each row
  const R *const *row;
  int64_t k;
};

template <class R> struct Column {  // one vector of units: where its sum starts from and goes to, rows `.._row` elements apart
  const R *init;
  int64_t init_row;
  R *sum;
  int64_t sum_row;
};

// sum += w a for one tile.  w: [k][`wide` elements]; the values of a row lie NEXT elements apart.
template <class R, int ROWS, int VECTORS, int NEXT>
__attribute__((noinline)) void product_tile(const Rows<R> *source, int segments, const R *w, int64_t wide, const Column<R> *column) {
  using V = typename Of<R>::V;
  constexpr int L = Of<R>::lanes;
  V total[ROWS][VECTORS], sum[ROWS][VECTORS];
  UNROLL for (int m = 0; m < ROWS; m++) UNROLL for (int j = 0; j < VECTORS; j++) total[m][j] =
      load(column[j].init + m * column[j].init_row);
  for (const Rows<R> *s = source; s < source + segments; s++) {
    const R *a[ROWS];
    UNROLL for (int m = 0; m < ROWS; m++) a[m] = s->row[m];
    for (int64_t k = 0, end = 0; k < s->k;) {
      UNROLL for (int m = 0; m < ROWS; m++) UNROLL for (int j = 0; j < VECTORS; j++) sum[m][j] = V{};
      for (end = least(s->k, k + CHAIN); k < end; k++, w += wide) {
        V b[VECTORS];
        UNROLL for (int j = 0; j < VECTORS; j++) b[j] = load(w + j * L);
        UNROLL for (int m = 0; m < ROWS; m++) {
          const V x = splat<V>(a[m][k * NEXT]);
          UNROLL for (int j = 0; j < VECTORS; j++) sum[m][j] = fma(x, b[j], sum[m][j]);
        }
      }
      UNROLL for (int m = 0; m < ROWS; m++) UNROLL for (int j = 0; j < VECTORS; j++) total[m][j] += sum[m][j];
    }
  }
  UNROLL for (int m = 0; m < ROWS; m++) UNROLL for (int j = 0; j < VECTORS; j++) store(column[j].sum + m * column[j].sum_row, total[m][j]);
}

// How many rows fill the registers beside so many vectors.
INLINE int64_t tile_rows(int64_t vectors) {
  if (BYTES == 64) return vectors >= 4 ? 6 : 8;
  return vectors >= 4 ? 3 : vectors == 3 ? 4 : vectors == 2 ? 6 : 8;
}

template <class R, int VECTORS, int NEXT>
INLINE void product_rows(int64_t rows, const Rows<R> *s, int n, const R *w, int64_t wide, const Column<R> *c) {
  switch (rows) {
  case 1: return product_tile<R, 1, VECTORS, NEXT>(s, n, w, wide, c);
  case 2: return product_tile<R, 2, VECTORS, NEXT>(s, n, w, wide, c);
  case 3: return product_tile<R, 3, VECTORS, NEXT>(s, n, w, wide, c);
  case 4: return product_tile<R, 4, VECTORS, NEXT>(s, n, w, wide, c);
  case 5: return product_tile<R, 5, VECTORS, NEXT>(s, n, w, wide, c);
  case 6: return product_tile<R, 6, VECTORS, NEXT>(s, n, w, wide, c);
  case 7: return product_tile<R, 7, VECTORS, NEXT>(s, n, w, wide, c);
  default: return product_tile<R, 8, VECTORS, NEXT>(s, n, w, wide, c);
  }
}

// Any number of vectors, in chunks that fit the registers; one row or two take more of them, for independent chains.
template <class R, int NEXT>
void product(int64_t rows, int64_t vectors, const Rows<R> *s, int n, const R *w, int64_t wide, const Column<R> *column) {
  constexpr int MANY = BYTES == 64 ? 16 : 8;
  for (int64_t j = 0, chunk = 0; j < vectors; j += chunk) {
    const int64_t left = vectors - j;
    const R *wj = w + j * Of<R>::lanes;
    const Column<R> *c = column + j;
    if (NEXT == 1 && rows == 1 && left >= MANY) {
      product_tile<R, 1, MANY, NEXT>(s, n, wj, wide, c);
      chunk = MANY;
    } else if (NEXT == 1 && rows <= 2 && left >= 8) {
      product_rows<R, 8, NEXT>(rows, s, n, wj, wide, c);
      chunk = 8;
    } else {
      chunk = least(left, 4);
      if (chunk == 4)
        product_rows<R, 4, NEXT>(rows, s, n, wj, wide, c);
      else if (chunk == 3)
        product_rows<R, 3, NEXT>(rows, s, n, wj, wide, c);
      else if (chunk == 2)
        product_rows<R, 2, NEXT>(rows, s, n, wj, wide, c);
      else
        product_rows<R, 1, NEXT>(rows, s, n, wj, wide, c);
    }
  }
}
