/* Stack on a computer with an operating system; time is counted from outside, by callgrind.
 *
 * The call runs on a stack of its own. What a call of nothing leaves there is taken off. */
#include "measure.h"
#include "stack_paint.h"

#include <ucontext.h>

#define STACK_BYTES 0x100000u

const uint8_t measure_nothing_cost = 0u;
const uint8_t measure_round_cost = 0u;
uint32_t measure_rounds;

static uint8_t stack[STACK_BYTES] __attribute__((aligned(16)));
static ucontext_t back, there;

void measure_start(void)
{
}

measured_time measure_time(measured_function f, tested_state *state, const tested_input *x,
                           tested_output *y)
{
    const measured_time unknown = {0u, 0u};

    f(state, x, y);
    return unknown;
}

void measure_nothing(tested_state *state, const tested_input *x, tested_output *y)
{
    (void)state, (void)x, (void)y;
}

void measure_loop(tested_state *state, const tested_input *x, tested_output *y)
{
    (void)state, (void)x, (void)y;
}

static void call_nothing(void)
{
    measure_nothing(0, 0, 0);
}

static uint32_t used(void (*call)(void))
{
    uint32_t i;

    for (i = 0u; i < STACK_BYTES; i++) {
        stack[i] = PAINT;
    }
    (void)getcontext(&there);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = STACK_BYTES;
    there.uc_link = &back;
    makecontext(&there, call, 0);
    (void)swapcontext(&back, &there);
    return measure_gone(stack, (uintptr_t)stack + STACK_BYTES);
}

uint32_t measure_stack(void (*call)(void))
{
#if defined(__x86_64__)
    const uint32_t return_address = 8u;
#else
    const uint32_t return_address = 0u;
#endif
    const uint32_t bytes = used(call) - used(call_nothing) + return_address;

    /* In whole words: the first byte of an address may look like paint by chance. */
    return (bytes + sizeof(uintptr_t) - 1u) / sizeof(uintptr_t) * sizeof(uintptr_t);
}
