/* Matrix products for small networks, with bias, ReLU and the ReLU's mask applied while a tile is in registers.

Activations lie in panels of 32 columns: all rows of columns 0-31, then all rows of columns 32-63, … A panel is what a
product reads next to each other, so activations are never rearranged; weights, which are smaller, are. */
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#if defined(__AVX512F__)
enum { LANES = 16, TILE_ROWS = 8, TILE_COLUMNS = 32 };
#elif defined(__AVX2__) && defined(__FMA__)
enum { LANES = 8, TILE_ROWS = 4, TILE_COLUMNS = 16 };
#else
#error "compile with AVX2 and FMA, or with AVX-512"
#endif
enum { PANEL = 32, ROW_BLOCK = 8, VECTORS = TILE_COLUMNS / LANES };

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t mask_vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef vec Tile[TILE_ROWS][VECTORS];

INLINE vec load(const float *from) { return *(const vec *)from; }
INLINE void store(float *to, vec value) { *(vec *)to = value; }
/* `value` where the gate is not zero or less: NaN passes, so that it shows, as in numpy. */
INLINE vec where_positive(vec gate, vec value) { return (vec)((mask_vec)value & ~(gate <= (vec){0})); }
static inline long rounded_up(long n, long unit) { return (n + unit - 1) / unit * unit; }

/* tile = a · b. a(i, k) = a[k / PANEL * block + k % PANEL * step + i * row]; b has PANEL columns in memory. */
INLINE void multiply(Tile tile, const int vectors, long depth, const float *a, long block, const long row,
                     const long step, const float *b) {
    for (int i = 0; i < TILE_ROWS; i++)
        for (int v = 0; v < vectors; v++) tile[i][v] = (vec){0};
    for (long k = 0; k < depth; k += PANEL, a += block) {
        const float *p = a;
        for (long end = k + PANEL < depth ? k + PANEL : depth, j = k; j < end; j++, b += PANEL, p += step) {
            vec right[VECTORS];
            for (int v = 0; v < vectors; v++) right[v] = load(b + v * LANES);
#pragma GCC unroll 8
            for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++) tile[i][v] += p[i * row] * right[v];
        }
    }
}

typedef enum { LINEAR, RELU, MASKED } Finish;

/* What is done to each row of a product. */
typedef struct {
    const float *bias;      /* LINEAR and RELU: padded to whole panels */
    const float *hidden;    /* MASKED: activations whose positive entries let gradients through */
    const int32_t *picked;  /* MASKED: the row of `hidden` that belongs to each row */
    long hidden_stride;
} Extra;

INLINE void finish(Tile tile, const int vectors, const Finish how, const Extra *extra, long m, long n, float *out) {
    const float *bias = extra->bias + n, *hidden = extra->hidden + n / PANEL * extra->hidden_stride + n % PANEL;
    for (int i = 0; i < TILE_ROWS; i++)
        for (int v = 0; v < vectors; v++) {
            vec value = tile[i][v];
            if (how == MASKED) value = where_positive(load(hidden + extra->picked[m + i] * PANEL + v * LANES), value);
            else value += load(bias + v * LANES);
            store(out + i * PANEL + v * LANES, how == RELU ? where_positive(value, value) : value);
        }
}

/* out (rows, width) = finish(a (rows, depth) · packed (depth, width)), rows rounded up to blocks. */
INLINE void product(long rows, long depth, long width, const float *a, const float *packed, const Finish how,
                    const Extra *extra, long stride, float *out) {
    for (long n = 0; n < width; n += TILE_COLUMNS) {
        const float *b = packed + n / PANEL * depth * PANEL + n % PANEL;
        float *to = out + n / PANEL * stride + n % PANEL;
        for (long m = 0; m < rows; m += TILE_ROWS) {
            Tile tile;
            if (width - n > TILE_COLUMNS / 2) {
                multiply(tile, VECTORS, depth, a + m * PANEL, stride, PANEL, 1, b);
                finish(tile, VECTORS, how, extra, m, n, to + m * PANEL);
            } else {
                multiply(tile, VECTORS / 2, depth, a + m * PANEL, stride, PANEL, 1, b);
                finish(tile, VECTORS / 2, how, extra, m, n, to + m * PANEL);
            }
        }
    }
}

