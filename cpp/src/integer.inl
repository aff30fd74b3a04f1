// Integer steps over time (docs/arithmetic.md).  Included once per instruction set; integers have one right answer, so all
// give the same bits, and so do Python's definition and the emitted C.  Knows no cell.
//
// Products fill the sums of a group of units in L1, then the loop's step runs on them: a compiled one where its instructions have
// one, else the interpreter.  A stream's steps are as short as 100 ns: what is the same on every other step is prepared once a run.

INLINE Vh load_some(const int16_t *p, int64_t n) {  // n < GROUP; the others are 0
#if defined(__AVX512F__)
  return (Vh)_mm512_maskz_loadu_epi16((1u << n) - 1, p);
#else
  Vh v = {};
  std::memcpy(&v, p, static_cast<size_t>(n) * 2);
  return v;
#endif
}
INLINE void store_some(int16_t *p, Vh v, int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_epi16(p, (1u << n) - 1, (Raw)v);
#else
  std::memcpy(p, &v, static_cast<size_t>(n) * 2);
#endif
}
INLINE void store_bytes(uint8_t *to, Vh v) {
  const Vb b = __builtin_convertvector(v, Vb);
  std::memcpy(to, &b, sizeof b);
}

template <class F> INLINE void each_group(const IntEnter &e, const int16_t *from, int64_t rows, int64_t bytes, F f) {
  uint8_t *to = e.to;
  for (int64_t b = 0; b < rows; b++, from += e.row, to += e.to_row) {
    int64_t u = 0;
    for (; u + GROUP <= e.n; u += GROUP) f(to + u * bytes, load_h(from + u));
    if (u < e.n) f(to + u * bytes, load_some(from + u, e.n - u));
  }
}

INLINE void enter(const IntEnter &e, const int16_t *from, int64_t rows) {
  constexpr int16_t OFFSET = TRAITS.offset ? 128 : 0;
  switch (e.kind) {
    case IntEnter::view_words:
      return each_group(e, from, rows, 2, [](uint8_t *p, Vh x) { store_h(reinterpret_cast<int16_t *>(p), product15(x, splat_h(127))); });
    case IntEnter::words: return each_group(e, from, rows, 2, [](uint8_t *p, Vh x) { store_h(reinterpret_cast<int16_t *>(p), x); });
    case IntEnter::view_bytes:
      return each_group(e, from, rows, 1, [](uint8_t *p, Vh x) { store_bytes(p, product15(x, splat_h(127)) + OFFSET); });
    case IntEnter::bytes: return each_group(e, from, rows, 1, [](uint8_t *p, Vh x) { store_bytes(p, x + OFFSET); });
    case IntEnter::planes:
      return each_group(e, from, rows, 1, [plane = e.plane](uint8_t *p, Vh x) {
        store_bytes(p, (x >> 8) + OFFSET);
        store_bytes(p + plane, x);
      });
  }
}

// Rows of n values, from places `row` apart to others `to_row` apart; PAD: what is left of a row's last group becomes 0.
template <bool PAD> INLINE void copy_rows(int64_t rows, const int16_t *from, int64_t row, int16_t *to, int64_t to_row, int64_t n) {
  for (int64_t b = 0; b < rows; b++, from += row, to += to_row) {
    int64_t u = 0;
    for (; u + GROUP <= n; u += GROUP) store_h(to + u, load_h(from + u));
    if (u == n) continue;
    const Vh rest = load_some(from + u, n - u);
    if (PAD)
      store_h(to + u, rest);
    else
      store_some(to + u, rest, n - u);
  }
}

// Laid out in its scratch, where it lies itself, and then run as often as is wanted.  Even steps and odd ones keep a state in two places in
// turn.
class IntRunner {
 public:
  explicit IntRunner(const IntRun &job)
      : job_(job), step_(*job.step), layout_(*job.layout), scratch_(static_cast<uint8_t *>(job.scratch)), rows_(job.last - job.first) {
    for (int odd = 0; odd < (job.steps > 1 ? 2 : 1); odd++) prepare(odd);
  }

