/* dot_dsp.h: rows of int8 weights times a vector on Arm cores with the DSP extension (Cortex-M4, M7, M33, M55). Text that
 * the generator writes into a model; portable C beside each kernel reads the same layout and gives the same bits.
 * Nothing here knows a cell, a requantisation or a table.
 *
 * A block is 1 to 4 rows of weights over n quads of columns, one accumulator per row. A model stores its blocks in the
 * order in which it uses them: a kernel returns where the next one begins. For each quad of columns, for each row, there is one
 * word with the row's four weights w0 w1 w2 w3 (0 in columns that the matrix does not have):
 *
 *   packed  The word's halves are w1 256 + w0 (low) and w3 256 + w2 (high), in two's complement. The vector, made once per
 *           step by dot_pack_*, is two words a quad: u = halves 256 x0 - x1, 256 x2 - x3 and v = halves x1, x3. Then
 *               halves(w) halves(v) + sxtb16(w) halves(u) = 256 (w0 x0 + w1 x1 + w2 x2 + w3 x3),
 *           as sxtb16 leaves w0, w2: three instructions for four products. Accumulators hold 256 times the sum. They may
 *           wrap on the way, which cancels: the result is exact if |256 acc| < 2^31 for the whole of what the caller
 *           adds up, shifts and bias included. Needs |w| <= 127 and |x| <= 127, so that the halves fit int16.
 *   wide    The word's bytes are, lowest first, w0 w2 w1 w3. The vector is int16 in its natural order, at an address that
 *           is a multiple of 4, 4 n of them readable (whatever stands over weights 0 does not matter).
 *           Exact if |acc| < 2^31 for the whole; any int8, any int16.
 *
 * Instructions for a quad of 4, 3, 2, 1 rows: packed 14, 11, 8, 5 (0.875 to 1.25 per product), wide 18, 14, 10, 6 (1.125 to
 * 1.5); a pass of four quads adds two to close the loop, wide three (and once two, and
 * four bytes of stack). The portable forms take 2 to 2.3 per product on Cortex-M3, 3 to 3.5 on RV32. */
#ifndef GATECELL_DOT
#define GATECELL_DOT

/* Not without optimisation, where the compiler keeps too few registers free. */
#if defined(__ARM_FEATURE_DSP) && defined(__thumb2__) && !defined(__ARM_BIG_ENDIAN) && defined(__OPTIMIZE__)
#define GATECELL_DSP 1
#define DOT_INLINE static inline __attribute__((always_inline, unused))
#ifdef __clang__
#define DOT_ONCE static __attribute__((noinline, unused)) /* once a step: one copy, not unrolled for its length */
#else
#define DOT_ONCE static __attribute__((noipa, unused))
#endif

/* n quads: n modulo 4 straight on, then passes of four. With a constant n the compiler keeps what it needs of this. */
#define DOT_QUADS(n, FEW, FOURS, QUAD)                                                                                                     \
    do {                                                                                                                                   \
        if ((n) & 1) FEW(QUAD);                                                                                                            \
        if ((n) & 2) FEW(QUAD QUAD);                                                                                                       \
        if ((n) > 3) FOURS(QUAD QUAD QUAD QUAD);                                                                                           \
    } while (0)
#define DOT_ROWS(n, rows, FEW, FOURS, ROW)                                                                                                 \
    do {                                                                                                                                   \
        if ((rows) == 4) DOT_QUADS(n, FEW, FOURS, DOT_LOAD("r8-r11") ROW("a0", "r8") ROW("a1", "r9") ROW("a2", "r10") ROW("a3", "r11"));   \
        if ((rows) == 3) DOT_QUADS(n, FEW, FOURS, DOT_LOAD("r8-r10") ROW("a0", "r8") ROW("a1", "r9") ROW("a2", "r10"));                    \
        if ((rows) == 2) DOT_QUADS(n, FEW, FOURS, DOT_LOAD("r8-r9") ROW("a0", "r8") ROW("a1", "r9"));                                      \
        if ((rows) == 1) DOT_QUADS(n, FEW, FOURS, DOT_LOAD("r8") ROW("a0", "r8"));                                                         \
    } while (0)
#define DOT_LOAD(words) "ldrd r12, lr, [%[x]], #8\n ldmia %[w]!, {" words "}\n"
#define DOT_OPERANDS [w] "+r"(w), [x] "+r"(x), [a0] "+r"(a0), [a1] "+r"(a1), [a2] "+r"(a2), [a3] "+r"(a3)
#define DOT_CLOBBERS "cc", "memory", "r8", "r9", "r10", "r11", "r12", "lr"
#elif defined(__GNUC__)
#define DOT_INLINE static inline __attribute__((unused))
#define DOT_ONCE DOT_INLINE
#else
#define DOT_INLINE static inline
#define DOT_ONCE DOT_INLINE
#endif

/* A signed half or byte of a word: k = 0 or 1, 0 to 3. */
DOT_INLINE int32_t dot_half(uint32_t word, int k) { return (int32_t)((word >> (16 * k) & 0xFFFFu) ^ 0x8000u) - 0x8000; }
DOT_INLINE int32_t dot_byte(uint32_t word, int k) { return (int32_t)((word >> (8 * k) & 0xFFu) ^ 0x80u) - 0x80; }

/* Adds a packed block to a[0 .. rows - 1] (256 times its sums); those of rows that are not there stay. Returns the end of
 * the block. rows is a constant. */
