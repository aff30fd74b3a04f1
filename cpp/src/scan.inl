// Scans over time: a row and a block of channels at a time, all steps, then the next.  Included once per instruction set.
// Not here: what a step does (scan_steps.inl), shares (scan.cpp).
//
// A block's states lie together in scratch.  Channels that fill no 16 are followed by copies of the last one: what is finite there is
// finite here; gradients of copies are 0, so that no sum over channels sees them.

#define ALWAYS_INLINE __attribute__((always_inline))

template <int N> struct Vectors {
  constexpr operator int() const { return N; }
};
// f for MOST vectors of channels at a time, then for one.
template <class R, int MOST, class F> INLINE void each_group(int64_t lanes, const F &f) {
  constexpr int W = Of<R>::lanes;
  int64_t u = 0;
  for (; u + MOST * W <= lanes; u += MOST * W) f(Vectors<MOST>{}, u);
  if constexpr (MOST > 1)
    for (; u < lanes; u += W) f(Vectors<1>{}, u);
}

// Sums over channels: channel c's term goes to lane c % 16, in order; then the lanes are added as a tree of halves.
template <class R, int U> INLINE void fold(R *at, int64_t u, const typename Of<R>::V (&term)[U]) {
  constexpr int W = Of<R>::lanes;
  UNROLL for (int k = 0; k < U; k++) {
    R *const to = at + (W == 16 ? 0 : (u + k * W) % 16);
    store(to, u + k * W < 16 ? term[k] : load(to) + term[k]);
  }
}
template <class V> INLINE typename Real<V>::R across(const typename Real<V>::R *at) {
  using R = typename Real<V>::R;
  R lane[16];
  std::memcpy(lane, at, sizeof lane);
  UNROLL for (int half = 8; half; half /= 2)
    for (int l = 0; l < half; l++) lane[l] += lane[l + half];
  return lane[0];
}
// The sum of n terms side by side, in lanes as above.
template <class R> R along(const R *at, int64_t n) {
  using V = typename Of<R>::V;
  alignas(64) R lane[16] = {};
  constexpr int W = Of<R>::lanes;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    UNROLL for (int k = 0; k < 16; k += W) store(lane + k, load(lane + k) + load(at + i + k));
  for (int64_t l = 0; i + l < n; l++) lane[l] += at[i + l];
  return across<V>(lane);
}

template <class R> using ScanFunction = void (*)(const ScanStep<R> &);
template <class R> struct ScanFunctions {
  ScanFunction<R> forward, advance, backward;
};
struct CompiledScan {
  ScanFunctions<float> single;
  ScanFunctions<double> twice;
};
template <class F, class A, class B> constexpr CompiledScan compiled_scan() {
  static_assert(F::places <= MOST_PLACES && B::places <= MOST_PLACES);
  return {{F::template run<float>, A::template run<float>, B::template run<float>},
          {F::template run<double>, A::template run<double>, B::template run<double>}};
}
#include "scan_steps.inl"

template <class R> INLINE const ScanFunctions<R> &functions_of(int64_t scan) {
  if constexpr (sizeof(R) == 4)
    return SCANS[scan].single;
  else
    return SCANS[scan].twice;
}

