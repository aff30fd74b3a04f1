// The sentence that goes with a status; one per thread.
#pragma once
#include "gatecell/gatecell.h"

namespace gatecell {
gatecell_status fail(gatecell_status status, const char *sentence);
}
