/* Run the model by command and write down all it computes.
 *
 * A command is four bytes: operation, instance, and a number of steps, least significant
 * byte first; inputs follow. Every command on an instance answers with its whole state;
 * a step and a run then with their outputs, all as 32-bit words. What is right is decided
 * by the reader. */
#include "io_model.h"

/* How many states there are, and the most steps of one run. */
#ifndef HARNESS_INSTANCES
#define HARNESS_INSTANCES 3
#endif
#ifndef HARNESS_PIECE
#define HARNESS_PIECE 16
#endif

enum {
    OP_END = 0,
    OP_RESET = 1,
    OP_STEP = 2,
    OP_RUN_LAST = 3,     /* one row of outputs, after the last step */
    OP_RUN_SEQUENCE = 4, /* a row of outputs for each step */
    OP_SELFTEST = 5
};

/* What memory holds before the model writes it, and around what it may write. */
#define FILLER 0xA5u
#define GUARD_BYTES 16u

static struct {
    uint8_t before[GUARD_BYTES];
    tested_state state;
    uint8_t after[GUARD_BYTES];
} instances[HARNESS_INSTANCES];

static struct {
    uint8_t before[GUARD_BYTES];
    tested_output y[HARNESS_PIECE * TESTED_OUTPUTS];
    uint8_t after[GUARD_BYTES];
} outputs;

/* Bytes that the model wrote where it had nothing to write. */
static uint32_t stray_bytes;

static tested_input x[HARNESS_PIECE * TESTED_INPUTS];
static int32_t dump[TESTED_STATE_VALUES];

static void fill(void *memory, uint32_t count)
{
    uint8_t *byte = memory;

    while (count-- != 0u) {
        *byte++ = FILLER;
    }
}

static void check(const void *memory, uint32_t count)
{
    const uint8_t *byte = memory;

    while (count-- != 0u) {
        stray_bytes += *byte++ != FILLER;
    }
}

static void check_guards(void)
{
    uint8_t i;

    check(outputs.before, GUARD_BYTES);
    check(outputs.after, GUARD_BYTES);
    for (i = 0u; i < HARNESS_INSTANCES; i++) {
        check(instances[i].before, GUARD_BYTES);
        check(instances[i].after, GUARD_BYTES);
    }
}

static void put_state(const tested_state *state)
{
    uint32_t i;

    tested_dump(state, dump);
    for (i = 0u; i < TESTED_STATE_VALUES; i++) {
        io_put_word((uint32_t)dump[i]);
    }
}

static void run(tested_state *state, uint8_t operation, uint16_t steps)
{
    const uint16_t rows = operation == OP_RUN_SEQUENCE && steps != 0u ? steps : 1u;
    /* The rows end where the guard begins. */
    tested_output *y = outputs.y + (HARNESS_PIECE - rows) * TESTED_OUTPUTS;

    io_get_inputs(x, (uint32_t)steps * TESTED_INPUTS);
    fill(outputs.y, sizeof outputs.y);
    if (operation == OP_STEP) {
#ifndef TESTED_WHOLE
        tested_step(state, x, y);
#else
        io_exit(IO_BAD_COMMAND);
#endif
    } else {
        tested_run(state, x, steps, y);
    }
    check(outputs.y, (uint32_t)(y - outputs.y) * sizeof *y);
    put_state(state);
    io_put_outputs(y, (uint32_t)rows * TESTED_OUTPUTS);
}

int main(void)
{
    fill(instances, sizeof instances);
    fill(&outputs, sizeof outputs);
    io_open();
    for (;;) {
        const uint8_t operation = io_get();
        const uint8_t instance = io_get();
        uint16_t steps = io_get();

        steps |= (uint16_t)((uint16_t)io_get() << 8);
        if (operation > OP_SELFTEST || instance >= HARNESS_INSTANCES || steps > HARNESS_PIECE) {
            io_exit(IO_BAD_COMMAND);
        }
        switch (operation) {
        case OP_END:
            check_guards();
            io_put_word(stray_bytes);
            io_exit(IO_DONE);
            break;
        case OP_RESET:
            tested_reset(&instances[instance].state);
            put_state(&instances[instance].state);
            break;
        case OP_SELFTEST:
            io_put_word((uint32_t)(int32_t)tested_selftest());
            break;
        default:
            run(&instances[instance].state, operation, steps);
            break;
        }
    }
}
