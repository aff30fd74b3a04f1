// The pointwise part of integer loops: what compiled steps read and write by, the steps, and the interpreter beside them.
// Included once per instruction set.  Not here: products, time.

using IntStep = void (*)(const IntTile &);

// An accumulator's sums over the rows of a tile, requantised as they are read.
struct Sums {
  Sums(const IntTile &t, int64_t accumulator)
      : sum(t.sums + accumulator * 2 * INT_LANES), row(t.sum_row), scale(t.scale + accumulator * 4 * INT_LANES), next(t.next_scale),
        half(1 << t.sh[accumulator] >> 1), sh(t.sh[accumulator]) {}
  INLINE Vh at(int64_t m, const int32_t *by) const {
    const int32_t *p = sum + m * row;
    return narrow(Wide{requantized(load_i(p), by, half, sh), requantized(load_i(p + INT_LANES), by + 2 * INT_LANES, half, sh)});
  }
  INLINE Vh operator[](int64_t m) const { return at(m, scale + m * next); }
  INLINE Vh operator[](OneRow r) const { return (*this)[r.m]; }
  INLINE Two<Vh> operator[](TwoRows r) const { return {at(r.m, scale), at(r.m + 1, scale)}; }
  INLINE Two<Vh> operator[](TwoGroups r) const { return {(*this)[r.m], (*this)[r.m + 1]}; }
  const int32_t *sum;
  int64_t row;
  const int32_t *scale;
  int64_t next;
  int32_t half, sh;
};

// A vector's units over the rows of a tile.
struct Units {
  Units(const IntTile &t, int64_t slot)
      : at(t.slot[slot].at + t.row * t.slot[slot].row + t.unit), row(t.across ? GROUP : t.slot[slot].row) {}
  INLINE Vh operator[](int64_t m) const { return load_h(at + m * row); }
  INLINE Vh operator[](OneRow r) const { return (*this)[r.m]; }
  INLINE Two<Vh> operator[](TwoRows r) const { return {(*this)[r.m], (*this)[r.m + 1]}; }
  INLINE void write(int64_t m, Vh y) const { store_h(at + m * row, y); }
  INLINE void write(OneRow r, Vh y) const { write(r.m, y); }
  INLINE void write(TwoRows r, Two<Vh> y) const {
    write(r.m, y.a);
    write(r.m + 1, y.b);
  }
  int16_t *at;
  int64_t row;
};

template <class F> INLINE void for_rows(const IntTile &t, F f) {
  int64_t m = 0;
  if (t.across)
    for (; m + 2 <= t.rows; m += 2) f(TwoGroups{{m}});
  else
    for (; m + 2 <= t.rows; m += 2) f(TwoRows{m});
  if (m < t.rows) f(OneRow{m});
}

// One after the other: a third of the text.
template <class F> INLINE void for_single_rows(const IntTile &t, F f) {
  for (int64_t m = 0; m < t.rows; m++) f(OneRow{m});
}

#include "integer_steps.inl"

// The plain form of a step, for pages without a compiled one: an instruction at a time, everything in 32 bits.
void interpret(const IntLoop &loop, const IntTile &t, Wide *reg) {
  for (int64_t begin = 0; begin < t.rows; begin += POINT_ROWS) {
    const int64_t rows = least(POINT_ROWS, t.rows - begin);
    Wide *y = reg;
    for (const IntInstr &i : loop.points) {
      const Wide *a = reg + i.a * POINT_ROWS, *b = reg + i.b * POINT_ROWS, *c = reg + i.c * POINT_ROWS;
      const auto each_row = [&](auto f) __attribute__((always_inline)) {
        for (int64_t m = 0; m < rows; m++) y[m] = f(m);
      };
      switch (i.op) {
        case IntOp::read:
          if (i.sum)
            each_row([from = Sums(t, i.at), begin](int64_t m) { return widened(from[begin + m]); });
          else
            each_row([from = Units(t, i.at), begin](int64_t m) { return widened(from[begin + m]); });
          break;
        case IntOp::write:
          each_row([a, to = Units(t, i.at), begin](int64_t m) {  // whose register holds what was written
            to.write(begin + m, narrow(a[m]));
            return a[m];
          });
          break;
        case IntOp::constant: each_row([&](int64_t) { return splat_wide(i.n0); }); break;
        case IntOp::add: each_row([&](int64_t m) { return add(a[m], b[m]); }); break;
        case IntOp::sub: each_row([&](int64_t m) { return sub(a[m], b[m]); }); break;
        case IntOp::mul: each_row([&](int64_t m) { return mul(a[m], b[m]); }); break;
        case IntOp::max: each_row([&](int64_t m) { return max(a[m], b[m]); }); break;
        case IntOp::neg: each_row([&](int64_t m) { return neg(a[m]); }); break;
        case IntOp::lerp: each_row([&](int64_t m) { return lerp(a[m], b[m], c[m], i.n0); }); break;
        case IntOp::shl: each_row([&](int64_t m) { return shl(a[m], i.n0); }); break;
        case IntOp::shr: each_row([&](int64_t m) { return shr(a[m], i.n0); }); break;
        case IntOp::round: each_row([&](int64_t m) { return round(a[m], i.n0); }); break;
        case IntOp::clamp: each_row([&](int64_t m) { return clamp(a[m], i.n0, i.n1); }); break;
        case IntOp::tanh: each_row([&](int64_t m) { return widened(tanh(*t.table, narrow(a[m]))); }); break;
        case IntOp::sigmoid: each_row([&](int64_t m) { return widened(sigmoid(*t.table, narrow(a[m]))); }); break;
        case IntOp::count: break;
      }
      y += POINT_ROWS;
    }
  }
}