// What lies where, for one unit after the other.
template <class R> class ScanUnit {
 public:
  explicit ScanUnit(const ScanRun &run)
      : run(run), shape(*run.shape), inputs(count(shape.inputs)), params(count(shape.params)), states(count(shape.states)) {
    step.N = run.N;
    step.padded = up(run.N);
  }

  void begin(int64_t unit) {
    const int64_t blocks = (run.H + SCAN_LANES - 1) / SCAN_LANES;
    b = unit / blocks / run.heads, head = unit / blocks % run.heads, block = unit % blocks, first = block * SCAN_LANES;
    given = least(SCAN_LANES, run.H - first), step.lanes = up(given);
    next = static_cast<R *>(run.scratch);
    step.entries = zeros(shape.entries * step.padded);
    step.folds = take(16 * shape.folds * step.padded);
  }

 protected:
  static constexpr int64_t up(int64_t n) { return (n + 15) / 16 * 16; }
  static int64_t count(const char *axes) { return static_cast<int64_t>(std::strlen(axes)); }
  bool whole() const { return given == step.lanes; }
  R *take(int64_t n) {
    R *const at = next;
    next += up(n);
    return at;
  }
  R *zeros(int64_t n) {
    R *const at = take(n);
    fill(at, at + n, R(0));
    return at;
  }
  int64_t size(char axis) const { return axis == 'M' ? run.N * step.lanes : axis == 'H' ? step.lanes : axis == 'N' ? step.padded : 1; }
  int64_t units(char axis) const { return axis == 'M' ? run.N * run.H : axis == 'H' ? run.H : axis == 'N' ? run.N : 1; }
  // This row's and head's part of an array.
  R *place(const gatecell_array &a, char axis, int64_t slot) const {
    return static_cast<R *>(a.data) + slot * a.step + b * a.row + head * units(axis);
  }
  // Whether this unit is the one that writes: what is over entries alone is the same in every block.
  bool writes(char axis) const { return axis == 'M' || axis == 'H' || !block; }

  void channels(const R *from, R *to, bool copies) const {
    std::memcpy(to, from, static_cast<size_t>(given) * sizeof(R));
    fill(to + given, to + step.lanes, copies ? to[given - 1] : R(0));
  }
  // An array of a row into the unit's own, and back; without `copies` channels beyond the last are 0.
  void gather(char axis, const R *from, R *to, bool copies = true) const {
    if (axis == 'M')
      for (int64_t n = 0; n < run.N; n++) channels(from + n * run.H + first, to + n * step.lanes, copies);
    else if (axis == 'H')
      channels(from + first, to, copies);
    else
      std::memcpy(to, from, static_cast<size_t>(axis == 'N' ? run.N : 1) * sizeof(R));
  }
  void scatter(char axis, const R *from, R *to) const {
    const auto bytes = static_cast<size_t>(given) * sizeof(R);
    if (axis == 'M')
      for (int64_t n = 0; n < run.N; n++) std::memcpy(to + n * run.H + first, from + n * step.lanes, bytes);
    else if (axis == 'H')
      std::memcpy(to + first, from, bytes);
    else
      std::memcpy(to, from, static_cast<size_t>(axis == 'N' ? run.N : 1) * sizeof(R));
  }
  // Whether vectors may read and write a row of this axis where it lies.
  bool fits(char axis) const { return axis == 'N' ? run.N == step.padded : axis == '1' || whole(); }
  R *own(char axis) { return fits(axis) ? nullptr : zeros(size(axis)); }

  // Parameters: where they lie, or for more than a few steps together.
  void lay_params(const gatecell_array *arrays) {
    for (int64_t k = 0; k < params; k++) {
      const char axis = shape.params[k];
      R *const at = place(arrays[k], axis, 0);
      const bool here = whole() && (axis == 'H' || run.T < 3);
      step.row[inputs + k] = here ? run.H : step.lanes;
      if (here) {
        step.at[inputs + k] = at + first;
      } else {
        gather(axis, at, step.at[inputs + k] = take(size(axis)));
      }
    }
  }
  void lay_inputs() {
    for (int64_t k = 0; k < inputs; k++) tail[k] = own(shape.inputs[k]);
  }
  void set_inputs(int64_t t) {
    for (int64_t k = 0; k < inputs; k++) {
      const char axis = shape.inputs[k];
      R *const at = place(run.arrays[k], axis, t);
      if (tail[k])
        gather(axis, at, step.at[k] = tail[k]);
      else
        step.at[k] = axis == 'H' ? at + first : at;
    }
  }

  const ScanRun &run;
  const ScanShape &shape;
  const int64_t inputs, params, states;
  ScanStep<R> step{};
  int64_t b = 0, head = 0, block = 0, first = 0, given = 0;
  R *next = nullptr, *tail[MOST_PLACES] = {};
};

