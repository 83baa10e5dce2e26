/* The stream by semihosting, on Arm and RISC-V: the debugger, here QEMU, opens the files.
 *
 * A call stops the machine, so bytes go through buffers. */
#include "io.h"

#include "start.h"

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { OPEN_READ_BINARY = 1, OPEN_WRITE_BINARY = 5 };

#define APPLICATION_EXIT 0x20026u
#define BUFFER_BYTES 1024u

/* A word of the semihosting interface is as wide as a register. */
typedef uintptr_t word;

static uint8_t input_buffer[BUFFER_BYTES];
static uint8_t output_buffer[BUFFER_BYTES];
static uint32_t input_at;
static uint32_t input_count;
static uint32_t output_count;
static word input_handle;
static word output_handle;

static word semihost(word operation, const word *arguments)
{
#if defined(__riscv)
    register word a0 __asm__("a0") = operation;
    register const word *a1 __asm__("a1") = arguments;

    /* The three instructions mark the call; they must be uncompressed and on one page. */
    __asm__ volatile(".option push\n\t"
                     ".option norvc\n\t"
                     ".balign 16\n\t"
                     "slli zero, zero, 0x1f\n\t"
                     "ebreak\n\t"
                     "srai zero, zero, 7\n\t"
                     ".option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
#else
    register word r0 __asm__("r0") = operation;
    register const word *r1 __asm__("r1") = arguments;

    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
#endif
}

static word open_file(const char *name, word length, word mode)
{
    const word arguments[3] = {(word)name, mode, length};
    const word handle = semihost(SYS_OPEN, arguments);

    if (handle == (word)-1) {
        io_exit(IO_NO_FILE);
    }
    return handle;
}

static void flush(void)
{
    const word arguments[3] = {output_handle, (word)output_buffer, output_count};

    if (output_count != 0u) {
        (void)semihost(SYS_WRITE, arguments);
    }
    output_count = 0u;
}

void io_open(void)
{
    input_handle = open_file("input.bin", 9u, OPEN_READ_BINARY);
    output_handle = open_file("output.bin", 10u, OPEN_WRITE_BINARY);
}

uint8_t io_get(void)
{
    if (input_at == input_count) {
        const word arguments[3] = {input_handle, (word)input_buffer, BUFFER_BYTES};
        /* SYS_READ returns how many of the bytes it did not fill. */
        const word left = semihost(SYS_READ, arguments);

        if (left >= BUFFER_BYTES) {
            io_exit(IO_END_OF_INPUT);
        }
        input_at = 0u;
        input_count = (uint32_t)(BUFFER_BYTES - left);
    }
    return input_buffer[input_at++];
}

void io_put(uint8_t byte)
{
    output_buffer[output_count++] = byte;
    if (output_count == BUFFER_BYTES) {
        flush();
    }
}

void io_exit(int status)
{
    word arguments[2] = {APPLICATION_EXIT, (word)status};

    if (status == IO_DONE && harness_stack_outgrown()) {
        arguments[1] = IO_STACK;
    }
    flush();
    for (;;) {
        (void)semihost(SYS_EXIT_EXTENDED, arguments);
    }
}
