/* ReLU networks over flat parameters, laid out as in learn/mlp.py: weight (stack, out, in), bias (stack, out), … */
#include <math.h>

#include "panels.h"

enum { MAX_LAYERS = 8 };

/* Networks of one shape. */
typedef struct {
    int64_t layers, stack;
    const int64_t *sizes; /* layers + 1 */
    float *params, *grads;
    float *mean, *square; /* Adam's moments */
} Net;

/* Memory of an update, for batches of `rows`. */
typedef struct {
    long rows, stride;       /* stride: floats of a panel */
    float *packed, *bias;    /* one layer's weights as panels, its bias padded */
    float *grad[2];          /* gradients of two neighbouring layers */
    int32_t *every;          /* 0, 1, 2, …: picks every row */
} Work;

/* Activations of the hidden layers of one network. */
typedef struct {
    float *hidden[MAX_LAYERS];
} Tape;

static long size_of(const Net *net) {
    long size = 0;
    for (long l = 0; l < net->layers; l++) size += net->stack * net->sizes[l + 1] * (net->sizes[l] + 1);
    return size;
}

static float *weight_of(const Net *net, float *flat, long which, long layer) {
    for (long l = 0; l < layer; l++) flat += net->stack * net->sizes[l + 1] * (net->sizes[l] + 1);
    return flat + which * net->sizes[layer + 1] * net->sizes[layer];
}

static float *bias_of(const Net *net, float *flat, long which, long layer) {
    const long out = net->sizes[layer + 1];
    return weight_of(net, flat, 0, layer) + net->stack * out * net->sizes[layer] + which * out;
}

static void pack_bias(const float *bias, long out, Work *work) {
    memset(work->bias, 0, rounded_up(out, PANEL) * sizeof(float));
    memcpy(work->bias, bias, out * sizeof(float));
}

/* One layer forward. */
INLINE void layer_forward(const Net *net, long which, long l, const float *x, const Finish how, Work *work, float *out) {
    pack_transposed(net->sizes[l], net->sizes[l + 1], weight_of(net, net->params, which, l), work->packed);
    pack_bias(bias_of(net, net->params, which, l), net->sizes[l + 1], work);
    const Extra extra = {work->bias, work->bias, work->every, 0};
    product(work->rows, net->sizes[l], net->sizes[l + 1], x, work->packed, how, &extra, work->stride, out);
}

static void hidden_forward(const Net *net, long which, const float *x, const Tape *tape, Work *work) {
    for (long l = 0; l < net->layers - 1; l++) {
        layer_forward(net, which, l, x, RELU, work, tape->hidden[l]);
        x = tape->hidden[l];
    }
}

/* Outputs of a network's last layer, as panels. */
static void outputs(const Net *net, long which, const Tape *tape, Work *work, float *out) {
    layer_forward(net, which, net->layers - 1, tape->hidden[net->layers - 2], LINEAR, work, out);
}

/* The one output of a critic, shape (rows). */
static void values(const Net *net, long which, const Tape *tape, Work *work, float *out) {
    const long last = net->layers - 1, width = net->sizes[last];
    const float bias = *bias_of(net, net->params, which, last);
    pack_bias(weight_of(net, net->params, which, last), width, work);
    for (long r = 0; r < work->rows; r++) {
        vec sum = {0};
        for (long n = 0; n < width; n += LANES)
            sum += load(work->bias + n) * load(tape->hidden[last - 1] + n / PANEL * work->stride + r * PANEL + n % PANEL);
        float part[LANES];
        store(part, sum);
        for (int half = LANES / 2; half > 0; half /= 2)
            for (int i = 0; i < half; i++) part[i] += part[i + half];
        out[r] = part[0] + bias;
    }
}

/* From the gradient at a critic's values to the one at its last hidden layer, work->grad[0]. */
static void values_backward(const Net *net, long which, const Tape *tape, long rows, const int32_t *picked,
                            const float *value_grad, int with_params, Work *work) {
    const long last = net->layers - 1, width = net->sizes[last];
    pack_bias(weight_of(net, net->params, which, last), width, work);
    for (long n = 0; n < width; n += LANES) {
        const long at = n / PANEL * work->stride + n % PANEL;
        const float *hidden = tape->hidden[last - 1] + at;
        const vec weight = load(work->bias + n);
        vec sum = {0};
        for (long r = 0; r < rows; r++) {
            const vec active = load(hidden + picked[r] * PANEL);
            sum += value_grad[r] * active;
            store(work->grad[0] + at + r * PANEL, where_positive(active, value_grad[r] * weight));
        }
        const long columns = width - n < LANES ? width - n : LANES;
        if (with_params) memcpy(weight_of(net, net->grads, which, last) + n, &sum, columns * sizeof(float));
    }
    float total = 0.0f;
    for (long r = 0; r < rows; r++) total += value_grad[r];
    if (with_params) *bias_of(net, net->grads, which, last) = total;
}

/* From the gradient `grad` at the outputs of layer `from` down to the one at the first layer's, which is returned. */
static const float *backward(const Net *net, long which, long from, const float *x, const Tape *tape, long rows,
                             const int32_t *picked, int with_params, const float *grad, Work *work) {
    for (long l = from; l >= 0; l--) {
        const long in = net->sizes[l], out = net->sizes[l + 1];
        const float *below = l ? tape->hidden[l - 1] : x;
        if (with_params) {
            weight_gradient(rows, out, in, grad, below, work->stride, weight_of(net, net->grads, which, l));
            column_sums(rows, out, grad, work->stride, bias_of(net, net->grads, which, l));
        }
        if (l == 0) break;
        float *next = grad == work->grad[0] ? work->grad[1] : work->grad[0];
        const Extra extra = {work->bias, below, picked, work->stride};
        pack(out, in, weight_of(net, net->params, which, l), in, out * PANEL, work->packed);
        product(rows, out, in, grad, work->packed, MASKED, &extra, work->stride, next);
        grad = next;
    }
    return grad;
}

/* Adam (Kingma and Ba 2015), as learn/adam.py. */
static void adam_step(float *restrict params, const float *restrict grads, float *restrict mean, float *restrict square,
                      long count, double rate, int64_t steps) {
    const float first = 1.0 - 0.9, second = 1.0 - 0.999, decay = 0.999;
    const float size = rate / (1.0 - pow(0.9, steps)), root = 1.0 / sqrt(1.0 - pow(0.999, steps));
    for (long i = 0; i < count; i++) {
        mean[i] += (grads[i] - mean[i]) * first;
        square[i] = square[i] * decay + grads[i] * grads[i] * second;
        params[i] -= mean[i] / (sqrtf(square[i]) * root + 1e-8f) * size;
    }
}
