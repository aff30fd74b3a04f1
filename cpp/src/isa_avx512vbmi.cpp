// The integer kernels for avx512vbmi, whose others are those of avx512; the build gives this file its instruction set.
#define INTEGERS avx512vbmi_integers
#include "kernels.inl"
