/* From the first instruction that has a stack to main. */
#include "start.h"

#include "io.h"

/* Set by the linker script. */
extern uint32_t __data_start[], __data_end[], __data_load[], __bss_start[], __bss_end[];

void harness_run(void)
{
    const uint32_t *from = __data_load;
    uint32_t *to;

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
