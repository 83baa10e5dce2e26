/* Measure the model: stack, and the time of each step.
 *
 * The input begins with two words, the steps to warm up and those to measure, and then
 * holds the inputs of one step after the other. */
#include "io_model.h"
#include "measure.h"

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

int main(void)
{
    uint32_t warm, steps;

    io_open();
    warm = io_get_word();
    steps = io_get_word();

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
    io_exit(IO_DONE);
}