  void operator()() const {
    each_state([&](int32_t v, int64_t n, int16_t *state) { copy_rows<true>(rows_, state, n, vector(v, false), up(n), n); });
    const int64_t into = size_of(step_.input), out = size_of(step_.output);
    const int16_t *x = job_.x + job_.first * into;
    int16_t *y = job_.y + job_.first * out;
    for (int64_t t = 0; t < job_.steps; t++, x += job_.batch * into, y += job_.batch * out) one(t & 1, t == 0, x, y);
    each_state([&](int32_t v, int64_t n, int16_t *state) { copy_rows<false>(rows_, vector(v, job_.steps & 1), up(n), state, n, n); });
  }

  // A step; `changed`: not the step before it has written the states.
  void one(bool odd, bool changed, const int16_t *x, int16_t *y) const {
    for (int32_t o = 0; changed && o < operands(); o++)
      if (info(operand(o).vector).place == Place::state) enter(entry(o, odd), vector(operand(o).vector, odd), rows_);
    const int64_t into = size_of(step_.input), out = size_of(step_.output);
    if (info(step_.input).read) copy_rows<true>(rows_, x, into, vector(step_.input, odd), up(into), into);
    for (const IntEnter *e = enters(odd); e < inputs_[odd]; e++) enter(*e, x, rows_);
    IntStage *const end = stages(odd) + step_.loops.size();
    for (IntStage *p = stages(odd); p < end; p++) {
      run(*p, odd);
      for (const IntEnter *e = p->enters; e < p->end; e++) enter(*e, e->from, rows_);
    }
    copy_rows<false>(rows_, vector(step_.output, !odd), up(out), y, out, out);
  }
  void again(bool odd, bool changed) const { one(odd, changed, job_.x, job_.y); }

 private:
  static int64_t up(int64_t n) { return (n + GROUP - 1) / GROUP * GROUP; }
  const IntVector &info(int32_t v) const { return step_.vectors[static_cast<size_t>(v)]; }
  int64_t size_of(int32_t v) const { return info(v).size; }
  const IntOperand &operand(int32_t o) const { return step_.operands[static_cast<size_t>(o)]; }
  int32_t operands() const { return static_cast<int32_t>(step_.operands.size()); }
  template <class T> T *place(int64_t offset) const { return reinterpret_cast<T *>(scratch_ + offset); }
  IntStage *stages(bool odd) const { return place<IntStage>(layout_.stages) + odd * step_.loops.size(); }
  IntEnter *enters(bool odd) const { return place<IntEnter>(layout_.enters) + odd * step_.operands.size(); }

  template <class F> void each_state(F f) const {
    int32_t s = 0;
    for (int32_t v = 0; v < static_cast<int32_t>(step_.vectors.size()); v++)
      if (info(v).place == Place::state) f(v, size_of(v), job_.states[s++] + job_.first * size_of(v));
  }

  // A vector's rows, an operand's: those of a state have two places, which change parts from step to step.
  int16_t *vector(int32_t v, bool second) const {
    if (info(v).place == Place::parameter) return const_cast<int16_t *>(step_.parameters.data()) + info(v).values;
    return place<int16_t>(second ? layout_.fresh[v] : layout_.rows[v]);
  }
  uint8_t *rows_of(int32_t o, bool second) const { return scratch_ + (second ? layout_.next[o] : layout_.operand[o]); }

  // How an operand is made of its vector.
  IntEnter entry(int32_t k, bool second) const {
    const IntOperand &o = operand(k);
    const bool input = info(o.vector).place == Place::input;
    const int64_t n = size_of(o.vector);
    const auto kind = !o.bytes ? (o.view ? IntEnter::view_words : IntEnter::words)
                      : o.view ? IntEnter::view_bytes
                               : o.planes == 1 ? IntEnter::bytes
                                               : IntEnter::planes;
    // Scratch has room for whole groups.
    const int16_t *const from = input ? nullptr : vector(o.vector, second);
    return {kind, from, input ? n : up(n), input ? n : up(n), rows_of(k, second), o.row, rows_ * o.row};
  }

