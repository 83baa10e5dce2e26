/* Time by timer 1, which counts every cycle; the handler of its overflow counts the rest.
 *
 * What the handler costs is constant, and measured by loops of known length. */
#include "measure.h"
#include "stack_paint.h"

#include <avr/interrupt.h>
#include <avr/io.h>

#define COUNTER_BITS 16

#if defined(__AVR_3_BYTE_PC__)
#define RETURN_ADDRESS 3u
#define RETURN_CYCLES 5u
#else
#define RETURN_ADDRESS 2u
#define RETURN_CYCLES 4u
#endif

volatile uint16_t measure_wraps;
const uint8_t measure_nothing_cost = RETURN_CYCLES;
const uint8_t measure_round_cost = 6u;
uint32_t measure_rounds;

/* The end of the variables, set by the linker. */
extern uint8_t __heap_start[];

ISR(TIMER1_OVF_vect, ISR_NAKED)
{
    __asm__("push r24\n\t"
            "in r24, __SREG__\n\t"
            "push r24\n\t"
            "push r25\n\t"
            "lds r24, measure_wraps\n\t"
            "lds r25, measure_wraps+1\n\t"
            "adiw r24, 1\n\t"
            "sts measure_wraps+1, r25\n\t"
            "sts measure_wraps, r24\n\t"
            "pop r25\n\t"
            "pop r24\n\t"
            "out __SREG__, r24\n\t"
            "pop r24\n\t"
            "reti");
}

void measure_start(void)
{
    TCCR1A = 0u;
    TCCR1B = 1u << CS10; /* no prescaler */
    TIMSK1 = 1u << TOIE1;
    sei();
}

/* A count and the number of wraps that belongs to it. */
static __attribute__((noinline)) void stamp(uint16_t *wraps, uint16_t *count)
{
    do {
        *wraps = measure_wraps;
        *count = TCNT1;
    } while (*wraps != measure_wraps);
}

__attribute__((noinline)) measured_time measure_time(measured_function f, tested_state *state,
                                                     const tested_input *x, tested_output *y)
{
    uint16_t wraps, count, wraps_after, count_after;
    measured_time time;

    stamp(&wraps, &count);
    f(state, x, y);
    stamp(&wraps_after, &count_after);
    time.wraps = (uint16_t)(wraps_after - wraps);
    time.ticks = (uint64_t)(time.wraps << COUNTER_BITS) + count_after - count;
    return time;
}

__attribute__((naked)) void measure_nothing(tested_state *state, const tested_input *x,
                                            tested_output *y)
{
    (void)state, (void)x, (void)y;
    __asm__("ret");
}

/* Four cycles for the subtraction, two for the branch. */
__attribute__((naked)) void measure_loop(tested_state *state, const tested_input *x, tested_output *y)
{
    (void)state, (void)x, (void)y;
    __asm__("lds r18, measure_rounds\n\t"
            "lds r19, measure_rounds+1\n\t"
            "lds r20, measure_rounds+2\n\t"
            "lds r21, measure_rounds+3\n"
            "1:\n\t"
            "subi r18, 1\n\t"
            "sbci r19, 0\n\t"
            "sbci r20, 0\n\t"
            "sbci r21, 0\n\t"
            "brne 1b\n\t"
            "ret");
}

/* The processor's stack pointer stands one below the last byte pushed, and the return
 * address of this very function lies on the stack: painted is what is free. */
__attribute__((naked)) uintptr_t measure_paint(uint8_t *limit)
{
    (void)limit;
    __asm__("movw r30, r24\n\t"
            "in r24, __SP_L__\n\t"
            "in r25, __SP_H__\n\t"
            "ldi r18, 0x5a\n"
            "1:\n\t"
            "st Z+, r18\n\t"
            "cp r24, r30\n\t"
            "cpc r25, r31\n\t"
            "brsh 1b\n\t"
            "adiw r24, 1\n\t"
            "ret");
}

__attribute__((noinline)) uint32_t measure_stack(void (*call)(void))
{
    /* The call below puts its return address where that of measure_paint was. */
    const uintptr_t top = measure_paint(__heap_start) + RETURN_ADDRESS;

    call();
    return measure_gone(__heap_start, top);
}
