/* What the startup code of a machine without an operating system has in common. */
#ifndef HARNESS_START_H
#define HARNESS_START_H

#include <stdint.h>

int main(void);

/* Called with a stack and nothing else: fills .data and .bss, runs main, ends the image. */
void harness_run(void);

/* What every unexpected exception ends in. */
void harness_fault(void);

/* Whether the lowest bytes of the stack have been written. */
int harness_stack_outgrown(void);

#endif
