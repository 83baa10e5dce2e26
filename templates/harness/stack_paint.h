/* Stack by painting: fill what is free, call, and see how far down the paint is gone. */
#ifndef HARNESS_STACK_PAINT_H
#define HARNESS_STACK_PAINT_H

#include <stdint.h>

#define PAINT 0x5Au

/* Fill from `limit` up to the stack pointer and return that. Each machine has its own, in
 * assembly: it must not use the stack that it paints. */
uintptr_t measure_paint(uint8_t *limit);

/* The bytes between `top` and the lowest one whose paint is gone. */
static inline uint32_t measure_gone(const uint8_t *limit, uintptr_t top)
{
    const uint8_t *byte = limit;

    while ((uintptr_t)byte < top && *byte == PAINT) {
        byte++;
    }
    return (uint32_t)(top - (uintptr_t)byte);
}

#endif
