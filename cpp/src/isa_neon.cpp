// The kernels for neon; the build gives this file its instruction set.
#define ISA_NAME "neon"
#define KERNELS neon_kernels
#include "kernels.inl"
