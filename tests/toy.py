"""A hand-written model with the interface of a generated one, and its own emulator.

With it the tools are tested without the code generator: a cell that integrates its inputs,
two layers deep, of 3 and 2 units.
"""

import numpy as np

from lstmgen.qformat import IntArray
from lstmgen.trace import Trace

INPUTS, LAYERS, MACS = 2, (3, 2), 12
WEIGHTS = (np.array([[3, -5], [7, 2], [-4, 9]]), np.array([[2, -3, 5], [-7, 4, 1]]))
TABLE = np.array([5, -9, 14, 30])

HEADER = """
#ifndef TOY_H
#define TOY_H
#include <stdint.h>
#define TOY_INPUTS 2u
#define TOY_OUTPUTS 2u
#ifdef __AVR__
#define TOY_ROM __flash
#else
#define TOY_ROM
#endif
typedef struct {
    int32_t a_c[3];
    int32_t b_c[2];
    int16_t a_h[3];
    int16_t b_h[2];
} toy_state;
typedef int16_t toy_input;
typedef int16_t toy_output;
void toy_reset(toy_state *state);
void toy_step(toy_state *state, const toy_input x[TOY_INPUTS], toy_output y[TOY_OUTPUTS]);
void toy_run(toy_state *state, const toy_input *x, uint32_t steps, toy_output *y);
int toy_selftest(void);
#endif
"""

WEIGHTS_HEADER = """
#include "toy.h"
extern const TOY_ROM int16_t toy_wa[3][2];
extern const TOY_ROM int16_t toy_wb[2][3];
extern const TOY_ROM int16_t toy_sigmoid[4];
"""

WEIGHTS_SOURCE = """
#include "toy_weights.h"
const TOY_ROM int16_t toy_wa[3][2] = {{3, -5}, {7, 2}, {-4, 9}};
const TOY_ROM int16_t toy_wb[2][3] = {{2, -3, 5}, {-7, 4, 1}};
const TOY_ROM int16_t toy_sigmoid[4] = {5, -9, 14, 30};
"""

SOURCE = """
#include "toy_weights.h"

static void toy_layer(const TOY_ROM int16_t *w, const int16_t *x, uint8_t n, uint8_t k,
                      int32_t *c, int16_t *h)
{
    uint8_t i, j;
    for (i = 0u; i < k; i++) {
        int32_t sum = c[i] / 2;
        for (j = 0u; j < n; j++) {
            sum += (int32_t)*w++ * x[j];
        }
        c[i] = sum + toy_sigmoid[i];
        h[i] = (int16_t)(c[i] / 16 % 1000);
    }
}

void toy_reset(toy_state *state)
{
    uint8_t i;
    for (i = 0u; i < 3u; i++) {
        state->a_c[i] = 40;
        state->a_h[i] = 2;
    }
    for (i = 0u; i < 2u; i++) {
        state->b_c[i] = -40;
        state->b_h[i] = 0;
    }
}

void toy_step(toy_state *state, const toy_input x[TOY_INPUTS], toy_output y[TOY_OUTPUTS])
{
    toy_layer(&toy_wa[0][0], x, 2u, 3u, state->a_c, state->a_h);
    toy_layer(&toy_wb[0][0], state->a_h, 3u, 2u, state->b_c, state->b_h);
    y[0] = state->b_h[0];
    y[1] = state->b_h[1];
}

void toy_run(toy_state *state, const toy_input *x, uint32_t steps, toy_output *y)
{
    while (steps-- != 0u) {
        toy_step(state, x, y);
        x += TOY_INPUTS;
        y += TOY_RUN_STRIDE;
    }
}
"""

SELFTEST = """
#include "toy.h"
int toy_selftest(void)
{
    return 0;
}
"""

PORT = """
#ifndef MODEL_PORT_H
#define MODEL_PORT_H
#include "toy.h"
typedef toy_state tested_state;
typedef toy_input tested_input;
typedef toy_output tested_output;
#define TESTED_INPUTS TOY_INPUTS
#define TESTED_OUTPUTS TOY_OUTPUTS
#define TESTED_STATE_VALUES 10u
#define tested_reset toy_reset
#define tested_step toy_step
#define tested_run toy_run
#define tested_selftest toy_selftest
static inline void tested_dump(const tested_state *state, int32_t *out)
{
    uint8_t i;
    for (i = 0u; i < 3u; i++) {
        out[i] = state->a_h[i];
        out[3u + i] = state->a_c[i];
    }
    for (i = 0u; i < 2u; i++) {
        out[6u + i] = state->b_h[i];
        out[8u + i] = state->b_c[i];
    }
}
#endif
"""


def toy_files(sequence: bool = False, **changed: tuple[str, str]) -> dict[str, str]:
    """Return the model's files; `changed` replaces a text in the source, header or selftest."""
    texts = {"source": SOURCE, "header": HEADER, "selftest": SELFTEST}
    for key, (old, new) in changed.items():
        assert texts[key].count(old) == 1, f"{old!r} must be in the toy's {key} once"
        texts[key] = texts[key].replace(old, new)
    return {
        "toy.h": texts["header"],
        "toy.c": texts["source"].replace("TOY_RUN_STRIDE", "TOY_OUTPUTS" if sequence else "0u"),
        "toy_weights.h": WEIGHTS_HEADER,
        "toy_weights.c": WEIGHTS_SOURCE,
        "toy_selftest.c": texts["selftest"],
        "toy_report.json": "{}",
        "model_port.h": PORT,
    }


def toy_inputs(sequences: int = 4, steps: int = 40) -> IntArray:
    return np.random.default_rng(3).integers(-3000, 3001, (sequences, steps, INPUTS))


def toy_trace(x: IntArray, sequence: bool = False) -> Trace:
    """Return what the model must compute, by numpy."""
    batch = len(x)
    c = [np.full((batch, 3), 40), np.full((batch, 2), -40)]
    h = [np.full((batch, 3), 2), np.zeros((batch, 2), np.int64)]
    past_c, past_h = [c], [h]
    for t in range(x.shape[1]):
        inputs, c, h = x[:, t], list(c), list(h)
        for i, w in enumerate(WEIGHTS):
            c[i] = _quotient(c[i], 2) + inputs @ w.T + TABLE[: len(w)]
            h[i] = inputs = np.fmod(_quotient(c[i], 16), 1000)
        past_c.append(c)
        past_h.append(h)
    hs = tuple(np.stack([step[i] for step in past_h], 1) for i in range(2))
    cs = tuple(np.stack([step[i] for step in past_c], 1) for i in range(2))
    return Trace(x, 2, 2, sequence, ("a", "b"), hs, cs, "b", hs[1][:, 1:])


def _quotient(value: IntArray, divisor: int) -> IntArray:
    """Return the quotient rounded towards zero, as C does."""
    return np.sign(value) * (np.abs(value) // divisor)
