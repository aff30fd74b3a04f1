/* point_dsp.h: the pointwise rules of docs/arithmetic.md (saturation, requantisation, tanh and sigmoid by the table), in
 * the instructions of cores with Arm's DSP extension and, beside them, in portable C that gives the same bits. Text that
 * the generator writes into a model, after `static const int16_t tanh_table[514]`; functions are apart by blank lines.
 * No product of matrices, no cell.
 *
 * Instructions with the extension, constants in registers: sat16 1, requantize 2, tanh_q 11, sigmoid_q 12. */

#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && !defined(__ARM_BIG_ENDIAN) && defined(__OPTIMIZE__)
#define GATECELL_DSP 1
#define GATECELL_INLINE static inline __attribute__((always_inline)) /* shifts have to reach the instructions as constants */
#else
#define GATECELL_INLINE static inline
#endif

/* v within int16. */
GATECELL_INLINE int32_t sat16(int32_t v) {
#ifdef GATECELL_DSP
    int32_t r;
    __asm__("ssat %0, #16, %1" : "=r"(r) : "r"(v));
    return r;
#else
    return v > 32767 ? 32767 : v < -32768 ? -32768 : v;
#endif
}

/* floor((acc m + 2^(15 + shift)) / 2^(16 + shift)), saturated to int16; m in 1..32767, shift a constant in 1..30. For a sum
 * that is held 256 times (dot_packed), shift is 8 more than the layer's. */
GATECELL_INLINE int32_t requantize(int32_t acc, int32_t m, int shift) {
#if defined(GATECELL_DSP)
    int32_t r;
    __asm__("smlawb %0, %1, %2, %3" : "=r"(r) : "r"(acc), "r"(m), "r"((int32_t)1 << (shift - 1)));
    __asm__("ssat %0, #16, %1, asr %2" : "=r"(r) : "r"(r), "I"(shift));
    return r;
#elif defined(__ARM_ARCH_6M__) || defined(__AVR__)
    const int32_t high = (acc >> 16) * m + (int32_t)((((uint32_t)acc & 0xFFFFu) * (uint32_t)m) >> 16);
    return sat16((high + ((int32_t)1 << (shift - 1))) >> shift);
#else
    const int32_t high = (int32_t)(((int64_t)acc * (m * 65536)) >> 32); /* the upper word of a long product */
    return sat16((high + ((int32_t)1 << (shift - 1))) >> shift);
#endif
}

/* Between two entries of the table; the argument's magnitude in steps of 2^-bits entries. */
GATECELL_INLINE int32_t chord(int32_t magnitude, int bits, int shift) {
    const int32_t at = magnitude >> bits, part = magnitude & (((int32_t)1 << bits) - 1);
#if defined(GATECELL_DSP) && defined(__ARM_FEATURE_UNALIGNED)
    uint32_t ends; /* both entries with one load, both products with one instruction */
    int32_t sum;
    __builtin_memcpy(&ends, tanh_table + at, sizeof ends);
    const uint32_t parts = ((uint32_t)part << 16) | (uint32_t)(((int32_t)1 << bits) - part);
    __asm__("smlad %0, %1, %2, %3" : "=r"(sum) : "r"(ends), "r"(parts), "r"((int32_t)1 << (shift - 1)));
    return sum >> shift;
#else
    const int32_t low = tanh_table[at], rise = tanh_table[at + 1] - low;
    return (low * ((int32_t)1 << bits) + rise * part + ((int32_t)1 << (shift - 1))) >> shift;
#endif
}

/* Q3.12 -> Q0.15, at most 1.22 steps off. Signs by mask where that saves instructions, by choice where a prover reads. */
GATECELL_INLINE int32_t tanh_q(int32_t a) {
#ifdef GATECELL_DSP
    const int32_t sign = a >> 31, t = chord((a ^ sign) - sign, 6, 6);
    return (t ^ sign) - sign;
#else
    const int32_t t = chord(a < 0 ? -a : a, 6, 6);
    return a < 0 ? -t : t;
#endif
}

/* Q3.12 -> Q0.15, at most 0.92 steps off. */
GATECELL_INLINE int32_t sigmoid_q(int32_t a) {
#ifdef GATECELL_DSP
    const int32_t sign = a >> 31, t = chord((a ^ sign) - sign, 7, 8);
    return (t ^ sign) - sign + 16384;
#else
    const int32_t t = chord(a < 0 ? -a : a, 7, 8);
    return a < 0 ? 16384 - t : 16384 + t;
#endif
}
