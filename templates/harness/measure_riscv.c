/* Time by minstret, the counter of executed instructions. */
#include "measure.h"
#include "stack_paint.h"

const uint8_t measure_nothing_cost = 1u;
const uint8_t measure_round_cost = 2u;
uint32_t measure_rounds;

extern uint8_t __stack_limit[];

void measure_start(void)
{
}

static inline uint32_t instructions(void)
{
    uint32_t count;

    __asm__ volatile(".option push\n\t"
                     ".option arch, +zicsr\n\t"
                     "csrr %0, minstret\n\t"
                     ".option pop"
                     : "=r"(count)
                     :
                     : "memory");
    return count;
}

/* The low word alone: a step takes less than 2^32 instructions. */
__attribute__((noinline)) measured_time measure_time(measured_function f, tested_state *state,
                                                     const tested_input *x, tested_output *y)
{
    measured_time time = {0u, 0u};
    const uint32_t before = instructions();

    f(state, x, y);
    time.ticks = (uint32_t)(instructions() - before);
    return time;
}

__attribute__((naked)) void measure_nothing(tested_state *state, const tested_input *x,
                                            tested_output *y)
{
    (void)state, (void)x, (void)y;
    __asm__("ret");
}

__attribute__((naked)) void measure_loop(tested_state *state, const tested_input *x, tested_output *y)
{
    (void)state, (void)x, (void)y;
    __asm__("la a0, measure_rounds\n\t"
            "lw a0, 0(a0)\n"
            "1:\n\t"
            "addi a0, a0, -1\n\t"
            "bnez a0, 1b\n\t"
            "ret");
}

__attribute__((naked)) uintptr_t measure_paint(uint8_t *limit)
{
    (void)limit;
    __asm__("li a1, 0x5a5a5a5a\n"
            "1:\n\t"
            "sw a1, 0(a0)\n\t"
            "addi a0, a0, 4\n\t"
            "bltu a0, sp, 1b\n\t"
            "mv a0, sp\n\t"
            "ret");
}

__attribute__((noinline)) uint32_t measure_stack(void (*call)(void))
{
    const uintptr_t top = measure_paint(__stack_limit);

    call();
    return measure_gone(__stack_limit, top);
}