DOT_INLINE const uint32_t *dot_packed(const uint32_t *w, const uint32_t *x, int n, int rows, int32_t a[4]) {
#ifdef GATECELL_DSP
#define DOT_ROW(a, w) "smlad %[" a "], " w ", lr, %[" a "]\n sxtb16 " w ", " w "\n smlad %[" a "], " w ", r12, %[" a "]\n"
#define DOT_FEW(text) __asm__ volatile(text : DOT_OPERANDS : : DOT_CLOBBERS)
#define DOT_FOURS(text) __asm__ volatile("1:\n" text "cmp %[x], %[end]\n bne 1b\n" : DOT_OPERANDS : [end] "r"(end) : DOT_CLOBBERS)
    const uint32_t *const end = x + 2 * n;
    int32_t a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];
    DOT_ROWS(n, rows, DOT_FEW, DOT_FOURS, DOT_ROW);
    a[0] = a0, a[1] = a1, a[2] = a2, a[3] = a3;
#undef DOT_ROW
#undef DOT_FEW
#undef DOT_FOURS
#else
    for (int q = 0; q < n; q++, x += 2)
        for (int r = 0; r < rows; r++, w++)
            a[r] = (int32_t)((uint32_t)a[r] + (uint32_t)(dot_half(*w, 0) * dot_half(x[1], 0)) +
                             (uint32_t)(dot_half(*w, 1) * dot_half(x[1], 1)) + (uint32_t)(dot_byte(*w, 0) * dot_half(x[0], 0)) +
                             (uint32_t)(dot_byte(*w, 2) * dot_half(x[0], 1)));
#endif
    return w;
}

/* Adds a wide block to a[0 .. rows - 1]; otherwise as dot_packed. */
DOT_INLINE const uint32_t *dot_wide(const uint32_t *w, const int16_t *x, int n, int rows, int32_t a[4]) {
#ifdef GATECELL_DSP
/* One register is missing: `end` waits on the stack while t is the scratch of the rows. */
#define DOT_ROW(a, w)                                                                                                                      \
    "sxtb16 %[t], " w "\n smlad %[" a "], %[t], r12, %[" a "]\n sxtb16 " w ", " w ", ror #8\n smlad %[" a "], " w ", lr, %[" a "]\n"
#define DOT_FEW(text) __asm__ volatile(text : DOT_OPERANDS, [t] "=&r"(t) : : DOT_CLOBBERS)
#define DOT_FOURS(text)                                                                                                                    \
    __asm__ volatile("push {%[t]}\n 1:\n" text "ldr %[t], [sp]\n cmp %[x], %[t]\n bne 1b\n add sp, #4\n"                                   \
                     : DOT_OPERANDS, [t] "+r"(end)                                                                                         \
                     :                                                                                                                     \
                     : DOT_CLOBBERS)
    const int16_t *end = x + 4 * n, *t;
    int32_t a0 = a[0], a1 = a[1], a2 = a[2], a3 = a[3];
    DOT_ROWS(n, rows, DOT_FEW, DOT_FOURS, DOT_ROW);
    a[0] = a0, a[1] = a1, a[2] = a2, a[3] = a3;
#undef DOT_ROW
#undef DOT_FEW
#undef DOT_FOURS
#else
    for (int q = 0; q < n; q++, x += 4)
        for (int r = 0; r < rows; r++, w++)
            a[r] = (int32_t)((uint32_t)a[r] + (uint32_t)(dot_byte(*w, 0) * x[0]) + (uint32_t)(dot_byte(*w, 2) * x[1]) +
                             (uint32_t)(dot_byte(*w, 1) * x[2]) + (uint32_t)(dot_byte(*w, 3) * x[3]));
#endif
    return w;
}

/* The two words of a quad for packed blocks. */
DOT_INLINE void dot_pack_quad(int32_t x0, int32_t x1, int32_t x2, int32_t x3, uint32_t *d) {
    d[0] = ((uint32_t)(x0 * 256 - x1) & 0xFFFFu) | ((uint32_t)(x2 * 256 - x3) << 16);
    d[1] = ((uint32_t)x1 & 0xFFFFu) | ((uint32_t)x3 << 16);
}

/* x: n int8 in [-127, 127]; d: the 2 ceil(n / 4) words of the vector. 15 instructions a quad. */
DOT_ONCE void dot_pack_bytes(const int8_t *x, int n, uint32_t *d) {
    for (; n >= 4; n -= 4, x += 4, d += 2) dot_pack_quad(x[0], x[1], x[2], x[3], d);
    if (n > 0) dot_pack_quad(x[0], n > 1 ? x[1] : 0, n > 2 ? x[2] : 0, 0, d);
}

/* h: n int16 in Q0.15, entering as their int8 views (h 127 + 2^14) >> 15. 24 instructions a quad. */
DOT_INLINE int32_t dot_view(int16_t h) { return ((int32_t)h * 127 + 16384) >> 15; }
DOT_ONCE void dot_pack_views(const int16_t *h, int n, uint32_t *d) {
    for (; n >= 4; n -= 4, h += 4, d += 2) dot_pack_quad(dot_view(h[0]), dot_view(h[1]), dot_view(h[2]), dot_view(h[3]), d);
    if (n > 0) dot_pack_quad(dot_view(h[0]), n > 1 ? dot_view(h[1]) : 0, n > 2 ? dot_view(h[2]) : 0, 0, d);
}
#endif
