/* Time by SysTick, which counts alike on every Cortex-M.
 *
 * Under QEMU's -icount an instruction moves virtual time on by a constant, several ticks of
 * SysTick, so that a single reading is exact. Exception entry costs nothing there, and the
 * handler of the wrap always the same. */
#include "measure.h"
#include "stack_paint.h"

#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)
#define SYST_ON 7u /* enabled, with interrupt, at the core's clock */
#define SYST_BITS 24

volatile uint32_t measure_wraps;
const uint8_t measure_nothing_cost = 1u;
const uint8_t measure_round_cost = 2u;
uint32_t measure_rounds;

extern uint8_t __stack_limit[];

/* Exactly five instructions, which the reader of the times takes off again. */
__attribute__((naked)) void harness_tick(void);
void harness_tick(void)
{
    __asm__(".syntax unified\n\t"
            "ldr r0, =measure_wraps\n\t"
            "ldr r1, [r0]\n\t"
            "adds r1, #1\n\t"
            "str r1, [r0]\n\t"
            "bx lr\n\t"
            ".ltorg");
}

void measure_start(void)
{
    SYST_CSR = 0u;
    SYST_RVR = (1u << SYST_BITS) - 1u;
    SYST_CVR = 0u;
    measure_wraps = 0u;
    SYST_CSR = SYST_ON;
    while (SYST_CVR == 0u) {
    }
}

/* A count and the number of wraps that belongs to it. */
static __attribute__((noinline)) void stamp(uint32_t *wraps, uint32_t *count)
{
    do {
        *wraps = measure_wraps;
        *count = SYST_CVR;
    } while (*wraps != measure_wraps);
}

__attribute__((noinline)) measured_time measure_time(measured_function f, tested_state *state,
                                                     const tested_input *x, tested_output *y)
{
    uint32_t wraps, count, wraps_after, count_after;
    measured_time time;

    stamp(&wraps, &count);
    f(state, x, y);
    stamp(&wraps_after, &count_after);
    time.wraps = wraps_after - wraps;
    time.ticks = ((uint64_t)time.wraps << SYST_BITS) + count - count_after;
    return time;
}

__attribute__((naked)) void measure_nothing(tested_state *state, const tested_input *x,
                                            tested_output *y)
{
    (void)state, (void)x, (void)y;
    __asm__("bx lr");
}

__attribute__((naked)) void measure_loop(tested_state *state, const tested_input *x, tested_output *y)
{
    (void)state, (void)x, (void)y;
    __asm__(".syntax unified\n\t"
            "ldr r0, =measure_rounds\n\t"
            "ldr r0, [r0]\n"
            "1:\n\t"
            "subs r0, #1\n\t"
            "bne 1b\n\t"
            "bx lr\n\t"
            ".ltorg");
}

__attribute__((naked)) uintptr_t measure_paint(uint8_t *limit)
{
    (void)limit;
    __asm__(".syntax unified\n\t"
            "ldr r1, =0x5a5a5a5a\n\t"
            "mov r2, sp\n"
            "1:\n\t"
            "str r1, [r0]\n\t"
            "adds r0, #4\n\t"
            "cmp r0, r2\n\t"
            "blo 1b\n\t"
            "mov r0, r2\n\t"
            "bx lr\n\t"
            ".ltorg");
}

__attribute__((noinline)) uint32_t measure_stack(void (*call)(void))
{
    const uintptr_t top = measure_paint(__stack_limit);

    call();
    return measure_gone(__stack_limit, top);
}