  void prepare(bool odd) {
    auto *source = place<IntRows>(layout_.sources) + odd * step_.segments;
    auto *slot = place<IntTile::Rows>(layout_.slots) + odd * step_.slots;
    IntEnter *e = enters(odd);
    const auto enter_vector = [&](int32_t v, bool second) {
      for (int32_t o = 0; o < operands(); o++)
        if (operand(o).vector == v) *e++ = entry(o, second);
    };
    enter_vector(step_.input, odd);
    inputs_[odd] = e;
    IntStage *stage = stages(odd);
    for (const IntLoop &loop : step_.loops) {
      const int64_t sums = static_cast<int64_t>(loop.accumulators.size()) * 2 * INT_LANES;
      const bool across = rows_ == 1;
      auto *const tile_sums = place<int32_t>(layout_.sums);
      const IntTile tile = {slot,    0, 0, across, 0, tile_sums, sums, nullptr, across ? 2 * sums : 0, loop.sh.data(), loop.immediates.data(),
                            &step_.table};
      const IntDot dot = {nullptr, source, 0, nullptr, loop.half_panel, nullptr, tile_sums, sums, 1, across && odd ? -1 : 1, &step_, 0};
      IntEnter *const first = e;
      for (const IntSlot &s : loop.slots) {
        *slot++ = {vector(s.vector, s.write ? !odd : odd), info(s.vector).place == Place::parameter ? 0 : up(size_of(s.vector))};
        if (s.write) enter_vector(s.vector, !odd);
      }
      for (const IntPass &pass : loop.passes)
        for (const IntSegment &s : pass.segments)
          *source++ = {rows_of(s.operand, odd) + s.plane * rows_ * operand(s.operand).row, operand(s.operand).row};
      *stage++ = {&loop, tile, dot, first, e};
    }
  }

  // One loop over all groups of units.
  void run(IntStage &stage, bool back) const {
    const IntLoop &loop = *stage.loop;
    IntTile &t = stage.tile;
    IntDot &d = stage.dot;
    const int64_t wide = t.across ? SUM_GROUPS : 1, tiles = (loop.groups + wide - 1) / wide;
    for (int64_t i = 0; i < tiles; i++) {
      const int64_t g = (back ? tiles - 1 - i : i) * wide;  // to and fro: what L1 still holds is read first
      t.unit = g * GROUP;
      t.scale = step_.words.data() + loop.scale + g * 2 * t.sum_row;
      for (t.row = 0; t.row < rows_; t.row += SUM_ROWS) {
        t.rows = t.across ? least(wide, loop.groups - g) : least(SUM_ROWS, rows_ - t.row);
        d.groups = t.across ? t.rows : 1;
        const int64_t first = d.next < 0 ? d.groups - 1 : 0;  // of the tile's groups
        d.bias = step_.words.data() + loop.bias + (g + first) * t.sum_row;
        d.weights = step_.weights.data() + loop.weights + (g + first) * 2 * d.half;
        d.sums = place<int32_t>(layout_.sums) + first * t.sum_row;
        d.group = g + first;
        products(loop, d, t);
        if (loop.step >= 0)
          INTEGER_STEPS[loop.step].run(t);
        else
          interpret(loop, t, place<Wide>(layout_.registers));
      }
    }
  }

  void products(const IntLoop &loop, IntDot &d, const IntTile &t) const {
    const IntRows *const first = d.source;
    d.row = t.row;
    for (const IntPass &pass : loop.passes) {
      d.pass = &pass;
      const int64_t rows = t.across ? 1 : t.rows;
      if (pass.sparse)
        sparse_dot(d, rows);
      else
        dot(d, rows);
      d.source += pass.segments.size();
    }
    d.source = first;
  }

  const IntRun job_;
  const gatecell_integer &step_;
  const IntLayout &layout_;
  uint8_t *const scratch_;
  const int64_t rows_;
  const IntEnter *inputs_[2];
};

void run_integers(const IntRun &job) { IntRunner{job}(); }

void *lay_out_integers(const IntRun &job) {
  static_assert(sizeof(IntRunner) <= INT_RUNNER_BYTES);
  return new (static_cast<uint8_t *>(job.scratch) + job.layout->runner) IntRunner(job);
}
void step_integers(const void *laid_out, bool odd, bool changed) { static_cast<const IntRunner *>(laid_out)->again(odd, changed); }
