// The kernels for baseline; the build gives this file its instruction set.
#define ISA_NAME "baseline"
#define KERNELS baseline_kernels
#include "kernels.inl"