template <class R> class ScanForward : public ScanUnit<R> {
  using Base = ScanUnit<R>;
  using Base::run, Base::shape, Base::step, Base::inputs, Base::params, Base::states, Base::first;

 public:
  using Base::Base;

  void operator()(int64_t unit) {
    this->begin(unit);
    const ScanFunction<R> function = functions_of<R>(run.scan).forward;
    const gatecell_array *const starts = run.arrays + inputs + params, *const ends = starts + states, *const marks = ends + states;
    const gatecell_array &output = marks[states];
    const int64_t old = inputs + params, now = old + states, out = now + states;
    this->lay_params(run.arrays + inputs);
    this->lay_inputs();
    R *slots[2][MOST_PLACES], *const row = this->own('H');
    const auto here = [&](int64_t s) { return shape.states[s] == 'M' && run.T == 1 && this->whole(); };
    for (int64_t s = 0; s < states; s++) {
      const char axis = shape.states[s];
      R *const from = this->place(starts[s], axis, 0);
      step.row[old + s] = step.row[now + s] = here(s) ? run.H : step.lanes;
      if (here(s)) {
        slots[0][s] = from + first, slots[1][s] = this->place(ends[s], axis, 0) + first;
      } else {
        slots[0][s] = this->zeros(this->size(axis)), slots[1][s] = this->zeros(this->size(axis));
        this->gather(axis, from, slots[0][s]);
      }
    }
    for (int64_t t = 0; t < run.T; t++) {
      this->set_inputs(t);
      for (int64_t s = 0; s < states; s++) {
        step.at[old + s] = slots[t & 1][s], step.at[now + s] = slots[~t & 1][s];
        if (run.every && t % run.every == 0 && this->writes(shape.states[s]))
          put(s, step.at[old + s], step.row[old + s], this->place(marks[s], shape.states[s], t / run.every));
      }
      R *const to = this->place(output, 'H', t) + first;
      step.at[out] = row ? row : to;
      function(step);
      if (row) std::memcpy(to, row, static_cast<size_t>(this->given) * sizeof(R));
    }
    for (int64_t s = 0; s < states; s++)
      if (const char axis = shape.states[s]; !here(s) && this->writes(axis))
        this->scatter(axis, slots[run.T & 1][s], this->place(ends[s], axis, 0));
  }

 private:
  // A state, as it lies at a step, to an array of states.
  void put(int64_t s, const R *from, int64_t row, R *to) const {
    if (row == step.lanes) return this->scatter(shape.states[s], from, to);
    for (int64_t n = 0; n < run.N; n++) std::memcpy(to + n * run.H + first, from + n * row, static_cast<size_t>(this->given) * sizeof(R));
  }
};

