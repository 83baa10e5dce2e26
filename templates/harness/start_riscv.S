/* The first instructions of a RISC-V machine without an operating system. */

/* A locked entry of the memory protection, up to the given top: read and execute only. */
#define PMP_LOCKED_TOP_READ_EXECUTE 0x8D

        .option arch, +zicsr
        .section .harness_vectors, "ax"
        .globl harness_start
harness_start:
        la      sp, __stack_top
        la      t0, trap
        csrw    mtvec, t0

        /* QEMU's virt has one RAM for all: guard what stands for flash, so that a stack
         * which outgrows its region, into the flash below, faults. */
        la      t0, __flash
        srli    t0, t0, 2
        csrw    pmpaddr0, t0
        la      t0, __flash
        la      t1, __flash_size
        add     t0, t0, t1
        srli    t0, t0, 2
        csrw    pmpaddr1, t0
        li      t0, PMP_LOCKED_TOP_READ_EXECUTE << 8
        csrw    pmpcfg0, t0
        call    harness_run

        /* The stack may be what went wrong: begin a new one. */
        .balign 4
trap:
        la      sp, __stack_top
        call    harness_fault
