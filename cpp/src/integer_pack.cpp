// Packs an integer step's weights in the order in which the kernels read them, and lays out a run's scratch.  Not here: instructions.
#include <algorithm>

#include "integer.hpp"

namespace gatecell {
namespace {

// The largest share of a block's entries that is stored, so that skipping the others is worth it.
constexpr double MOST_STORED = 0.5;

// A block of weights: one operand's products with up to four accumulators, side by side.
struct Block {
  int32_t operand;
  Form form;
  std::vector<int32_t> columns, arrays, shifts;
  int64_t at = 0, steps = 0;  // at: in half a panel; sparse: the first start
  bool sparse = false, packed = false;
};

// A block times one plane of its operand's rows.
struct Piece {
  Block *block;
  int32_t plane;
  int32_t extra;  // shift of the plane
  int32_t shift(size_t column) const { return block->shifts[column] + extra; }
};

int64_t element_bytes(Form form) { return form == Form::words16 ? 2 : 1; }
int64_t elements(Form form) { return form == Form::bytes ? 4 : 2; }  // of a lane

int64_t depth(const gatecell_integer &step, const Block &b) {  // of the operand
  return step.vectors[static_cast<size_t>(step.operands[static_cast<size_t>(b.operand)].vector)].size;
}

bool within(const gatecell_ints &a, int32_t bound) {
  return std::all_of(a.values, a.values + a.length, [&](int32_t v) { return -bound <= v && v <= bound; });
}

// One block per operand and use of it; more than four accumulators are cut.
std::vector<Block> blocks_of(const gatecell_integer &step, const IntLoop &loop, const gatecell_ints *arrays) {
  std::vector<Block> whole;
  for (size_t a = 0; a < loop.accumulators.size(); a++)
    for (const IntSource &s : loop.accumulators[a].sources) {
      const auto column = static_cast<int32_t>(a);
      const bool bytes = step.operands[static_cast<size_t>(s.operand)].bytes;
      const Form form = bytes ? Form::bytes : step.traits.narrow && within(arrays[s.array], 127) ? Form::words8 : Form::words16;
      auto b = std::find_if(whole.begin(), whole.end(),
                            [&](const Block &v) { return v.operand == s.operand && v.form == form && v.columns.back() != column; });
      if (b == whole.end()) b = whole.insert(whole.end(), Block{s.operand, form, {}, {}, {}});
      b->columns.push_back(column);
      b->arrays.push_back(s.array);
      b->shifts.push_back(s.shift);
    }
  std::vector<Block> blocks;
  for (const Block &w : whole)
    for (size_t c = 0; c < w.columns.size(); c += PASS_COLUMNS) {
      const auto cut = [&](const std::vector<int32_t> &v) {
        return std::vector<int32_t>(v.begin() + static_cast<int64_t>(c),
                                    v.begin() + static_cast<int64_t>(std::min(c + PASS_COLUMNS, v.size())));
      };
      blocks.push_back({w.operand, w.form, cut(w.columns), cut(w.arrays), cut(w.shifts)});
    }
  return blocks;
}

// Segments whose shifts fall from one to the next share a pass: what is shifted behind one of them is shifted once for all before it.
std::vector<std::vector<Piece>> chains_of(const gatecell_integer &step, std::vector<Block> &blocks) {
  std::vector<std::vector<Piece>> chains;
  std::vector<Piece> parts;
  for (Block &b : blocks) {
    const bool two = b.form == Form::bytes && step.operands[static_cast<size_t>(b.operand)].planes == 2;
    if (two) parts.push_back({&b, 0, 8});
    parts.push_back({&b, two ? 1 : 0, 0});
  }
  const auto largest = [](const Piece &p) { return *std::max_element(p.block->shifts.begin(), p.block->shifts.end()) + p.extra; };
  std::stable_sort(parts.begin(), parts.end(), [&](const Piece &p, const Piece &q) { return largest(p) > largest(q); });
  for (const Piece &p : parts) {
    const auto follows = [&](const std::vector<Piece> &chain) {
      const Piece &last = chain.back();
      if (last.block->form != p.block->form || last.block->sparse != p.block->sparse || last.block->columns != p.block->columns)
        return false;
      for (size_t c = 0; c < p.block->columns.size(); c++)
        if (last.shift(c) < p.shift(c)) return false;
      return true;
    };
    auto chain = std::find_if(chains.begin(), chains.end(), follows);
    if (chain == chains.end()) chain = chains.insert(chains.end(), std::vector<Piece>{});
    chain->push_back(p);
  }
  return chains;
}

void passes_of(const gatecell_integer &step, IntLoop &loop, const std::vector<std::vector<Piece>> &chains) {
  std::vector<bool> begun(loop.accumulators.size(), false);
  for (const std::vector<Piece> &chain : chains) {
    const Block &first = *chain.front().block;
    IntPass pass{first.form, first.sparse, static_cast<int32_t>(first.columns.size()), {}, {}, {}};
    for (size_t c = 0; c < first.columns.size(); c++) {
      pass.column[c] = int64_t{first.columns[c]} * 2 * step.traits.lanes;
      pass.begun[c] = begun[static_cast<size_t>(first.columns[c])];
      begun[static_cast<size_t>(first.columns[c])] = true;
    }
    for (size_t k = 0; k < chain.size(); k++) {
      const Piece &p = chain[k];
      IntSegment segment{p.block->operand, p.plane, p.block->steps, p.block->at, {}, false};
      for (size_t c = 0; c < first.columns.size(); c++) {
        segment.shift[c] = p.shift(c) - (k + 1 < chain.size() ? chain[k + 1].shift(c) : 0);
        segment.shifts |= segment.shift[c] != 0;
      }
      pass.segments.push_back(segment);
    }
    loop.passes.push_back(std::move(pass));
  }
}

// The unit of a lane of a group's half.
int64_t unit_of(int64_t lanes, int64_t group, int64_t half, int64_t lane) { return group * 2 * lanes + lane / 4 * 8 + half * 4 + lane % 4; }

void write_block(const gatecell_integer &step, const IntLoop &loop, const Block &b, const gatecell_ints *arrays, uint8_t *base) {
  const int64_t lanes = step.traits.lanes, per = elements(b.form), k = depth(step, b);
  for (int64_t panel = 0; panel < loop.groups * 2; panel++) {
    uint8_t *to = base + panel * loop.half_panel + b.at;
    for (int64_t s = 0; s < b.steps; s++)
      for (const int32_t array : b.arrays)
        for (int64_t lane = 0; lane < lanes; lane++) {
          const int64_t u = unit_of(lanes, panel / 2, panel % 2, lane);
          for (int64_t e = s * per; e < (s + 1) * per; e++, to += element_bytes(b.form)) {
            const int32_t w = u < loop.size && e < k ? arrays[array].values[u * k + e] : 0;
            to[0] = static_cast<uint8_t>(w);
            if (b.form == Form::words16) to[1] = static_cast<uint8_t>(w >> 8);
          }
        }
  }
}

// Entries of a chain's blocks, in the order in which products read them.  A block's two planes read the same ones.
void write_sparse(gatecell_integer &step, const IntLoop &loop, const std::vector<Piece> &chain, const gatecell_ints *arrays) {
  std::vector<Block *> blocks;
  const auto columns = static_cast<int64_t>(chain.front().block->columns.size());
  for (const Piece &p : chain)
    if (p.block->sparse && !p.block->packed) {
      p.block->packed = true;
      p.block->at = static_cast<int64_t>(step.starts.size());
      step.starts.resize(step.starts.size() + static_cast<size_t>(loop.groups * columns));
      blocks.push_back(p.block);
    }
  for (int64_t k = 0; k < loop.groups * columns; k++)  // [group][column]
    for (const Block *b : blocks) {
      const int32_t *matrix = arrays[b->arrays[static_cast<size_t>(k % columns)]].values;
      const SparseBlock entries(step, b->form, loop.size, depth(step, *b));
      step.starts[static_cast<size_t>(b->at + k)] = entries.append(step, matrix, k / columns);
    }
}

// Biases, with what the offset of the operands' bytes adds taken off (modulo 2^32, as the sums are), and multipliers.
void write_words(gatecell_integer &step, IntLoop &loop, const gatecell_ints *arrays) {
  const int64_t lanes = step.traits.lanes, rows = loop.groups * static_cast<int64_t>(loop.accumulators.size()) * 2 * lanes;
  loop.bias = static_cast<int64_t>(step.words.size());
  loop.scale = loop.bias + rows;
  step.words.resize(step.words.size() + static_cast<size_t>(rows * 3), 0);
  int32_t *bias = step.words.data() + loop.bias, *scale = step.words.data() + loop.scale;
  for (int64_t g = 0; g < loop.groups; g++)
    for (const IntAccumulator &a : loop.accumulators)
      for (int64_t half = 0; half < 2; half++, bias += lanes, scale += 2 * lanes)
        for (int64_t lane = 0; lane < lanes; lane++) {
          const int64_t u = unit_of(lanes, g, half, lane);
          if (u >= loop.size) continue;
          auto sum = static_cast<uint32_t>(arrays[a.b].values[u]);
          for (const IntSource &s : a.sources) {
            const IntOperand &o = step.operands[static_cast<size_t>(s.operand)];
            if (!o.bytes || !step.traits.offset) continue;
            const int64_t k = step.vectors[static_cast<size_t>(o.vector)].size;
            uint32_t total = 0;
            for (int64_t i = 0; i < k; i++) total += static_cast<uint32_t>(arrays[s.array].values[u * k + i]);
            sum -= (total * 128u) << (s.shift + (o.planes == 2 ? 8 : 0));
          }
          bias[lane] = static_cast<int32_t>(sum);
          scale[lane] = arrays[a.m].values[u];
          scale[lanes + lane] = scale[lane] * 65536;
        }
}

}  // namespace

int64_t padded(const gatecell_integer &step, int64_t units) {
  const int64_t group = 2 * int64_t{step.traits.lanes};
  return (units + group - 1) / group * group;
}

void pack(gatecell_integer &step, IntLoop &loop, const gatecell_ints *arrays) {
  loop.groups = padded(step, loop.size) / (2 * step.traits.lanes);
  std::vector<Block> blocks = blocks_of(step, loop, arrays);
  loop.half_panel = 0;
  for (Block &b : blocks) {
    const int64_t k = depth(step, b), columns = static_cast<int64_t>(b.columns.size());
    const SparseBlock entries(step, b.form, loop.size, k);
    int64_t stored = 0;
    for (const int32_t array : b.arrays) stored += entries.stored(arrays[array].values);
    const double share = static_cast<double>(stored) / static_cast<double>(columns * entries.all());
    b.sparse = share <= MOST_STORED;
    step.work += static_cast<double>(loop.size * k * columns) * (b.sparse ? share : 1.0);
    b.steps = (k + elements(b.form) - 1) / elements(b.form);
    if (b.sparse) continue;
    b.at = loop.half_panel;
    loop.half_panel += b.steps * columns * step.traits.lanes * elements(b.form) * element_bytes(b.form);
  }
  step.weights.resize((step.weights.size() + 63) / 64 * 64);
  loop.weights = static_cast<int64_t>(step.weights.size());
  step.weights.resize(step.weights.size() + static_cast<size_t>(loop.groups * 2 * loop.half_panel));
  for (const Block &b : blocks)
    if (!b.sparse) write_block(step, loop, b, arrays, step.weights.data() + loop.weights);
  const std::vector<std::vector<Piece>> chains = chains_of(step, blocks);
  for (const std::vector<Piece> &chain : chains) write_sparse(step, loop, chain, arrays);
  passes_of(step, loop, chains);
  write_words(step, loop, arrays);
}

IntLayout lay_out(const gatecell_integer &step, int64_t rows) {
  IntLayout to;
  int64_t at = 0;
  const auto take = [&](int64_t bytes) {
    const int64_t begin = at;
    at += (bytes + 63) / 64 * 64;
    return begin;
  };
  for (size_t v = 0; v < step.vectors.size(); v++) {
    const IntVector &info = step.vectors[v];
    const int64_t bytes = rows * padded(step, info.size) * 2;
    const bool kept = info.place == Place::state || info.place == Place::temp || (info.place == Place::input && info.read);
    to.rows[v] = kept ? take(bytes) : 0;
    to.fresh[v] = info.place == Place::state ? take(bytes) : to.rows[v];
  }
  for (size_t o = 0; o < step.operands.size(); o++) {
    const IntOperand &info = step.operands[o];
    const int64_t bytes = rows * info.planes * info.row;
    to.operand[o] = take(bytes);
    to.next[o] = step.vectors[static_cast<size_t>(info.vector)].place == Place::state ? take(bytes) : to.operand[o];
  }
  at += WINDOW_BYTES;  // which sparse products read from a window's beginning, to beyond the operand
  to.stages = take(2 * static_cast<int64_t>(step.loops.size() * sizeof(IntStage)));
  to.enters = take(2 * static_cast<int64_t>(step.operands.size() * sizeof(IntEnter)));
  to.sources = take(2 * step.segments * static_cast<int64_t>(sizeof(IntRows)));
  to.slots = take(2 * step.slots * static_cast<int64_t>(sizeof(IntTile::Rows)));
  const int64_t lanes = step.traits.lanes, few = rows == 1 ? SUM_GROUPS : std::min(rows, SUM_ROWS);
  int64_t sums = 0, registers = 0;
  for (const IntLoop &loop : step.loops) {
    sums = std::max(sums, static_cast<int64_t>(loop.accumulators.size()) * 2 * few * lanes * 4);
    if (loop.step < 0) registers = std::max(registers, static_cast<int64_t>(loop.points.size() + 1) * POINT_ROWS * 2 * lanes * 4);
  }
  to.sums = take(sums);
  to.registers = take(registers);
  to.runner = take(INT_RUNNER_BYTES);
  to.bytes = at;
  return to;
}

}  // namespace gatecell