/* weight_grad (out, in) = gradᵀ · x, over exactly `rows` rows. */
static void weight_gradient(long rows, long out, long in, const float *grad, const float *x, long stride,
                            float *weight_grad) {
    for (long n = 0; n < in; n += TILE_COLUMNS) {
        const float *b = x + n / PANEL * stride + n % PANEL;
        const long columns = in - n < TILE_COLUMNS ? in - n : TILE_COLUMNS;
        for (long m = 0; m < out; m += TILE_ROWS) {
            Tile tile;
            const float *a = grad + m / PANEL * stride + m % PANEL;
            if (columns > TILE_COLUMNS / 2) multiply(tile, VECTORS, rows, a, PANEL * PANEL, 1, PANEL, b);
            else multiply(tile, VECTORS / 2, rows, a, PANEL * PANEL, 1, PANEL, b);
            for (long i = 0; i < TILE_ROWS && m + i < out; i++)
                memcpy(weight_grad + (m + i) * in + n, tile[i], columns * sizeof(float));
        }
    }
}

/* bias_grad (out) = sum of grad over `rows` rows. */
static void column_sums(long rows, long out, const float *grad, long stride, float *bias_grad) {
    for (long n = 0; n < out; n += PANEL) {
        vec sum[PANEL / LANES] = {{0}};
        for (long r = 0; r < rows; r++)
            for (int v = 0; v < PANEL / LANES; v++) sum[v] += load(grad + n / PANEL * stride + r * PANEL + v * LANES);
        memcpy(bias_grad + n, sum, (out - n < PANEL ? out - n : PANEL) * sizeof(float));
    }
}

/* Rows of a plain (rows, width) matrix as panels. With weights (in, width): the right side of a product by them. */
static void pack(long rows, long width, const float *from, long from_stride, long stride, float *to) {
    for (long n = 0; n < width; n += PANEL, to += stride) {
        const long columns = width - n < PANEL ? width - n : PANEL;
        for (long r = 0; r < rows; r++) {
            float *line = to + r * PANEL;
            if (columns == PANEL) memcpy(line, from + r * from_stride + n, PANEL * sizeof(float));
            else for (long j = 0; j < PANEL; j++) line[j] = j < columns ? from[r * from_stride + n + j] : 0.0f;
        }
    }
}

typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t quad_index __attribute__((vector_size(16)));

/* to (4, 4) = from (4, 4) transposed. */
INLINE void transpose_quad(const float *from, long from_stride, float *to, long to_stride) {
    const quad_index low = {0, 4, 1, 5}, high = {2, 6, 3, 7}, first = {0, 1, 4, 5}, second = {2, 3, 6, 7};
    quad row[4];
    for (int i = 0; i < 4; i++) row[i] = *(const quad *)(from + i * from_stride);
    const quad a = __builtin_shuffle(row[0], row[1], low), b = __builtin_shuffle(row[2], row[3], low);
    const quad c = __builtin_shuffle(row[0], row[1], high), d = __builtin_shuffle(row[2], row[3], high);
    *(quad *)to = __builtin_shuffle(a, b, first), *(quad *)(to + to_stride) = __builtin_shuffle(a, b, second);
    to += 2 * to_stride;
    *(quad *)to = __builtin_shuffle(c, d, first), *(quad *)(to + to_stride) = __builtin_shuffle(c, d, second);
}

/* The same as `pack` of a transposed matrix: from (width, rows). */
static void pack_transposed(long rows, long width, const float *from, float *to) {
    for (long n = 0; n < width; n += PANEL, to += rows * PANEL) {
        const long whole = (width - n < PANEL ? width - n : PANEL) / 4 * 4;
        for (long j = 0; j < whole; j += 4)
            for (long r = 0; r + 4 <= rows; r += 4)
                transpose_quad(from + (n + j) * rows + r, rows, to + r * PANEL + j, PANEL);
        for (long r = 0; r < rows; r++)
            for (long j = r < rows / 4 * 4 ? whole : 0; j < PANEL; j++)
                to[r * PANEL + j] = n + j < width ? from[(n + j) * rows + r] : 0.0f;
    }
}
