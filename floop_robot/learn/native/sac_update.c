/* One SAC update in one call. It computes what learn/sac_update.py computes; read that first.

Plain C without libraries, called through ctypes (learn/compiled_update.py). Built once for each instruction set. */
#include "networks.h"

/* Everything that stays from step to step. learn/compiled_update.py has the same fields. */
typedef struct {
    int64_t rows, obs_size, action_size;
    Net actor, critic, target;
    float *log_alpha, *alpha_mean, *alpha_square;
    const float *obs_act, *next_obs_act, *reward, *discount, *success, *noise;
    float *memory;
} Problem;

typedef struct {
    double actor_rate, critic_rate, alpha_rate, tau, target_entropy, fixed_alpha, lowest, highest, imitation_weight;
    int64_t learns_alpha, updates_target, actor_uses_target_critics, actor_steps, critic_steps, alpha_steps;
} Settings;

typedef struct {
    double critic, actor, alpha, alpha_loss, entropy;
} Losses;

/* A draw from the actor; all (rows, action_size), log_prob (rows). */
typedef struct {
    float *mean, *raw_log_std, *spread, *action, *slack, *density, *log_prob;
} Draw;

typedef struct {
    Work work;
    Tape actor_tape, critic_tape[2];
    Draw now, next;
    float *x, *next_x, *head, *q[2], *least, *value, *value_grad, *action_grad;
    int32_t *picked;
} State;

static float *take(float **memory, long count) {
    float *taken = *memory;
    *memory += rounded_up(count, 16);
    return taken;
}

static long widest(const Net *net) {
    long width = 0;
    for (long l = 0; l <= net->layers; l++) width = net->sizes[l] > width ? net->sizes[l] : width;
    return rounded_up(width, PANEL);
}

static void take_draw(Draw *draw, long rows, long action_size, float **memory) {
    float **parts[] = {&draw->mean, &draw->raw_log_std, &draw->spread, &draw->action, &draw->slack, &draw->density};
    for (int i = 0; i < 6; i++) *parts[i] = take(memory, rows * action_size);
    draw->log_prob = take(memory, rows);
}

/* Lays `state` out in `memory`; returns the floats it needs. */
static long lay_out(const Problem *p, State *state, float *memory) {
    float *const begin = memory;
    const long a = widest(&p->actor), c = widest(&p->critic), width = a > c ? a : c;
    const long rows = rounded_up(p->rows, ROW_BLOCK), area = rows * width;
    const long layers = p->actor.layers > p->critic.layers ? p->actor.layers : p->critic.layers;
    state->work.rows = rows, state->work.stride = rows * PANEL;
    state->work.packed = take(&memory, width * width), state->work.bias = take(&memory, width);
    for (int i = 0; i < 2; i++) state->work.grad[i] = take(&memory, area), state->q[i] = take(&memory, rows);
    for (long l = 0; l < layers - 1; l++) {
        state->actor_tape.hidden[l] = take(&memory, area);
        for (int i = 0; i < 2; i++) state->critic_tape[i].hidden[l] = take(&memory, area);
    }
    float **areas[] = {&state->x, &state->next_x, &state->head};
    for (int i = 0; i < 3; i++) *areas[i] = take(&memory, area);
    float **columns[] = {&state->least, &state->value, &state->value_grad};
    for (int i = 0; i < 3; i++) *columns[i] = take(&memory, rows);
    state->action_grad = take(&memory, rows * p->action_size);
    take_draw(&state->now, rows, p->action_size, &memory);
    take_draw(&state->next, rows, p->action_size, &memory);
    state->work.every = (int32_t *)take(&memory, rows), state->picked = (int32_t *)take(&memory, rows);
    return memory - begin;
}

