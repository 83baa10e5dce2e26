/* One step from each of many states: what the model makes of given operands.
 *
 * The input is a word, how many steps, and for each the state to start from, in the bytes that
 * memory has, and the inputs. Each is answered with the state behind the step and the outputs,
 * in the bytes that memory has as well. */
#include "io_model.h"

static tested_state state;
static tested_input x[TESTED_INPUTS];
static tested_output y[TESTED_OUTPUTS];

static void put(const void *memory, uint32_t count)
{
    const uint8_t *byte = memory;

    while (count-- != 0u) {
        io_put(*byte++);
    }
}

int main(void)
{
    uint8_t *bytes = (uint8_t *)&state;
    uint32_t steps, i;

    io_open();
    for (steps = io_get_word(); steps != 0u; steps--) {
        for (i = 0u; i < sizeof state; i++) {
            bytes[i] = io_get();
        }
        io_get_inputs(x, TESTED_INPUTS);
        tested_step(&state, x, y);
        put(&state, sizeof state);
        put(y, sizeof y);
    }
    io_exit(IO_DONE);
}
