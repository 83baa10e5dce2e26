/* The first instructions of a RISC-V machine without an operating system. */
        .option arch, +zicsr
        .section .harness_vectors, "ax"
        .globl harness_start
harness_start:
        la      sp, __stack_top
        la      t0, trap
        csrw    mtvec, t0
        call    harness_run

        /* The stack may be what went wrong: begin a new one. */
        .balign 4
trap:
        la      sp, __stack_top
        call    harness_fault
