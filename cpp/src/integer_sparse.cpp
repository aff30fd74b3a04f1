// Packs sparse weights as entries with an index (integer.hpp).  Not here: which blocks are sparse (integer_pack.cpp), products.
#include <algorithm>

#include "integer.hpp"

namespace gatecell {

SparseBlock::SparseBlock(const gatecell_integer &step, Form form, int64_t units, int64_t k)
    : traits_(step.traits), form_(form), units_(units), k_(k), per_(form == Form::bytes ? 4 : 2), words_((k + per_ - 1) / per_) {}

// Words of a window that any of the octet's units multiplies, as distances from the first one.
std::vector<int64_t> SparseBlock::words_of(const int32_t *matrix, int64_t octet, int64_t window) const {
  const int64_t first = octet * OCTET, last = std::min(first + OCTET, units_);
  std::vector<int64_t> words;
  for (int64_t word = window; word < std::min(window + traits_.window, words_); word++) {
    const int64_t begin = word * per_, end = std::min(begin + per_, k_);
    bool any = false;
    for (int64_t u = first; u < last; u++) any |= std::any_of(matrix + u * k_ + begin, matrix + u * k_ + end, [](int32_t w) { return w; });
    if (any) words.push_back(word - window);
  }
  return words;
}

int64_t SparseBlock::all() const { return (units_ + OCTET - 1) / OCTET * words_; }

int64_t SparseBlock::stored(const int32_t *matrix) const {
  int64_t sum = 0;
  for (int64_t octet = 0; octet * OCTET < units_; octet++)
    for (int64_t window = 0; window < words_; window += traits_.window)
      sum += turns(static_cast<int64_t>(words_of(matrix, octet, window).size())) * traits_.turn;
  return sum;
}

IntStart SparseBlock::append(gatecell_integer &step, const int32_t *matrix, int64_t group) const {
  step.index.resize((step.index.size() + 7) / 8 * 8);
  step.weights.resize((step.weights.size() + 63) / 64 * 64);
  const IntStart start = {static_cast<uint32_t>(step.counts.size()), static_cast<uint32_t>(step.index.size() / 8),
                          static_cast<uint32_t>(step.weights.size() / 64)};
  const int64_t octets = 2 * traits_.lanes / OCTET;
  for (int64_t window = 0; window < words_; window += traits_.window)
    for (int64_t octet = group * octets; octet < (group + 1) * octets; octet++) {
      const std::vector<int64_t> words = words_of(matrix, octet, window);
      step.counts.push_back(static_cast<uint16_t>(turns(static_cast<int64_t>(words.size()))));
      append_index(step, words);
      append_weights(step, matrix, octet, window, words);
    }
  return start;
}

// A turn of one entry: its index in 16 bits.  Of vectors of two: 32 bits for the first ones of each, and for the second ones, five for a
// vector.
void SparseBlock::append_index(gatecell_integer &step, const std::vector<int64_t> &words) const {
  const auto append = [&](uint64_t value, int bytes) {
    for (int byte = 0; byte < bytes; byte++) step.index.push_back(static_cast<uint8_t>(value >> 8 * byte));
  };
  const auto count = static_cast<int64_t>(words.size());
  for (int64_t first = 0; first < count; first += traits_.turn) {
    if (traits_.turn == 1) {
      append(static_cast<uint64_t>(words[static_cast<size_t>(first)]), 2);
      continue;
    }
    uint64_t index = 0;
    for (int64_t e = 0; e < traits_.turn && first + e < count; e++)
      index |= static_cast<uint64_t>(words[static_cast<size_t>(first + e)]) << (32 * (e % 2) + 5 * (e / 2));
    append(index, 8);
  }
}

void SparseBlock::append_weights(gatecell_integer &step, const int32_t *matrix, int64_t octet, int64_t window,
                                 const std::vector<int64_t> &words) const {
  const int64_t bytes = form_ == Form::words16 ? 2 : 1, side = std::max(traits_.lanes / int32_t{OCTET}, 1);  // entries in a vector
  const auto at = static_cast<int64_t>(step.weights.size()), count = static_cast<int64_t>(words.size());
  step.weights.resize(static_cast<size_t>(at + turns(count) * traits_.turn * OCTET * per_ * bytes), 0);
  for (int64_t e = 0; e < count; e++)
    for (int64_t u = octet * OCTET; u < std::min((octet + 1) * OCTET, units_); u++)
      for (int64_t i = 0; i < per_; i++) {
        const int64_t column = (window + words[static_cast<size_t>(e)]) * per_ + i;
        if (column >= k_) continue;
        const int64_t lane = e / side * side * OCTET + u % OCTET * side + e % side;
        const int32_t w = matrix[u * k_ + column];
        uint8_t *const to = step.weights.data() + at + (lane * per_ + i) * bytes;
        to[0] = static_cast<uint8_t>(w);
        if (bytes == 2) to[1] = static_cast<uint8_t>(w >> 8);
      }
}

}  // namespace gatecell
