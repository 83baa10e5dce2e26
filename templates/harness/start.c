/* From the first instruction that has a stack to main. */
#include "start.h"

#include "io.h"
#include "stack_paint.h"

/* Set by the linker script. */
extern uint8_t __stack_limit[];
extern uint32_t __data_start[], __data_end[], __data_load[], __bss_start[], __bss_end[];

/* Many boards of QEMU take writes to nowhere in silence: the lowest bytes tell. */
#define GUARD_BYTES 16u

int harness_stack_outgrown(void)
{
    return measure_gone(__stack_limit, (uintptr_t)__stack_limit + GUARD_BYTES) != 0u;
}

void harness_run(void)
{
    const uint32_t *from = __data_load;
    uint32_t *to;
    uint8_t i;

    for (i = 0u; i < GUARD_BYTES; i++) {
        __stack_limit[i] = PAINT;
    }
    for (to = __data_start; to != __data_end; to++) {
        *to = *from++;
    }
    for (to = __bss_start; to != __bss_end; to++) {
        *to = 0u;
    }
    io_exit(main());
}

void harness_fault(void)
{
    io_exit(IO_FAULT);
}
