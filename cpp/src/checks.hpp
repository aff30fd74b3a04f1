// What every door of the core asks of what it is given.  Not for kernels: an inline function is shared among instruction sets.
#pragma once
#include <algorithm>
#include <cstdint>

#include "gatecell/gatecell.h"

namespace gatecell {
inline int64_t size_of(gatecell_type type) { return type == GATECELL_FLOAT32 ? 4 : 8; }
inline bool is_type(gatecell_type type) { return type == GATECELL_FLOAT32 || type == GATECELL_FLOAT64; }
inline bool good(const int64_t *lengths, int64_t T, int64_t B) {
  return !lengths || std::all_of(lengths, lengths + B, [T](int64_t n) { return 0 <= n && n <= T; });
}
}  // namespace gatecell