// From the last step to the first: states of `every` steps are computed again from the mark before them.
template <class R> class ScanBackward : public ScanUnit<R> {
  using Base = ScanUnit<R>;
  using Base::run, Base::shape, Base::step, Base::inputs, Base::params, Base::states, Base::block, Base::first;

 public:
  using Base::Base;

  void operator()(int64_t unit) {
    this->begin(unit);
    const auto &[forward, advance, backward] = functions_of<R>(run.scan);
    const gatecell_array *const marks = run.arrays + inputs + params, &doutput = marks[states], *const dends = &doutput + 1;
    const gatecell_array *const dinputs = dends + states, *const dparams = dinputs + inputs, *const dstarts = dparams + params;
    const int64_t old = inputs + params, now = old + states, dout = now + states, dnow = dout + 1;
    const int64_t din = dnow + states, dpar = din + inputs, dold = dpar + params;
    this->lay_params(run.arrays + inputs);
    this->lay_inputs();
    R *kept[MOST_PLACES], *carry[2][MOST_PLACES], *own[MOST_PLACES], *const row = this->own('H');
    R *const nothing = doutput.data ? nullptr : this->zeros(step.lanes);
    for (int64_t k = 0; k < inputs; k++) own[k] = dinputs[k].data ? this->own(shape.inputs[k]) : this->zeros(this->size(shape.inputs[k]));
    for (int64_t k = 0; k < params; k++) {
      step.at[dpar + k] = this->zeros(this->size(shape.params[k]));
      step.row[dpar + k] = step.lanes;
    }
    for (int64_t s = 0; s < states; s++) {
      const char axis = shape.states[s];
      kept[s] = this->zeros((run.every + 1) * spaced(s));
      for (auto &slot : carry) slot[s] = this->zeros(this->size(axis));
      for (const int64_t k : {old, now, dnow, dold}) step.row[k + s] = step.lanes;
      // A gradient that all blocks would see is sent back by one.
      if (dends[s].data && this->writes(axis)) this->gather(axis, this->place(dends[s], axis, 0), carry[0][s], false);
    }
    int turn = 0;
    for (int64_t begin = (run.T - 1) / run.every * run.every; begin >= 0; begin -= run.every) {
      const int64_t end = least(run.T, begin + run.every);
      const auto at_step = [&](int64_t t) {
        this->set_inputs(t);
        for (int64_t s = 0; s < states; s++) {
          step.at[old + s] = kept[s] + (t - begin) * spaced(s);
          step.at[now + s] = step.at[old + s] + spaced(s);
        }
      };
      for (int64_t s = 0; s < states; s++)
        this->gather(shape.states[s], this->place(marks[s], shape.states[s], begin / run.every), kept[s]);
      for (int64_t t = begin; t < end; t++) {
        at_step(t);
        advance(step);
      }
      for (int64_t t = end - 1; t >= begin; t--, turn ^= 1) {
        at_step(t);
        step.at[dout] = nothing;
        if (doutput.data) {
          R *const from = this->place(doutput, 'H', t) + first;
          if (row) this->channels(from, row, false);
          step.at[dout] = row ? row : from;
        }
        for (int64_t s = 0; s < states; s++) step.at[dnow + s] = carry[turn][s], step.at[dold + s] = carry[turn ^ 1][s];
        for (int64_t k = 0; k < inputs; k++) step.at[din + k] = own[k] ? own[k] : gradient(dinputs[k], shape.inputs[k], t);
        backward(step);
        for (int64_t k = 0; k < inputs; k++)
          if (own[k] && dinputs[k].data) {
            const char axis = shape.inputs[k];
            std::memcpy(gradient(dinputs[k], axis, t), own[k], static_cast<size_t>(axis == 'H' ? this->given : run.N) * sizeof(R));
          }
      }
    }
    for (int64_t k = 0; k < params; k++)
      if (dparams[k].data) this->scatter(shape.params[k], step.at[dpar + k], this->place(dparams[k], shape.params[k], 0));
    for (int64_t s = 0; s < states; s++) {
      const char axis = shape.states[s];
      if (dstarts[s].data) this->scatter(axis, carry[turn][s], this->place(dstarts[s], axis, axis == 'M' || axis == 'H' ? 0 : block));
    }
  }

 private:
  int64_t spaced(int64_t s) const { return Base::up(this->size(shape.states[s])); }
  // Where an input's gradient goes: over entries a block has an array of its own, T slots after that of the one before.
  R *gradient(const gatecell_array &a, char axis, int64_t t) const {
    return axis == 'H' ? this->place(a, axis, t) + first : this->place(a, axis, block * run.T + t);
  }
};

template <class Unit> void scan_units(const ScanRun &run) {
  Unit unit(run);
  for (int64_t k = run.first; k < run.last; k++) unit(k);
}
