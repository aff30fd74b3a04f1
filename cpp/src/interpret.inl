// A plan's instructions one after the other over a tile, for loops that have no compiled step; and reductions over units.
// Included once per instruction set.

template <class R> void interpret(const Instruction *code, size_t n, const Register<R> *reg, int64_t rows, int64_t units) {
  using V = typename Of<R>::V;
  for (const Instruction *p = code; p < code + n; p++) {
    const Instruction &i = *p;
    const Register<R> d = reg[i.dst], a = reg[i.src[0]], b = reg[i.src[1]], c = reg[i.src[2]];
    const auto each = [&](auto f) __attribute__((always_inline)) {
      for (int64_t m = 0; m < rows; m++) {
        R *to = d.row[m] + d.unit;
        const R *x = a.row[m] + a.unit, *y = b.row[m] + b.unit, *z = c.row[m] + c.unit;
        for (int64_t u = 0; u < units; u += Of<R>::lanes) store(to + u, V(f(x + u, y + u, z + u)));
      }
    };
    switch (i.op) {
#define OPERATION(code, name, expression)                                                                                                  \
  case code:                                                                                                                               \
    each([](const R *x, const R *y, const R *z) __attribute__((always_inline)) {                                                           \
      (void)y;                                                                                                                             \
      (void)z;                                                                                                                             \
      return expression;                                                                                                                   \
    });                                                                                                                                    \
    break;
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
  return lanes_sum<R>(n,
                      [&](int64_t u) {
                        const R d = a[u] - mean;
                        return d * d;
                      }) /
         R(n);
}
