// Rows of a matrix become columns, by squares that stay in registers.  Included once per instruction set.

template <int... K> struct Lanes {};
template <int N, int... K> struct LanesBelow : LanesBelow<N - 1, N - 1, K...> {};
template <int... K> struct LanesBelow<0, K...> {
  using All = Lanes<K...>;
};

// Two rows of a matrix, W apart, exchange what lies beside the diagonal of their blocks of W.
template <int W, class V, int... K> INLINE void exchange(V &a, V &b, Lanes<K...>) {
  constexpr int L = sizeof...(K);
  const V upper = a, lower = b;
  a = __builtin_shufflevector(upper, lower, (K & W ? L + K - W : K)...);
  b = __builtin_shufflevector(upper, lower, (K & W ? L + K : K + W)...);
}

template <int W, class V, int L> INLINE void exchange_all(V (&v)[L]) {
  UNROLL for (int k = 0; k < L; k++) if (!(k & W)) exchange<W>(v[k], v[k + W], typename LanesBelow<L>::All{});
  if constexpr (2 * W < L) exchange_all<2 * W>(v);
}

// to[c * to_row + r] = from[r * from_row + c]; a quarter of a cycle each where both sides have a vector left.
template <class R> void transpose(const void *matrix, int64_t from_row, void *result, int64_t to_row, int64_t rows, int64_t columns) {
  const R *from = static_cast<const R *>(matrix);
  R *to = static_cast<R *>(result);
  using V = typename Of<R>::V;
  constexpr int L = Of<R>::lanes;
  const int64_t whole = rows / L * L, wide = columns / L * L;
  for (int64_t r = 0; r < whole; r += L)
    for (int64_t c = 0; c < wide; c += L) {
      V v[L];
      UNROLL for (int k = 0; k < L; k++) v[k] = load(from + (r + k) * from_row + c);
      exchange_all<1>(v);
      UNROLL for (int k = 0; k < L; k++) store(to + (c + k) * to_row + r, v[k]);
    }
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = r < whole ? wide : 0; c < columns; c++) to[c * to_row + r] = from[r * from_row + c];
}
