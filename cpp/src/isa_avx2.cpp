// The kernels for avx2; the build gives this file its instruction set.
#define ISA_NAME "avx2"
#define KERNELS avx2_kernels
#include "kernels.inl"
