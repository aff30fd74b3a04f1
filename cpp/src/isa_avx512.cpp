// The kernels for avx512; the build gives this file its instruction set.
#define ISA_NAME "avx512"
#define KERNELS avx512_kernels
#include "kernels.inl"
