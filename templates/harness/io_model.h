/* Inputs and outputs of the model on the stream. */
#ifndef HARNESS_IO_MODEL_H
#define HARNESS_IO_MODEL_H

#include "io.h"
#include "model_port.h"

/* Read `count` inputs, each in the bytes of its type, least significant first. */
static inline void io_get_inputs(tested_input *x, uint32_t count)
{
    uint32_t i;

    for (i = 0u; i < count; i++) {
        uint16_t value = io_get();
        if (sizeof(tested_input) > 1u) {
            value |= (uint16_t)((uint16_t)io_get() << 8);
        }
        x[i] = (tested_input)value;
    }
}

/* Write `count` outputs, each as a 32-bit word. */
static inline void io_put_outputs(const tested_output *y, uint32_t count)
{
    uint32_t i;

    for (i = 0u; i < count; i++) {
        io_put_word((uint32_t)(int32_t)y[i]);
    }
}

#endif
