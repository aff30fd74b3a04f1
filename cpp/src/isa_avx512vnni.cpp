// The integer kernels for avx512vnni, whose others are those of avx512; the build gives this file its instruction set.
#define INTEGERS avx512vnni_integers
#include "kernels.inl"