INLINE float bits_as_float(int32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
INLINE int32_t float_as_bits(float x) { int32_t bits; memcpy(&bits, &x, 4); return bits; }

/* exp, log and tanh after Cephes (S. Moshier), without branches, so that compilers vectorise loops over them. */
INLINE float fast_exp(float x) {
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.0f ? -87.0f : x;
    const float shifted = x * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
    const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    return (y * r * r + r + 1.0f) * bits_as_float(((int32_t)n + 127) << 23);
}

INLINE float fast_log(float x) {
    const int32_t bits = float_as_bits(x), shift = bits - 0x3f3504f3; /* mantissa in [√½, √2) */
    const float e = (float)(shift >> 23), m = bits_as_float(bits - (shift & (int32_t)0xff800000)) - 1.0f, z = m * m;
    float y = 7.0376836292e-2f;
    y = y * m - 1.1514610310e-1f;
    y = y * m + 1.1676998740e-1f;
    y = y * m - 1.2420140846e-1f;
    y = y * m + 1.4249322787e-1f;
    y = y * m - 1.6668057665e-1f;
    y = y * m + 2.0000714765e-1f;
    y = y * m - 2.4999993993e-1f;
    y = y * m + 3.3333331174e-1f;
    return m + (y * m * z - 2.12194440e-4f * e - 0.5f * z) + 0.693359375f * e;
}

INLINE float fast_tanh(float x) {
    const float size = fabsf(x), z = x * x;
    const float large = copysignf(1.0f - 2.0f / (fast_exp(2.0f * size) + 1.0f), x);
    float y = -5.70498872745e-3f;
    y = y * z + 2.06390887954e-2f;
    y = y * z - 5.37397155531e-2f;
    y = y * z + 1.33314422036e-1f;
    y = y * z - 3.33332819422e-1f;
    return size < 0.625f ? y * z * x + x : large;
}

static void draw_actions(const Problem *p, const float *x, const float *noise, const Tape *tape, State *s, Draw *draw) {
    const long size = p->action_size, count = p->rows * size;
    hidden_forward(&p->actor, 0, x, tape, &s->work);
    outputs(&p->actor, 0, tape, &s->work, s->head);
    for (long r = 0; r < p->rows; r++)
        for (long j = 0; j < 2 * size; j++)
            (j < size ? draw->mean : draw->raw_log_std - size)[r * size + j] =
                s->head[j / PANEL * s->work.stride + r * PANEL + j % PANEL];
    const float *mean = draw->mean, *raw = draw->raw_log_std;
    float *spread = draw->spread, *action = draw->action, *slack = draw->slack, *density = draw->density;
    float *term = s->action_grad; /* free until the actor's step */
#pragma GCC ivdep /* these arrays lie apart, so the loop can be vectorised */
    for (long i = 0; i < count; i++) {
        const float low = raw[i] < -20.0f ? -20.0f : raw[i], log_std = low > 2.0f ? 2.0f : low;
        spread[i] = fast_exp(log_std) * noise[i];
        action[i] = fast_tanh(mean[i] + spread[i]);
        slack[i] = 1.0f - action[i] * action[i];
        density[i] = slack[i] + 1e-6f;
        term[i] = -0.5f * (noise[i] * noise[i]) - log_std - fast_log(density[i]);
    }
    for (long r = 0; r < p->rows; r++) {
        float sum = 0.0f;
        for (long j = 0; j < size; j++) sum += term[r * size + j];
        draw->log_prob[r] = sum - 0.918938533f * size;
    }
}

static void put_actions(const Problem *p, const State *s, const float *action, float *x) {
    for (long j = 0; j < p->action_size; j++) {
        float *column = x + (p->obs_size + j) / PANEL * s->work.stride + (p->obs_size + j) % PANEL;
        for (long r = 0; r < p->rows; r++) column[r * PANEL] = action[r * p->action_size + j];
    }
}

/* Values of both critics at x, and the lesser of each row. */
static void rate(const Net *critics, const float *x, State *s, float *least) {
    for (int i = 0; i < 2; i++) {
        hidden_forward(critics, i, x, &s->critic_tape[i], &s->work);
        values(critics, i, &s->critic_tape[i], &s->work, s->q[i]);
    }
    for (long r = 0; r < s->work.rows; r++) least[r] = s->q[0][r] <= s->q[1][r] ? s->q[0][r] : s->q[1][r];
}

static void take_step(const Net *net, double rate, int64_t steps) {
    adam_step(net->params, net->grads, net->mean, net->square, size_of(net), rate, steps);
}

static void step_critic(const Problem *p, const Settings *set, double alpha, State *s, Losses *losses) {
    const float *target = s->value;
    rate(&p->target, s->next_x, s, s->value);
    for (long r = 0; r < p->rows; r++) {
        const float v = (s->value[r] - (float)alpha * s->next.log_prob[r]) * p->discount[r] + p->reward[r];
        s->value[r] = v < set->lowest ? set->lowest : v > set->highest ? set->highest : v;
    }
    rate(&p->critic, s->x, s, s->least);
    for (int i = 0; i < 2; i++) {
        for (long r = 0; r < p->rows; r++) {
            const float error = s->q[i][r] - target[r];
            losses->critic += 0.5 * error * error / p->rows;
            s->value_grad[r] = error / p->rows;
        }
        const Tape *tape = &s->critic_tape[i];
        values_backward(&p->critic, i, tape, p->rows, s->work.every, s->value_grad, 1, &s->work);
        backward(&p->critic, i, p->critic.layers - 2, s->x, tape, p->rows, s->work.every, 1, s->work.grad[0], &s->work);
    }
    take_step(&p->critic, set->critic_rate, set->critic_steps);
}

/* Gradient of the mean of the lesser values, for the actions. Only one critic of each row has a part in it. */
static void rate_actions_backward(const Problem *p, const Net *critics, State *s) {
    const long size = p->action_size, in = critics->sizes[0], width = critics->sizes[1];
    for (int i = 0; i < 2; i++) {
        long rows = 0;
        for (long r = 0; r < p->rows; r++)
            if ((s->q[0][r] <= s->q[1][r]) == (i == 0)) s->value_grad[rows] = -1.0f / p->rows, s->picked[rows++] = r;
        for (long r = rows; r < s->work.rows; r++) s->picked[r] = 0; /* the rest of the last block */
        const Tape *tape = &s->critic_tape[i];
        values_backward(critics, i, tape, rows, s->picked, s->value_grad, 0, &s->work);
        const float *grad = backward(critics, i, critics->layers - 2, s->x, tape, rows, s->picked, 0, s->work.grad[0],
                                     &s->work);
        const Extra none = {s->work.bias, s->work.bias, s->picked, 0};
        memset(s->work.bias, 0, rounded_up(size, PANEL) * sizeof(float));
        pack(width, size, weight_of(critics, critics->params, i, 0) + p->obs_size, in, width * PANEL, s->work.packed);
        product(rows, width, size, grad, s->work.packed, LINEAR, &none, s->work.stride, s->head);
        for (long r = 0; r < rows; r++)
            for (long j = 0; j < size; j++)
                s->action_grad[s->picked[r] * size + j] = s->head[j / PANEL * s->work.stride + r * PANEL + j % PANEL];
    }
}

/* Gradient at the actor's outputs, into s->head. `data_q`: values of the executed actions. */
static void head_gradient(const Problem *p, const Settings *set, float alpha, const float *data_q, State *s) {
    const long size = p->action_size;
    const float scale = 1.0f / p->rows, pull = 2.0 * set->imitation_weight / p->rows;
    for (long r = 0; r < p->rows; r++) {
        const int imitates = pull && p->success[r] && data_q[r] > s->value[r];
        for (long j = 0; j < size; j++) {
            const long i = r * size + j, k = size + j;
            const float raw = s->now.raw_log_std[i], slack = s->now.slack[i];
            float mean = s->action_grad[i] * slack + 2.0f * alpha * scale * s->now.action[i] * slack / s->now.density[i];
            const float log_std = raw >= -20.0f && raw <= 2.0f ? mean * s->now.spread[i] - alpha * scale : 0.0f;
            if (imitates) {
                const float would = fast_tanh(s->now.mean[i]), done = p->obs_act[r * (p->obs_size + size) + p->obs_size + j];
                mean += (would - done) * (1.0f - would * would) * pull * p->success[r];
            }
            s->head[j / PANEL * s->work.stride + r * PANEL + j % PANEL] = mean;
            s->head[k / PANEL * s->work.stride + r * PANEL + k % PANEL] = log_std;
        }
    }
}

static void step_actor(const Problem *p, const Settings *set, double alpha, State *s, Losses *losses) {
    const Net *rating = set->actor_uses_target_critics ? &p->target : &p->critic;
    if (set->imitation_weight && set->actor_uses_target_critics) rate(&p->target, s->x, s, s->least);
    put_actions(p, s, s->now.action, s->x);
    rate(rating, s->x, s, s->value);
    rate_actions_backward(p, rating, s);
    head_gradient(p, set, alpha, s->least, s);
    backward(&p->actor, 0, p->actor.layers - 1, s->x, &s->actor_tape, p->rows, s->work.every, 1, s->head, &s->work);
    take_step(&p->actor, set->actor_rate, set->actor_steps);
    for (long r = 0; r < p->rows; r++) losses->actor += (alpha * s->now.log_prob[r] - s->value[r]) / p->rows;
}

static double step_alpha(const Problem *p, const Settings *set, const State *s, Losses *losses) {
    const double alpha = set->learns_alpha ? exp(*p->log_alpha) : set->fixed_alpha;
    double log_prob = 0.0;
    for (long r = 0; r < p->rows; r++) log_prob += s->now.log_prob[r] / p->rows;
    losses->entropy = -log_prob, losses->alpha = alpha;
    if (set->learns_alpha) {
        const float grad = -(log_prob + set->target_entropy);
        losses->alpha_loss = *p->log_alpha * grad;
        adam_step(p->log_alpha, &grad, p->alpha_mean, p->alpha_square, 1, set->alpha_rate, set->alpha_steps);
    }
    return alpha;
}

/* Floats that `problem.memory` has to have, zeroed. */
int64_t sac_memory(const Problem *problem) {
    State state;
    return lay_out(problem, &state, 0);
}

/* Sizes of the structs: a library from before a change of theirs must not be used. */
int64_t sac_struct_bytes(void) { return sizeof(Problem) + 1000 * sizeof(Settings) + 1000000 * sizeof(Losses); }

/* Whether this machine has the instructions. */
int64_t sac_supported(void) {
#ifdef __AVX512F__
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
#else
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
}

void sac_step(const Problem *p, const Settings *set, Losses *losses) {
    State state, *s = &state;
    const long width = p->obs_size + p->action_size, count = p->rows * p->action_size;
    lay_out(p, s, p->memory);
    for (long r = 0; r < s->work.rows; r++) s->work.every[r] = r;
    memset(losses, 0, sizeof *losses);
    pack(p->rows, width, p->obs_act, width, s->work.stride, s->x);
    pack(p->rows, width, p->next_obs_act, width, s->work.stride, s->next_x);
    draw_actions(p, s->x, p->noise, &s->actor_tape, s, &s->now);
    const double alpha = step_alpha(p, set, s, losses);
    draw_actions(p, s->next_x, p->noise + count, &s->critic_tape[0], s, &s->next);
    put_actions(p, s, s->next.action, s->next_x);
    step_critic(p, set, alpha, s, losses);
    step_actor(p, set, alpha, s, losses);
    if (!set->updates_target) return;
    const float keep = 1.0 - set->tau, follow = set->tau;
    float *target = p->target.params;
    for (long i = 0, size = size_of(&p->target); i < size; i++) target[i] = target[i] * keep + p->critic.params[i] * follow;
}
