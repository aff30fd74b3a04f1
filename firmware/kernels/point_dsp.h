/* point_dsp.h: the pointwise rules of docs/arithmetic.md (saturation, requantisation, tanh and sigmoid by the table) in
 * the instructions of Armv7E-M and its successors, and in those of Armv7-M. Text that the generator writes into a model;
 * the portable C beside each form gives the same bits. No product of matrices, no cell; the table is the model's own.
 *
 * Instructions with DSP, sums and constants in registers: sat16 1, requant 2, tanh 11, sigmoid 12. */
#ifndef GATECELL_POINT
#define GATECELL_POINT

#if defined(__thumb2__) && defined(__OPTIMIZE__) && defined(__ARM_FEATURE_SAT)
#define POINT_SSAT 1
#if defined(__ARM_FEATURE_DSP) && !defined(__ARM_BIG_ENDIAN)
#define POINT_DSP 1
#endif
#define POINT_INLINE static inline __attribute__((always_inline, unused)) /* constants must reach the instructions */
#elif defined(__GNUC__)
#define POINT_INLINE static inline __attribute__((unused))
#else
#define POINT_INLINE static inline
#endif

/* min(max(v, -32768), 32767) */
POINT_INLINE int32_t point_sat16(int32_t v) {
#ifdef POINT_SSAT
    int32_t r;
    __asm__("ssat %0, #16, %1" : "=r"(r) : "r"(v));
    return r;
#else
    return v > 32767 ? 32767 : v < -32768 ? -32768 : v;
#endif
}

/* sat16(v >> n), n a constant in 1..31 */
POINT_INLINE int32_t point_sat16_shifted(int32_t v, int n) {
#ifdef POINT_SSAT
    int32_t r;
    __asm__("ssat %0, #16, %1, asr %2" : "=r"(r) : "r"(v), "I"(n));
    return r;
#else
    return point_sat16(v >> n);
#endif
}

/* sat16(floor((acc m + 2^(15 + n)) / 2^(16 + n))), n a constant in 1..30. m in 1..32767 is half k (a constant, 0 or 1) of
 * `pair`: two multipliers in a word. For a sum that is held 256 times (packed products) n is 8 more than the layer's. */
POINT_INLINE int32_t point_requant(int32_t acc, uint32_t pair, int k, int n) {
    int32_t high;
#if defined(POINT_DSP)
    if (k)
        __asm__("smlawt %0, %1, %2, %3" : "=r"(high) : "r"(acc), "r"(pair), "r"(1 << (n - 1)));
    else
        __asm__("smlawb %0, %1, %2, %3" : "=r"(high) : "r"(acc), "r"(pair), "r"(1 << (n - 1)));
#else
    const int32_t m = (int32_t)(k ? pair >> 16 : pair & 0xFFFFu);
#if defined(POINT_SSAT) || defined(__riscv_mul)
    high = (int32_t)(((int64_t)acc * (m * 65536)) >> 32) + (1 << (n - 1)); /* the upper word of a long product */
#else
    high = (acc >> 16) * m + (int32_t)(((uint32_t)acc & 0xFFFFu) * (uint32_t)m >> 16) + (1 << (n - 1));
#endif
#endif
    return point_sat16_shifted(high, n);
}

/* L(a, k, s) of the rule: the chord of the table at a in 0..32768, with 2^k arguments to an entry; k, s constants. */
POINT_INLINE int32_t point_chord(const int16_t *table, int32_t a, int k, int s) {
    const int32_t i = a >> k, f = a & ((1 << k) - 1);
#if defined(POINT_DSP) && defined(__ARM_FEATURE_UNALIGNED)
    uint32_t ends, parts = ((uint32_t)f << 16) | (uint32_t)((1 << k) - f);
    int32_t r;
    __builtin_memcpy(&ends, table + i, sizeof ends); /* both entries with one load */
    __asm__("smlad %0, %1, %2, %3" : "=r"(r) : "r"(ends), "r"(parts), "r"(1 << (s - 1)));
    return r >> s;
#else
    const int32_t v = table[i], d = table[i + 1] - v;
    return (v * (1 << k) + d * f + (1 << (s - 1))) >> s;
#endif
}

/* Q3.12 to Q0.15: tanh(a) in [-32767, 32767], sigmoid(a) in [11, 32757]. Signs by mask where every instruction counts, by
 * choice elsewhere: compilers do well with either, and provers of ranges with the second. */
POINT_INLINE int32_t point_tanh(const int16_t *table, int32_t a) {
#ifdef POINT_DSP
    const int32_t sign = a >> 31, t = point_chord(table, (a ^ sign) - sign, 6, 6);
    return (t ^ sign) - sign;
#else
    const int32_t t = point_chord(table, a < 0 ? -a : a, 6, 6);
    return a < 0 ? -t : t;
#endif
}

POINT_INLINE int32_t point_sigmoid(const int16_t *table, int32_t a) {
#ifdef POINT_DSP
    const int32_t sign = a >> 31, t = point_chord(table, (a ^ sign) - sign, 7, 8);
    return (t ^ sign) - sign + 16384;
#else
    const int32_t t = point_chord(table, a < 0 ? -a : a, 7, 8);
    return a < 0 ? 16384 - t : 16384 + t;
#endif
}
#endif
