/* Measure the model: stack, and the time of each step. Or take steps and nothing else, for
 * whoever watches from outside.
 *
 * The first word of the input says which. MEASURE: two words follow, the steps to warm up and
 * those to measure, then the inputs of one step after the other. STEP_...: the state to start
 * from, unless that is what the reset makes it, then a word, how many steps, and their inputs;
 * the output is the state behind them. */
#include "io_model.h"
#include "measure.h"

enum { MEASURE, STEP_FROM_RESET, STEP_FROM_STATE };

/* Enough for a loop over steps in `run` to show its stack. */
#define RUN_STEPS 2u

/* Rounds of the loops that check the counter; the long one passes its overflow. */
#define LOOP_SHORT 1000u
#define LOOP_MIDDLE 101000u
#define LOOP_LONG 1001000u

static tested_state state;
static tested_input x[RUN_STEPS * TESTED_INPUTS];
static tested_output y[RUN_STEPS * TESTED_OUTPUTS];

static void call_reset(void)
{
    tested_reset(&state);
}

static void call_step(void)
{
    tested_step(&state, x, y);
}

static void call_run(void)
{
    tested_run(&state, x, RUN_STEPS, y);
}

static void put_time(measured_function f)
{
    const measured_time time = measure_time(f, &state, x, y);

    io_put_word((uint32_t)time.ticks);
    io_put_word((uint32_t)(time.ticks >> 32));
    io_put_word(time.wraps);
}

static void put_loop(uint32_t rounds)
{
    measure_rounds = rounds;
    put_time(measure_loop);
}

static void measure(void)
{
    uint32_t warm = io_get_word();
    uint32_t steps = io_get_word();

    io_put_word(measure_stack(call_reset));
    io_get_inputs(x, RUN_STEPS * TESTED_INPUTS);
    io_put_word(measure_stack(call_step));
    io_put_word(measure_stack(call_run));

    tested_reset(&state);
    for (; warm != 0u; warm--) {
        io_get_inputs(x, TESTED_INPUTS);
        tested_step(&state, x, y);
    }
    io_put_word(measure_nothing_cost);
    io_put_word(measure_round_cost);
    measure_start();
    put_loop(LOOP_SHORT);
    put_loop(LOOP_MIDDLE);
    put_loop(LOOP_LONG);
    put_time(measure_nothing);
    for (; steps != 0u; steps--) {
        io_get_inputs(x, TESTED_INPUTS);
        put_time(tested_step);
    }
}

static void take_steps(void)
{
    uint32_t steps = io_get_word();
    const uint8_t *bytes = (const uint8_t *)&state;
    uint32_t i;

    for (; steps != 0u; steps--) {
        io_get_inputs(x, TESTED_INPUTS);
        tested_step(&state, x, y);
    }
    for (i = 0u; i < sizeof state; i++) {
        io_put(bytes[i]);
    }
}

static void get_state(void)
{
    uint8_t *bytes = (uint8_t *)&state;
    uint32_t i;

    for (i = 0u; i < sizeof state; i++) {
        bytes[i] = io_get();
    }
}

int main(void)
{
    io_open();
    switch (io_get_word()) {
    case MEASURE:
        measure();
        break;
    case STEP_FROM_RESET:
        tested_reset(&state);
        take_steps();
        break;
    case STEP_FROM_STATE:
        get_state();
        take_steps();
        break;
    default:
        io_exit(IO_BAD_COMMAND);
    }
    io_exit(IO_DONE);
}
