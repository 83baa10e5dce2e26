/* Vectors and reset of every Cortex-M, v6-M to v8.1-M. */
#include "start.h"

#define CPACR (*(volatile uint32_t *)0xE000ED88u)

extern uint32_t __stack_top[];

void harness_start(void);
void harness_exception(void);
void harness_tick(void) __attribute__((weak, alias("harness_exception")));

typedef void (*handler)(void);

__attribute__((section(".harness_vectors"), used)) static const struct {
    void *stack;
    handler reset;
    handler exceptions[13];
    handler tick;
} vectors = {
    __stack_top,
    harness_start,
    {harness_exception, harness_exception, harness_exception, harness_exception,
     harness_exception, harness_exception, harness_exception, harness_exception,
     harness_exception, harness_exception, harness_exception, harness_exception,
     harness_exception},
    harness_tick,
};

void harness_start(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    /* Full access to coprocessors 10 and 11: the FPU, and Helium with it. */
    CPACR |= 0xFu << 20;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    harness_run();
}

/* The stack may be what went wrong: begin a new one. */
__attribute__((naked)) void harness_exception(void)
{
    __asm__(".syntax unified\n\t"
            "ldr r0, =__stack_top\n\t"
            "mov sp, r0\n\t"
            "bl harness_fault\n\t"
            ".ltorg");
}
