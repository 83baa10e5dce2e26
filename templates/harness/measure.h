/* Time and stack of a call, whatever the machine offers. */
#ifndef HARNESS_MEASURE_H
#define HARNESS_MEASURE_H

#include "model_port.h"

typedef void (*measured_function)(tested_state *state, const tested_input *x, tested_output *y);

/* ticks of the machine's counter, and how often its overflow was served on the way */
typedef struct {
    uint64_t ticks;
    uint32_t wraps;
} measured_time;

/* Start the counter. */
void measure_start(void);

/* The time of f(state, x, y), with a constant for calling it. */
measured_time measure_time(measured_function f, tested_state *state, const tested_input *x,
                           tested_output *y);

/* A function that does nothing but return, and what that costs: instructions, on AVR cycles. */
void measure_nothing(tested_state *state, const tested_input *x, tested_output *y);
extern const uint8_t measure_nothing_cost;

/* A loop of measure_rounds rounds, and what a round costs: by it the counter is checked. */
void measure_loop(tested_state *state, const tested_input *x, tested_output *y);
extern uint32_t measure_rounds;
extern const uint8_t measure_round_cost;

/* How many bytes of stack the call needs, the return address with it where the processor
 * puts it on the stack. */
uint32_t measure_stack(void (*call)(void));

#endif
