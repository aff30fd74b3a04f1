// Replays what tests/replay.py recorded, through the C door, and writes down what came out: for the bits of one build or instruction set
// against another's.  Usage: replay RECORD RESULTS [THREADS]; with THREADS, so many share the units of every run of a layer.  Not here: verdicts; tests/test_builds.py compares.
//
// A record is one command after the other: a letter, then numbers (int64) and blobs (length in bytes, bytes, padding to eight), as the
// functions below read them.  Results are the arrays that a command may have changed, one behind the other.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>
#include <thread>
#include <vector>

#include "dispatch.hpp"
#include "gatecell/gatecell.h"
#include "team.hpp"

namespace {

using Block = std::vector<char>;

void must(bool good, const char *what) {
  if (good) return;
  std::fprintf(stderr, "replay: %s: %s\n", what, gatecell_message());
  std::exit(1);
}
void must(gatecell_status status, const char *what) { must(status == GATECELL_OK, what); }

std::vector<char> record;
size_t position = 0;
std::ofstream results;
int32_t members = 0;

int64_t number() {
  int64_t n = 0;
  must(position + 8 <= record.size(), "the record is cut short");
  std::memcpy(&n, record.data() + position, 8);
  position += 8;
  return n;
}
Block blob() {
  const auto n = static_cast<size_t>(number());
  must(position + n <= record.size(), "the record is cut short");
  Block b(record.begin() + static_cast<std::ptrdiff_t>(position), record.begin() + static_cast<std::ptrdiff_t>(position + n));
  position += (n + 7) / 8 * 8;
  return b;
}
template <class T> std::vector<T> array() {
  const Block b = blob();
  std::vector<T> a(b.size() / sizeof(T));
  if (!b.empty()) std::memcpy(a.data(), b.data(), b.size());
  return a;
}
std::vector<Block> blobs() {
  std::vector<Block> all(static_cast<size_t>(number()));
  for (Block &b : all) b = blob();
  return all;
}
void write(const Block &b) { results.write(b.data(), static_cast<std::streamsize>(b.size())); }

// The memory of a call: blocks, and places in them (block or -1, element, step, row, slots).
struct Memory {
  std::vector<Block> blocks = blobs();
  int64_t size;
  explicit Memory(gatecell_type type) : size(type == GATECELL_FLOAT32 ? 4 : 8) {}
  void *pointer() {
    const int64_t block = number(), element = number();
    return block < 0 ? nullptr : blocks.at(static_cast<size_t>(block)).data() + element * size;
  }
  gatecell_array place() {
    gatecell_array a{pointer(), 0, 0, 0};
    for (int64_t *n : {&a.step, &a.row, &a.slots}) *n = number();
    return a;
  }
  void done() const {
    for (const Block &b : blocks) write(b);
  }
};

struct Layer {
  gatecell_layer *layer;
  gatecell_type type;
};
std::vector<gatecell_plan *> plans;
std::vector<Layer> layers;
std::vector<gatecell_integer *> integers;

void plan() {
  const auto code = array<int32_t>();
  const auto constants = array<double>();
  gatecell_plan *p = nullptr;
  must(gatecell_plan_new(code.data(), static_cast<int64_t>(code.size()), constants.data(), static_cast<int64_t>(constants.size()), &p),
       "plan");
  plans.push_back(p);
}

void layer() {
  const gatecell_plan *p = plans.at(static_cast<size_t>(number()));
  const auto type = static_cast<gatecell_type>(number());
  const int64_t interpret = number();
  const auto sizes = array<int64_t>();
  const auto strides = array<int64_t>();
  const std::vector<Block> matrices = blobs(), biases = blobs();
  std::vector<gatecell_weight> weights;
  for (size_t f = 0; f < matrices.size(); f++)
    weights.push_back({matrices[f].data(), biases[f].empty() ? nullptr : biases[f].data(), strides.at(f)});
  gatecell_layer *l = nullptr;
  must(gatecell_layer_new(p, type, sizes.data(), weights.data(), interpret != 0, &l), "layer");
  layers.push_back({l, type});
}

// By `members` threads that share the units from the first step on, be there work for them or not.
void run_by_units(const Layer &l, int64_t T, int64_t B, const gatecell_array *arrays, const int64_t *lengths, bool late) {
  std::vector<int64_t> order(static_cast<size_t>(lengths ? B : 0));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
  const int64_t common = gatecell::common_bytes(*l.layer, T, B), own = gatecell::scratch_bytes(*l.layer, T, B);
  const auto bytes = static_cast<size_t>(common + members * own);
  char *memory = static_cast<char *>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
  std::memset(memory, 0x7f, bytes);
  gatecell::Team team(members);
  std::vector<std::thread> threads;
  for (int32_t m = 0; m < members; m++)
    threads.emplace_back([&, m] {
      const gatecell::Kernels *k = gatecell::kernels();
      k->run[l.type](k->lay_out[l.type](
          {l.layer, arrays, T, B, 0, lengths ? order.data() : nullptr, lengths, late, false, memory, memory + common + m * own, &team}));
    });
  for (std::thread &t : threads) t.join();
  std::free(memory);
}

void run() {
  const Layer &l = layers.at(static_cast<size_t>(number()));
  const int64_t T = number(), B = number(), threads = number(), late = number();
  const auto lengths = array<int64_t>();
  Memory memory(l.type);
  std::vector<gatecell_array> arrays(static_cast<size_t>(number()));
  for (gatecell_array &a : arrays) a = memory.place();
  const int64_t *of = lengths.empty() ? nullptr : lengths.data();
  if (members && T && B)
    run_by_units(l, T, B, arrays.data(), of, late != 0);
  else
    must(gatecell_layer_run_lengths(l.layer, T, B, arrays.data(), of, static_cast<int32_t>(late), static_cast<int32_t>(threads)), "run");
  memory.done();
}

struct Term {
  std::vector<gatecell_array> gradients;
  gatecell_array argument{};
  std::vector<void *> out, sums;
};

void outer() {
  const auto type = static_cast<gatecell_type>(number());
  const int64_t T = number(), B = number(), threads = number(), late = number();
  const auto lengths = array<int64_t>();
  Memory memory(type);
  std::vector<Term> terms(static_cast<size_t>(number()));
  std::vector<gatecell_outer_products> products;
  for (Term &t : terms) {
    const int64_t gates = number(), N = number(), M = number();
    for (int64_t k = 0; k < gates; k++) t.gradients.push_back(memory.place());
    if (M) t.argument = memory.place();
    for (int64_t k = 0; k < gates; k++) t.out.push_back(memory.pointer());
    for (int64_t k = 0; k < gates; k++) t.sums.push_back(memory.pointer());
    products.push_back({gates, t.gradients.data(), N, M ? &t.argument : nullptr, M, t.out.data(), M, t.sums.data()});
  }
  must(gatecell_outer(type, T, B, products.data(), static_cast<int64_t>(products.size()), lengths.empty() ? nullptr : lengths.data(),
                      static_cast<int32_t>(late), static_cast<int32_t>(threads)),
       "outer");
  memory.done();
}

void function() {
  const auto type = static_cast<gatecell_type>(number());
  Block name = blob();
  name.push_back('\0');
  const Block x = blob();
  Block y(x.size());
  must(gatecell_function(name.data(), type, static_cast<int64_t>(x.size()) / (type == GATECELL_FLOAT32 ? 4 : 8), x.data(), y.data()),
       "function");
  write(y);
}

void sum() {
  const auto type = static_cast<gatecell_type>(number());
  const int64_t A = number(), K = number(), N = number();
  const Block x = blob();
  Block y(static_cast<size_t>(A * N * (type == GATECELL_FLOAT32 ? 4 : 8)));
  must(gatecell_sum(type, A, K, N, x.data(), y.data()), "sum");
  write(y);
}

void mask() {
  const auto type = static_cast<gatecell_type>(number());
  const int64_t T = number(), B = number(), N = number(), step = number(), below = number(), threads = number();
  const auto key = array<uint32_t>();
  const auto samples = array<int64_t>();
  const auto kept = array<double>();
  Block out(static_cast<size_t>(T * B * N * (type == GATECELL_FLOAT32 ? 4 : 8)));
  must(gatecell_mask(type, T, B, N, key.data(), step, samples.empty() ? nullptr : samples.data(), static_cast<uint32_t>(below), kept.at(0),
                     out.data(), static_cast<int32_t>(threads)),
       "mask");
  write(out);
}

void integer() {
  const auto code = array<int32_t>();
  const auto table = array<int32_t>();
  const int64_t interpret = number();
  std::vector<std::vector<int32_t>> arrays(static_cast<size_t>(number()));
  std::vector<gatecell_ints> ints;
  for (auto &a : arrays) {
    a = array<int32_t>();
    ints.push_back({a.data(), static_cast<int64_t>(a.size())});
  }
  gatecell_integer *step = nullptr;
  must(gatecell_integer_new(code.data(), static_cast<int64_t>(code.size()), ints.data(), static_cast<int64_t>(ints.size()), table.data(),
                            static_cast<int64_t>(table.size()), interpret != 0, &step),
       "integer");
  integers.push_back(step);
}

void integer_run() {
  const gatecell_integer *step = integers.at(static_cast<size_t>(number()));
  const int64_t T = number(), B = number(), threads = number();
  int64_t inputs = 0, N = 0;
  gatecell_integer_sizes(step, &inputs, &N, nullptr);
  const auto x = array<int16_t>();
  std::vector<Block> states = blobs();
  std::vector<int16_t *> pointers;
  for (Block &s : states) pointers.push_back(reinterpret_cast<int16_t *>(s.data()));
  Block y(static_cast<size_t>(T * B * N) * sizeof(int16_t));
  must(gatecell_integer_run(step, T, B, x.data(), pointers.data(), reinterpret_cast<int16_t *>(y.data()), static_cast<int32_t>(threads)),
       "integer run");
  write(y);
  for (const Block &s : states) write(s);
}

void scan() {
  const auto which = static_cast<int32_t>(number());
  const auto type = static_cast<gatecell_type>(number());
  const int64_t back = number();
  gatecell_scan_sizes n{};
  for (int64_t *size : {&n.T, &n.B, &n.heads, &n.H, &n.N, &n.every}) *size = number();
  const auto threads = static_cast<int32_t>(number());
  Memory memory(type);
  std::vector<gatecell_array> places(static_cast<size_t>(number()));
  for (gatecell_array &a : places) a = memory.place();
  must((back ? gatecell_scan_backward : gatecell_scan_forward)(which, type, &n, places.data(), threads), "scan");
  memory.done();
}

void quantize() {
  const int64_t rows = number(), N = number(), largest = number();
  const auto x = array<float>(), offset = array<float>(), scale = array<float>();
  Block q(static_cast<size_t>(rows * N) * sizeof(int16_t)), nan(sizeof(int32_t));
  must(gatecell_quantize(rows, N, x.data(), offset.data(), scale.data(), static_cast<int32_t>(largest),
                         reinterpret_cast<int16_t *>(q.data()), reinterpret_cast<int32_t *>(nan.data())),
       "quantize");
  write(q), write(nan);
}

void dequantize() {
  const int64_t rows = number(), N = number();
  const auto q = array<int16_t>();
  const auto scale = array<float>();
  Block y(static_cast<size_t>(rows * N) * sizeof(float));
  must(gatecell_dequantize(rows, N, q.data(), scale.data(), reinterpret_cast<float *>(y.data())), "dequantize");
  write(y);
}

void command(int64_t letter) {
  switch (letter) {
  case 'P': return plan();
  case 'L': return layer();
  case 'R': return run();
  case 'O': return outer();
  case 'F': return function();
  case 'A': return sum();
  case 'M': return mask();
  case 'I': return integer();
  case 'S': return integer_run();
  case 'C': return scan();
  case 'Q': return quantize();
  case 'D': return dequantize();
  default: must(false, "an unknown command");
  }
}

}  // namespace

int main(int argc, char **argv) {
  must(gatecell_cpu() != nullptr, "instruction set");
  must(argc == 3 || argc == 4, "usage: replay RECORD RESULTS [THREADS]");
  members = argc == 4 ? std::atoi(argv[3]) : 0;
  must(0 <= members && members <= gatecell::Team::MOST, "too many threads");
  std::ifstream file(argv[1], std::ios::binary);
  record.assign(std::istreambuf_iterator<char>(file), {});
  results.open(argv[2], std::ios::binary);
  while (position < record.size()) command(number());
  for (const Layer &l : layers) gatecell_layer_free(l.layer);
  for (gatecell_plan *p : plans) gatecell_plan_free(p);
  for (gatecell_integer *i : integers) gatecell_integer_free(i);
  results.flush();
  must(results.good(), "the results cannot be written");
  std::puts(gatecell_cpu());
}
